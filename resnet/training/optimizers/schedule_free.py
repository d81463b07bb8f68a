"""Averaging in the place of a schedule (Defazio et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from resnet.internals.keras import number
from resnet.options import with_options_of
from resnet.training.optimizers.shared import Shared


class ScheduleFree(Shared):
    """Gradients at y, between what is stepped, z, and its average, x, with which the network ends.

    y = (1 - beta) z + beta x; z goes down the gradient; x is the mean of z so far, in which a step counts as
    the square of its rate (algorithm 1 there). The network trains, and is watched, as y. The rate wants no
    schedule but a rise at the start. Mixed in before an optimizer of Keras, whose own step it replaces.
    """

    averages_weights = True

    def __init__(self, learning_rate: float, beta: float, **options: Any):
        super().__init__(learning_rate, **options)
        self.beta = beta

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._z, self._x = self.add_optimizer_variables(variables, ["z", "x"])
        self._total = [self.add_variable((), name="total") for _ in variables]

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: float) -> None:
        for slot in self._slots(variable)[:2]:
            slot.assign(tf.where(self.iterations == 0, variable, slot))
        super().update_step(gradient, variable, learning_rate)

    def shrink(self, variable: keras.Variable, decay: float) -> None:
        self._slots(variable)[0].assign_sub(decay)

    def descend(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: float) -> None:
        rate = tf.cast(learning_rate, variable.dtype)
        z, x, total = self._slots(variable)
        z.assign_sub(rate * self.direction(gradient, variable))
        total.assign_add(rate**2)
        x.assign_add(tf.math.divide_no_nan(rate**2, total) * (z - x))
        variable.assign((1 - self.beta) * z + self.beta * x)

    def direction(self, gradient: tf.Tensor, variable: keras.Variable) -> tf.Tensor:
        """What z goes down along."""
        return gradient

    def finalize_variable_values(self, variables: Sequence[keras.Variable]) -> None:
        super().finalize_variable_values(variables)
        for variable in variables:
            variable.assign(self._x[number(self, variable)])

    def _slots(self, variable):
        index = number(self, variable)
        return [slots[index].value for slots in (self._z, self._x, self._total)]


@keras.saving.register_keras_serializable("resnet")
class ScheduleFreeSGD(ScheduleFree, keras.optimizers.Optimizer):
    """Schedule-free gradient descent, with the options of `Shared`; `beta` as in `ScheduleFree`."""

    @with_options_of(Shared)
    def __init__(self, learning_rate: float = 1.0, beta: float = 0.9, **options: Any):
        super().__init__(learning_rate, beta, **options)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta": self.beta}


@keras.saving.register_keras_serializable("resnet")
class ScheduleFreeAdamW(ScheduleFree, keras.optimizers.Optimizer):
    """Schedule-free AdamW (algorithm 1), with the options of `Shared`; `beta_1` is `ScheduleFree`'s beta."""

    @with_options_of(Shared, weight_decay=0.004)
    def __init__(
        self,
        learning_rate: float = 2.5e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        **options: Any,
    ):
        super().__init__(learning_rate, beta_1, **options)
        self.beta_2, self.epsilon = beta_2, epsilon

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._velocities = self.add_optimizer_variables(variables, "velocity")

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: float) -> None:
        step = tf.cast(self.iterations + 1, variable.dtype)
        corrected = tf.cast(learning_rate, variable.dtype) * tf.sqrt(1 - self.beta_2**step)
        super().update_step(gradient, variable, corrected)

    def direction(self, gradient: tf.Tensor, variable: keras.Variable) -> tf.Tensor:
        v = self._velocities[number(self, variable)].value
        v.assign_add((1 - self.beta_2) * (tf.square(gradient) - v))
        return gradient / (tf.sqrt(v) + self.epsilon)

    def get_config(self) -> dict[str, Any]:
        own = {"beta_1": self.beta, "beta_2": self.beta_2, "epsilon": self.epsilon}
        return {**super().get_config(), **own}
