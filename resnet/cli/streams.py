"""Standard output and error that end no run: readers that leave, ASCII terminals, TensorFlow's greetings."""

from __future__ import annotations

import errno
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

# A pipe's reader or a terminal is gone; Windows says EINVAL.
GONE = (errno.EPIPE, errno.EIO, errno.EINVAL)


def prepare() -> None:
    """Make the standard streams such that printing cannot fail, and file names UTF-8; call it first.

    What no one reads is dropped, and what an encoding lacks is written as `\\xe9`. Where the locale is not
    UTF-8, the program starts again in Python's UTF-8 mode: a run names its files alike in every locale.
    """
    for descriptor in range(3):  # a closed one would be that of the next file to be opened
        try:
            os.fstat(descriptor)
        except OSError:
            _to_nothing(descriptor)
    if sys.getfilesystemencoding().lower() not in ("utf-8", "utf8"):
        os.environ["PYTHONUTF8"] = "1"  # for the processes that this one starts
        os.environ.setdefault("PYTHONIOENCODING", sys.stdout.encoding if sys.stdout else "ascii")
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    outlast_readers()


def outlast_readers() -> None:
    """Let standard output and error go to nothing once nobody reads them."""
    sys.stdout, sys.stderr = _lasting(sys.stdout, 1), _lasting(sys.stderr, 2)


class _Lasting(io.FileIO):
    """A file that goes to nothing once nobody reads it."""

    def write(self, data):
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in GONE:
                raise
            _to_nothing(self.fileno())
            return len(data)


def _lasting(stream, descriptor):
    """`stream`, as a _Lasting if it is the process's own."""
    if stream is None:
        return _text(descriptor, "utf-8", line_buffering=True)
    try:
        own = stream.fileno() == descriptor and not isinstance(stream, _Text)
    except (OSError, ValueError, AttributeError):  # in memory, as of tests and notebooks
        own = False
    if not own:
        return stream
    if os.name == "nt" and stream.isatty():  # which takes characters, not bytes
        stream.reconfigure(errors="backslashreplace")
        return stream
    stream.flush()
    buffering = {"line_buffering": stream.line_buffering, "write_through": stream.write_through}
    return _text(descriptor, stream.encoding, **buffering)


class _Text(io.TextIOWrapper):
    """Text on a _Lasting, unbuffered if it is written through."""


def _text(descriptor, encoding, line_buffering, write_through=False):
    raw = _Lasting(descriptor, "w", closefd=False)
    buffer = raw if write_through else io.BufferedWriter(raw)
    return _Text(buffer, encoding, "backslashreplace", None, line_buffering, write_through)


def _to_nothing(descriptor):
    nothing = os.open(os.devnull, os.O_RDWR)
    if nothing != descriptor:
        os.dup2(nothing, descriptor)
        os.close(nothing)


@contextmanager
def held_back() -> Iterator[Callable[[], None]]:
    """Inside, nothing reaches standard error, from C++ neither; gives a function that lets it through.

    It is let through, too, where what is inside raises, or ends the process from C++.
    """
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as held:

        def show():
            sys.stderr.flush()
            held.seek(0)
            with suppress(OSError), open(real, "wb", closefd=False) as file:
                shutil.copyfileobj(held, file)

        ended = _when_killed(show)
        os.dup2(held.fileno(), 2)
        try:
            yield show
        except Exception:
            show()
            raise
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)
            os.close(real)
            ended()


def _when_killed(show):
    """Let another process call `show` if this one ends before it calls the function that is returned."""
    if not hasattr(os, "fork"):
        return lambda: None
    reader, writer = os.pipe()
    watcher = os.fork()
    if watcher == 0:
        os.close(writer)
        if not os.read(reader, 1):
            show()
        os._exit(0)
    os.close(reader)

    def ended():
        os.write(writer, b"!")
        os.close(writer)
        os.waitpid(watcher, 0)

    return ended
