"""What the network has learned to see: first filters, a picture's activations by stage, a map of test images.

Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks" (filters and activations);
van der Maaten and Hinton 2008, "Visualizing data using t-SNE" (the map, of what the last layer is given).
TensorBoard's projector has the same points, each with its picture.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np
from google.protobuf import text_format
from PIL import Image
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from tensorboard.plugins import projector
from tqdm import tqdm

from resnet.errors import UserError
from resnet.listing import printable
from resnet.models import names
from resnet.models.cutting import run
from resnet.report import drawing
from resnet.report.explain import Explanation
from resnet.report.figures import short
from resnet.report.subject import batches

if TYPE_CHECKING:
    from resnet.data.dataset import Split
    from resnet.report.subject import Sample, Subject


CHANNELS = 6  # of each stage: those with the greatest mean
FILTERS = 64  # at most
TEXTURE = 8192  # pixels to a side that a browser can draw
PERPLEXITY = 30  # the number of neighbours that t-SNE keeps together, of enough images


def explain(networks: Sequence[Subject], dataset: Sample, *, seed: int = 0) -> Explanation:
    """The picture is the first of the test images; `seed` is that of t-SNE."""
    test, rows, sentences, panels, points = dataset.test, [], [], [], {}
    for network in tqdm(networks, desc="features", leave=False, disable=None):
        panel = filters(network.model), activations(network, test.images[:1])
        points[network.label] = embeddings(network, test.images)
        places = plane(points[network.label], seed)
        panels.append((*panel, places))
        rows += [
            {
                "network": network.label,
                "image": i,
                "class": dataset.class_names[k],
                "x": float(x),
                "y": float(y),
            }
            for i, (k, (x, y)) in enumerate(zip(test.labels, places, strict=True))
        ]
        share = agreement(places, test.labels)
        sentences.append(
            f"{network.label}: the nearest on the map has the same class for {share:.1%} of images."
        )
    figure = _draw(networks, dataset, panels)
    return Explanation(figure, rows, " ".join(sentences), projector_files(points, test, dataset.class_names))


def filters(model: keras.Model) -> np.ndarray:
    """Of the first convolution `(F, h, w, C)`, each from 0 to 1; of one channel unless it takes three."""
    layer = next((x for x in model.layers if isinstance(x, keras.layers.Conv2D)), None)
    if layer is None:
        raise UserError(f"{model.name} has no convolution among its own layers, whose filters could be shown")
    first = np.moveaxis(np.array(layer.kernel), -1, 0)[:FILTERS]
    first = first if first.shape[-1] == 3 else first[..., :1]
    low, high = (edge(first, axis=(1, 2, 3), keepdims=True) for edge in (np.min, np.max))
    return (first - low) / np.maximum(high - low, np.finfo(np.float32).tiny)


def activations(network: Subject, image: np.ndarray) -> dict[str, np.ndarray]:
    """Of an image `(1, H, W, C)`: by stem and stage its last output, `(channels, h, w)` from 0 to 1.

    They are the channels with the greatest mean, those first.
    """
    outputs = run(network.blocks[:-1], network.inputs(image))
    last = {names.place(block.name).part: y for block, y in zip(network.blocks, outputs, strict=False)}
    found = {}
    for part, output in last.items():
        maps = np.maximum(np.moveaxis(np.array(output[0], np.float32), -1, 0), 0)
        strongest = maps[np.argsort(-maps.mean((1, 2)), kind="stable")[:CHANNELS]]
        found[part] = strongest / np.maximum(strongest.max((1, 2), keepdims=True), np.finfo(np.float32).tiny)
    return found


def embeddings(network: Subject, images: np.ndarray) -> np.ndarray:
    """What the last layer of the network is given, float32 `(N, D)`."""
    before = keras.Model(network.model.input, network.model.layers[-1].input)
    parts = [
        np.array(before(network.inputs(some), training=False), np.float32) for (some,) in batches(images)
    ]
    return np.concatenate(parts)


def projector_files(
    points: Mapping[str, np.ndarray], split: Split, class_names: Sequence[str]
) -> dict[str, bytes]:
    """What TensorBoard's projector reads: bytes by file name.

    Args:
        points: `(N, D)` by the label of their network.
        split: the N images.
        class_names: of its labels.
    """
    sprite, size = _sprite(split.images)
    classes = "".join(f"{printable(class_names[k])}\n" for k in split.labels)
    files = {"sprite.png": sprite, "classes.tsv": classes.encode()}
    config = projector.ProjectorConfig()
    for i, (label, of) in enumerate(points.items(), 1):
        with io.BytesIO() as file:
            np.savetxt(file, of, "%.6g", "\t")
            files[f"embeddings{i}.tsv"] = file.getvalue()
        entry = config.embeddings.add(tensor_name=label, tensor_path=f"embeddings{i}.tsv")
        entry.metadata_path, entry.sprite.image_path = "classes.tsv", "sprite.png"
        entry.sprite.single_image_dim.extend(size)
    return {"projector_config.pbtxt": text_format.MessageToString(config).encode(), **files}


def _sprite(images):
    """All images on one PNG, row by row, small enough for a browser, and the width and height of each."""
    columns = math.ceil(len(images) ** 0.5)
    step = math.ceil(columns * max(images.shape[1:3]) / TEXTURE)
    small = images[:, ::step, ::step]
    sheet = _sheet(small if small.shape[-1] == 3 else np.repeat(small[..., :1], 3, -1), columns, 0, gap=0)
    with io.BytesIO() as file:
        Image.fromarray(sheet.astype(np.uint8)).save(file, "PNG")
        return file.getvalue(), small.shape[2:0:-1]


def plane(points: np.ndarray, seed: int) -> np.ndarray:
    """Places `(N, 2)` of points `(N, D)` by t-SNE."""
    perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(points)


def agreement(places: np.ndarray, labels: np.ndarray) -> float:
    """The share of places whose nearest other has the same label."""
    nearest = NearestNeighbors(n_neighbors=1).fit(places).kneighbors(return_distance=False)[:, 0]
    return float(np.mean(labels[nearest] == labels))


def _draw(networks, dataset, panels):
    figure = drawing.figure((15, 5 * len(networks)))
    rows = figure.subfigures(len(networks), 1, squeeze=False)[:, 0]
    for row, network, (first, stages, places) in zip(rows, networks, panels, strict=True):
        row.suptitle(network.label).set_parse_math(False)
        left, middle, right = row.subplots(1, 3, width_ratios=(1, 1.5, 1.5))
        left.imshow(_sheet(first, int(np.ceil(len(first) ** 0.5)), 1.0), cmap="gray", vmin=0, vmax=1)
        left.set(title="first filters")
        _draw_stages(middle, stages)
        _draw_map(right, places, dataset)
        for axes in (left, middle, right):
            axes.set(xticks=[])
        left.set(yticks=[])
        right.set(yticks=[])
    return figure


def _sheet(pictures, columns, between, gap=1):
    """Pictures `(N, h, w[, C])` side by side, with a gap of pixels of this value between them."""
    _, height, width, *channels = pictures.shape
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows, height + gap, columns, width + gap, *channels), between, np.float32)
    for i, picture in enumerate(pictures):
        sheet[i // columns, :height, i % columns, :width] = picture
    return sheet.reshape(rows * (height + gap), columns * (width + gap), *channels)


def _draw_stages(axes, stages):
    """A row for each, all enlarged to one size."""
    side = max(maps.shape[1] for maps in stages.values())
    rows = [_sheet(_enlarged(maps, side), CHANNELS, np.nan) for maps in stages.values()]
    axes.imshow(np.concatenate(rows), cmap=drawing.MAP, vmin=0, vmax=1)
    axes.set_yticks([(i + 0.5) * len(rows[0]) for i in range(len(rows))], stages)
    axes.set(title="strongest channels of the first image")


def _enlarged(maps, side):
    """Maps `(N, h, w)` of `side` rows and as many columns as that makes, by the nearest pixel."""
    _, height, width = maps.shape
    columns = round(width * side / height)
    return maps[:, np.arange(side) * height // side][:, :, np.arange(columns) * width // columns]


def _draw_map(axes, places, dataset):
    """Each image as the number of its class, which is named beside it."""
    for i in range(dataset.num_classes):
        colour = drawing.COLOURS[i % len(drawing.COLOURS)]
        for x, y in places[dataset.test.labels == i]:
            axes.text(x, y, str(i), color=colour, fontsize=7, ha="center", va="center")
    axes.update_datalim(places)
    axes.autoscale_view()
    listed = [f"{i} {short(name)}" for i, name in enumerate(dataset.class_names[:20])]
    axes.set(title="test images by what the last layer is given (t-SNE)")
    axes.text(1.02, 1, "\n".join(listed), transform=axes.transAxes, va="top", fontsize=8, parse_math=False)
