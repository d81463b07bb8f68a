"""The weights of single blocks, whether a stage is looped or unrolled."""

import numpy as np

from resnet.models.layers import Stage


def unstack(model):
    """Weights by block: `stage1_block2_conv1/kernel` to its array, the same names for both forms."""
    return {
        name: np.array(variable if row is None else variable[row])
        for variable, names in _names(model)
        for row, name in names
    }


def stack(model, weights):
    """Give `model` what `unstack` gave of a model of the same network in either form.

    Raises KeyError for a weight that is missing and ValueError for one of another shape.
    """
    for variable, names in _names(model):
        arrays = [weights[name] for _, name in names]
        variable.assign(arrays[0] if names[0][0] is None else np.stack(arrays))


def _names(model):
    """Each variable with the row and name of every block's part of it; row None is the whole."""
    for layer in model.layers:
        if not isinstance(layer, Stage):
            yield from ((variable, [(None, variable.path)]) for variable in layer.variables)
            continue
        stage = layer.name.partition("_")[0]
        for variable, part in zip(layer.weights, layer.block_weights, strict=True):
            names = [part.path.replace("block", f"block{layer.first + i}", 1) for i in range(layer.repeats)]
            yield variable, [(row, f"{stage}_{name}") for row, name in enumerate(names)]
