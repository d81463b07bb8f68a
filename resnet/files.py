"""Files that are whole or absent, and what is said when one cannot be written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
