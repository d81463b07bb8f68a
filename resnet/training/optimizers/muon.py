"""Orthogonalised momentum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from resnet.internals.keras import number
from resnet.options import with_options_of
from resnet.training.optimizers.adam import AdamW
from resnet.training.optimizers.groups import is_kernel

if TYPE_CHECKING:
    import tensorflow as tf


@keras.saving.register_keras_serializable("resnet")
class Muon(AdamW):
    """Orthogonalised momentum for convolution kernels (Jordan et al. 2024); Adam for all other weights.

    A kernel `(height, width, in, out)`, or each of a stage's stacked `(repeats, height, width, in, out)`,
    is a matrix of `out` columns; keras.optimizers.Muon would leave it to AdamW. Updates have the size
    of Adam's (Liu et al. 2025, section 2.2), so that one rate serves both. Other keywords are AdamW's.

    Args:
        normalize: kernels keep one norm, the root of `out`, and so have their updates: the rate is then the
            share of a kernel that a step changes (Jordan 2024, airbench94_muon). It needs norms after the
            convolutions, which make their scale indifferent, and `groups` for the rate of all other weights.
    """

    @with_options_of(AdamW, decay_of="kernels")
    def __init__(
        self,
        learning_rate: float = 2e-3,
        momentum: float = 0.95,
        nesterov: bool = True,
        normalize: bool = False,
        **options: Any,
    ):
        super().__init__(learning_rate, **options)
        self.momentum, self.nesterov, self.normalize = momentum, nesterov, normalize

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self.kernel_momentums: list[Any] = [  # by number of the variable
            self.add_variable_from_reference(v, name="kernel_momentum") if is_kernel(v) else None
            for v in variables
        ]

    def descend(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: float) -> None:
        if not is_kernel(variable):
            super().descend(gradient, variable, learning_rate)
            return
        moving = self.kernel_momentums[number(self, variable)]
        self.assign(moving, self.momentum * moving + gradient)
        step = gradient + self.momentum * moving if self.nesterov else moving
        rows, columns = math.prod(variable.shape[-4:-1]), variable.shape[-1]
        matrices = orthogonalize(ops.reshape(step, (-1, rows, columns)))
        kernel, size = ops.convert_to_tensor(variable), 0.2 * math.sqrt(max(rows, columns))
        if self.normalize:
            size = math.sqrt(
                columns / min(rows, columns)
            )  # the norm of an orthogonal one is that of the latter
            norm = ops.sqrt(ops.sum(ops.square(kernel), axis=(-4, -3, -2, -1), keepdims=True))
            kernel = kernel * (math.sqrt(columns) / ops.maximum(norm, 1e-7))  # one of zeros stays
        step = ops.reshape(matrices, variable.shape) * size
        self.assign(variable, kernel - ops.cast(learning_rate, variable.dtype) * step)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in ("momentum", "nesterov", "normalize")},
        }


def orthogonalize(matrices: tf.Tensor, steps: int = 5) -> tf.Tensor:
    """Matrices `(N, rows, columns)` with all their singular values brought near 1.

    A quintic Newton-Schulz iteration (Jordan et al. 2024): after five steps they lie in about 0.7 to 1.2.
    All factors of a step are polynomials of the smaller square, which commute: so it is done on that.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices / (ops.sqrt(ops.sum(ops.square(matrices), axis=(1, 2), keepdims=True)) + 1e-7)
    square = ops.swapaxes(x, 1, 2) @ x if tall else x @ ops.swapaxes(x, 1, 2)
    product = identity = ops.eye(square.shape[-1], dtype=square.dtype)
    for _ in range(steps):
        factor = 3.4445 * identity - 4.7750 * square + 2.0315 * square @ square
        product = product @ factor
        square = factor @ square @ factor
    return x @ product if tall else product @ x
