"""Accuracy with blocks removed or swapped: of residual networks it falls little by little.

Veit, Wilber and Belongie 2016, "Residual networks behave like ensembles of relatively shallow networks",
sections 4.1 (one block removed), 4.2 (several) and 4.3 (order changed). Nothing is trained again. Of a
residual block the shortcut stays; of a plain one its input, where its output has the same shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import kendalltau
from tqdm import tqdm

from resnet.errors import UserError
from resnet.models.cutting import numbered
from resnet.report import drawing
from resnet.report.explain import Explanation
from resnet.report.subject import batches

if TYPE_CHECKING:
    import tensorflow as tf

    from resnet.models.cutting import Block
    from resnet.report.subject import Sample, Subject


AMOUNTS = 8  # how many different numbers of blocks are removed at most, and of swaps made


def explain(networks: Sequence[Subject], dataset: Sample, *, draws: int = 5, seed: int = 0) -> Explanation:
    """`draws` random choices of each number of blocks, by `seed`, and as many new orders."""
    rows = []
    for network in networks:
        plans = {"none": [Plan("none", 0, 0)]} | plans_of(network.blocks, draws, seed)
        if not plans["removed"]:
            raise UserError(f"{network.label}: none of its blocks can be removed, for each changes the shape")
        every = [plan for several in plans.values() for plan in several]
        found = accuracies(
            network.blocks, every, network.inputs, dataset.test.images, dataset.test.labels, network.label
        )
        rows += [
            {
                "network": network.label,
                "lesion": plan.kind,
                "count": plan.count,
                "draw": plan.draw,
                "blocks": " ".join(plan.names(network.blocks)),
                "kendall_tau": plan.kendall_tau,
                "accuracy": accuracy,
            }
            for plan, accuracy in zip(every, found, strict=True)
        ]
    return Explanation(_draw(networks, rows), rows, " ".join(_sentence(n.label, rows) for n in networks))


class Plan:
    """A lesion: the numbers of the blocks that are removed, and the order in which the blocks are run.

    `kind` is `none`, `one` block removed, `several` or `swapped`; `count` says how many.
    """

    def __init__(
        self,
        kind: str,
        count: int,
        draw: int,
        removed: Iterable[int] = (),
        order: Sequence[int] | None = None,
    ):
        self.kind, self.count, self.draw = kind, count, draw
        self.removed, self.order = frozenset(removed), order

    def names(self, blocks: Sequence[Block]) -> list[str]:
        """Of the blocks that are removed, or not in their own place."""
        moved = [i for i, j in enumerate(self.order) if i != j] if self.order else sorted(self.removed)
        return [blocks[i].name for i in moved]

    @property
    def kendall_tau(self) -> float:
        """Of the order in which the blocks are run, with their own: 1 where it is the same."""
        return float(kendalltau(range(len(self.order)), self.order).statistic) if self.order else 1.0

    def first(self) -> int:
        """The number of the first block that is another than in the whole network."""
        moved = [i for i, j in enumerate(self.order) if i != j] if self.order else self.removed
        return min(moved, default=0)


def plans_of(blocks: Sequence[Block], draws: int, seed: int) -> dict[str, list[Plan]]:
    """Plans by kind: each block removed, several at random, and random swaps of blocks of equal shape."""
    rng = np.random.default_rng(seed)
    removable = [i for i, block in enumerate(blocks) if block.numbered and block.removable]
    alike = [
        (i, j)
        for i, j in combinations([i for i in removable if blocks[i].keeps_shape], 2)
        if blocks[i].shape == blocks[j].shape
    ]
    return {
        "removed": [Plan("one", 1, 0, [i]) for i in removable],
        "several": [
            Plan("several", count, draw, rng.choice(removable, count, replace=False).tolist())
            for count in _amounts(2, len(removable))
            for draw in range(draws)
        ],
        "swapped": [
            Plan("swapped", count, draw, order=_swapped(len(blocks), alike, count, rng))
            for count in _amounts(1, len(removable) if alike else 0)
            for draw in range(draws)
        ],
    }


def _amounts(least, most):
    if most < least:
        return []
    return sorted({round(n) for n in np.linspace(least, most, AMOUNTS)})


def _swapped(count, alike, swaps, rng):
    order = list(range(count))
    for k in rng.integers(len(alike), size=swaps):
        i, j = alike[k]
        order[i], order[j] = order[j], order[i]
    return order


def accuracies(
    blocks: Sequence[Block],
    plans: Sequence[Plan],
    inputs: Callable[[np.ndarray], tf.Tensor],
    images: np.ndarray,
    labels: np.ndarray,
    label: str = "",
) -> np.ndarray:
    """Accuracy under each of the Plans, float64 `(P,)`; `inputs` maps uint8 images to what the stem takes."""
    right = np.zeros(len(plans))
    total = len(plans) * len(images)
    with tqdm(total=total, unit=" images", desc=f"lesion {label}", leave=False, disable=None) as bar:
        for some, truth in batches(images, labels):
            before = [inputs(some)]
            for block in blocks:
                before.append(block(before[-1]))
            for p, plan in enumerate(plans):
                start = plan.first()
                logits = _run(blocks, plan, start, before[start])
                right[p] += np.sum(np.argmax(logits, 1) == truth)
                bar.update(len(some))
    return right / len(images)


def _run(blocks, plan, start, x):
    for i in range(start, len(blocks)):
        block = blocks[plan.order[i] if plan.order else i]
        x = block.without_branch(x) if i in plan.removed else block(x)
    return x


def _of(rows, label, kind):
    return [row for row in rows if row["network"] == label and row["lesion"] == kind]


def _sentence(label, rows):
    (whole,), each = _of(rows, label, "none"), _of(rows, label, "one")
    worst = min(each, key=lambda row: row["accuracy"])
    median = np.median([row["accuracy"] for row in each])
    return (
        f"{label}: accuracy {whole['accuracy']:.2%}, with one block removed {median:.2%} in the median, "
        f"{worst['accuracy']:.2%} without {worst['blocks']}."
    )


def _draw(networks, rows):
    figure = drawing.figure((11, 7.5))
    (above,), (below,) = figure.subfigures(2, 1, squeeze=False)
    one, (several, swapped) = above.subplots(), below.subplots(1, 2, sharey=True)
    drawing.block_axis(one, networks)
    for i, (network, style) in enumerate(zip(networks, drawing.STYLES, strict=False)):
        (whole,), each = (_of(rows, network.label, kind) for kind in ("none", "one"))
        places = {block.name: i for i, block in enumerate(numbered(network.blocks), 1)}
        points = style | {"ls": "", "ms": 8, "label": network.label}
        one.axhline(whole["accuracy"], color=style["color"], ls=style["ls"], lw=1)
        one.plot(
            [places[row["blocks"]] + 0.1 * i for row in each], [row["accuracy"] for row in each], **points
        )
        counted = [
            (row["count"], row["accuracy"]) for row in [whole, *each, *_of(rows, network.label, "several")]
        ]
        drawing.spread(several, counted, style, 0.1 * i)
        moved = _of(rows, network.label, "swapped")
        swapped.plot([row["kendall_tau"] for row in moved], [row["accuracy"] for row in moved], **points)
    chance = 1 / len(networks[0].network.class_names)
    for axes in (one, several, swapped):
        axes.axhline(chance, color=drawing.GREY, ls=":", lw=1)
        drawing.share_axis(axes)
    swapped.invert_xaxis()
    one.set(title="accuracy with one block removed (lines: whole networks; dotted: chance)")
    several.set(title="several removed: mean and extremes of draws", xlabel="blocks removed at random")
    swapped.set(
        title="blocks of one shape swapped", xlabel="Kendall's tau of the order with the network's own"
    )
    drawing.legend(one)
    return figure
