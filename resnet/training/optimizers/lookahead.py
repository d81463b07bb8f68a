"""k steps forward, one step back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from resnet.internals.keras import number
from resnet.options import with_options_of
from resnet.training.optimizers.shared import Shared

if TYPE_CHECKING:
    import keras


class Lookahead(Shared):
    """Slow weights that go a part of the way to where the optimizer's steps have led (Zhang et al. 2019).

    Mixed in before an optimizer of Keras. After each `lookahead_steps` the slow weights move by
    `lookahead_step_size` of the way, and the steps go on from there (algorithm 1); the network ends with the
    slow ones. None for the steps is without them. Momentum and the like stay as they are. Other options are
    those of `Shared`.
    """

    @with_options_of(Shared)
    def __init__(
        self, *args: Any, lookahead_steps: int | None = None, lookahead_step_size: float = 0.5, **options: Any
    ):
        super().__init__(*args, **options)
        self.lookahead_steps, self.lookahead_step_size = lookahead_steps, lookahead_step_size

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        if self.lookahead_steps:
            self._slow = self.add_optimizer_variables(variables, "slow")

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: float) -> None:
        if not self.lookahead_steps:
            super().update_step(gradient, variable, learning_rate)
            return
        slow = self._slow[number(self, variable)].value
        slow.assign(tf.where(self.iterations == 0, variable, slow))
        super().update_step(gradient, variable, learning_rate)
        due = (self.iterations + 1) % self.lookahead_steps == 0
        slow.assign(tf.where(due, slow + self.lookahead_step_size * (variable - slow), slow))
        variable.assign(tf.where(due, slow, variable))

    def finalize_variable_values(self, variables: Sequence[keras.Variable]) -> None:
        super().finalize_variable_values(variables)
        if self.lookahead_steps:
            for variable in variables:
                variable.assign(self._slow[number(self, variable)])

    def get_config(self) -> dict[str, Any]:
        steps, size = self.lookahead_steps, self.lookahead_step_size
        return {**super().get_config(), "lookahead_steps": steps, "lookahead_step_size": size}
