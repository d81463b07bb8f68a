"""Where the time of a step goes."""

from __future__ import annotations

import logging
from typing import Any

import tensorflow as tf

from resnet.run.callbacks.base import AFTER, Callback

log = logging.getLogger(__name__)


class Profile(Callback):
    """A profile for TensorBoard's profile tab (`pip install .[profile]`).

    Args:
        steps: [first, last], the steps after which it begins and ends.
    """

    chief_only = False  # calls end at the same step for all workers, of whom one is profiled
    order = AFTER

    def __init__(self, steps: tuple[int, int] = (100, 120)) -> None:
        super().__init__()
        self.first, self.last = steps
        self.profiling = False
        self.running: Any = None

    def steps_to_next(self, step: int) -> int | None:
        """Until the profile begins; single steps while it runs, so that it shows them."""
        return self.first - step if step < self.first else 1 if step < self.last else None

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if not (self.trainer.chief and self.first <= self.trainer.step < self.last):
            return
        if not self.profiling:
            tf.profiler.experimental.start(str(self.run.directory.tensorboard))
            self.profiling = True
        self.running = tf.profiler.experimental.Trace("train", step_num=self.trainer.step, _r=1)
        self.running.__enter__()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self.running:
            self.running.__exit__(None, None, None)
            self.running = None
            if self.trainer.step >= self.last:
                self._stop()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if self.profiling:
            self._stop()
        elif self.trainer.chief and self.trainer.step < self.first:
            log.warning("no profile: training ended at step %d, before %d", self.trainer.step, self.first)

    def _stop(self):
        tf.profiler.experimental.stop()
        self.profiling = False
        where = self.run.directory.tensorboard
        log.info("profiled steps %d to %d, in %s", self.first, self.trainer.step, where)
