"""Steps towards flat minima."""

from __future__ import annotations

import re
from collections.abc import Sequence

import keras
import tensorflow as tf

ETA = 0.01  # of ASAM, beside small weights (Kwon et al. 2021)
SHIFT = re.compile(r"(bias|beta)$")


class SAM:
    """Sharpness-aware minimisation: the gradient is that of the worst weights nearby.

    A step takes two passes forward and backward, and so nearly twice the time. Of several replicas, all climb
    along the gradient of the whole batch. Batch norm's statistics are those of the first pass.

    Args:
        rho: how far off the worst weights are sought (Foret et al. 2021, eq. 2).
        adaptive: whether distances are relative to each weight's size but for biases, so that they mean the
            same whatever the scale of the weights (ASAM, Kwon et al. 2021).

    Raises ValueError for a rho that is not above 0.
    """

    def __init__(self, rho: float, adaptive: bool = False) -> None:
        if not rho > 0:
            raise ValueError(f"sam_rho={rho}: expected a distance above 0, or None for no SAM")
        self.rho, self.adaptive = rho, adaptive

    def uphill(self, variables: Sequence[keras.Variable], gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The worst weights in first order, tensors, around `variables` with these gradients."""
        scales = [self._scale(variable) for variable in variables]
        slopes = [scale * gradient for scale, gradient in zip(scales, gradients, strict=True)]
        step = tf.math.divide_no_nan(self.rho, tf.linalg.global_norm(slopes))
        return [v + step * s * d for v, s, d in zip(variables, scales, slopes, strict=True)]

    def _scale(self, variable):
        return tf.abs(variable) + ETA if self.adaptive and not SHIFT.search(variable.path) else 1.0
