"""What the network has learned to see: first filters, a picture's activations by stage, a map of test images.

Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks" (filters and activations); van
der Maaten and Hinton 2008, "Visualizing data using t-SNE" (the map, of what the last layer is given).
"""

import keras
import numpy as np
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from tqdm import tqdm

from resnet.models import names
from resnet.models.cutting import run
from resnet.report import drawing
from resnet.report.explain import Explanation
from resnet.report.figures import short
from resnet.report.subject import batches

CHANNELS = 6  # of each stage: those with the greatest mean
FILTERS = 64  # at most
PERPLEXITY = 30  # the number of neighbours that t-SNE keeps together, of enough images


def explain(networks, dataset, *, seed=0):
    """The picture is the first of the test images; `seed` is that of t-SNE."""
    test, rows, sentences, panels = dataset.test, [], [], []
    for network in tqdm(networks, desc="features", leave=False, disable=None):
        places = plane(embeddings(network, test.images), seed)
        panels.append((filters(network.model), activations(network, test.images[:1]), places))
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
    return Explanation(_draw(networks, dataset, panels), rows, " ".join(sentences))


def filters(model):
    """Of the first convolution `(F, h, w, C)`, each from 0 to 1; of one channel unless it takes three."""
    kernel = next(np.array(x.kernel) for x in model.layers if isinstance(x, keras.layers.Conv2D))
    first = np.moveaxis(kernel, -1, 0)[:FILTERS]
    first = first if first.shape[-1] == 3 else first[..., :1]
    low, high = (edge(first, axis=(1, 2, 3), keepdims=True) for edge in (np.min, np.max))
    return (first - low) / np.maximum(high - low, np.finfo(np.float32).tiny)


def activations(network, image):
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


def embeddings(network, images):
    """What the last layer of the network is given, float32 `(N, D)`."""
    before = keras.Model(network.model.input, network.model.layers[-1].input)
    parts = [
        np.array(before(network.inputs(some), training=False), np.float32) for (some,) in batches(images)
    ]
    return np.concatenate(parts)


def plane(points, seed):
    """Places `(N, 2)` of points `(N, D)` by t-SNE."""
    perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(points)


def agreement(places, labels):
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


def _sheet(pictures, columns, between):
    """Pictures `(N, h, w[, C])` side by side, with this value between them."""
    _, height, width, *channels = pictures.shape
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows, height + 1, columns, width + 1, *channels), between, np.float32)
    for i, picture in enumerate(pictures):
        sheet[i // columns, :height, i % columns, :width] = picture
    return sheet.reshape(rows * (height + 1), columns * (width + 1), *channels)


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
