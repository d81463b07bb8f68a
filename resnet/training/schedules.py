"""Factors of the learning rate: by the epoch, and by a plateau rule; `Trainer.rate` multiplies them."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping, Sequence

from resnet.rules import rising_boundaries

Schedule = Callable[[float], float]


class Constant:
    """The optimizer's own rate, always."""

    def __call__(self, epoch: float) -> float:
        return 1.0


class Steps:
    """A piecewise constant multiplier of the optimizer's rate.

    `factors[i]` holds once `boundaries[i]` epochs are completed; before the first it is 1. The
    defaults are the Keras example's. Raises ValueError unless boundaries rise, with a factor for each.
    """

    def __init__(
        self,
        boundaries: Sequence[float] = (80, 120, 160, 180),
        factors: Sequence[float] = (0.1, 0.01, 0.001, 0.0005),
    ) -> None:
        rising_boundaries(boundaries, factors)
        self.boundaries = list(boundaries)
        self.factors = [1.0, *factors]

    def __call__(self, epoch: float) -> float:
        """Multiplier at `epoch` (float, counted from 0)."""
        return self.factors[bisect.bisect_right(self.boundaries, epoch)]


class Cosine:
    """From 1 to `final` over `epochs` as a half cosine (Loshchilov and Hutter 2017, eq. 5, no restart).

    Raises ValueError unless epochs > 0 and 0 <= final <= 1.
    """

    def __init__(self, epochs: float, final: float = 0.0) -> None:
        if epochs <= 0 or not 0 <= final <= 1:
            raise ValueError(f"schedule: epochs > 0 and 0 <= final <= 1, not {epochs} and {final}")
        self.epochs = epochs
        self.final = final

    def __call__(self, epoch: float) -> float:
        """Multiplier at `epoch` (float, counted from 0); `final` after the last."""
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * min(epoch / self.epochs, 1))) / 2


class OneCycle:
    """Linear from `start` to 1, then down to `final` at `epochs` (Smith and Topin 2018).

    The rate is the optimizer's after `peak` (a share of the epochs); then it falls along a `linear` or a
    `cosine` curve. Raises ValueError unless epochs > 0, 0 <= peak < 1 and the factors are in [0, 1].
    """

    def __init__(
        self, epochs: float, peak: float = 0.25, start: float = 0.1, final: float = 0.0, fall: str = "linear"
    ) -> None:
        if epochs <= 0 or not 0 <= peak < 1 or not (0 <= start <= 1 and 0 <= final <= 1):
            raise ValueError("schedule: epochs > 0, 0 <= peak < 1, and start and final from 0 to 1")
        if fall not in ("linear", "cosine"):
            raise ValueError(f"schedule: fall is linear or cosine, not {fall}")
        self.epochs, self.peak, self.start, self.final, self.fall = epochs, peak, start, final, fall

    def __call__(self, epoch: float) -> float:
        """Multiplier at `epoch` (float, counted from 0); `final` after the last."""
        done = min(epoch / self.epochs, 1)
        if done < self.peak:
            return self.start + (1 - self.start) * done / self.peak
        done = (done - self.peak) / (1 - self.peak)
        if self.fall == "cosine":
            return Cosine(1, self.final)(done)
        return 1 + (self.final - 1) * done


class Warmup:
    """Another schedule after a beginning of `epochs` at a lower rate.

    `constant` multiplies it by `factor` (He et al. 2015, section 4.2: 0.1 for ResNet-110), `linear` by a
    line from `factor` to 1 (Goyal et al. 2017, section 2.2). The defaults are the former's: 400 steps of
    128 of CIFAR-10's images. Raises ValueError unless 0 <= factor < 1.
    """

    def __init__(
        self, schedule: Schedule, epochs: float = 1.023, factor: float = 0.1, rise: str = "constant"
    ) -> None:
        if epochs <= 0 or not 0 <= factor < 1:
            raise ValueError(f"schedule: epochs > 0 and 0 <= factor < 1, not {epochs} and {factor}")
        if rise not in ("constant", "linear"):
            raise ValueError(f"schedule: rise is constant or linear, not {rise}")
        self.schedule, self.epochs, self.factor, self.rise = schedule, epochs, factor, rise

    def __call__(self, epoch: float) -> float:
        """Multiplier at `epoch` (float, counted from 0)."""
        if epoch >= self.epochs:
            return self.schedule(epoch)
        risen = epoch / self.epochs if self.rise == "linear" else 0
        return self.schedule(epoch) * (self.factor + (1 - self.factor) * risen)


class Stretched:
    """Another schedule, run through `speed` times as fast."""

    def __init__(self, schedule: Schedule, speed: float) -> None:
        self.schedule, self.speed = schedule, speed

    def __call__(self, epoch: float) -> float:
        """Multiplier at `epoch` (float, counted from 0)."""
        return self.schedule(epoch * self.speed)


class Plateau:
    """Multiplies its factor down when the watched loss stops falling (keras.callbacks.ReduceLROnPlateau).

    Unlike Keras' callback it owns a factor, not the rate, so an epoch schedule cannot overwrite it.
    `min_lr` bounds the product of rate and factor from below.
    """

    def __init__(
        self,
        factor: float = 0.1**0.5,
        patience: int = 5,
        cooldown: int = 0,
        min_delta: float = 1e-4,
        min_lr: float = 0.5e-6,
    ) -> None:
        if not 0 < factor < 1:
            raise ValueError(f"plateau: factor lies between 0 and 1, not {factor}")
        self.reduction = factor
        self.patience = patience
        self.cooldown = cooldown
        self.min_delta = min_delta
        self.min_lr = min_lr
        self.reset()

    def reset(self) -> None:
        """Begin anew, as where another loss is watched."""
        self.factor = 1.0
        self.best = float("inf")
        self.wait = 0
        self.cooldown_left = 0

    def update(self, loss: float, rate: float) -> bool:
        """Take one epoch's loss and the rate it was trained at; True if the factor was reduced."""
        if self.cooldown_left:
            self.cooldown_left -= 1
            self.wait = 0
        if loss < self.best - self.min_delta:
            self.best, self.wait = loss, 0
            return False
        if self.cooldown_left:
            return False
        self.wait += 1
        if self.wait < self.patience or rate <= self.min_lr:
            return False
        self.factor *= self.reduction
        self.wait, self.cooldown_left = 0, self.cooldown
        return True

    def bound(self, rate: float) -> float:
        """`rate` times the factor, but not below min_lr (nor above `rate` itself)."""
        return min(rate, max(rate * self.factor, self.min_lr))

    def state(self) -> dict[str, float]:
        return {k: getattr(self, k) for k in ("factor", "best", "wait", "cooldown_left")}

    def restore(self, state: Mapping[str, float]) -> None:
        vars(self).update(state)
