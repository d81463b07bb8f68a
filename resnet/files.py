"""Files that are whole or absent."""

import os
from contextlib import contextmanager

from resnet.errors import UserError


@contextmanager
def replacing(path):
    """Gives a path to write to; `path` changes only when all of that is on the disk.

    Raises UserError if it cannot be written; what was there before is then still there.
    """
    part = path.with_name(f".part-{path.name}")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
