"""The weights of single blocks, whether a stage is looped or unrolled."""

import numpy as np

from resnet.models import names
from resnet.models.layers import Repeat


def unstack(model):
    """Weights by block: `stage1_block2_conv1/kernel` to its array, the same names for both forms."""
    return {
        name: np.array(variable if row is None else variable[row])
        for variable, parts in _parts(model)
        for row, name in parts
    }


def stack(model, weights):
    """Give `model` what `unstack` gave of a model of the same network in either form.

    Raises KeyError for a weight that is missing and ValueError for one of another shape.
    """
    for variable, parts in _parts(model):
        arrays = [weights[name] for _, name in parts]
        variable.assign(arrays[0] if parts[0][0] is None else np.stack(arrays))


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
