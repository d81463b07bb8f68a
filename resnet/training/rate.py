"""The learning rate of a training: the optimizer's own x schedule x plateau x what callbacks make of it."""

from __future__ import annotations

import math

import keras
import numpy as np

from resnet.errors import UserError
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
        self._given = float(str(optimizer.learning_rate.numpy()))  # 0.001, not the float32 nearest to it
        self.base = self._given * growth
        self.callback_factor = 1.0

    def __call__(self, epoch: float) -> dict[str, float]:
        """`learning_rate` at `epoch` (float, counted from 0) and its factors, by name.

        Raises UserError where the schedule gives no factor from 0 on.
        """
        scheduled, reduced = self._own(epoch)
        factors = {"callback_factor": self.callback_factor} if self.callback_factor != 1 else {}
        return {
            "learning_rate": reduced * self.callback_factor,
            "schedule_factor": scheduled / self.base,
            "plateau_factor": reduced / scheduled if scheduled else 1.0,
            **factors,
        }

    def assign(self, epoch: float) -> None:
        """Let callbacks read the rate of the step that comes at `epoch`."""
        self.stepped(epoch)
        self.optimizer.learning_rate.assign(self._known)

    def stepped(self, epoch: float) -> None:
        """Steps have assigned the rate at `epoch`: it is no callback's doing."""
        _, self._without = self._own(epoch)
        self._known = np.float32(self._without * self.callback_factor)

    def honour(self) -> None:
        """Take over what a callback has made of the rate.

        Raises UserError where the schedule has it at 0, of which nothing can be made.
        """
        found = np.float32(self.optimizer.learning_rate.numpy())
        if found == self._known:
            return
        if not self._without:
            raise UserError(
                f"a callback sets the learning rate to {found:g} where schedule x plateau is 0\n"
                "give schedule=constant to leave it all to the callback"
            )
        self.callback_factor, self._known = float(found) / self._without, found

    def give_back(self) -> None:
        """Leave the optimizer with the rate that it came with, for another training to begin with."""
        self.optimizer.learning_rate.assign(self._given)

    def _own(self, epoch):
        """The optimizer's rate under the schedule, and under the plateau too."""
        factor = float(self.schedule(epoch))
        if not 0 <= factor < math.inf:
            raise UserError(
                f"schedule: {factor:g} at epoch {epoch:g}; expected a factor of the rate, 0 or more"
            )
        scheduled = self.base * factor
        return scheduled, self.plateau.bound(scheduled) if self.plateau else scheduled
