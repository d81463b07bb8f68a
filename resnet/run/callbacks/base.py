"""What a callback of this program knows besides the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    import numpy as np


class Callback(keras.callbacks.Callback):
    """A Keras callback that also knows the `trainer` and, where a run is recorded, the `run`.

    Both are set before `on_train_begin`. Its logs are those that Keras' callbacks get; the whole record of
    the epochs is `trainer.history`.
    """

    trainer: Any = None
    run: Any = None
    chief_only = True  # of several workers, the one that writes
    order = 0  # who remembers comes first, then the checkpoint that keeps it, then who can write it again
    needs_run = True  # without one, as where a run's steps are repeated, it is left out

    def on_pictures(self, split: str, pictures: Mapping[str, bytes]) -> None:
        """PNG files by name, of a split, lie in the run's directory."""

    def on_scored(self, scores: Mapping[str, Mapping[str, float]], logits: Mapping[str, np.ndarray]) -> None:
        """The finished network's scores of the held-out splits, and its logits, float32 `(N, K)`."""


BEFORE, CHECKPOINT, AFTER = 0, 1, 2


def in_order(callbacks: Mapping[str, keras.callbacks.Callback]) -> dict[str, keras.callbacks.Callback]:
    """Callbacks by name, in the order in which they are called."""
    return dict(sorted(callbacks.items(), key=lambda item: getattr(item[1], "order", BEFORE)))
