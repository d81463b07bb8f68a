"""Runs side by side: what they differ in, their means and intervals over seeds, and what may be concluded.

Runs that differ only in their seed, or in the fold that they validate on, are one group. Only finished runs
count; every other one is named. Groups are ranked by validation accuracy where all of them have it, so that
the test images rank nothing.
"""

from __future__ import annotations

import csv
import math
import string
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from zipfile import BadZipFile

import numpy as np
import yaml

from resnet.report import statistics
from resnet.report.statistics import NoVerdict
from resnet.run.directory import RunDirectory, flat
from resnet.run.epoch_record import SPLITS, as_text, is_share

if TYPE_CHECKING:
    from resnet.report.walk import Walk

Draw: TypeAlias = int | tuple[int, int]  # a seed, or a seed and a fold
METRICS = ("validation/accuracy", "test/accuracy", "test/loss", "train/accuracy")
DECIDING = METRICS[:2]
NOTHING = "–"
# What files raise that are absent, cut off, or not of the form that train.py writes.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError)
FEW = 4  # groups whose six pairs all fit below a table
PARTS = ("index", "label", "logits")  # of each split, in predictions.npz
LONG = 40  # characters of a label that would drown the sentence it stands in
CAPTION = "Mean ± sample deviation over seeds; the interval is that of the mean, 95%, Student's t."


class Run:
    """What a run directory says: its flat `config`, `epochs`, `status` and the newest of each metric.

    Raises one of `UNREADABLE` where a file of it cannot be read.
    """

    def __init__(self, directory: Path) -> None:
        files = RunDirectory(directory)
        self.directory, self.epochs = directory, files.epochs()
        self.config, result = choices(files.config()), files.result()
        self.seed: Draw = self.config.pop("seed") if "seed" in self.config else result["seed"]
        fold = self.config.pop("data.fold", 0)
        if self.config.get("data.folds"):
            self.seed = self.seed, fold
        self.config.pop("changes", None)  # of how the run was started, not of what it is
        self.status, self.error = result.get("status", "unfinished"), result.get("error", "")
        self.watched = (result.get("objective") or {}).get("name") or ""
        newest = dict(self.epochs[-1]) if self.epochs else {}
        for split in ("validation", "test"):
            newest |= {f"{split}/{name}": value for name, value in (result.get(split) or {}).items()}
        known = {name: value for name, value in newest.items() if name.partition("/")[0] in SPLITS}
        self.metrics = {k: v for k, v in known.items() if v is not None and math.isfinite(v)}

    @property
    def setting(self) -> tuple[tuple[str, str], ...]:
        """The configuration without its seed, for equality."""
        return tuple(sorted((key, str(value)) for key, value in self.config.items()))

    @property
    def finished(self) -> bool:
        return self.status == "finished"

    @property
    def why_left_out(self) -> str:
        count = len(self.epochs)
        state = f"{self.status} after {count} epoch{'' if count == 1 else 's'}"
        return f"{state}: {self.error.splitlines()[0]}" if self.error else state

    @cached_property
    def outcomes(self) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """By split: the indices of its images, rising, their labels, and which were classified correctly.

        All `(N,)`. From predictions.npz, which holds `test_index` int32 `(N,)`, `test_label` int32 `(N,)` and
        `test_logits` float16 `(N, K)`, and the same of `validation`. Raises NoVerdict if it does not.
        """
        path = RunDirectory(self.directory).predictions
        try:
            with np.load(path) as file:
                names = {name.rpartition("_")[0] for name in file}
                return {name: _outcomes(*(file[f"{name}_{part}"] for part in PARTS)) for name in names}
        except FileNotFoundError as error:
            raise NoVerdict(f"one seed each, and {path} is not there; give more seeds") from error
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise NoVerdict(f"{path} cannot be used: {error}") from error


def _outcomes(index, label, logits):
    if not (index.ndim == label.ndim == 1 and index.shape == label.shape == logits.shape[:1]):
        raise ValueError(f"index {index.shape}, label {label.shape}, logits {logits.shape} do not match")
    order = np.argsort(index, kind="stable")
    return index[order], label[order], (logits.argmax(1) == label)[order]


class Group:
    """Runs that differ only in their seed. `letter` and `label` name it in tables, sentences and pictures."""

    letter = label = ""

    def __init__(self, runs: list[Run]) -> None:
        self.runs = runs
        self.finished = [run for run in runs if run.finished]
        self.counted = self.finished or runs

    def values(self, metric: str) -> dict[Draw, float]:
        """Seed, or seed and fold -> value.

        A seed that ran more than once counts once, by its mean: it is one draw.
        """
        by_seed: dict[Draw, list[float]] = {}
        for run in self.counted:
            if metric in run.metrics:
                by_seed.setdefault(run.seed, []).append(run.metrics[metric])
        return {seed: float(np.mean(values)) for seed, values in by_seed.items()}

    def summary(self, metric: str) -> statistics.Summary | None:
        """The Summary of one metric; None where it was not measured."""
        values = list(self.values(metric).values())
        return statistics.summary(values) if values else None

    def has(self, metric: str) -> bool:
        return all(metric in run.metrics for run in self.counted)

    @property
    def where(self) -> str:
        return self.runs[0].directory.as_posix() + (f" +{len(self.runs) - 1}" if len(self.runs) > 1 else "")

    @property
    def name(self) -> str:
        return f"{self.letter} ({self.label})" if len(self.label) <= LONG else self.letter


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
    if first.runs[0].config.get("data") != second.runs[0].config.get("data"):
        raise NoVerdict("their data differ")
    if not len(first.finished) == len(second.finished) == 1:
        return statistics.difference(first.values(metric), second.values(metric))
    split = metric.partition("/")[0]
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


def read(directories: Iterable[Path]) -> tuple[list[Run], list[str]]:
    """The runs in and below `directories`, each once, and a text for each that cannot be read."""
    configs = {path.resolve(): path for top in directories for path in top.rglob(".hydra/config.yaml")}
    runs, unreadable = [], []
    for path in sorted(configs.values()):
        directory = path.parent.parent
        if not any((directory / name).exists() for name in ("metrics.csv", "result.json")):
            continue  # Hydra's record of some other program
        try:
            runs.append(Run(directory))
        except UNREADABLE as error:
            unreadable.append(f"{directory} is left out, it cannot be read: {type(error).__name__} {error}")
    return runs, unreadable


def choices(config: Mapping[str, Any]) -> dict[str, Any]:
    """`{"model": {"_target_": "a.b", "depth": 20}}` as `{"model": "b", "model.depth": 20}`."""
    values = {}
    for key, value in flat(config).items():
        if key.endswith("._target_"):
            key, value = key.removesuffix("._target_"), value.rpartition(".")[2]
        values[key] = value
    return values


def differing(runs: Sequence[Run]) -> list[str]:
    """Keys of the configurations whose values differ.

    A key that some runs lack counts unless another choice at a node above it explains that.
    """
    keys = dict.fromkeys(key for run in runs for key in run.config)
    values = {key: {str(run.config[key]) for run in runs if key in run.config} for key in keys}
    several = {key for key in keys if len(values[key]) > 1}
    for key in keys:
        above = {key.rsplit(".", n)[0] for n in range(1, key.count(".") + 1)}
        if any(key not in run.config for run in runs) and not above & several:
            several.add(key)
    return [key for key in keys if key in several]


def short(keys: Sequence[str]) -> list[str]:
    """The last part of each key where it tells it from the others."""
    last = [key.rpartition(".")[2] for key in keys]
    return [name if last.count(name) == 1 else key for name, key in zip(last, keys, strict=True)]


def words(metric: str) -> str:
    return metric.replace("/", " ")


def centre(found: statistics.Summary | None, metric: str) -> str:
    """`91.20% ± 0.31` for an accuracy, `0.4210 ± 0.0123` for a loss."""
    if found is None:
        return NOTHING
    text = as_text(metric, found.mean)
    if found.deviation is None:
        return text
    return f"{text} ± {100 * found.deviation:.2f}" if is_share(metric) else f"{text} ± {found.deviation:.4f}"


def interval(found: statistics.Summary | None) -> str:
    """`90.43 to 91.97%`."""
    return NOTHING if found is None or found.low is None else f"{100 * found.low:.2f} to {found.high:.2%}"


def span(counts: Iterable[int]) -> str:
    low, *_, high = sorted([*counts] * 2)
    return str(low) if low == high else f"{low}–{high}"


def report(comparison: Comparison, output: Path) -> None:
    """Show a comparison; write its text, its numbers and its picture to the directory `output`."""
    show(comparison)
    output.mkdir(parents=True, exist_ok=True)
    write_markdown(output / "comparison.md", comparison)
    write_csv(output / "comparison.csv", comparison)
    draw(output / "comparison.png", comparison)
    print(f"\nin {output}: comparison.csv, comparison.md, comparison.png")


def show(comparison: Comparison | Walk) -> None:
    """Print the table, which a terminal folds where it is too wide, and what follows from it."""
    from rich.console import Console
    from rich.table import Table

    headings, rows = comparison.table()
    printed = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        printed.add_column(heading, overflow="fold")
    for row in rows:
        printed.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 240, markup=False).print(printed)
    print(f"\n{CAPTION}\n{comparison.ranking}")
    for heading, texts in _blocks(comparison):
        print(f"\n{heading}:", *texts, sep="\n  ")


def _blocks(comparison):
    """Headings and their sentences, as far as there are any."""
    blocks = ((comparison.heading, comparison.verdicts), ("Notes", comparison.notes))
    return [(heading, texts) for heading, texts in blocks if texts]


def write_markdown(path: Path, comparison: Comparison | Walk) -> None:
    headings, rows = comparison.table()
    cells = [[text.replace("|", r"\|") for text in row] for row in (headings, *rows)]
    lines = [cells[0], ["---"] * len(headings), *cells[1:]]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines) + f"\n{CAPTION}\n{comparison.ranking}\n"
    for heading, texts in _blocks(comparison):
        text += f"\n{heading}:\n\n" + "".join(f"- {sentence}\n" for sentence in texts)
    path.write_text(text, "utf-8")


def write_csv(path: Path, comparison: Comparison) -> None:
    """One row per run, with numbers in full."""
    keys = comparison.keys
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["group", "run", *keys, "seed", *comparison.metrics, "epochs", "status"])
        for group in comparison.groups:
            for run in group.runs:
                config = [run.config.get(key) for key in keys]
                metrics = [run.metrics.get(name) for name in comparison.metrics]
                name = run.directory.as_posix()
                writer.writerow(
                    [group.letter, name, *config, run.seed, *metrics, len(run.epochs), run.status]
                )


def draw(path: Path, comparison: Comparison) -> None:
    """The seeds, intervals and curves of all groups in one picture."""
    from resnet.report import figures

    groups = [
        (
            group.letter,
            group.label,
            [run.epochs for run in group.runs],
            list(group.values(comparison.metric).values()) if group.finished else [],
        )
        for group in comparison.groups
    ]
    path.write_bytes(figures.png(figures.compare(groups, comparison.metric)))
