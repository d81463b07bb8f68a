"""The learning rate: a pure function of the epoch times the factor of a reduce-on-plateau rule."""

import bisect


class Constant:
    """The optimizer's own rate, always."""

    def __call__(self, epoch):
        return 1.0


class Steps:
    """A piecewise constant multiplier of the optimizer's rate.

    `factors[i]` holds once `boundaries[i]` epochs are completed; before the first it is 1.
    Raises ValueError unless boundaries rise and there is one factor for each.
    """

    def __init__(self, boundaries, factors):
        if len(boundaries) != len(factors) or list(boundaries) != sorted(set(boundaries)):
            raise ValueError("schedule: boundaries must rise, with one factor for each")
        self.boundaries = list(boundaries)
        self.factors = [1.0, *factors]

    def __call__(self, epoch):
        """Multiplier at `epoch` (float, counted from 0)."""
        return self.factors[bisect.bisect_right(self.boundaries, epoch)]


class Plateau:
    """Multiplies its factor down when the watched loss stops falling (keras.callbacks.ReduceLROnPlateau).

    Unlike Keras' callback it owns a factor, not the rate, so an epoch schedule cannot overwrite it.
    `min_lr` bounds the product of rate and factor from below.
    """

    def __init__(self, factor=0.1**0.5, patience=5, cooldown=0, min_delta=1e-4, min_lr=0.5e-6):
        if not 0 < factor < 1:
            raise ValueError(f"plateau: factor lies between 0 and 1, not {factor}")
        self.reduction = factor
        self.patience = patience
        self.cooldown = cooldown
        self.min_delta = min_delta
        self.min_lr = min_lr
        self.factor = 1.0
        self.best = float("inf")
        self.wait = 0
        self.cooldown_left = 0

    def update(self, loss, rate):
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

    def bound(self, rate):
        """`rate` times the factor, but not below min_lr (nor above `rate` itself)."""
        return min(rate, max(rate * self.factor, self.min_lr))

    def state(self):
        return {k: getattr(self, k) for k in ("factor", "best", "wait", "cooldown_left")}

    def restore(self, state):
        vars(self).update(state)
