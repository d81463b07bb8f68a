"""Loss around the trained weights, along two random directions in the scale of the filters.

Li et al. 2018, "Visualizing the loss landscape of neural nets", section 4: each filter of a Gaussian
direction gets the norm of the network's own filter. Biases and what belongs to batch norm stay as they are,
and so do its moving statistics, as in the authors' program. The loss is that of training images in inference,
without weight decay. Weights of one name have the same draws in both networks.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from resnet.models import stack, unstack
from resnet.report import drawing
from resnet.report.explain import Explanation
from resnet.report.figures import plain_log
from resnet.report.subject import batches

if TYPE_CHECKING:
    import keras
    from matplotlib.axes import Axes

    from resnet.report.subject import Sample, Subject


CONTOURS = 12
FAR = 10.0  # a loss far above that of chance


def explain(
    networks: Sequence[Subject], dataset: Sample, *, points: int = 7, reach: float = 1.0, seed: int = 0
) -> Explanation:
    """Of `points` places to each side of the middle, out to `reach` times the norms of the filters."""
    at = np.linspace(-reach, reach, 2 * points + 1)
    surfaces, rows = {}, []
    for network in networks:
        weights = unstack(network.model)
        first, second = (direction(weights, seed, number) for number in (0, 1))
        with tqdm(total=at.size**2, desc=f"landscape {network.label}", leave=False, disable=None) as bar:
            loss = loss_of(network, dataset.train.images, dataset.train.labels, bar.update)
            surface = losses(network.model, weights, (first, second), (at, at), loss)
        surfaces[network.label] = surface
        rows += [
            {"network": network.label, "first": float(a), "second": float(b), "loss": float(surface[i, j])}
            for i, a in enumerate(at)
            for j, b in enumerate(at)
        ]
    sentences = [_sentence(label, surface, at) for label, surface in surfaces.items()]
    return Explanation(_draw(surfaces, at), rows, " ".join(sentences))


def direction(weights: Mapping[str, np.ndarray], seed: int, number: int) -> dict[str, np.ndarray]:
    """A random direction for weights by name, filter by filter of their norms; none where there is one axis.

    A filter is all that leads to one output, the last axis.
    """
    found = {}
    for name, array in of_filters(weights).items():
        drawn = np.random.default_rng([seed, number, zlib.crc32(name.encode())]).normal(size=array.shape)
        norms = [np.sqrt(np.sum(np.square(a, dtype=float), tuple(range(a.ndim - 1)))) for a in (array, drawn)]
        found[name] = (drawn * norms[0] / (norms[1] + 1e-10)).astype(array.dtype)
    return found


def of_filters(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those of `weights` that directions change: what has one axis is a bias or belongs to batch norm."""
    return {name: array for name, array in weights.items() if array.ndim > 1}


def losses(
    model: keras.Model,
    weights: Mapping[str, np.ndarray],
    directions: Sequence[Mapping[str, np.ndarray]],
    at: Sequence[np.ndarray],
    loss: Callable[[], float],
) -> np.ndarray:
    """`loss()` at weights + a first + b second of two directions, for a and b of `at`, `(P,)` and `(Q,)`.

    They are float64 `(P, Q)`. A direction may leave weights out, which then stay. The model has its `weights`
    again at the end.
    """
    first, second = directions
    found = np.empty([len(places) for places in at])
    try:
        for (i, j), _ in np.ndenumerate(found):
            moved = {
                n: weights[n] + (at[0][i] * first[n] + at[1][j] * second[n]).astype(weights[n].dtype)
                for n in first
            }
            stack(model, {**weights, **moved})
            found[i, j] = loss()
    finally:
        stack(model, weights)
    return found


def loss_of(
    network: Subject, images: np.ndarray, labels: np.ndarray, done: Callable[[], object] = lambda: None
) -> Callable[[], float]:
    """A function that gives the mean loss of the images at the weights that the model has then."""

    @tf.function(autograph=False, jit_compile=False, reduce_retracing=True)
    def of_batch(inputs, labels):
        return tf.reduce_sum(network.loss(labels, network.model(inputs, training=False)))

    parts = [(tf.constant(network.inputs(some)), truth) for some, truth in batches(images, labels)]

    def loss():
        total = sum(float(of_batch(inputs, truth)) for inputs, truth in parts)
        done()
        return total / len(labels)

    return loss


def _sentence(label, surface, at):
    centre = len(at) // 2
    return (
        f"{label}: loss {surface[centre, centre]:.3g}, "
        f"{np.median(surface[[0, -1], :]):.3g} in the median at {at[-1]:g} times the filters' norms."
    )


def contours(axes: Axes, at: Sequence[np.ndarray], surface: np.ndarray, least: float, most: float) -> None:
    """A map of the `surface` `(P, Q)` over `at`, `(P,)` across and `(Q,)` up, with lines of equal loss."""
    levels = np.geomspace(least, most, CONTOURS)
    shown = np.clip(np.nan_to_num(surface.T, nan=most), least, most)
    axes.contourf(*at, shown, levels, cmap=drawing.MAP, norm="log", extend="both")
    drawn = axes.contour(*at, shown, levels, colors="black", linewidths=0.7)
    axes.clabel(drawn, levels[CONTOURS // 2 :: 2], fontsize=8, fmt="{:.3g}".format, colors="black")


def extent(surfaces: Sequence[np.ndarray]) -> tuple[float, float]:
    """The least and the most loss that is told apart: what lies beyond hides the valley, as in the paper."""
    least = max(min(np.nanmin(surface) for surface in surfaces), 1e-4)
    return least, min(max(np.nanmax(surface) for surface in surfaces), max(FAR, least * 10))


def _draw(surfaces, at):
    figure = drawing.figure((4.5 + 4.5 * len(surfaces), 4.3))
    line, *maps = figure.subplots(1, 1 + len(surfaces))
    least, most = extent(surfaces.values())
    centre = len(at) // 2
    for axes, (label, surface), style in zip(maps, surfaces.items(), drawing.STYLES, strict=False):
        line.plot(at, np.maximum(surface[:, centre], least), **style, label=label)
        contours(axes, (at, at), surface, least, most)
        axes.plot(0, 0, "+", color="white", ms=10, mew=2)
        axes.set(xlabel="first direction", ylabel="second direction", aspect="equal")
        axes.locator_params(nbins=5)
        axes.set_title(label, parse_math=False)
    line.set(yscale="log", xlabel="first direction", title="loss, of training images")
    line.locator_params(axis="x", nbins=5)
    drawing.plain(line)
    plain_log(line)
    drawing.legend(line)
    return figure
