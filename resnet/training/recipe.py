"""What decides the steps of a training and lies in no variable: whether another one goes on with the same."""

from __future__ import annotations

import inspect
from typing import Any

import keras

from resnet.training.steps import unscaled


def recipe(optimizer: keras.optimizers.Optimizer, rate: float, **parts: Any) -> dict[str, dict[str, Any]]:
    """The plain values that each of the parts of a training was made with, as far as it shows them, by name.

    A part is a dict, an object, a function, a Transform or None. Of a function these are the variables that
    it closes over; of an optimizer what its `get_config` says, but for its name, which counts those of a
    process. `rate` is its own learning rate, before any factor.
    """
    own = unscaled(optimizer)
    config = {"kind": type(own).__name__, **own.get_config(), "learning_rate": rate}
    config.pop("name", None)
    return {name: _plain(_shown(part)) for name, part in {"optimizer": config, **parts}.items()}


def _shown(part):
    if part is None or isinstance(part, dict):
        return part or {}
    kind = getattr(part, "__qualname__", type(part).__name__)
    function = getattr(part, "apply", part)
    closed_over = inspect.getclosurevars(function).nonlocals if inspect.isfunction(function) else {}
    return {"kind": kind, **closed_over, **getattr(part, "__dict__", {})}


def _plain(values):
    simple = {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}
    return {name: v for name, v in simple.items() if _is_plain(v) and not name.startswith("_")}


def _is_plain(value):
    if isinstance(value, list | dict):
        return all(map(_is_plain, value.values() if isinstance(value, dict) else value))
    return value is None or isinstance(value, bool | int | float | str)
