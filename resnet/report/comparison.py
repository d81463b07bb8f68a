"""Runs side by side: what they differ in, their means and intervals over seeds, and what may be concluded.

Runs that differ only in their seed, or in the fold that they validate on, are one group. Groups are ranked by
validation accuracy where all of them have it, so that the test images rank nothing.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations, product
from typing import NamedTuple

import numpy as np

from resnet.report import statistics
from resnet.report.judged import require_same_pictures
from resnet.report.runs import Group, Run, differing
from resnet.report.statistics import NoVerdict
from resnet.report.telling import NOTHING, centre, interval, span, words

METRICS = ("validation/accuracy", "test/accuracy", "test/loss", "train/accuracy")
DECIDING = METRICS[:2]
FEW = 4  # groups whose six pairs all fit below a table


class Comparison:
    """Groups, the best first, with the `metric` that ranks them, `verdicts` and `notes` in words.

    `notes` begins with those given. Verdicts are of all pairs of a few groups; of many, of the best beside
    each other one, unless `all_pairs`. Holm's correction is over all pairs either way: which group is the
    best was chosen by the same values, so its pairs alone would be a family picked for its differences.
    """

    def __init__(self, runs: list[Run], notes: Sequence[str] = (), all_pairs: bool = False) -> None:
        self.runs, self.keys = runs, differing(runs)
        measured = dict.fromkeys(name for run in runs for name in run.metrics)
        own = [name for name in measured if name not in METRICS and not name.endswith("/loss")]
        self.metrics = [name for name in (*METRICS, *own) if name in measured]
        by_setting: dict[tuple[tuple[str, str], ...], list[Run]] = {}
        for run in runs:
            by_setting.setdefault(run.setting, []).append(run)
        groups = [Group(members) for members in by_setting.values()]
        judged = [group for group in groups if group.finished] or groups
        self.metric = next((m for m in DECIDING if all(group.has(m) for group in judged)), DECIDING[-1])
        self.groups = sorted(groups, key=self._rank)
        for letter, group in zip(letters(), self.groups, strict=False):
            group.letter, group.label = letter, self._label(group)
        self.ranking = self._ranking([group for group in judged if not group.has(DECIDING[0])])
        self.heading, self.verdicts = self._judge(all_pairs)
        self.notes = [*notes, *self._remarks()]

    def _rank(self, group):
        found = group.summary(self.metric)
        return (not group.finished, found is None, -found.mean if found else 0)

    def _label(self, group):
        values = [group.runs[0].config.get(key, NOTHING) for key in self.keys]
        label = ", ".join(f"{name} {value}" for name, value in zip(short(self.keys), values, strict=True))
        return label or group.where

    def _ranking(self, without):
        if self.metric == DECIDING[0]:
            return "Ranked by validation accuracy; the test images rank nothing."
        which = ", ".join(sorted(group.letter for group in without))
        return (
            f"Ranked by test accuracy, for there is no validation accuracy of {which}: "
            "the test images choose the best, which flatters it."
        )

    def _judge(self, all_pairs):
        """A heading, and a sentence for each pair that is shown."""
        contenders = [group for group in self.groups if group.finished and group.values(self.metric)]
        found = verdicts(list(combinations(contenders, 2)), self.metric)
        shown = [
            verdict.text
            for (first, _), verdict in found.items()
            if all_pairs or len(contenders) <= FEW or first is contenders[0]
        ]
        heading = f"Verdicts on {words(self.metric)} at 95%"
        if len(found) > 1:
            heading += ", by Holm's correction over all pairs (± is of each pair alone)"
        if len(shown) < len(found):
            heading += f"; the best beside the others, --all-pairs shows all {len(found)}"
        return heading, shown

    def _remarks(self):
        for group in self.groups:
            for run in group.runs:
                if not run.finished:
                    yield f"{run.directory} is left out: {run.why_left_out}"
                elif self.metric not in run.metrics:
                    yield f"{run.directory} is left out: it has no {words(self.metric)}"
            if not group.finished:
                yield f"{group.letter} shows the newest values, for no run of it is finished"
            for seed, times in Counter(run.seed for run in group.finished).items():
                if times > 1:
                    yield f"{group.letter}: seed {seed} ran {times} times and counts once, by its mean"
            if len(folds := {run.seed for run in group.finished if isinstance(run.seed, tuple)}) > 1:
                yield (
                    f"{group.letter}: {len(folds)} folds share training images, so that the interval of "
                    "their mean is too narrow (Bengio and Grandvalet 2004)"
                )
        if watched := [g.letter for g in self.groups if g.runs[0].watched.startswith("test/")]:
            yield f"{', '.join(watched)}: trained watching the test images, which flatters the test accuracy"

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Headings, and a list of texts for each group."""
        columns = [column for metric in self.metrics for column in self._columns(metric)]
        headings = [
            "",
            "run",
            *short(self.keys),
            *(heading for heading, _ in columns),
            "epochs done",
            "status",
            "seeds",
        ]
        rows = [
            [
                group.letter,
                group.where,
                *(str(group.runs[0].config.get(key, NOTHING)) for key in self.keys),
                *(cell(group) for _, cell in columns),
                span(len(run.epochs) for run in group.counted),
                ", ".join(sorted({run.status for run in group.runs})),
                str(len({run.seed for run in group.counted})),
            ]
            for group in self.groups
        ]
        return headings, rows

    def _columns(self, metric):
        """Heading and text of a group for each column of this metric; the interval where a group has one."""
        yield words(metric), lambda group: centre(group.summary(metric), metric)
        intervals = [group.summary(metric) for group in self.groups if group.finished]
        if metric in DECIDING and any(found and found.low is not None for found in intervals):
            yield "95% interval", lambda group: interval(group.summary(metric)) if group.finished else NOTHING


class Verdict(NamedTuple):
    """Of a pair of Groups, in words; where it could be tested, with the Difference and its corrected p."""

    text: str
    difference: statistics.Difference | None = None
    p: float | None = None


def verdicts(pairs: Sequence[tuple[Group, Group]], metric: str) -> dict[tuple[Group, Group], Verdict]:
    """Pair of Groups -> Verdict, for pairs that were chosen before any value was seen.

    They are one family: Holm's correction is over all of them that can be tested.
    """
    found, why_not = {}, {}
    for pair in pairs:
        first, second = pair
        try:
            found[pair] = _test(first, second, metric)
        except NoVerdict as reason:
            why_not[pair] = Verdict(f"{first.name} and {second.name}: no verdict, {reason}")
    adjusted = statistics.holm([difference.p for difference in found.values()])
    judged = {
        pair: Verdict(
            statistics.verdict(pair[0].name, pair[1].name, difference, p, len(found)), difference, p
        )
        for (pair, difference), p in zip(found.items(), adjusted, strict=True)
    }
    return {pair: (judged | why_not)[pair] for pair in pairs}


def _test(first, second, metric):
    """The Difference of two groups. Raises NoVerdict where there is nothing to judge by."""
    split = metric.partition("/")[0]
    require_same_pictures(first, second, split)
    if not len(first.finished) == len(second.finished) == 1:
        return statistics.difference(first.values(metric), second.values(metric))
    found = [group.finished[0].outcomes.get(split) for group in (first, second)]
    if None in found:
        raise NoVerdict(f"one seed each, and predictions.npz has no {split} images; give more seeds")
    (*images, first_right), (*others, second_right) = found
    if not all(np.array_equal(a, b) for a, b in zip(images, others, strict=True)):
        raise NoVerdict(f"one seed each, and their {split} images differ; give more seeds")
    return statistics.mcnemar(first_right, second_right)


def letters() -> Iterator[str]:
    """A to Z, then AA, AB and so on."""
    for length in range(1, 4):
        yield from map("".join, product(string.ascii_uppercase, repeat=length))


def short(keys: Sequence[str]) -> list[str]:
    """The last part of each key where it tells it from the others."""
    last = [key.rpartition(".")[2] for key in keys]
    return [name if last.count(name) == 1 else key for name, key in zip(last, keys, strict=True)]
