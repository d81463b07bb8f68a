"""The path of the training through its epochs, on the loss of the plane that shows most of it.

Li et al. 2018, "Visualizing the loss landscape of neural nets", section 7: the plane is that of the first two
principal components of what the weights of each epoch are away from those of the finished network. Biases and
what belongs to batch norm are left out of it, and on the plane are the finished network's, as in the authors'
program. The loss is that of training images in inference, without weight decay. The weights are those that
`callbacks=[default,weights]` kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import patheffects
from sklearn.decomposition import PCA
from tqdm import tqdm

from resnet.models import stack, unstack
from resnet.report import drawing
from resnet.report.explain import Explanation
from resnet.report.explain.landscape import contours, extent, loss_of, losses, of_filters

if TYPE_CHECKING:
    from resnet.report.subject import Sample, Subject


MARGIN = 0.2  # of the path's extent, to each side
NAMED = 6  # epochs at most that have their number beside the path


def explain(networks: Sequence[Subject], dataset: Sample, *, points: int = 15) -> Explanation:
    """The plane is seen at `points` x `points` places."""
    rows, sentences, panels = [], [], []
    for network in networks:
        weights, kept = unstack(network.model), network.kept_weights()
        path, components, explained = plane(weights, list(kept.values()))
        at = tuple(_around(values, points) for values in path.T)
        total = points**2 + len(kept)
        with tqdm(total=total, desc=f"trajectory {network.label}", leave=False, disable=None) as bar:
            loss = loss_of(network, dataset.train.images, dataset.train.labels, bar.update)
            surface = losses(network.model, weights, components, at, loss)
            along = _losses_along(network.model, weights, kept.values(), loss)
        panels.append((network, at, surface, path, list(kept), explained))
        rows += [
            {"network": network.label, "what": "path", "epoch": e, "first": a, "second": b, "loss": value}
            for e, (a, b), value in zip(kept, path.tolist(), along, strict=True)
        ]
        rows += [
            {"network": network.label, "what": "plane", "epoch": "", "first": a, "second": b, "loss": value}
            for a, line in zip(at[0].tolist(), surface.tolist(), strict=True)
            for b, value in zip(at[1].tolist(), line, strict=True)
        ]
        sentences.append(
            f"{network.label}: two directions have {explained.sum():.1%} of the path's variance; "
            f"the loss went from {along[0]:.3g} to {along[-1]:.3g}."
        )
    return Explanation(_draw(panels), rows, " ".join(sentences))


def plane(
    weights: Mapping[str, np.ndarray], kept: Sequence[Mapping[str, np.ndarray]]
) -> tuple[np.ndarray, list[dict[str, np.ndarray]], np.ndarray]:
    """The plane that shows most of a path.

    Args:
        weights: by name, where the path leads: the plane's origin.
        kept: weights by name of the E places on the way, three or more.

    Returns float64 `(E, 2)`, where the places lie on the plane; its two directions, weights by name, of
    length 1 each; and the share of the path's variance along each.
    """
    ends = of_filters(weights)
    away = np.stack([_flat({name: place[name] for name in ends}) for place in kept]) - _flat(ends)
    found = PCA(2, svd_solver="full").fit(away)
    path = away.astype(np.float64) @ found.components_.T
    return path, [_shaped(row, ends) for row in found.components_], found.explained_variance_ratio_


def _flat(weights):
    return np.concatenate([array.ravel() for array in weights.values()])


def _shaped(row, like):
    parts = np.split(row, np.cumsum([array.size for array in like.values()])[:-1])
    return {name: part.reshape(array.shape) for part, (name, array) in zip(parts, like.items(), strict=True)}


def _around(values, points):
    """Places that reach past all `values`, and past the origin."""
    low, high = min(values.min(), 0), max(values.max(), 0)
    beyond = MARGIN * max(high - low, np.finfo(np.float32).tiny)
    return np.linspace(low - beyond, high + beyond, points)


def _losses_along(model, weights, kept, loss):
    """`loss()` at each place of the path, with the batch norm that the network had there."""
    try:
        found = []
        for place in kept:
            stack(model, place)
            found.append(loss())
        return found
    finally:
        stack(model, weights)


def _draw(panels):
    figure = drawing.figure((1 + 5.5 * len(panels), 5.2))
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    least, most = extent([surface for _, _, surface, *_ in panels])
    halo = [patheffects.withStroke(linewidth=4, foreground="black")]
    for axes, (network, at, surface, path, epochs, explained) in zip(grid, panels, strict=True):
        contours(axes, at, surface, least, most)
        axes.plot(*path.T, "-o", color="white", ms=4, lw=1.5, path_effects=halo)
        axes.plot(0, 0, "*", color="white", ms=14, mec="black", label="finished network")
        for i in sorted({round(n) for n in np.linspace(0, len(epochs) - 1, NAMED)}):
            named = {"color": "white", "fontsize": 9, "path_effects": halo}
            axes.annotate(str(epochs[i]), path[i], (5, 5), textcoords="offset points", **named)
        axes.set_xlabel(f"first direction, {explained[0]:.1%} of the variance")
        axes.set_ylabel(f"second direction, {explained[1]:.1%}")
        axes.set_title(f"{network.label}: loss, and the weights by epoch", parse_math=False)
    return figure
