"""What decides the steps of a training and lies in no variable: whether another one goes on with the same."""

from __future__ import annotations

import inspect
from typing import Any

import keras

from resnet.augmentation.transform import Transform
from resnet.training.steps import unscaled

DEEPEST = 6  # a function can close over itself
HIDDEN = object()


def recipe(optimizer: keras.optimizers.Optimizer, rate: float, **parts: Any) -> dict[str, dict[str, Any]]:
    """The plain values that each of the parts of a training was made with, as far as it shows them, by name.

    A part is a dict, an object, a function, a Transform or None. Of a function these are the variables that
    it closes over, of one of Keras' objects what its `get_config` says. Functions and transforms in a part
    are shown with it. `rate` is the optimizer's own learning rate, before any factor.
    """
    of_optimizer = _shown(unscaled(optimizer)) | {"learning_rate": rate}
    return {name: _plain(_shown(part)) for name, part in {"optimizer": of_optimizer, **parts}.items()}


def _shown(part):
    if part is None or isinstance(part, dict):
        return part or {}
    kind = {"kind": getattr(part, "__qualname__", type(part).__name__)}
    if isinstance(part, keras.losses.Loss | keras.optimizers.Optimizer):
        own = vars(part) if isinstance(part, keras.losses.Loss) else {}  # an optimizer's say how far it is
        shown = {**own, **part.get_config()}
        shown.pop("name", None)  # it counts those of a process
        return kind | shown
    function = getattr(part, "apply", part)
    closed_over = inspect.getclosurevars(function).nonlocals if inspect.isfunction(function) else {}
    attributes = {
        name: value for name, value in getattr(part, "__dict__", {}).items() if value is not function
    }
    return {**kind, **closed_over, **attributes}


def _plain(value, depth=DEEPEST):
    """`value` as JSON has it, without what it cannot hold; functions and transforms in a list by number."""
    if _has_parts(value):
        value = _shown(value)
    if isinstance(value, list | tuple):
        found = [_plain(each, depth) for each in value]
        if HIDDEN not in found and not any(map(_has_parts, value)):
            return found
        value = dict(enumerate(value))
    if isinstance(value, dict):
        named = {str(name): _plain(each, depth - 1) for name, each in value.items()} if depth else {}
        return {k: v for k, v in named.items() if v is not HIDDEN and not k.startswith("_")}
    return value if value is None or isinstance(value, bool | int | float | str) else HIDDEN


def _has_parts(value):
    return isinstance(value, Transform) or inspect.isfunction(value)
