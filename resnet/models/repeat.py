"""Equal blocks as one layer, walked by a loop."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from resnet.internals.keras import own_variables

FEW_BLOCKS = 12  # up to which a loop would start no sooner; it costs 0.1 to 0.3 ms per block and step


@keras.saving.register_keras_serializable("resnet")
class Repeat(keras.layers.Layer):
    """Equal residual blocks as one layer: weights stacked as `(repeats, ...)`, walked by a loop.

    From 13 blocks on, start-up time and the size of the graph do not depend on `repeats`: fewer are
    written out in the graph, which then starts as soon and steps faster. Maps `(N, H, W, C)` to the same
    shape. With `gates` `(repeats, 1, 1, 1)` a block whose gate is 0 is not computed. A layer of `block` that
    is frozen (`trainable = False`) is frozen in every block.

    Args:
        block: functional keras.Model of one block, whose output has its input's shape; its second
            input, if it has one, is a gate. It says what is computed; its own weights are not used.
        repeats: number of blocks.
        first: number of the first of them in its stage, for `resnet.models.unstack`.
        recompute: keep the input of each block only and compute the rest again in the backward pass
            (Chen et al. 2016, section 4.1); `inverse` for blocks of `revnet`: keep the output of the last.
    """

    def __init__(
        self, block: keras.Model, repeats: int, first: int = 1, recompute: bool | str = False, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.block = block
        self.repeats = repeats
        self.first = first
        self.recompute = recompute

    @property
    def block_weights(self) -> list[keras.Variable]:
        """The template's weights in the order of this layer's: those that are trained, then the others."""
        trained, others = zip(*map(own_variables, self.block.layers), strict=True)
        return [*itertools.chain(*trained), *itertools.chain(*others)]

    @property
    def variables(self) -> list[keras.Variable]:
        """The stacked weights alone, each trainable where the template's is."""
        stacks = list(itertools.chain(*own_variables(self)))
        for variable, like in zip(stacks, self.block_weights, strict=self.built):
            variable.trainable = like.trainable
        return stacks

    @property
    def weights(self) -> list[keras.Variable]:
        return self.variables

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        for layer in self.block.layers:
            for variables, trained in zip(own_variables(layer), (True, False), strict=True):
                for variable in variables:
                    self.add_weight(
                        name=f"{layer.name}_{variable.name}",
                        shape=(self.repeats, *variable.shape),
                        initializer=_stacked(_initializer(layer, variable), self.repeats),
                        regularizer=variable.regularizer,
                        trainable=trained,
                        dtype=variable.dtype,
                        aggregation=variable.aggregation,
                        autocast=False,
                    )

    def call(self, inputs: tf.Tensor, gates: tf.Tensor | None = None, training: bool = False) -> tf.Tensor:
        trained = len(own_variables(self)[0])
        statistics = self.weights[trained:]
        stacks = [tf.convert_to_tensor(v) for v in self.weights]

        def compute(inputs, row):
            with self.with_weights(row[: len(stacks)]) as scope:
                outputs = self.block(inputs, training=training)
            return outputs, [scope.get_current_value(v) for v in self.block_weights[trained:]]

        def apply(x, row):
            if gates is None:
                return compute(x, row)
            gate = row[-1][None]
            return tf.cond(
                tf.squeeze(gate) > 0,
                lambda: compute([x, gate], row),
                lambda: (x, row[trained : len(stacks)]),
            )

        if self.recompute == "inverse":
            loop: Callable = _inverted_loop
        elif self.recompute:
            loop = _recomputed_loop
        elif self.repeats <= FEW_BLOCKS and not self._is_summed():
            loop = _written_out
        else:
            loop = _loop
        untrained = stacks[trained:] if gates is None else [*stacks[trained:], gates]
        outputs, moved = loop(apply, inputs, stacks[:trained], untrained, len(statistics))
        if training:
            for variable, value in zip(statistics, moved, strict=True):
                variable.assign(value)
        return outputs

    def with_weights(self, row: Sequence[tf.Tensor]) -> keras.StatelessScope:
        """A `keras.StatelessScope` in which `block` computes with these weights, one of each stack."""
        return keras.StatelessScope(zip(self.block_weights, row, strict=True))

    def _is_summed(self):
        """Whether blocks sum over replicas, which must keep one order and needs a loop to number the sums."""
        return any(getattr(layer, "collective", None) is not None for layer in self.block.layers)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        block = keras.saving.serialize_keras_object(self.block)
        return {
            **super().get_config(),
            "block": block,
            "repeats": self.repeats,
            "first": self.first,
            "recompute": self.recompute,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Repeat:
        block = keras.saving.deserialize_keras_object(config["block"])
        return cls(**{**config, "block": block})


def _initializer(layer, variable):
    return keras.initializers.get(getattr(layer, f"{variable.name}_initializer"))


def _stacked(initializer, repeats):
    """`initializer` of one block's weights as one of `repeats` blocks'.

    It draws the blocks as filters side by side, which leaves the fan-in, and so the distribution of
    He-normal weights, what it is.
    """

    def initialize(shape, dtype=None):
        *inner, last = shape[1:]
        wide = initializer((*inner, repeats * last), dtype=dtype)
        return keras.ops.moveaxis(keras.ops.reshape(wide, (*inner, repeats, last)), -2, 0)

    return initialize


def _loop(apply, x, trained, untrained, num_statistics):
    """Apply a block `(x, row) -> (x, statistics)` with each row of the stacks in turn.

    The statistics are the first of the untrained stacks. Gives x and the statistics stacked.
    """
    stacks, repeats = [*trained, *untrained], tf.shape(trained[0])[0]
    rows = [tf.TensorArray(v.dtype, repeats).unstack(v) for v in stacks]

    def body(i, x, moved):
        x, values = apply(x, [row.read(i) for row in rows])
        return i + 1, x, _write(moved, i, map(tf.stop_gradient, values))

    start = (0, x, _arrays(untrained[:num_statistics], repeats))
    # Some at a time: what x need not wait for, such as the gradients of weights, fills its pauses.
    _, x, moved = tf.while_loop(lambda i, *_: i < repeats, body, start, parallel_iterations=4)
    return x, [array.stack() for array in moved]


def _written_out(apply, x, trained, untrained, num_statistics):
    """As `_loop`, without one: every block has operations of its own in the graph."""
    moved = []
    for row in zip(*map(tf.unstack, [*trained, *untrained]), strict=True):
        x, values = apply(x, list(row))
        moved.append(values)
    return x, [tf.stack(values) for values in zip(*moved, strict=True)]


def _recomputed_loop(apply, x, trained, untrained, num_statistics):
    """As `_loop`, in segments as long as the root of their number (Chen et al. 2016, section 4.1).

    Only the input of each segment is kept for the backward pass, which runs the segment again.
    """
    repeats, statistics = trained[0].shape[0], untrained[:num_statistics]
    length = math.ceil(math.sqrt(repeats))
    count = math.ceil(repeats / length)

    def rows(i, stacks):
        return [v[i * length : (i + 1) * length] for v in stacks]

    def segment(i, x, weights):
        return _loop(apply, x, weights, rows(i, untrained), num_statistics)

    @tf.custom_gradient
    def run(x, *trained):
        def forward(i, x, inputs, moved):
            y, values = segment(i, x, rows(i, trained))
            return i + 1, y, inputs.write(i, x), _write(moved, i, values)

        inputs = tf.TensorArray(x.dtype, count, element_shape=x.shape)
        start = (0, x, inputs, _arrays(statistics, count, [None]))
        _, y, inputs, moved = tf.while_loop(lambda i, *_: i < count, forward, start, parallel_iterations=1)

        def gradient(dy, *_):
            def backward(i, dx, gradients):
                x, weights = inputs.read(i), rows(i, trained)
                with tf.GradientTape() as tape:
                    tape.watch([x, *weights])
                    y, _ = segment(i, x, weights)
                dx, *dw = tape.gradient(y, [x, *weights], dx)
                return i - 1, dx, _write(gradients, i, dw)

            start = (count - 1, dy, _arrays(trained, count, [None]))
            # One at a time, to hold the activations of one.
            _, dx, gradients = tf.while_loop(lambda i, *_: i >= 0, backward, start, parallel_iterations=1)
            return dx, *_concat(gradients, trained)

        return (y, *_concat(moved, statistics)), gradient

    y, *moved = run(x, *trained)
    return y, moved


def _inverted_loop(apply, x, trained, untrained, num_statistics):
    """As `_loop`, for blocks that map the halves (a, b) of the channels to (b, a + F(b)).

    The backward pass finds the input of each block from its output (Gomez et al. 2017, algorithm 1).
    """
    repeats = trained[0].shape[0]

    @tf.custom_gradient
    def run(x, *trained):
        y, moved = _loop(apply, x, trained, untrained, num_statistics)

        def gradient(dy, *_):
            def backward(i, y, dy, gradients):
                b, summed = tf.split(y, 2, -1)
                x = tf.concat([tf.zeros_like(b), b], -1)  # gives F(b), and the gradients that a would
                weights = [v[i] for v in trained]
                with tf.GradientTape() as tape:
                    tape.watch([x, *weights])
                    z, _ = apply(x, [*weights, *(v[i] for v in untrained)])
                dx, *dw = tape.gradient(z, [x, *weights], dy)
                a = summed - tf.split(z, 2, -1)[1]
                return i - 1, tf.concat([a, b], -1), dx, _write(gradients, i, dw)

            start = (repeats - 1, y, dy, _arrays(trained, repeats))
            _, _, dx, gradients = tf.while_loop(lambda i, *_: i >= 0, backward, start, parallel_iterations=1)
            return dx, *(array.stack() for array in gradients)

        return (y, *moved), gradient

    y, *moved = run(x, *trained)
    return y, moved


def _arrays(like, size, rows=()):
    """For each of the stacked `like` an array of `size` elements: one row, or `rows=[None]` any number."""
    return [tf.TensorArray(v.dtype, size, element_shape=[*rows, *v.shape[1:]]) for v in like]


def _write(arrays, i, values):
    return [array.write(i, value) for array, value in zip(arrays, values, strict=True)]


def _concat(arrays, like):
    return [tf.ensure_shape(array.concat(), v.shape) for array, v in zip(arrays, like, strict=True)]


def with_looped(layers: Sequence[keras.Layer]) -> list[keras.Layer]:
    """The layers, but in place of a looped stage those of its blocks: one for all of them."""
    groups = [layer.block.layers if isinstance(layer, Repeat) else [layer] for layer in layers]
    return [layer for group in groups for layer in group]
