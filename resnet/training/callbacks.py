"""What the training loop asks of callbacks, which are Keras' own or know more than these."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import keras

from resnet.errors import UserError

Callbacks = Sequence[keras.callbacks.Callback] | Mapping[str, keras.callbacks.Callback]


def named(callbacks: Callbacks) -> dict[str, keras.callbacks.Callback]:
    """Callbacks by name: as they are given, or by their class where they come in a list.

    Raises UserError for a callback alone.
    """
    if isinstance(callbacks, keras.callbacks.Callback):
        raise UserError(
            f"callbacks: {type(callbacks).__name__} alone; expected a list of callbacks, or a dict"
        )
    if isinstance(callbacks, dict):
        return dict(callbacks)
    found = {}
    for callback in callbacks:
        name = type(callback).__name__
        while name in found:
            name += "'"
        found[name] = callback
    return found


def any_says(callbacks: Mapping[str, keras.callbacks.Callback], attribute: str) -> bool:
    """Whether an attribute of one of them is there, and true."""
    return any(getattr(callback, attribute, False) for callback in callbacks.values())


def wishes(callbacks: Mapping[str, keras.callbacks.Callback]) -> Iterator[Callable[[int], int | None]]:
    """Of each that minds where calls of several steps end: after a step, how many until then (or None)."""
    for callback in callbacks.values():
        if _wants_every_step(callback):
            yield lambda step: 1
        elif hasattr(callback, "steps_to_next"):
            yield callback.steps_to_next


def _wants_every_step(callback):
    """By `every_step`, or as Keras' that save every so many."""
    return getattr(callback, "every_step", False) or isinstance(getattr(callback, "save_freq", None), int)
