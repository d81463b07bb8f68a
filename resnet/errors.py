"""Errors that end a run in one clear line, and those that must not end it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)


class UserError(Exception):
    """Something outside the program is not as it must be; the text names it, and the cure."""


class ConfigError(Exception):
    """A value in the configuration that cannot be; the text says what would be right."""


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop by signal `number` and has saved itself; the text says how to go on."""

    def __init__(self, number: int, message: str):
        super().__init__(message)
        self.number = number


@contextmanager
def decoration(what: str) -> Iterator[None]:
    """Around what only decorates a run: an error there is a warning, and never ends a training."""
    try:
        yield
    except (UserError, MemoryError):  # a full disk or memory is no matter of a picture
        raise
    except Exception as error:
        log.warning("%s cannot be shown: %s: %s", what, type(error).__name__, error)


def first_line(error: BaseException) -> str:
    """Of what an error says; its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
