"""The learning rate of a training: the optimizer's own x schedule x plateau x what callbacks make of it."""

from __future__ import annotations

import keras
import numpy as np

from resnet.training.schedules import Plateau, Schedule


class Rate:
    """The rate at an epoch, with its factors.

    What a callback assigns to the optimizer's `learning_rate` counts as a factor from then on.

    Args:
        optimizer: of Keras, whose rate is the first factor.
        schedule: one of `training.schedules`.
        plateau: a `schedules.Plateau`, or None.
        growth: factor of the optimizer's rate, as for another batch size than it is meant for.
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer,
        schedule: Schedule,
        plateau: Plateau | None = None,
        growth: float = 1.0,
    ) -> None:
        self.optimizer, self.schedule, self.plateau = optimizer, schedule, plateau
        given = float(str(optimizer.learning_rate.numpy()))  # 0.001, not the float32 nearest to it
        self.base = given * growth
        self.callback_factor = 1.0

    def __call__(self, epoch: float) -> dict[str, float]:
        """`learning_rate` at `epoch` (float, counted from 0) and its factors, by name."""
        scheduled = self.base * self.schedule(epoch)
        reduced = self.plateau.bound(scheduled) if self.plateau else scheduled
        factors = {"callback_factor": self.callback_factor} if self.callback_factor != 1 else {}
        return {
            "learning_rate": reduced * self.callback_factor,
            "schedule_factor": scheduled / self.base,
            "plateau_factor": reduced / scheduled if scheduled else 1.0,
            **factors,
        }

    def assign(self, epoch: float) -> None:
        """Let callbacks read the rate of the step that comes at `epoch`."""
        self.stepped(self(epoch)["learning_rate"])
        self.optimizer.learning_rate.assign(self._known)

    def stepped(self, rate: float) -> None:
        """Steps have assigned `rate`: it is no callback's doing."""
        self._known = np.float32(rate)

    def honour(self) -> None:
        """Take over what a callback has made of the rate."""
        found = np.float32(self.optimizer.learning_rate.numpy())
        if found != self._known:
            self.callback_factor *= float(found / self._known) if self._known else 1.0
            self._known = found
