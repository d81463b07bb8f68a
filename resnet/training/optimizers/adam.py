"""Adam and AdamW of one operation per variable."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from resnet.internals.keras import moments
from resnet.options import with_options_of
from resnet.training.optimizers.lookahead import Lookahead


class _InOneOperation(Lookahead):
    """Adam's update (Kingma and Ba 2015, algorithm 1) by `ResourceApplyAdam`; else Keras' own."""

    def descend(self, gradient, variable, learning_rate):
        if self.amsgrad or isinstance(gradient, tf.IndexedSlices):
            super().descend(gradient, variable, learning_rate)
            return
        momentum, velocity = moments(self, variable)
        step = tf.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=momentum.value.handle,
            v=velocity.value.handle,
            beta1_power=self.beta_1**step,
            beta2_power=self.beta_2**step,
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, variable.dtype),
        )


@keras.saving.register_keras_serializable("resnet")
class Adam(_InOneOperation, keras.optimizers.Adam):
    """`keras.optimizers.Adam` with the options of `Lookahead`; else same arguments, variables and results."""

    @with_options_of(Lookahead)
    def __init__(
        self,
        learning_rate: float = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **options: Any,
    ):
        betas = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}
        super().__init__(learning_rate, **betas, **options)


@keras.saving.register_keras_serializable("resnet")
class AdamW(Adam, keras.optimizers.AdamW):
    """Adam with a decoupled decay (Loshchilov and Hutter 2019), which must be a number.

    As `keras.optimizers.AdamW`, with the options of `Lookahead`.
    """

    @with_options_of(Adam)
    def __init__(self, learning_rate: float = 1e-3, weight_decay: float = 0.004, **options: Any):
        super().__init__(learning_rate, weight_decay=weight_decay, **options)
