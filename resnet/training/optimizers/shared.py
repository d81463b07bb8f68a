"""What all optimizers here share: what decays and how, groups of weights, and clipping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

from resnet.internals.keras import number
from resnet.training.optimizers.groups import Groups, inner_axes, is_kernel, is_norm_or_bias, part_factors

if TYPE_CHECKING:
    import keras


if TYPE_CHECKING:
    from keras.optimizers import Optimizer
else:
    Optimizer = object  # what it is mixed in before has its place further on

DECAYING = {
    "kernels": is_kernel,
    "weights": lambda variable: not is_norm_or_bias(variable),
    "all": lambda variable: True,
}


class Rule(NamedTuple):
    """How a weight is stepped: what its rate is multiplied by, and its decay."""

    rate_factor: float
    decay: float


class Shared(Optimizer):
    """Options of every optimizer here; mixed in before one of Keras.

    Args:
        weight_decay: the decay, or None.
        decay_of: what decays: the `kernels` of convolutions, all `weights` but biases and those of norms, or
            `all`.
        decoupled: whether the decay, times the rate, is taken from the weight beside the step (Loshchilov and
            Hutter 2019). False: it is added to the gradient, after clipping.
        groups: dicts of `match`, a regular expression for a part of a weight's path, with `rate_factor`,
            which multiplies the rate, or `weight_decay`, which then holds whatever `decay_of` says, or both.
            The first that matches holds.
        layer_decay: what the rate of each part of the network, as in the summary, is multiplied by for every
            part that follows it, the head apart: 1 is one rate for all (ULMFiT, Howard and Ruder 2018).
        clipnorm, global_clipnorm, clipvalue: bounds of the norm of each weight's gradient, of the norm of
            all of them, and of each component; of the gradient summed over the replicas. One may be given.
        options: further ones of `keras.optimizers.Optimizer`.

    Raises ValueError for values that cannot be; `build` raises UserError for a group that matches nothing,
    and for a `layer_decay` of a network without stages.
    """

    def __init__(
        self,
        *args: Any,
        weight_decay: float | None = None,
        decay_of: str = "all",
        decoupled: bool = True,
        groups: Sequence[Mapping[str, Any]] = (),
        layer_decay: float = 1.0,
        clipnorm: float | None = None,
        global_clipnorm: float | None = None,
        clipvalue: float | None = None,
        **options: Any,
    ):
        if decay_of not in DECAYING:
            raise ValueError(f"decay_of={decay_of}: expected {', '.join(DECAYING)}")
        clips = {"clipnorm": clipnorm, "global_clipnorm": global_clipnorm, "clipvalue": clipvalue}
        super().__init__(*args, weight_decay=weight_decay, **clips, **options)
        self.decay_of, self.decoupled = decay_of, decoupled
        self._groups, self.layer_decay = Groups(groups), layer_decay

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._groups.check(variable.path for variable in variables)
        factors = part_factors([variable.path for variable in variables], self.layer_decay)
        self._rules = tuple(self._rule(variable, factors) for variable in variables)

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: float) -> None:
        rule = self._rules[number(self, variable)]
        rate = learning_rate if rule.rate_factor == 1 else learning_rate * rule.rate_factor
        decay = tf.cast(rule.decay, variable.dtype)
        if rule.decay and self.decoupled:
            self.shrink(variable, variable * decay * tf.cast(rate, variable.dtype))
        elif rule.decay:
            gradient = tf.convert_to_tensor(gradient) + decay * variable
        self.descend(gradient, variable, rate)

    def shrink(self, variable: keras.Variable, decay: float) -> None:
        """Take the decoupled decay from the weight."""
        variable.assign_sub(decay)

    def descend(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: float) -> None:
        """The step of the algorithm itself, decay apart."""
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        own = {"decay_of": self.decay_of, "decoupled": self.decoupled, "groups": self._groups.given}
        return {**super().get_config(), **own, "layer_decay": self.layer_decay}

    def _rule(self, variable, factors):
        group = self._groups.of(variable.path)
        decays = DECAYING[self.decay_of](variable) and self._use_weight_decay(variable)
        decay = group.get("weight_decay", (self.weight_decay or 0.0) if decays else 0.0)
        return Rule(group.get("rate_factor", 1.0) * factors[variable.path], decay)

    def _apply_weight_decay(self, variables):
        """Nothing: `update_step` has done it."""

    def _of_model(self, variable):
        """The model's variable that a part of it, as `update_step` has it, belongs to."""
        return self._trainable_variables[number(self, variable)]

    def _clip_gradients(self, gradients):
        if not self.clipnorm:
            return super()._clip_gradients(gradients)
        stepped = [variable for variable in self._trainable_variables if variable.trainable]  # not frozen
        return [
            tf.clip_by_norm(gradient, self.clipnorm, inner_axes(variable))
            for gradient, variable in zip(gradients, stepped, strict=True)
        ]
