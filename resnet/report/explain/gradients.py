"""Norms of the loss' gradient by block, before the first step and after the last.

What shortcuts are for: He et al. 2016, "Identity mappings in deep residual networks", section 2 (the gradient
reaches every block), and Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward
neural networks", section 4.2.2 (how it shrinks or grows on its way back). The gradient is that of the mean
loss of one batch of training images, in training mode, without weight decay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from resnet.models import names, unstack
from resnet.models.cutting import HEAD, STEM, cut, numbered, run
from resnet.report import drawing
from resnet.report.explain import Explanation
from resnet.report.figures import plain_log

if TYPE_CHECKING:
    import keras

    from resnet.models.cutting import Block
    from resnet.report.subject import Sample, Subject


WHEN = ("before the first step", "after the last step")
WHAT = {"output": "at each block's output", "weights": "of each block's weights"}


def explain(networks: Sequence[Subject], dataset: Sample, *, batch: int = 128) -> Explanation:
    """Of the first `batch` images that are looked at."""
    images, labels = dataset.train.batch(np.arange(min(batch, len(dataset.train))))
    rows = []
    with tqdm(total=2 * len(networks), desc="gradients", leave=False, disable=None) as bar:
        for network in networks:
            for when, model in zip(WHEN, (network.fresh(), network.model), strict=True):
                found = norms(model, cut(model), network.inputs(images), labels, network.loss)
                rows += [
                    {"network": network.label, "when": when, "block": block, **by_block}
                    for block, by_block in found.items()
                ]
                bar.update()
    return Explanation(_draw(networks, rows), rows, " ".join(_sentence(n, rows) for n in networks))


def norms(
    model: keras.Model,
    blocks: Sequence[Block],
    inputs: tf.Tensor,
    labels: np.ndarray,
    loss: Callable[..., tf.Tensor],
) -> dict[str, dict[str, float]]:
    """L2 norms by block: `output`, of the gradient at what the block gives, and `weights`, of its own.

    Args:
        model: its weights are differentiated, frozen ones too.
        blocks: those that it is cut into.
        inputs: float32 `(B, H, W, C)`, preprocessed.
        labels: int `(B,)`.
        loss: of labels and logits, one number an image.
    """
    inputs = tf.convert_to_tensor(inputs)
    with tf.GradientTape() as tape:
        tape.watch(inputs)  # so that what a stem without weights gives has a gradient, too
        outputs = run(blocks, inputs, training=True)
        value = tf.reduce_mean(loss(labels, outputs[-1]))
    variables = model.weights
    at_outputs, of_weights = tape.gradient(value, (outputs, variables))  # of moving statistics None
    gradients = {variable.path: array for variable, array in zip(variables, of_weights, strict=True)}
    squares = dict.fromkeys((block.name for block in blocks), 0.0)
    for name, array in unstack(model, of=lambda variable: gradients.get(variable.path)).items():
        squares[_block(name, squares)] += float(np.sum(np.square(array, dtype=np.float64)))
    return {
        block.name: {
            "output": float(tf.norm(tf.cast(gradient, tf.float32))),
            "weights": squares[block.name] ** 0.5,
        }
        for block, gradient in zip(blocks, at_outputs, strict=True)
    }


def _block(weight, known):
    """The block to which a weight of this name belongs; before and after all of them are stem and head."""
    place = names.place(weight.partition("/")[0])
    if place.stage is None:
        return STEM if place.part == STEM else HEAD
    name = names.block(place.part, place.blocks[0]) if place.blocks else place.part
    return name if name in known else place.part


def _sentence(network, rows):
    first, last = (
        [row["weights"] for row in rows if row["network"] == network.label and row["block"] == block.name][0]
        for block in (numbered(network.blocks)[0], numbered(network.blocks)[-1])
    )
    return (
        f"{network.label}: {WHEN[0]} the gradient of the first block's weights has {first / last:.2g} times "
        "the norm of that of the last block's."
    )


def _draw(networks, rows):
    figure = drawing.figure((11, 7))
    grid = figure.subplots(2, 2, sharey="row")
    for (what, title), line in zip(WHAT.items(), grid, strict=True):
        for when, axes in zip(WHEN, line, strict=True):
            drawing.block_axis(axes, networks)
            for network, style in zip(networks, drawing.STYLES, strict=False):
                inner = {block.name for block in numbered(network.blocks)}
                found = [
                    row[what]
                    for row in rows
                    if (row["network"], row["when"]) == (network.label, when) and row["block"] in inner
                ]
                axes.plot(range(1, len(found) + 1), found, **style, label=network.label)
            axes.set(yscale="log", title=f"gradient's norm {title},\n{when}")
            drawing.plain(axes)
            plain_log(axes)
    drawing.legend(grid[0, 0])
    return figure
