"""Files that are whole or absent, and what is said when one cannot be written."""

from __future__ import annotations

import csv
import io
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import yaml

from resnet.errors import UserError

PART = ".part-"
# What files raise that are absent, cut off, damaged, or not of the form that they were written in.
UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    RuntimeError,
    BadZipFile,
    zlib.error,
    csv.Error,
    yaml.YAMLError,
)


@contextmanager
def reading(path: Path, cure: str = "") -> Iterator[None]:
    """Around the reading of `path`: what is UNREADABLE becomes a UserError that names it, and the `cure`."""
    try:
        yield
    except UNREADABLE as error:
        reason = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
        cure = "" if isinstance(error, PermissionError) else cure
        raise UserError(f"{path} cannot be read: {reason.splitlines()[0]}\n{cure}".rstrip()) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around the writing of `path`: an OSError becomes a UserError that names it."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a path to write to; `path` changes only when all of that is on the disk.

    Raises UserError if it cannot be written; what was there before is then still there.
    """
    part = path.with_name(f"{PART}{path.name}")
    with writing(path):
        try:
            yield part
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Write `text` to `path` as `replacing` does."""
    with replacing(path) as part:
        part.write_text(text, "utf-8")


def replace_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write NumPy arrays by name to `path`, a compressed npz, as `replacing` does."""
    with replacing(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_arrays(path: Path, cure: str = "") -> dict[str, np.ndarray]:
    """The arrays of an npz, by name. Raises UserError, with the `cure`, where it cannot be read."""
    with reading(path, cure), np.load(path, allow_pickle=False) as file:
        return dict(file)


def json_text(value: Any, **options: Any) -> str:
    """JSON, NumPy's scalars as numbers. Raises TypeError or ValueError for what it cannot hold."""
    return json.dumps(value, default=_plain, **options)


def _plain(value):
    if isinstance(value, np.generic | np.ndarray) and value.ndim == 0:
        return value.item()
    raise TypeError(f"{type(value).__name__} is no number, text, list or dict")


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Equal dicts, one a row, as the text of a CSV file, their names first."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
