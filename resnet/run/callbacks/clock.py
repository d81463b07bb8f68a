"""How long the steps of a training take."""

from __future__ import annotations

import time

from resnet.run.callbacks.base import Callback


class Clock(Callback):
    """`seconds` of each step with a whole batch, but for the first `warm`, in which it is compiled."""

    needs_run = False
    every_step = True

    def __init__(self, warm: int) -> None:
        super().__init__()
        self.warm = warm
        self.seconds: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        whole = batch < len(self.trainer.dataset.train) // self.trainer.batch_size
        if whole and self.trainer.step > self.warm:
            self.seconds.append(time.perf_counter() - self.began)
