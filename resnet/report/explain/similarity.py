"""How alike the outputs of blocks are, within a network and between two, by linear CKA.

Kornblith et al. 2019, "Similarity of neural network representations revisited", section 3: it knows no
difference between a representation and a rotated or evenly scaled one. Of test images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from resnet.models.cutting import numbered
from resnet.report import drawing
from resnet.report.drawing import short
from resnet.report.explain import Explanation
from resnet.report.subject import batches

if TYPE_CHECKING:
    from resnet.report.subject import Sample, Subject


NUMBERS = 12  # blocks up to which each cell has room for its number


def explain(networks: Sequence[Subject], dataset: Sample) -> Explanation:
    grams = {network.label: _grams(network, dataset.test.images) for network in networks}
    pairs = [(label, label) for label in grams] + ([tuple(grams)] if len(grams) > 1 else [])
    matrices = {
        pair: np.array([[cka(a, b) for b in grams[pair[1]]] for a in grams[pair[0]]]) for pair in pairs
    }
    names = {network.label: [block.name for block in numbered(network.blocks)] for network in networks}
    rows = [
        {"network": a, "block": first, "other_network": b, "other_block": second, "cka": float(matrix[i, j])}
        for (a, b), matrix in matrices.items()
        for i, first in enumerate(names[a])
        for j, second in enumerate(names[b])
    ]
    sentences = [
        f"{a}: blocks that follow each other are alike by {np.mean(np.diag(matrix, 1)):.3f} in the mean."
        for (a, b), matrix in matrices.items()
        if a == b
    ]
    return Explanation(_draw(matrices, names), rows, " ".join(sentences))


def gram(features: np.ndarray) -> np.ndarray:
    """Inner products of centred features `(N, ...)`: float64 `(N, N)`."""
    flat = np.reshape(features, (len(features), -1)).astype(np.float32)
    flat = flat - flat.mean(0)
    return (flat @ flat.T).astype(np.float64)


def cka(first: np.ndarray, second: np.ndarray) -> float:
    """Linear CKA, 0 to 1, of two Gram matrices of the same images (equation 3 of the paper).

    nan where one of them is constant.
    """
    scale = np.linalg.norm(first) * np.linalg.norm(second)
    return float(np.sum(first * second) / scale) if scale else float("nan")


def _grams(network, images):
    """Of what each numbered block gives for the images; one block's outputs at a time are held."""
    found = []
    parts = [network.inputs(some) for (some,) in batches(images)]
    for block in tqdm(network.blocks[:-1], desc=f"similarity {network.label}", leave=False, disable=None):
        parts = [np.array(block(part)) for part in parts]
        if block.numbered:
            found.append(gram(np.concatenate(parts)))
    return found


def _draw(matrices, names):
    figure = drawing.figure((1 + 5 * len(matrices), 4.6))
    grid = figure.subplots(1, len(matrices), squeeze=False)[0]
    for axes, ((a, b), matrix) in zip(grid, matrices.items(), strict=True):
        picture = axes.imshow(matrix, cmap=drawing.MAP, vmin=0, vmax=1, origin="lower")
        for place, label in ((axes.xaxis, b), (axes.yaxis, a)):
            place.set_label_text(f"block of {label}", parse_math=False)
            if len(names[label]) <= drawing.MOST_TICKS:
                place.set_ticks(range(len(names[label])), map(short, names[label]))
        if max(matrix.shape) <= NUMBERS:
            for (i, j), value in np.ndenumerate(matrix):
                colour = "white" if value < 0.5 else "black"
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(picture, ax=list(grid), label="linear CKA", fraction=0.03)
    return figure
