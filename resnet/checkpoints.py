"""Checkpoints that are whole or absent, and what a signal leaves behind."""

import json
import logging
import shutil
import signal
import time

import keras
import numpy as np

from resnet.distribution import everyone
from resnet.errors import Interrupted
from resnet.files import PART, replacing
from resnet.signals import Signals

log = logging.getLogger(__name__)
NOTES = "notes"


class Checkpoints(keras.callbacks.Callback):
    """Saves the trainer after every epoch and every `minutes`; keeps the last `keep` and the best.

    One file holds it all: each variable, and as JSON what the trainer has to remember. A signal of
    `signals.Signals` raises Interrupted once the step at hand is saved.
    Of several workers the chief writes, when its time has come or any of them got a signal.

    Args:
        directory: where the files lie; made if missing.
        trainer: a compiled `trainer.Trainer`.
        notes: gives a dict, readable as JSON, that is saved along.
        minutes: between two checkpoints inside an epoch.
        keep: number of checkpoints that stay, besides the best.
    """

    def __init__(self, directory, trainer, notes, minutes, keep):
        super().__init__()
        self.directory, self.trainer, self.notes = directory, trainer, notes
        self.minutes, self.keep = minutes, keep
        self.signals = None
        directory.mkdir(exist_ok=True)
        for left_by_a_kill in directory.glob(f"{PART}*"):
            left_by_a_kill.unlink()

    def on_train_begin(self, logs=None):
        self.signals = Signals()
        self.saved_at = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        due, number = self._agreed()
        if due or number or self.trainer.finished:
            self.save()
        self._stop(number)

    def on_epoch_end(self, epoch, logs=None):
        # A last epoch cut short by max_steps was saved before it was closed, so that it can go on.
        if self.trainer.step % self.trainer.steps_per_epoch == 0:
            watched = f"{self.trainer.watched_name}_accuracy"
            accuracies = [epoch[watched] for epoch in self.trainer.history if watched in epoch]
            self.save(best=logs[watched] >= max(accuracies))
        self._stop(self._agreed()[1])

    def on_train_end(self, logs=None):
        self.close()

    def close(self):
        """Give the signals back."""
        if self.signals:
            self.signals.close()
            self.signals = None

    def save(self, best=False):
        """Write a checkpoint, if it is the best as best.npz too, and remove the oldest beyond `keep`.

        Workers must all call it; the chief writes.

        Raises UserError, and keeps what there is, if a weight is not finite or it cannot be written.
        """
        arrays, progress = self.trainer.state()
        bad = [name for name, array in arrays.items() if not np.all(np.isfinite(array))]
        if bad:
            raise self.trainer.diverged(f"{bad[0]} is not finite", self.trainer.step)
        if not self.trainer.chief:
            return
        notes = np.array(json.dumps({**progress, **self.notes()}))
        path = self.directory / f"step_{self.trainer.step:09}.npz"
        with replacing(path) as part:
            np.savez(part, **{NOTES: notes}, **arrays)
            if best:  # first, so that a run that is killed now comes here again
                with replacing(self.directory / "best.npz") as copy:
                    shutil.copyfile(part, copy)
        paths = checkpoints(self.directory)
        end = paths.index(path) + 1
        for old in paths[: max(0, end - self.keep)]:
            old.unlink()
        for damaged in paths[end:]:  # what the run could not go on from
            damaged.rename(damaged.with_suffix(".damaged"))
        self.saved_at = time.monotonic()

    def _agreed(self):
        """Whether the chief's time to save has come, and a signal that any worker got, or None."""
        due = time.monotonic() - self.saved_at > 60 * self.minutes
        answers = everyone(self.trainer.strategy, [due, self.signals.received])
        return answers[0][0], next((number for _, number in answers if number), None)

    def _stop(self, number):
        if number:
            name = signal.Signals(number).name
            raise Interrupted(number, f"stopped by {name} after step {self.trainer.step}")


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
