"""Files that are whole or absent, and what is said when one cannot be written."""

import os
from contextlib import contextmanager

from resnet.errors import UserError

PART = ".part-"


@contextmanager
def writing(path):
    """Around the writing of `path`: an OSError becomes a UserError that names it."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error


@contextmanager
def replacing(path):
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


def replace_text(path, text):
    """Write `text` to `path` as `replacing` does."""
    with replacing(path) as part:
        part.write_text(text, "utf-8")
