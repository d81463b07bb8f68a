"""Steps as long as the weights of a layer are large; each block of a looped stage is a layer of its own."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from resnet.internals.keras import moments
from resnet.options import with_options_of
from resnet.training.optimizers.groups import inner_axes, is_norm_or_bias
from resnet.training.optimizers.lookahead import Lookahead
from resnet.training.optimizers.sgd import SGD


@keras.saving.register_keras_serializable("resnet")
class LARS(SGD):
    """Momentum in which the rate of a layer is that of its weights' norm to its gradient's (You et al. 2017).

    `trust` is the paper's coefficient (algorithm 1). With the coupled decay, the default, the norm is that
    of the gradient and the decay together, which the paper bounds by the sum of theirs. Biases and norms are
    stepped as by `SGD`, whose keywords are the other ones.
    """

    @with_options_of(SGD, weight_decay=5e-4, decay_of="weights", decoupled=False)
    def __init__(self, learning_rate: float = 0.1, trust: float = 0.01, **options: Any):
        super().__init__(learning_rate, **options)
        self.trust = trust

    def descend(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: float) -> None:
        whole = self._of_model(variable)
        if not is_norm_or_bias(whole):
            gradient *= self.trust * ratio(variable, gradient, inner_axes(whole))
        super().descend(gradient, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "trust": self.trust}


@keras.saving.register_keras_serializable("resnet")
class Lamb(Lookahead, keras.optimizers.Lamb):
    """Adam whose step in a layer is as long as its weights (You et al. 2020), as `keras.optimizers.Lamb`.

    With the options of `Lookahead`. A decoupled decay is, as Keras', beside the step whose length is set; in
    the paper it is part of it.
    """

    @with_options_of(Lookahead, weight_decay=0.01, decay_of="weights")
    def __init__(
        self,
        learning_rate: float = 2e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **options: Any,
    ):
        betas = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}
        super().__init__(learning_rate, **betas, **options)

    def descend(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: float) -> None:
        m, v = (moment.value for moment in moments(self, variable))
        step = tf.cast(self.iterations + 1, variable.dtype)
        m.assign_add((gradient - m) * (1 - self.beta_1))
        v.assign_add((tf.square(gradient) - v) * (1 - self.beta_2))
        update = (m / (1 - self.beta_1**step)) / (tf.sqrt(v / (1 - self.beta_2**step)) + self.epsilon)
        length = ratio(variable, update, inner_axes(self._of_model(variable)))
        variable.assign_sub(length * tf.cast(learning_rate, variable.dtype) * update)


def ratio(weights: tf.Tensor, update: tf.Tensor, axes: list[int] | None) -> tf.Tensor:
    """The norm of `weights` to that of `update` over `axes`, which stay; 1 where either is 0."""
    norms = [tf.sqrt(tf.reduce_sum(tf.square(x), axes, keepdims=True)) for x in (weights, update)]
    both = tf.logical_and(norms[0] > 0, norms[1] > 0)
    return tf.where(both, tf.math.divide_no_nan(*norms), 1.0)
