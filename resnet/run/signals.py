"""Signals that wait until the step at hand is saved."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from contextlib import suppress

log = logging.getLogger(__name__)
INSISTENT = (signal.SIGINT, signal.SIGTERM)
WARNINGS = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGHUP") if hasattr(signal, name))


class Signals:
    """Remembers in `received` the signal that asks to stop; a second SIGINT or SIGTERM ends it all at once.

    SIGUSR1 (Slurm's warning) and SIGHUP (the terminal is gone) ask too, where the system has them and no one
    else takes them: nohup ignores SIGHUP, submitit queues its job again. They may come twice, or before a
    SIGTERM that means no more than they did, and so end nothing at once.

    A thread takes the signals, because Python's own handlers wait until TensorFlow returns.
    """

    def __init__(self) -> None:
        self.received = None
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._handlers = {number: signal.signal(number, _leave) for number in to_take()}
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno())
        threading.Thread(target=self._watch, daemon=True).start()

    def close(self) -> None:
        """Give the signals back."""
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._writer.close()

    def _watch(self):
        with self._reader:
            while byte := self._reader.recv(1):
                if byte[0] in self._handlers:
                    self._take(byte[0])

    def _take(self, number):
        if number in INSISTENT and self.received in INSISTENT:
            os._exit(128 + number)
        if number in INSISTENT or not self.received:
            self.received = number
            with suppress(OSError):  # of a full disk the training itself will tell
                log.info("stopping after the step at hand; Ctrl-C or SIGTERM once more to stop at once")


def to_take() -> list[int]:
    """The signals that ask to stop, but for the warnings that someone else takes."""
    free = (signal.SIG_DFL, _leave)
    return [*INSISTENT, *(number for number in WARNINGS if signal.getsignal(number) in free)]


def _leave(*_):
    """To the thread that takes the signals."""
