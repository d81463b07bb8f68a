"""Runs as their directories tell of them, and those that are the same but for their seed.

Only finished runs count; every other one says why it does not.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from resnet.errors import UserError, first_line
from resnet.files import UNREADABLE, read_arrays
from resnet.report import statistics
from resnet.report.statistics import NoVerdict
from resnet.run.changes import told
from resnet.run.directory import RunDirectory, flat
from resnet.run.epoch_record import SPLITS

Draw: TypeAlias = int | tuple[int, int]  # a seed, or a seed and a fold
PARTS = ("index", "label", "logits")  # of each split, in predictions.npz
LONG = 40  # characters of a label that would drown the sentence it stands in
# What may be told otherwise without making another recipe of it.
NEUTRAL = ("seed", "data.dir", "threads", "changes", "callbacks", "trainer.deterministic")


class Run:
    """What a run directory says: its flat `config`, `epochs`, `status` and the newest of each metric.

    Raises UserError where a file of it cannot be read, or one of UNREADABLE.
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
    def pictures(self) -> dict[str, np.ndarray]:
        """By split that is judged: the hashes of its pictures, uint64 `(N,)`, from split.npz.

        Empty where that is not there. Raises NoVerdict if it cannot be read.
        """
        path = RunDirectory(self.directory).split
        found = _arrays(path) if path.exists() else {}
        return {name: hashes for name, hashes in found.items() if name != "train"}

    @cached_property
    def outcomes(self) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """By split: the hashes of its pictures, their labels, and which were classified correctly.

        All `(N,)`, in the order of the data. From predictions.npz, which holds `test_index` int32 `(N,)`,
        `test_label` int32 `(N,)` and `test_logits` float16 `(N, K)`, and the same of `validation`. Raises
        NoVerdict if it does not, and where split.npz does not say which pictures these are.
        """
        files = RunDirectory(self.directory)
        for path in (files.predictions, files.split):
            if not path.exists():
                raise NoVerdict(f"one seed each, and {path} is not there; give more seeds")
        arrays = _arrays(files.predictions)
        try:
            return {
                name: _outcomes(self.pictures[name], *(arrays[f"{name}_{part}"] for part in PARTS))
                for name in {name.rpartition("_")[0] for name in arrays}
            }
        except (ValueError, LookupError) as error:
            raise NoVerdict(f"{files.predictions} cannot be used: {error}") from error


def _arrays(path):
    try:
        return read_arrays(path)
    except UserError as error:
        raise NoVerdict(str(error)) from error


def _outcomes(pictures, index, label, logits):
    if not (index.ndim == label.ndim == 1 and index.shape == label.shape == logits.shape[:1]):
        raise ValueError(f"index {index.shape}, label {label.shape}, logits {logits.shape} do not match")
    order = np.argsort(index, kind="stable")
    return pictures[index[order]], label[order], (logits.argmax(1) == label)[order]


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


def one_recipe(runs: list[Run], apart: Collection[str] = ()) -> Group:
    """These runs as a Group.

    Raises UserError, which names them, where finished ones differ in more than their seed, `NEUTRAL` and
    `apart`, which are keys of the configuration, or nodes.
    """
    group = Group(runs)
    keys = [key for key in differing(group.finished) if not within(key, {*NEUTRAL, *apart})]
    if not keys:
        return group
    values = [{key: str(run.config.get(key, "absent")) for key in keys} for run in group.finished]
    first, *others = group.finished
    other = [str(run.directory) for run, own in zip(others, values[1:], strict=True) if own != values[0]]
    several = [f"{key} is {' and '.join(dict.fromkeys(own[key] for own in values))}" for key in keys]
    raise UserError(
        f"{first.directory} and {', '.join(other)} are of different recipes: {told(several)}\n"
        "move away what does not belong there, or give another directory"
    )


def within(key: str, nodes: Collection[str]) -> bool:
    """Whether a key of the configuration is one of these nodes, or lies below one."""
    return any(f"{key}.".startswith(f"{node}.") for node in nodes)


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


def below(top: Path) -> list[Path]:
    """The directories of runs that are `top` or lie below it."""
    directories = [path.parent.parent for path in top.rglob(".hydra/config.yaml")]
    records = ("metrics.csv", "result.json")  # without them it is Hydra's record of some other program
    return [path for path in directories if any((path / name).exists() for name in records)]


def read(directories: Iterable[Path]) -> tuple[list[Run], list[str]]:
    """The runs in and below `directories`, each once, and a text for each that cannot be read."""
    found = {path.resolve(): path for top in directories for path in below(top)}
    runs, unreadable = [], []
    for directory in sorted(found.values()):
        try:
            runs.append(Run(directory))
        except UserError as error:
            unreadable.append(f"{directory} is left out: {first_line(error)}")
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
