"""What a callback remembers, so that a resumed run stops where the uninterrupted one stops.

A callback of one's own says it by `state()`, a dict of numbers, texts, lists and NumPy arrays, and takes
it back by `restore(state)`, once training has begun. For those of Keras it is the attributes that their
documentation names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

DOCUMENTED = {
    keras.callbacks.EarlyStopping: ("wait", "stopped_epoch", "best", "best_epoch", "best_weights"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
    keras.callbacks.ModelCheckpoint: ("best",),
}


def state(callback: keras.callbacks.Callback) -> dict[str, Any]:
    """The dict that `callback` remembers; empty for one that remembers nothing."""
    if hasattr(callback, "state"):
        return callback.state()
    return {name: getattr(callback, name) for name in _attributes(callback) if hasattr(callback, name)}


def restore(callback: keras.callbacks.Callback, state: Mapping[str, Any]) -> None:
    """Give `callback` what `state` said; nothing where it remembers nothing."""
    if hasattr(callback, "restore"):
        callback.restore(state)
    else:
        vars(callback).update({name: state[name] for name in _attributes(callback) if name in state})


def _attributes(callback):
    return next((names for kind, names in DOCUMENTED.items() if isinstance(callback, kind)), ())


def parted(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A state as what JSON holds and, by name, arrays and lists of arrays."""
    plain, arrays = {}, {}
    for name, value in state.items():
        if isinstance(value, np.ndarray) and value.ndim:
            arrays[name] = value
        elif isinstance(value, list) and value and all(isinstance(v, np.ndarray) for v in value):
            plain[name] = {"arrays": len(value)}
            arrays |= {f"{name}/{i}": v for i, v in enumerate(value)}
        else:
            plain[name] = value.item() if isinstance(value, np.generic | np.ndarray) else value
    return plain, arrays


def joined(plain: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What `parted` was given."""
    state: dict[str, Any] = {
        name: array for name, array in arrays.items() if name.rpartition("/")[0] not in plain
    }
    for name, value in plain.items():
        several = isinstance(value, dict) and value.keys() == {"arrays"}
        state[name] = [arrays[f"{name}/{i}"] for i in range(value["arrays"])] if several else value
    return state
