"""Accuracy on pictures that are noisy, blurred, shifted or rotated, by how much.

Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common corruptions and
perturbations", measure it so by kind and severity. The kinds here are made by
TensorFlow, of test images; what moves in from beyond the edge is the nearest pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from resnet.augmentation.affine import sample
from resnet.models.cutting import run
from resnet.report import drawing
from resnet.report.explain import Explanation
from resnet.report.subject import batches

if TYPE_CHECKING:
    from resnet.report.subject import Sample, Subject


def noise(images: tf.Tensor, deviation: float, seed: int = 0) -> tf.Tensor:
    """Gaussian noise of this standard deviation, in levels of 255, the same for every call of one seed."""
    return images + deviation * tf.random.stateless_normal(tf.shape(images), [seed, 0])


def blur(images: tf.Tensor, deviation: float) -> tf.Tensor:
    """Gaussian blur of this standard deviation in pixels, cut off at three of them."""
    if not deviation:
        return images
    reach = int(np.ceil(3 * deviation))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    channels = images.shape[-1]
    kernel = np.tile((weights / weights.sum())[:, None], (1, channels)).astype(np.float32)
    padded = images
    for _ in range(reach):  # each time the outermost pixel once more
        padded = tf.pad(padded, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    for shape in ((-1, 1, channels, 1), (1, -1, channels, 1)):
        padded = tf.nn.depthwise_conv2d(padded, kernel.reshape(shape), [1] * 4, "VALID")
    return padded


def shift(images: tf.Tensor, pixels: float) -> tf.Tensor:
    """To the right and down by so many pixels."""
    return _moved(images, np.eye(2), [-pixels, -pixels])


def rotation(images: tf.Tensor, degrees: float) -> tf.Tensor:
    """About the centre, counter-clockwise as it is seen."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return _moved(images, [[cos, -sin], [sin, cos]], [0, 0])


def _moved(images, matrix, by):
    count = tf.shape(images)[0]
    matrices = tf.tile(tf.constant(matrix, tf.float32)[None], [count, 1, 1])
    return sample(images, matrices, tf.tile(tf.constant(by, tf.float32)[None], [count, 1]), "nearest")


# What each does, in what, and how much: 0 leaves the picture as it is.
KINDS = {
    "noise": (noise, "standard deviation, of 255 levels", (0, 10, 20, 40, 60, 80)),
    "blur": (blur, "standard deviation, pixels", (0, 0.5, 1, 1.5, 2, 3)),
    "shift": (shift, "pixels, right and down", (0, 1, 2, 4, 6, 8)),
    "rotation": (rotation, "degrees", (0, 5, 10, 20, 30, 45)),
}


def explain(networks: Sequence[Subject], dataset: Sample) -> Explanation:
    rows = []
    for network in networks:
        total = sum(len(amounts) for _, _, amounts in KINDS.values())
        with tqdm(total=total, desc=f"robustness {network.label}", leave=False, disable=None) as bar:
            for kind, (_, unit, amounts) in KINDS.items():
                for amount in amounts:
                    found = accuracy(network, dataset.test.images, dataset.test.labels, kind, amount)
                    row = {"network": network.label, "kind": kind, "amount": amount, "unit": unit}
                    rows.append(row | {"accuracy": found})
                    bar.update()
    return Explanation(_draw(networks, rows), rows, " ".join(_sentence(n.label, rows) for n in networks))


def accuracy(network: Subject, images: np.ndarray, labels: np.ndarray, kind: str, amount: float) -> float:
    """On the images, changed by so much and rounded to uint8 again."""
    right = 0

    def inputs(some):
        changed = KINDS[kind][0](tf.cast(some, tf.float32), amount)
        return network.inputs(tf.cast(tf.clip_by_value(tf.round(changed), 0.0, 255.0), tf.uint8))

    of_batch = tf.function(inputs, autograph=False, jit_compile=False).get_concrete_function(
        tf.TensorSpec([None, *images.shape[1:]], tf.uint8)
    )
    for some, truth in batches(images, labels):
        logits = run(network.blocks, of_batch(tf.constant(some)))[-1]
        right += int(np.sum(np.argmax(logits, 1) == truth))
    return right / len(labels)


def _sentence(label, rows):
    own = [row for row in rows if row["network"] == label]
    worst = [
        f"{row['accuracy']:.2%} at {kind} {row['amount']:g}" for kind in KINDS for row in _of(own, kind)[-1:]
    ]
    return f"{label}: accuracy {own[0]['accuracy']:.2%}, {', '.join(worst)}."


def _of(rows, kind):
    return [row for row in rows if row["kind"] == kind]


def _draw(networks, rows):
    figure = drawing.figure((11, 6.5))
    grid = figure.subplots(2, 2, sharey=True)
    for axes, (kind, (_, unit, _)) in zip(grid.flat, KINDS.items(), strict=True):
        for network, style in zip(networks, drawing.STYLES, strict=False):
            own = _of([row for row in rows if row["network"] == network.label], kind)
            axes.plot([r["amount"] for r in own], [r["accuracy"] for r in own], **style, label=network.label)
        axes.axhline(1 / len(networks[0].network.class_names), color=drawing.GREY, ls=":", lw=1)
        axes.set(title=f"accuracy under {kind}", xlabel=unit)
        drawing.share_axis(axes)
    drawing.legend(grid[0, 0])
    return figure
