"""Files that are whole or absent, and what is said when one cannot be written."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from resnet.errors import UserError

PART = ".part-"


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


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz, by name. Raises UserError where it is missing or cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Equal dicts, one a row, as the text of a CSV file, their names first."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
