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
    """Orthogonalised momentum for convolution kernels (Jordan et al. 2024), Adam or SGD for other weights.

    A kernel `(height, width, in, out)`, or each of a stage's stacked `(repeats, height, width, in, out)`,
    is a matrix of `out` columns; keras.optimizers.Muon would leave it to AdamW. Updates have the size
    of Adam's (Liu et al. 2025, section 2.2), so that one rate serves both. Other keywords are AdamW's.

    Args:
        normalize: kernels keep one norm, the root of `out`, and so have their updates: the rate is then the
            share of a kernel that a step changes (Jordan 2024, airbench94_muon). It needs norms after the
            convolutions, which make their scale indifferent, and `groups` for the rate of all other weights.
        others: `adam`, or `sgd` with a momentum of `others_momentum`, as airbench94_muon has it.

    Raises ValueError for other `others`.
    """

    @with_options_of(AdamW, decay_of="kernels")
    def __init__(
        self,
        learning_rate: float = 2e-3,
        momentum: float = 0.95,
        nesterov: bool = True,
        normalize: bool = False,
        others: str = "adam",
        others_momentum: float = 0.85,
        **options: Any,
    ):
        if others not in ("adam", "sgd"):
            raise ValueError(f"others={others}: expected adam or sgd")
        super().__init__(learning_rate, **options)
        self.momentum, self.nesterov, self.normalize = momentum, nesterov, normalize
        self.others, self.others_momentum = others, others_momentum

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self.sums: list[Any] = [  # of the gradients, by number of the variable
            self.add_variable_from_reference(v, name="kernel_momentum") if self._sums(v) else None
            for v in variables
        ]

    def descend(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: float) -> None:
        if not self._sums(variable):
            super().descend(gradient, variable, learning_rate)
            return
        kernel = is_kernel(variable)
        share = self.momentum if kernel else self.others_momentum
        moving = self.sums[number(self, variable)]
        self.assign(moving, share * moving + gradient)
        step = gradient + share * moving if self.nesterov else moving
        start, step = self._orthogonal(variable, step) if kernel else (variable, step)
        self.assign(variable, start - ops.cast(learning_rate, variable.dtype) * step)

    def _sums(self, variable):
        """Whether its step is of a sum of gradients."""
        return is_kernel(variable) or self.others == "sgd"

    def _orthogonal(self, variable, step):
        """A kernel, with the norm that it is to keep, and its step, orthogonalised."""
        rows, columns = math.prod(variable.shape[-4:-1]), variable.shape[-1]
        matrices = orthogonalize(ops.reshape(step, (-1, rows, columns)))
        kernel, size = ops.convert_to_tensor(variable), 0.2 * math.sqrt(max(rows, columns))
        if self.normalize:
            size = math.sqrt(
                columns / min(rows, columns)
            )  # the norm of an orthogonal one is that of the latter
            norm = ops.sqrt(ops.sum(ops.square(kernel), axis=(-4, -3, -2, -1), keepdims=True))
            kernel = kernel * (math.sqrt(columns) / ops.maximum(norm, 1e-7))  # one of zeros stays
        return kernel, ops.reshape(matrices, variable.shape) * size

    def get_config(self) -> dict[str, Any]:
        own = ("momentum", "nesterov", "normalize", "others", "others_momentum")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


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
