"""Keras' layers and their graph, and what its optimizers keep of each variable.

Published are only methods that read a whole graph, or that update a variable as Keras would.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


def producer(tensor: keras.KerasTensor) -> keras.Layer:
    """The layer that gives a symbolic tensor: to walk back from a sum tells a branch from its shortcut."""
    return tensor._keras_history.operation


def all_layers(layer: keras.Layer) -> list[keras.Layer]:
    """Every layer inside a layer or model, at any depth; of a looped stage those of its one block."""
    return layer._flatten_layers(include_self=False)


def last_function(output: keras.KerasTensor) -> str:
    """What gives an output of a model, in small letters: its last activation, or that layer's kind."""
    operation, _, i = output._keras_history
    if inner := getattr(operation, "outputs", None):  # a model
        return last_function(inner[i])
    return getattr(getattr(operation, "activation", None), "__name__", type(operation).__name__).lower()


def direction(metric: keras.metrics.Metric | None) -> str | None:
    """`up` where more is better, `down` where less is; None where the metric does not say."""
    return getattr(metric, "_direction", None)


def number(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> int:
    """The place of `variable` among those of a built optimizer, and so of what it keeps for each of them."""
    return optimizer._get_variable_index(variable)


def moments(adam: keras.optimizers.Adam, variable: keras.Variable) -> tuple[keras.Variable, keras.Variable]:
    """The first and the second moment of a variable in a built Adam, which one operation is to update."""
    i = number(adam, variable)
    return adam._momentums[i], adam._velocities[i]


def clip(optimizer: keras.optimizers.Optimizer, gradients: Sequence[tf.Tensor | None]) -> list[tf.Tensor]:
    """`gradients` clipped as the optimizer's arguments say.

    Keras does it in `apply`, where each replica's part would be clipped instead of their sum.
    """
    return optimizer._clip_gradients(gradients)


def own_variables(layer: keras.Layer) -> tuple[list[keras.Variable], list[keras.Variable]]:
    """The variables of one layer, those made to be trained and the others, frozen or not.

    What is published leaves out of the first list what is frozen, and so changes its order.
    """
    return layer._trainable_variables, layer._non_trainable_variables
