"""What each change brings on the way from one recipe to another, and what the end lacks without it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from resnet.report import comparison, figures, statistics, telling
from resnet.report.runs import Group, one_recipe, read
from resnet.report.telling import NOTHING, centre, interval, words

METRIC = "validation/accuracy"


class Setting(NamedTuple):
    """A recipe between two others: the name of its directory, what it is called, and its nodes of the end."""

    name: str
    label: str
    nodes: frozenset[str]


def settings(start: str, end: str, changes: Sequence[str]) -> list[Setting]:
    """The recipes that are to be run: those of the way, then the end without each change, each once."""
    labels = [start, *(f"+ {change}" for change in changes[:-1]), end]
    names = [start, *changes[:-1], end]
    way = [
        Setting(f"{i}_{name}", label, frozenset(changes[:i]))
        for i, (name, label) in enumerate(zip(names, labels, strict=True))
    ]
    without = [
        Setting(f"without_{change}", f"{end} without {change}", frozenset(changes) - {change})
        for change in changes
    ]
    on_the_way = {setting.nodes for setting in way}
    return [*way, *(setting for setting in without if setting.nodes not in on_the_way)]


class Gain(NamedTuple):
    """What a change brought, in accuracy; its interval where it could be tested, and whether it is sure."""

    estimate: float
    low: float | None = None
    high: float | None = None
    sure: bool = False

    def __str__(self) -> str:
        points = f"{100 * self.estimate:+.2f}"
        if self.low is None or self.high is None:
            return points
        return f"{points} ± {50 * (self.high - self.low):.2f}{' *' if self.sure else ''}"


class Walk:
    """The runs of a walk as a table, `verdicts` and `notes`, which `telling.show` takes as a Comparison's.

    Each change is judged twice: by what it adds on the way, and by what the end lacks without it. These pairs
    were chosen before any run, and are one family. Raises UserError where finished runs of a pair differ in
    more than its change, as those of an earlier walk with other options do.
    """

    ranking = "In points, by validation images; the test images choose nothing. * told apart, at 95%."

    def __init__(self, start: str, end: str, changes: Sequence[str], directory: Path) -> None:
        runs, notes = read([directory])
        groups, letters = {}, comparison.letters()
        for setting in settings(start, end, changes):
            group = one_recipe([run for run in runs if run.directory.parent.name == setting.name])
            group.letter, group.label = next(letters), setting.label
            groups[setting.nodes] = group
            notes += [
                f"{run.directory} is left out: {run.why_left_out}" for run in group.runs if not run.finished
            ]
        self.way = [groups[frozenset(changes[:i])] for i in range(len(changes) + 1)]
        self.without = [groups[frozenset(changes) - {change}] for change in changes]
        self.changes, self.start, self.end = changes, self.way[0], self.way[-1]
        self.added = [(after, before) for before, after in itertools.pairwise(self.way)]
        self.lost = [(self.end, group) for group in self.without]
        for change, *pairs in zip(changes, self.added, self.lost, strict=True):
            for first, second in pairs:
                one_recipe([*first.runs, *second.runs], apart=[change])
        told = [pair for pair in dict.fromkeys([*self.added, *self.lost]) if all(map(_is_told, pair))]
        self._found = comparison.verdicts(told, METRIC)
        self.verdicts = [verdict.text for verdict in self._found.values()]
        self.heading = f"Verdicts on {words(METRIC)} at 95%, by Holm's correction over these pairs"
        self.notes = [*self._differences(), *notes]

    def gain(self, pair: tuple[Group, Group]) -> Gain | None:
        """The Gain of the first Group of a pair over the second; None where one of them has no result."""
        if pair not in self._found:
            return None
        difference, p = self._found[pair].difference, self._found[pair].p
        if difference is None or p is None:
            first, second = (statistics.summary(list(group.values(METRIC).values())) for group in pair)
            return Gain(first.mean - second.mean)
        return Gain(difference.estimate, difference.low, difference.high, p < statistics.LEVEL)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Headings, and a list of texts for each step of the way."""
        accuracy = words(METRIC)
        headings = [
            "",
            "recipe",
            accuracy,
            "95% interval",
            "change",
            "adds",
            f"{self.end.label} without it",
            "lacks",
        ]
        rows = [[*self._cells(self.start), *[NOTHING] * 4]]
        steps = zip(self.changes, self.added, self.lost, strict=True)
        for change, added, (end, without) in steps:
            texts = [str(gain) if (gain := self.gain(pair)) else NOTHING for pair in (added, (end, without))]
            found = without.summary(METRIC) if _is_told(without) else None
            rows.append([*self._cells(added[0]), change, texts[0], centre(found, METRIC), texts[1]])
        return headings, rows

    def _cells(self, group):
        found = group.summary(METRIC) if _is_told(group) else None
        return [group.letter, group.label, centre(found, METRIC), interval(found)]

    def _differences(self):
        """What each change is, as far as both ends were run."""
        if not (self.start.runs and self.end.runs):
            return
        before, after = (group.runs[0].config for group in (self.start, self.end))
        for change in self.changes:
            keys = [key for key in dict.fromkeys([*after, *before]) if key.partition(".")[0] == change]
            texts = [
                f"{key} {after.get(key, NOTHING)} (it was {before.get(key, NOTHING)})"
                for key in keys
                if after.get(key, NOTHING) != before.get(key, NOTHING)
            ]
            yield f"{change}: {', '.join(texts)}"


def _is_told(group):
    return bool(group.finished and group.values(METRIC))


def report(walk: Walk, output: Path) -> None:
    """Show a Walk; write its table and its picture to the directory `output`."""
    telling.show(walk)
    telling.write_markdown(output / "walk.md", walk)
    rows = [
        (change, walk.gain(added), walk.gain(lost))
        for change, added, lost in zip(walk.changes, walk.added, walk.lost, strict=True)
    ]
    picture = figures.walk(rows, walk.start.label, walk.end.label, words(METRIC))
    (output / "walk.png").write_bytes(figures.png(picture))
    print(f"\nin {output}: walk.md, walk.png")
