"""The weights of single blocks, whether a stage is looped or unrolled."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras
import numpy as np

from resnet.internals.keras import producer
from resnet.models import names
from resnet.models.layers import SurvivalGates
from resnet.models.repeat import Repeat


def unstack(
    model: keras.Model, of: Callable[[keras.Variable], np.ndarray | None] = np.array
) -> dict[str, np.ndarray]:
    """Weights by block: `stage1_block2_conv1/kernel` to its array, the same names for both forms.

    `of` gives another array of a variable in its place, such as its gradient, or None to leave it out.
    """
    found = [(of(variable), parts) for variable, parts in _parts(model)]
    return {
        name: np.array(array if row is None else array[row])
        for array, parts in found
        if array is not None
        for row, name in parts
    }


def stack(model: keras.Model, weights: Mapping[str, np.ndarray]) -> None:
    """Give `model` what `unstack` gave of a model of the same network in either form.

    Raises KeyError for a weight that is missing and ValueError for one of another shape.
    """
    for variable, parts in _parts(model):
        arrays = [weights[name] for _, name in parts]
        variable.assign(arrays[0] if parts[0][0] is None else np.stack(arrays))


def layers_by_block(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Layers by the name that they have in the unrolled form; blocks of one loop share theirs."""
    found = {}
    for layer in model.layers:
        if not isinstance(layer, Repeat):
            found[layer.name] = layer
            continue
        part = names.place(layer.name).part
        for number in range(layer.first, layer.first + layer.repeats):
            own = [inner for inner in layer.block.layers if not isinstance(inner, keras.layers.InputLayer)]
            found |= {names.in_block(inner.name, part, number): inner for inner in own}
    return found


def written_out(model: keras.Model) -> keras.Model:
    """The same network in float32, with a Keras layer for each operation of each block and no loop."""
    images = keras.Input(model.input.shape[1:], name="images")
    made = {id(model.input): images}  # what stands for each symbolic tensor
    for layer in model.layers:
        if not isinstance(layer, keras.layers.InputLayer):
            given = _as_made(made, layer.input)
            copied = _blocks(layer, given) if isinstance(layer, Repeat) else _copy(layer)(given)
            made[id(layer.output)] = copied
    copy = keras.Model(images, made[id(model.output)], name=model.name)
    stack(copy, unstack(copy) | unstack(model))  # gates count their steps by block, or for all blocks at once
    return copy


def _blocks(repeat, given):
    """What the blocks of a loop give one after the other, each of layers of its own."""
    x, *gated = given if isinstance(given, list) else [given]
    part = names.place(repeat.name).part
    for row in range(repeat.repeats):
        number, made = repeat.first + row, {id(repeat.block.inputs[0]): x}
        if gated:
            chance = producer(repeat.input[1]).survival[row]
            gate = SurvivalGates([chance], name=f"{names.block(part, number)}_survival", dtype="float32")
            made[id(repeat.block.inputs[1])] = gate(x)
        for layer in repeat.block.layers:
            if not isinstance(layer, keras.layers.InputLayer):
                copy = _copy(layer, names.in_block(layer.name, part, number))
                made[id(layer.output)] = copy(_as_made(made, layer.input))
        x = made[id(repeat.block.outputs[0])]
    return x


def _copy(layer, name=None):
    return type(layer).from_config(layer.get_config() | {"name": name or layer.name, "dtype": "float32"})


def _as_made(made, tensors):
    return [made[id(t)] for t in tensors] if isinstance(tensors, list | tuple) else made[id(tensors)]


def _parts(model):
    """Each variable with the row and name of every block's part of it; row None is the whole."""
    for layer in model.layers:
        if not isinstance(layer, Repeat):
            yield from ((variable, [(None, variable.path)]) for variable in layer.variables)
            continue
        part, numbers = names.place(layer.name).part, range(layer.first, layer.first + layer.repeats)
        for variable, like in zip(layer.weights, layer.block_weights, strict=True):
            paths = [names.in_block(like.path, part, number) for number in numbers]
            yield variable, list(enumerate(paths))
