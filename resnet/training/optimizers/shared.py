"""What all optimizers here share: what decays and how, and groups of weights with their own rate or decay.

A looped stage holds the weights of its blocks stacked, `stage1_blocks2-3/block_bn1_gamma`: rules by name
and rules of one block's weight hold for them as for `stage1_block2_bn1/gamma`.
"""

import re
from typing import NamedTuple

import tensorflow as tf

from resnet.errors import UserError
from resnet.internals.keras import number

STACKED = re.compile(r"_blocks\d+-\d+/")
NORM_OR_BIAS = re.compile(r"(^|[/_])(bias|gamma|beta)$")
DECAYING = {
    "kernels": lambda path, shape: is_kernel(shape),
    "weights": lambda path, shape: not NORM_OR_BIAS.search(path),
    "all": lambda path, shape: True,
}


class Rule(NamedTuple):
    """How a weight is stepped: what its rate is multiplied by, and its decay."""

    rate_factor: float
    decay: float


class Shared:
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
        clipnorm, global_clipnorm, clipvalue: bounds of the norm of each weight's gradient, of the norm of
            all of them, and of each component; of the gradient summed over the replicas. One may be given.
        options: further ones of `keras.optimizers.Optimizer`.

    Raises ValueError for values that cannot be; `build` raises UserError for a group that matches nothing.
    """

    def __init__(
        self,
        *args,
        weight_decay=None,
        decay_of="all",
        decoupled=True,
        groups=(),
        clipnorm=None,
        global_clipnorm=None,
        clipvalue=None,
        **options,
    ):
        if decay_of not in DECAYING:
            raise ValueError(f"decay_of={decay_of}: expected {', '.join(DECAYING)}")
        clips = {"clipnorm": clipnorm, "global_clipnorm": global_clipnorm, "clipvalue": clipvalue}
        super().__init__(*args, weight_decay=weight_decay, **clips, **options)
        self.decay_of, self.decoupled = decay_of, decoupled
        self._groups = Groups(groups)

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._groups.check(variable.path for variable in variables)
        self._rules = tuple(self._rule(variable) for variable in variables)

    def update_step(self, gradient, variable, learning_rate):
        rule = self._rules[number(self, variable)]
        rate = learning_rate if rule.rate_factor == 1 else learning_rate * rule.rate_factor
        if rule.decay and self.decoupled:
            variable.assign_sub(
                variable * tf.cast(rule.decay, variable.dtype) * tf.cast(rate, variable.dtype)
            )
        elif rule.decay:
            gradient = tf.convert_to_tensor(gradient) + tf.cast(rule.decay, variable.dtype) * variable
        self.descend(gradient, variable, rate)

    def descend(self, gradient, variable, learning_rate):
        """The step of the algorithm itself, decay apart."""
        super().update_step(gradient, variable, learning_rate)

    def get_config(self):
        own = {"decay_of": self.decay_of, "decoupled": self.decoupled, "groups": self._groups.given}
        return {**super().get_config(), **own}

    def _rule(self, variable):
        group = self._groups.of(variable.path)
        decays = DECAYING[self.decay_of](variable.path, variable.shape) and self._use_weight_decay(variable)
        decay = group.get("weight_decay", (self.weight_decay or 0.0) if decays else 0.0)
        return Rule(group.get("rate_factor", 1.0), decay)

    def _apply_weight_decay(self, variables):
        """Nothing: `update_step` has done it."""

    def _clip_gradients(self, gradients):
        if not self.clipnorm:
            return super()._clip_gradients(gradients)
        return [
            tf.clip_by_norm(gradient, self.clipnorm, inner_axes(variable))
            for gradient, variable in zip(gradients, self._trainable_variables, strict=True)
        ]


class Groups:
    """What is told of groups of weights, see `Shared`. Raises ValueError for what cannot be."""

    def __init__(self, groups):
        self.given = [dict(group) for group in groups]
        for group in self.given:
            if "match" not in group or not group.keys() <= {"match", "rate_factor", "weight_decay"}:
                raise ValueError(f"groups: {group}: expected match, with rate_factor or weight_decay")
            try:
                re.compile(group["match"])
            except re.error as error:
                raise ValueError(f"groups: match={group['match']}: {error}") from error

    def of(self, path):
        """The first group that `path` belongs to, or an empty one."""
        return next((group for group in self.given if re.search(group["match"], path)), {})

    def check(self, paths):
        """Raise UserError for a group that none of `paths` belongs to."""
        paths = list(paths)
        for group in self.given:
            if not any(self.of(path) is group for path in paths):
                raise UserError(
                    f"optimizer.groups: no weight is left for match={group['match']}\n"
                    f"weights are called {', '.join(paths[:5])}, ...; a looped stage's blocks go together"
                )


def is_kernel(shape):
    """Whether a weight of this shape is a convolution's kernel, or a stack of them."""
    return len(shape) >= 4


def is_stacked(variable):
    """Whether a variable holds a weight of each block of a looped stage, along its first axis."""
    return bool(STACKED.search(variable.path))


def inner_axes(variable):
    """The axes of one block's weight, as `tf.reduce_sum` takes them with `keepdims`; None for all."""
    return list(range(1, len(variable.shape))) if is_stacked(variable) else None
