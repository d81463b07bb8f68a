"""Weights from one network to another, as far as both are the same."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from itertools import groupby

import keras
import numpy as np

from resnet.errors import UserError
from resnet.models import layers, names, stack, unstack
from resnet.models.stacking import layers_by_block

log = logging.getLogger(__name__)
CLASSIFIER = ("fitting", "new")
# What else a layer computes by, besides its weights.
FORM = ("strides", "padding", "dilation_rate", "groups", "pool_size", "epsilon", "axis", "activation")
IN_TRAINING_ONLY = (keras.layers.Dropout, keras.layers.Multiply, layers.Dropout, layers.SurvivalGates)


def transfer(
    model: keras.Model, source: keras.Model, name: str, *, classifier: bool, other_depth: bool = False
) -> None:
    """Give `model` the weights of `source`, block by block; what that has not begins as it is, and is logged.

    That is a warning where it is a layer outside of the blocks, as of two networks with other names.

    Args:
        name: what `source` is called in messages, such as `init.run=outputs/a`.
        classifier: whether the last layer is taken over too.
        other_depth: whether blocks may be in one of them only.

    Raises UserError for another family, and for a block or layer of another shape or form.
    """
    if (theirs := family(source)) != (ours := family(model)):
        raise UserError(f"{name} is of model={theirs}, and the network here is model={ours}; give that model")
    new = set() if classifier else {_classifier(model), _classifier(source)}
    have, want = ({k: v for k, v in _units(m).items() if k not in new} for m in (source, model))
    missing, left = [u for u in want if u not in have], [u for u in have if u not in want]
    if missing and not other_depth:
        raise UserError(f"{name} has no {_listed(missing)}, which the network here has")
    both = [unit for unit in want if unit in have]
    if not both:
        raise UserError(f"{name}: none of its layers is one of the network here; give the model of that run")
    for unit in both:
        _check_shapes(name, have[unit], want[unit])
    _check_forms(name, source, model, set(both))
    stack(model, unstack(model) | {k: v for unit in both for k, v in have[unit].items()})
    texts = [f"weights of {len(both)} blocks and layers"]
    texts += [f"{_listed(missing)} begins anew"] if missing else []
    texts += [f"{_listed(left)} has no place here"] if left else []
    texts += [f"{_classifier(model)} is new"] if not classifier else []
    by_name = [unit for unit in (*missing, *left) if names.place(unit).blocks is None]
    log.log(logging.WARNING if by_name else logging.INFO, "%s: %s", name, "; ".join(texts))


def family(model: keras.Model) -> str:
    """A network's name without its numbers: `resnet_v1` of `resnet_v1_20`."""
    return "_".join(word for word in model.name.split("_") if not word.isdigit())


def _classifier(model):
    """The name of the last layer with weights."""
    return [layer for layer in model.layers if layer.variables][-1].name


def _unit(layer):
    """The block that a layer belongs to, or itself."""
    place = names.place(layer)
    return names.block(place.part, place.blocks[0]) if place.blocks else layer


def _units(model):
    """Weights by name, of each block or layer of no block; counters and random states are none."""
    floats = {k: v for k, v in unstack(model).items() if np.issubdtype(v.dtype, np.floating)}
    found: dict[str, dict[str, np.ndarray]] = {}
    for path, array in floats.items():
        found.setdefault(_unit(path.split("/")[0]), {})[path] = array
    return found


def _check_shapes(name, have, want):
    for path in dict.fromkeys([*want, *have]):
        shapes = [_shape(side[path]) if path in side else "absent" for side in (have, want)]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"{name}: {path} is {shapes[0]} there and {shapes[1]} here; give that model's form"
            )


def _shape(array):
    return "x".join(map(str, array.shape)) or "a number"


def _check_forms(name, source, model, units):
    have, want = (_forms(m) for m in (source, model))
    for layer in dict.fromkeys([*want, *have]):
        there, here = (side.get(layer, "absent") for side in (have, want))
        if there != here and (_unit(layer) in units or "absent" not in (there, here)):
            raise UserError(f"{name}: {layer} is {there} there and {here} here; give that model's form")


def _forms(model):
    """What each layer computes by, besides its weights, in words."""
    return {
        path: " ".join(
            [type(layer).__name__, *(f"{k}={v}" for k, v in layer.get_config().items() if k in FORM)]
        )
        for path, layer in layers_by_block(model).items()
        if not isinstance(layer, IN_TRAINING_ONLY)
    }


def _listed(units: Iterable[str]) -> str:
    """Names of units on a line: `stage1_blocks4-9, logits`."""
    texts: list[str] = []
    for (part, is_block), group in groupby(units, _part):
        members = list(group)
        numbers = [number for unit in members for number in names.place(unit).blocks or ()]
        several = is_block and len(numbers) > 1
        texts += [names.blocks(part, range(numbers[0], numbers[-1] + 1))] if several else members
    return ", ".join(texts)


def _part(unit):
    place = names.place(unit)
    return place.part, place.blocks is not None
