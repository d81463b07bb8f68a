"""How many steps a training has time for."""

from __future__ import annotations

import math
from typing import NamedTuple

from resnet.errors import UserError

SHARE = 0.05  # share of the time in which steps are tried; its second half is measured
LONGEST = 20.0  # seconds of that, at most


class Pace(NamedTuple):
    """Seconds that a step takes, what comes at the end of an epoch, and what comes after the last one."""

    step: float
    epoch: float
    end: float


def steps_within(seconds: float, pace: Pace, steps_per_epoch: int) -> int:
    """The most steps that end within `seconds`, with all that comes after them; the last epoch may be short.

    Raises UserError where there is no time for one.
    """
    left = seconds - pace.end
    epochs = math.floor(left / (steps_per_epoch * pace.step + pace.epoch))
    left -= epochs * (steps_per_epoch * pace.step + pace.epoch)
    steps = epochs * steps_per_epoch + max(0, math.floor((left - pace.epoch) / pace.step))
    if steps < 1:
        missing = pace.step + pace.epoch + pace.end - seconds
        raise UserError(
            f"trainer.minutes: {seconds:.0f} seconds are left after the start, too few to train a step and "
            f"score the network\ngive {missing / 60:.2g} minutes more, or a smaller network"
        )
    return steps
