"""A network cut into its blocks, which are then run one by one, left out or put in another order.

A looped stage and an unrolled one are cut alike: each block has the name and the weights of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property, partial
from itertools import groupby

import keras
import tensorflow as tf

from resnet.errors import UserError
from resnet.models import names
from resnet.models.layers import SurvivalGates
from resnet.models.names import HEAD, STEM
from resnet.models.repeat import Repeat


class Block:
    """A block of a network, or what stands before and after all of them: maps a batch to a batch.

    Running it never changes the network: moving statistics stay what they are.

    Args:
        name: such as `stage2_block3`, or `stem` or `head`.
        graph: a _Graph, which blocks of a looped stage share.
        row: its number there.
    """

    def __init__(self, name: str, graph: _Graph, row: int = 0):
        self.name, self._graph, self._row = name, graph, tf.constant(row)

    def __call__(self, x, training=False):
        run = self._graph.training if training else self._graph.inference
        return run(tf.convert_to_tensor(x), self._row)

    def without_branch(self, x: tf.Tensor) -> tf.Tensor:
        """What is left of the block in inference when its branch is removed (Veit et al. 2016, section 4.1).

        The shortcut and what follows the addition stay; a plain block that keeps its input's shape becomes
        the identity. Raises ValueError for a block that is not `removable`.
        """
        if not self.removable:
            raise ValueError(f"{self.name} changes the shape of its input, and has no shortcut that does")
        return self._graph.bypass(tf.convert_to_tensor(x), self._row)

    @property
    def removable(self) -> bool:
        return self._graph.is_residual or self.keeps_shape

    @property
    def keeps_shape(self) -> bool:
        return self._graph.input.shape == self._graph.output.shape

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Of its output, without the number of images."""
        return tuple(self._graph.output.shape[1:])

    @property
    def numbered(self) -> bool:
        return self.name not in (STEM, HEAD)


class _Graph:
    """Keras' graph from `input` to `output`, and the way around its branch; of a Repeat, with its rows."""

    def __init__(self, layers, input, output, repeat=None, gates=None):
        self.input, self.output, self._repeat, self._gates = input, output, repeat, gates
        added = [layer for layer in layers if isinstance(layer, keras.layers.Add)]
        self.is_residual = bool(added)
        inputs = repeat.block.inputs if repeat else [input]
        self._model = repeat.block if repeat else keras.Model(input, output)
        shortcut = added[-1].input[0] if added else input
        self._before = None if shortcut is inputs[0] or not added else keras.Model(inputs[0], shortcut)
        after = None if not added or added[-1].output is output else (added[-1].output, output)
        self._after = after and keras.Model(*after)

    @cached_property
    def inference(self):
        return self._compiled(partial(self._whole, training=False))

    @cached_property
    def training(self):
        return self._compiled(partial(self._whole, training=True))

    @cached_property
    def bypass(self):
        return self._compiled(self._bypass)

    def _compiled(self, function):
        """For any number of images, so that it is traced once."""
        images, row = tf.TensorSpec(self.input.shape, self.input.dtype), tf.TensorSpec([], tf.int32)
        return tf.function(function, autograph=False, jit_compile=False).get_concrete_function(images, row)

    def _whole(self, x, row, training):
        with keras.StatelessScope():
            inputs = x if self._gates is None else [x, self._gates(x, training=training)[row][None]]
            with self._weights(row):
                return self._model(inputs, training=training)

    def _bypass(self, x, row):
        with keras.StatelessScope(), self._weights(row):
            for model in filter(None, (self._before, self._after)):
                x = model(x, training=False)
            return x

    def _weights(self, row):
        if self._repeat is None:
            return nullcontext()
        return self._repeat.with_weights([tf.convert_to_tensor(v)[row] for v in self._repeat.weights])


def cut(model: keras.Model) -> list[Block]:
    """The Blocks of a functional model named as `models.names` says: `stem`, every block, `head`.

    Run one after the other they are the model. A stage without numbered blocks, as VGG's, is one block.
    Raises UserError for a model of another kind or of other names, or whose blocks do not follow each other.
    """
    if isinstance(model, keras.Sequential) or not hasattr(model, "input"):
        raise UserError(f"{model.name} has no graph of its own; build it as keras.Model(inputs, outputs)")
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    parts = names.parts(layer.name for layer in layers)
    if not parts:
        raise UserError(f"{model.name} has no blocks: none of its layers is called as stage1_block1_conv1")
    blocks: list[Block] = []
    start = model.input
    for name, members in groupby(layers, lambda layer: _name(layer.name, parts[layer.name])):
        group = list(members)
        end = group[-1].output
        try:
            blocks += _looped(group) if isinstance(group[-1], Repeat) else [Block(name, _graph(group, start))]
        except ValueError as error:
            raise UserError(f"{model.name}: {name} does not follow from the one before it") from error
        start = end
    return blocks


def numbered(blocks: Sequence[Block]) -> list[Block]:
    """Those that are neither stem nor head."""
    return [block for block in blocks if block.numbered]


def run(blocks: Sequence[Block], x: tf.Tensor, training: bool = False) -> list[tf.Tensor]:
    """What the blocks give one after the other: a list, with the output of each."""
    outputs = []
    for block in blocks:
        x = block(x, training)
        outputs.append(x)
    return outputs


def _graph(layers, start):
    return _Graph(layers, start, layers[-1].output)


def _name(layer, part):
    numbers = names.place(layer).blocks
    return names.block(part, numbers[0]) if numbers and part not in (STEM, HEAD) else part


def _looped(layers):
    repeat = layers[-1]
    gates = next((layer for layer in layers if isinstance(layer, SurvivalGates)), None)
    template = repeat.block
    graph = _Graph(template.layers, template.inputs[0], template.output, repeat, gates)
    part = names.place(repeat.name).part
    return [Block(names.block(part, repeat.first + row), graph, row) for row in range(repeat.repeats)]
