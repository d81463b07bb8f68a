"""A network on one screen."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from resnet.models import names

if TYPE_CHECKING:
    import keras


HEADER = ("part", "blocks", "output", "parameters")


def summary(model: keras.Model) -> str:
    """A line for each part of the model (stem, each stage, ...): its blocks, output shape and parameters.

    A part is the run of layers whose names begin with the same word.
    """
    parts = [
        (name, list(layers)) for name, layers in groupby(model.layers, lambda x: names.place(x.name).part)
    ]
    rows = [
        (name, str(_blocks(layers) or ""), _shape(layers[-1]), f"{sum(x.count_params() for x in layers):,}")
        for name, layers in parts
    ]
    name, blocks, shape, parameters = (max(map(len, column)) for column in zip(HEADER, *rows, strict=True))
    lines = [f"{a:{name}}  {b:>{blocks}}  {c:{shape}}  {d:>{parameters}}" for a, b, c, d in (HEADER, *rows)]
    trainable = sum(variable.shape.num_elements() for variable in model.trainable_variables)
    total = f"{model.count_params():,} parameters, {trainable:,} of them trainable"
    return "\n".join([model.name, *lines, total])


def _blocks(layers):
    """Residual blocks in these layers, looped or each with layers of its own."""
    return len({number for layer in layers for number in names.place(layer.name).blocks or ()})


def _shape(layer):
    return " x ".join(str(size) for size in layer.output.shape[1:])
