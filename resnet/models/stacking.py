"""The weights of single blocks, whether a stage is looped or unrolled."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras
import numpy as np

from resnet.models import names
from resnet.models.layers import Repeat


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
