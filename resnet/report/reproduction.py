"""Whether several seeds of a paper's recipe met the figure that it published."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from resnet.report import statistics
from resnet.report.runs import NEUTRAL, one_recipe, read, within
from resnet.run.directory import RunDirectory

METRIC = "test/accuracy"


@dataclass(frozen=True)
class Row:
    """A figure of a paper.

    Args:
        source: paper, table and row.
        published: the test accuracy, from 0 to 1.
        computed: how the paper got it from its runs.
        margin: how far another result may lie from it and still count as the same.
    """

    source: str
    published: float
    computed: str
    margin: float


def departures(overrides: Iterable[str], paper: str) -> list[str]:
    """Those of a command's overrides that make another recipe of that of the row `paper`."""
    keys = {text: text.lstrip("+~").partition("=")[0].partition("@")[0] for text in overrides}
    return [text for text, key in keys.items() if text != f"paper={paper}" and not within(key, NEUTRAL)]


def report(row: Row, directory: Path, paper: str) -> list[str]:
    """The finding of the runs below `directory` in sentences; `paper` is what the row is called.

    Of the paper it speaks only where data and recipe, of which each run records how it was told, are the
    paper's. Raises UserError where the finished runs are not of one recipe.
    """
    runs, notes = read([directory])
    group = one_recipe(runs)
    notes += [f"{run.directory} is left out: {run.why_left_out}" for run in runs if not run.finished]
    values = list(group.values(METRIC).values()) if group.finished else []
    if not values:
        return [f"{row.source}: nothing can be said, no run in {directory} is finished", *notes]
    files = [RunDirectory(run.directory) for run in group.finished]
    overrides = [run.overrides() for run in files]
    changed = departures(dict.fromkeys(text for own in overrides for text in own or []), paper)
    why = [f"the recipe is another: {', '.join(changed)}"] if changed else []
    if None in overrides:
        why.append("not all runs record how they were started")
    if not all(run.result().get("original_data") for run in files):
        why.append("the data are not the original files")
    if not why:
        found = statistics.reproduction(values, row.published, row.margin)
        return [f"{row.source}, {row.computed}", str(found), *notes]
    own = statistics.summary(values)
    interval = "" if own.low is None else f", 95% interval {own.low:.2%} to {own.high:.2%}"
    seeds = f"{own.n} seed{'' if own.n == 1 else 's'}"
    return [
        f"nothing is said of {row.source}: {'; '.join(why)}",
        f"test accuracy {own.mean:.2%} of {seeds}{interval}; to be compared "
        "with runs of the same data only, as compare.py does",
        *notes,
    ]
