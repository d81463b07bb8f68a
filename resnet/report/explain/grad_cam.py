"""Where the network looks for a class: Grad-CAM and saliency of its worst mistakes, or of given pictures.

Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks via gradient-based localization",
section 3, at the output of the last block; Simonyan et al. 2014, "Deep inside convolutional networks",
section 3. Both are shown for the class that is predicted and beside it for the true one; where that is not
known, for the second likeliest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from resnet.errors import UserError
from resnet.models.cutting import HEAD, run
from resnet.report import drawing
from resnet.report.evaluation import softmax
from resnet.report.explain import Explanation
from resnet.report.figures import short
from resnet.report.subject import batches
from resnet.run.trained import read_image

if TYPE_CHECKING:
    from resnet.models.cutting import Block
    from resnet.report.subject import Sample, Subject


def explain(
    networks: Sequence[Subject],
    dataset: Sample,
    *,
    images: str | Sequence[str] | None = None,
    mistakes: int = 6,
) -> Explanation:
    """Of pictures at the paths `images`, or of the `mistakes` that the first network is surest of."""
    if images:
        paths = [images] if isinstance(images, str) else images
        pictures, names, labels = _read(networks[0], paths), [str(path) for path in paths], None
    else:
        worst = _worst(networks[0], dataset.test, mistakes)
        pictures, labels = dataset.test.batch(worst)
        names = [f"test image {i}" for i in worst]
    rows, panels = [], []
    for network in tqdm(networks, desc="grad_cam", leave=False, disable=None):
        x = network.inputs(pictures)
        probabilities = softmax(np.array(run(network.blocks, x)[-1]))
        order = np.argsort(-probabilities, 1)
        second = order[:, 1] if labels is None else labels
        for which, classes in (("predicted", order[:, 0]), ("second" if labels is None else "true", second)):
            maps = {
                "grad_cam": grad_cam(network.blocks, x, classes),
                "saliency": saliency(network.blocks, x, classes),
            }
            captions = [
                f"{short(dataset.class_names[k])} {p[k]:.0%}"
                for k, p in zip(classes, probabilities, strict=True)
            ]
            panels.append((network.label, which, maps, captions))
            rows += [
                {
                    "network": network.label,
                    "picture": names[i],
                    "class": dataset.class_names[k],
                    "which": which,
                    "probability": float(probabilities[i, k]),
                    **_places(maps, i),
                }
                for i, k in enumerate(classes)
            ]
    known = [""] * len(names) if labels is None else [f"is {short(dataset.class_names[k])}" for k in labels]
    return Explanation(_draw(pictures, known, panels), rows, _sentence(networks, rows, len(names)))


def grad_cam(
    blocks: Sequence[Block], inputs: tf.Tensor, classes: np.ndarray, at: int | None = None
) -> np.ndarray:
    """Heat maps `(N, H, W)` from 0 to 1, of the inputs' size, for a class `(N,)` of each input.

    Each channel of the output of block `at`, by default the last one before the head, is weighted by the mean
    of its gradient; the sum is cut off below 0 (equations 1 and 2), then enlarged.
    Raises UserError for a block that gives no maps.
    """
    at = [block.name for block in blocks].index(HEAD) - 1 if at is None else at
    maps = run(blocks[: at + 1], inputs)[-1]
    if maps.shape.rank != 4:
        raise UserError(f"{blocks[at].name} gives {maps.shape[1:]} for a picture, and no maps to weigh")
    with tf.GradientTape() as tape:
        tape.watch(maps)
        chosen = _of_classes(run(blocks[at + 1 :], maps)[-1], classes)
    gradient = tf.cast(tape.gradient(chosen, maps), tf.float32)
    weights = tf.reduce_mean(gradient, [1, 2], keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(weights * tf.cast(maps, tf.float32), -1, keepdims=True))
    return _scaled(tf.image.resize(heat, inputs.shape[1:3])[..., 0].numpy())


def saliency(blocks: Sequence[Block], inputs: tf.Tensor, classes: np.ndarray) -> np.ndarray:
    """Maps `(N, H, W)` from 0 to 1: the greatest gradient, without sign, among a pixel's channels."""
    x = tf.convert_to_tensor(inputs)
    with tf.GradientTape() as tape:
        tape.watch(x)
        chosen = _of_classes(run(blocks, x)[-1], classes)
    return _scaled(np.abs(tape.gradient(chosen, x)).max(-1))


def _of_classes(logits, classes):
    return tf.gather(tf.cast(logits, tf.float32), tf.constant(classes, tf.int32), axis=1, batch_dims=1)


def _scaled(maps):
    return maps / np.maximum(maps.max((1, 2), keepdims=True), np.finfo(np.float32).tiny)


def _worst(network, test, count):
    """Numbers of the images whose true class was given the least probability, be they mistakes or not."""
    found = [np.array(run(network.blocks, network.inputs(images))[-1]) for (images,) in batches(test.images)]
    probabilities = softmax(np.concatenate(found))
    return np.argsort(probabilities[np.arange(len(test)), test.labels], kind="stable")[:count]


def _read(network, paths):
    shape, data = network.network.image_shape, network.config.data
    return np.stack([read_image(path, shape, data) for path in paths])


def _places(maps, i):
    """Where each map has its centre of mass, in pixels from the upper left."""
    places: dict[str, float] = {}
    for name, several in maps.items():
        heat, (rows, columns) = several[i], np.indices(several[i].shape)
        total = max(float(heat.sum()), np.finfo(np.float32).tiny)
        places |= {
            f"{name}_x": float((heat * columns).sum() / total),
            f"{name}_y": float((heat * rows).sum() / total),
        }
    return places


def _sentence(networks, rows, count):
    parts = []
    for network in networks:
        own = [row for row in rows if row["network"] == network.label]
        pairs = list(zip(own[:count], own[count:], strict=True))
        if own[-1]["which"] == "true":
            wrong = sum(predicted["class"] != true["class"] for predicted, true in pairs)
            parts.append(f"{network.label}: {wrong} of {count} pictures are mistaken.")
        else:
            said = [
                f"{first['picture']} is {first['class']} ({first['probability']:.0%}), or {second['class']} "
                f"({second['probability']:.0%})"
                for first, second in pairs
            ]
            parts.append(f"{network.label}: {'; '.join(said)}.")
    return " ".join(parts)


def _draw(pictures, known, panels):
    columns = 1 + 2 * len(panels)
    figure = drawing.figure((1.7 * columns, 0.5 + 1.85 * len(pictures)))
    grid = figure.subplots(len(pictures), columns, squeeze=False)
    for i, picture in enumerate(pictures):
        grey = picture.mean(-1)
        grid[i, 0].imshow(picture if picture.shape[-1] == 3 else grey, cmap="gray", vmin=0, vmax=255)
        grid[i, 0].set_title(known[i], fontsize=8, parse_math=False)
        for j, (label, which, maps, captions) in enumerate(panels):
            for k, (name, several) in enumerate(maps.items()):
                axes = grid[i, 1 + 2 * j + k]
                axes.imshow(several[i], cmap=drawing.MAP, vmin=0, vmax=1)
                axes.contour(grey, [(grey.min() + grey.max()) / 2], colors="white", linewidths=0.8)
                heading = f"{label}\n{which}, {name}\n" if i == 0 else ""
                axes.set_title(f"{heading}{captions[i]}", fontsize=8, parse_math=False)
    for axes in grid.flat:
        axes.set_axis_off()
    figure.suptitle("where it looks for a class: bright is much, white lines are the picture's", fontsize=10)
    return figure
