"""Checkpoints that are whole or absent, and signals that wait until one is written."""

import json
import logging
import os
import signal
import socket
import threading
from contextlib import suppress

import numpy as np

from resnet.files import PART, replacing

log = logging.getLogger(__name__)
NOTES = "notes"


def write(directory, arrays, notes, keep):
    """Write the checkpoint of `notes["step"]` and remove the oldest beyond `keep`.

    One file holds it all: arrays by name, and as JSON what else there is to remember.
    Raises UserError, and keeps what there is, if it cannot be written.
    """
    path = directory / f"step_{notes['step']:09}.npz"
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, **{NOTES: np.array(json.dumps(notes))}, **arrays)
    paths = checkpoints(directory)
    end = paths.index(path) + 1
    for old in paths[: max(0, end - keep)]:
        old.unlink()
    for damaged in paths[end:]:  # what the run could not go on from
        damaged.rename(damaged.with_suffix(".damaged"))


def make_directory(directory):
    """Make it if missing, and remove what a kill left half-written there."""
    directory.mkdir(exist_ok=True)
    for left_by_a_kill in directory.glob(f"{PART}*"):
        left_by_a_kill.unlink()


def checkpoints(directory):
    """Paths of the checkpoints in `directory`, the newest last."""
    return sorted(directory.glob("step_*.npz"))


def newest(directory):
    """Arrays and notes of the newest whole checkpoint, or None. Warns of each that is damaged.

    Nothing is unpickled: a file that asks for it is damaged.
    """
    for path in reversed(checkpoints(directory)):
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            return arrays, json.loads(str(arrays.pop(NOTES)))
        except PermissionError:
            raise
        except Exception as error:  # a damaged file can raise anything
            reason = str(error).partition(". ")[0]
            log.warning("%s is damaged (%s); taking the checkpoint before it", path, reason)
    return None


class Signals:
    """Remembers the first SIGINT or SIGTERM in `received`; the second one ends the process at once.

    A thread takes them, because Python's own handlers wait until TensorFlow returns.
    """

    NUMBERS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self):
        self.received = None
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._handlers = {number: signal.signal(number, lambda *_: None) for number in self.NUMBERS}
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno())
        threading.Thread(target=self._watch, daemon=True).start()

    def close(self):
        """Give the signals back."""
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._writer.close()

    def _watch(self):
        with self._reader:
            while byte := self._reader.recv(1):
                if byte[0] not in self.NUMBERS:
                    continue
                if self.received:
                    os._exit(128 + byte[0])
                self.received = byte[0]
                with suppress(OSError):  # of a full disk the training itself will tell
                    log.info("stopping after the step at hand; once more to stop at once")
