"""What the pictures of `report.explain` share: two networks told apart in black and white, axes of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from resnet.models import names
from resnet.models.cutting import numbered
from resnet.report.figures import BLUE, GREEN, GREY, ORANGE, PURPLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from resnet.report.subject import Subject


STYLES = (
    {"color": BLUE, "ls": "-", "marker": "o"},
    {"color": ORANGE, "ls": "--", "marker": "s", "mfc": "white"},
)
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, "#000000")
MAP = "cividis"  # its lightness rises evenly, for the colour-blind too
MOST_TICKS = 24

__all__ = ["COLOURS", "GREY", "MAP", "STYLES", "block_axis", "figure", "legend", "share_axis", "spread"]


def figure(size: tuple[float, float]) -> Figure:
    return Figure(size, layout="constrained")


def block_axis(axes: Axes, networks: Sequence[Subject]) -> None:
    """Blocks by number along x, named by stage where all networks have the same; stages are divided."""
    each = [[block.name for block in numbered(network.blocks)] for network in networks]
    axes.set_xlim(0.5, max(map(len, each)) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if any(blocks != each[0] for blocks in each):
        axes.set_xlabel("block, counted from the first")
        return
    stages = [names.place(name).stage for name in each[0]]
    for i in [i for i, (a, b) in enumerate(pairwise(stages), 1) if a != b]:
        axes.axvline(i + 0.5, color=GREY, lw=0.8)
    named = len(stages) <= MOST_TICKS
    axes.set_xlabel("block: stage.number" if named else "block; lines part the stages")
    if named:
        axes.set_xticks(range(1, len(stages) + 1), map(short, each[0]))


def short(block: str) -> str:
    """`2.3` of `stage2_block3`."""
    place = names.place(block)
    return f"{place.stage}.{place.blocks[0]}" if place.blocks else str(place.stage)


def spread(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    style: dict[str, Any],
    beside: float = 0.0,
    label: str | None = None,
) -> None:
    """The mean of the points `(x, y)` of each x as a line, with a bar between their extremes `beside` x."""
    x = sorted({point[0] for point in points})
    values = [[value for place, value in points if place == at] for at in x]
    mean = np.array([np.mean(some) for some in values])
    reach = np.array([(m - min(some), max(some) - m) for m, some in zip(mean, values, strict=True)]).T
    axes.errorbar(
        np.add(x, beside), mean, np.maximum(reach, 0), **style, capsize=3, elinewidth=1, label=label
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def share_axis(axes: Axes) -> None:
    """Shares up y, from 0 to 1."""
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    plain(axes)


def plain(axes: Axes) -> None:
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def legend(axes: Axes, **options: Any) -> None:
    """Names stand as they are: a `$` in them begins no formula."""
    for text in axes.legend(frameon=False, **options).get_texts():
        text.set_parse_math(False)
