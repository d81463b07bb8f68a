"""Which learning rate to train at."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from resnet.rules import range_rises
from resnet.run.callbacks.base import Callback

log = logging.getLogger(__name__)
BELOW_LEAST = 10  # the suggested rate is that of the least loss, divided by this


class RangeTest(Callback):
    """A range test of the learning rate (Smith 2017, section 3.3), in place of a training.

    From step to step the rate rises geometrically, whatever the schedule says. The test ends with the
    training, or once the smoothed loss is `diverged` times its least; then the network has its first weights
    again. A run has the losses in lr_range.png and the suggested rate in result.json.

    Args:
        low, high: rates of the first and of the last step.
        smoothing: share that a smoothed loss has of the one before; their start is corrected for it.
        diverged: see above.

    Raises ValueError unless `low` is below `high`.
    """

    chief_only = False  # all workers train at one rate
    needs_run = False
    every_step = True
    expects_divergence = True

    def __init__(
        self, low: float = 1e-6, high: float = 10.0, smoothing: float = 0.9, diverged: float = 4.0
    ) -> None:
        super().__init__()
        range_rises(low, high)
        self.low, self.high, self.smoothing, self.diverged = low, high, smoothing, diverged
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.first: list[np.ndarray] = []

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.rates, self.losses, self.first = [], [], self.model.get_weights()

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        done = self.trainer.step / max(self.trainer.total_steps - 1, 1)
        self.model.optimizer.learning_rate.assign(self.low * (self.high / self.low) ** done)

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self.rates.append(logs["learning_rate"])
        self.losses.append(float(self.trainer.losses[-1]))
        smoothed = self.smoothed()
        if not smoothed[-1] <= self.diverged * min(smoothed):  # nor if it is no number
            self.model.stop_training = True
            self.model.set_weights(self.first)  # which can be evaluated and saved

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self.model.set_weights(self.first)
        found = self.result()
        log.info(
            "learning rate %.2g: a tenth of %.2g, where the loss is least; it falls most steeply at %.2g",
            found["suggested_rate"],
            found["least_rate"],
            found["steepest_rate"],
        )
        if found["least_rate"] == self.rates[-1]:
            log.warning("the loss was still falling at the last rate: give a larger callbacks.lr_range.high")
        if self.run and self.trainer.chief:
            from resnet.report import figures  # loads matplotlib, for which the first step need not wait

            drawn = figures.lr_range(self.rates, self.losses, self.smoothed(), found)
            self.run.directory.write_picture("lr_range", figures.png(drawn))

    def smoothed(self) -> list[float]:
        """A loss for each step: means in which the loss k steps ago counts `smoothing` to the k."""
        found, total, weight = [], 0.0, 0.0
        for loss in self.losses:
            total, weight = self.smoothing * total + loss, self.smoothing * weight + 1
            found.append(total / weight)
        return found

    def result(self) -> dict[str, float]:
        """Rates by name: `least_rate` and `steepest_rate` of the smoothed loss, and the `suggested_rate`."""
        smoothed = self.smoothed()
        least = min(
            range(len(smoothed)), key=lambda i: smoothed[i] if math.isfinite(smoothed[i]) else math.inf
        )
        settled = min(round(1 / (1 - self.smoothing)), least)  # means of fewer losses jump
        falls = -np.diff(smoothed[settled : least + 1])  # by the logarithm of the rate, which rises evenly
        steepest = settled + (int(np.argmax(falls)) if len(falls) else 0)
        return {
            "suggested_rate": self.rates[least] / BELOW_LEAST,
            "least_rate": self.rates[least],
            "steepest_rate": self.rates[steepest],
        }

    def state(self) -> dict[str, Any]:
        return {"rates": self.rates, "losses": self.losses, "first": self.first}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.rates, self.losses, self.first = (list(state[name]) for name in ("rates", "losses", "first"))
