"""A network on one screen."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from resnet.models import names

if TYPE_CHECKING:
    import keras


HEADER = ("part", "blocks", "output", "trainable", "parameters")


def summary(model: keras.Model) -> str:
    """A line for each part of the model (stem, each stage, ...): its blocks, output shape and parameters.

    How many of these are trainable is told too: not the statistics of batch norm, and nothing that is frozen.

    A part is the run of layers whose names begin with the same word.
    """
    parts = [
        (name, list(layers)) for name, layers in groupby(model.layers, lambda x: names.place(x.name).part)
    ]
    rows = [
        (
            name,
            str(_blocks(layers) or ""),
            _shape(layers[-1]),
            f"{sum(map(_trainable, layers)):,}",
            f"{sum(x.count_params() for x in layers):,}",
        )
        for name, layers in parts
    ]
    widths = [max(map(len, column)) for column in zip(HEADER, *rows, strict=True)]
    lines = ["  ".join(map(format, row, map("{}{}".format, "<><>>", widths))) for row in (HEADER, *rows)]
    total = f"{model.count_params():,} parameters, {_trainable(model):,} of them trainable"
    return "\n".join([model.name, *lines, total])


def _trainable(layer):
    return sum(variable.shape.num_elements() for variable in layer.trainable_variables)


def _blocks(layers):
    """Residual blocks in these layers, looped or each with layers of its own."""
    return len({number for layer in layers for number in names.place(layer.name).blocks or ()})


def _shape(layer):
    return " x ".join(str(size) for size in layer.output.shape[1:])
