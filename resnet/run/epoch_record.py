"""The record of an epoch, which is all that a training leaves of it.

A record is nested: `{"epoch": 3, "step": 1173, "train": {"loss": ..., "accuracy": ...}, "validation":
{...}, "rate": {...}, "time": {...}}`. A figure is named by its path, such as `validation/accuracy`: in
metrics.csv, in TensorBoard, in the pictures of runs and in comparisons. What is put into a record is
therefore seen in all of them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

SPLITS = ("train", "validation", "test")


def record(
    epoch: int,
    step: int,
    splits: Mapping[str, Mapping[str, float]],
    rate: Mapping[str, float],
    times: Mapping[str, float],
) -> dict[str, Any]:
    """The record of an epoch that ends now: its number, from 1, the steps done, and what was measured.

    `splits` are loss and metrics by split, `rate` the learning rate and its factors, `times` in seconds.
    """
    measured = {name: dict(figures) for name, figures in splits.items()}
    return (
        {"epoch": epoch, "step": step}
        | measured
        | {"rate": dict(rate)}
        | {"time": {**times, "ended_at": time.time()}}
    )


def flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a record by path, such as `train/loss`; its two numbers by name."""
    values: dict[str, Any] = {}
    for name, value in record.items():
        values |= (
            {f"{name}/{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
        )
    return values


def figures(record: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a record by path, without its two numbers and the time at which it ended."""
    nested = {name: value for name, value in record.items() if isinstance(value, dict)}
    return {path: value for path, value in flat(nested).items() if path != "time/ended_at"}


def keras_logs(record: Mapping[str, Any], watched: str | None) -> dict[str, float]:
    """The record as Keras' callbacks expect it: `loss`, `accuracy`, `val_loss`, `learning_rate` ...

    `val_` is what is `watched`, `validation` or `test`; other splits keep their own names.
    """
    logs = dict(record["train"])
    for split in SPLITS[1:]:
        prefix = "val" if split == watched else split
        logs |= {f"{prefix}_{name}": value for name, value in record.get(split, {}).items()}
    return logs | record["rate"] | record["time"]


def as_text(name: str, value: float) -> str:
    """A figure of a split for people: a share as `91.20%`, all else as `0.4210`."""
    return f"{value:.2%}" if is_share(name) else f"{value:.4f}"


def is_share(name: str) -> bool:
    """Whether a metric of this name is a share of the images, from 0 to 1, or a gap of such shares."""
    return any(word in name for word in ("accuracy", "calibration_error"))


def split_text(figures: Mapping[str, float]) -> str:
    """The figures of one split on a line: `loss 0.4210 accuracy 91.20%`."""
    return " ".join(f"{name} {as_text(name, value)}" for name, value in figures.items())
