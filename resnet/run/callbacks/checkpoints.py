"""When a run saves itself, and how it stops."""

from __future__ import annotations

import signal
import time

import numpy as np

from resnet.errors import Interrupted
from resnet.run import checkpoints
from resnet.run.callbacks.base import CHECKPOINT, Callback
from resnet.run.signals import Signals
from resnet.training.distribution import everyone


class Checkpoints(Callback):
    """Saves the training after every epoch and every `minutes`; keeps the last `keep`.

    A signal to stop raises Interrupted once the step at hand is saved; a second one ends the process at
    once. Of several workers the chief writes, when its time has come or any of them got a signal.

    Args:
        minutes: between two checkpoints inside an epoch.
        keep: number of checkpoints that stay.
    """

    chief_only = False
    order = CHECKPOINT

    def __init__(self, minutes: float = 10.0, keep: int = 3) -> None:
        super().__init__()
        self.minutes, self.keep = minutes, keep
        self.signals: Signals | None = None

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        if self.trainer.chief:
            checkpoints.make_directory(self.run.directory.checkpoints)
        self.signals = Signals()
        self.saved_at = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        due, number = self._agreed()
        if due or number or self.trainer.finished:
            self.save()
        self._stop(number)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        # A last epoch cut short by max_steps was saved before it was closed, so that it can go on.
        if self.trainer.epoch_is_whole:
            self.save()
        self._stop(self._agreed()[1])

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self.close()

    def close(self) -> None:
        """Give the signals back."""
        if self.signals:
            self.signals.close()
            self.signals = None

    def save(self) -> None:
        """Write a checkpoint. Workers must all call it; the chief writes.

        Raises UserError, and keeps what there is, if a weight is not finite or it cannot be written.
        """
        arrays, progress = self.trainer.state()
        bad = [name for name, array in arrays.items() if not np.all(np.isfinite(array))]
        if bad:
            raise self.trainer.diverged(f"{bad[0]} is not finite", self.trainer.step)
        if self.trainer.chief:
            notes = {**progress, **self.run.notes()}
            checkpoints.write(self.run.directory.checkpoints, arrays, notes, self.keep)
        self.saved_at = time.monotonic()

    def _agreed(self):
        """Whether the chief's time to save has come, and a signal that any worker got, or None."""
        due = time.monotonic() - self.saved_at > 60 * self.minutes
        received = self.signals.received if self.signals else None
        answers = everyone(self.trainer.strategy, [due, received])
        return answers[0][0], next((number for _, number in answers if number), None)

    def _stop(self, number):
        if number:
            name = signal.Signals(number).name
            raise Interrupted(number, f"stopped by {name} after step {self.trainer.step}")
