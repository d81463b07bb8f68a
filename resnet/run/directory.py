"""What the files of a run are called, and how they are read. It needs neither TensorFlow nor Hydra."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from resnet.errors import UserError
from resnet.files import read_arrays, reading, replace_text, replacing

CONFIG = ".hydra/config.yaml"
METRICS = "metrics.csv"


class RunDirectory:
    """The files of the run at `path`: a training reads and writes them by these names, its readers too.

    `.hydra` holds how the run was started. `metrics.csv` has one row per epoch, `result.json` how the run
    stands: `running`, `interrupted`, `failed` or, with its figures, `finished`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.record = self.path / ".hydra"
        self.lock = self.path / ".lock"
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.metrics = self.path / METRICS
        self.model = self.path / "model.keras"
        self.normalization = self.path / "normalization.npz"
        self.classes = self.path / "class_names.json"
        self.split = self.path / "split.npz"
        self.predictions = self.path / "predictions.npz"
        self.weights = self.path / "weights"
        self.outcomes = self.path / "outcomes.npz"
        self.wrong_labels = self.path / "wrong_labels.csv"
        self.summary = self.path / "summary.txt"
        self.architecture = self.path / "architecture.svg"
        self._result = self.path / "result.json"
        self._receipt = self.path / "receipt.json"

    def __str__(self) -> str:
        return str(self.path)

    @classmethod
    def begun(cls, path: str | Path) -> RunDirectory:
        """The run at `path`. Raises UserError unless one lies there."""
        run = cls(path)
        if not run.has_begun:
            raise UserError(f"run={path}: there is no run; expected {run.path / CONFIG}")
        return run

    @classmethod
    def finished(cls, path: str | Path) -> RunDirectory:
        """The run at `path`. Raises UserError unless a finished run lies there, with its model."""
        run = cls.begun(path)
        if run.model.is_file():
            return run
        if run.result().get("status") == "finished":
            raise UserError(f"run={path}: finished, but {run.model} is gone\n{run.cure}")
        raise UserError(f"run={path}: not finished yet, for there is no {run.model}")

    @property
    def lost(self) -> list[Path]:
        """Of a finished run, what it needs to be used and is not there."""
        left = (self.model, self.normalization, self.classes, self.split)
        return [path for path in left if not path.is_file()]

    @property
    def cure(self) -> str:
        """What helps where a file of a run is gone, or cannot be read."""
        if not any(self.checkpoints.glob("step_*.npz")):
            return "put a copy in its place; there is no checkpoint that would give it again"
        return (
            f"if it is there, move it away; train.py resume={self} writes it again, from its last checkpoint"
        )

    @property
    def has_begun(self) -> bool:
        return (self.path / CONFIG).is_file()

    def config(self) -> dict[str, Any]:
        """The configuration, nested dicts; empty where none is recorded."""
        return yaml.safe_load(self.config_text() or "{}") or {}

    def config_text(self) -> str | None:
        """The configuration, YAML of a dict. Raises UserError where it cannot be read."""
        path = self.path / CONFIG
        if not path.is_file():
            return None
        with reading(path, self.cure):
            text = path.read_text("utf-8")
            flat(yaml.safe_load(text) or {})
            return text

    def overrides(self) -> list[str] | None:
        """What was overridden on the command line, a list of texts."""
        path = self.record / "overrides.yaml"
        with reading(path, self.cure):
            return yaml.safe_load(path.read_text("utf-8")) if path.is_file() else None

    def write_record(self, record: Mapping[str, str]) -> None:
        """Write the files of `.hydra`, text by file name."""
        self.record.mkdir(exist_ok=True)
        for name, text in record.items():
            replace_text(self.record / name, text)

    def result(self) -> dict[str, Any]:
        """What result.json holds; empty where there is none. Raises UserError where it cannot be read."""
        if not self._result.exists():
            return {}
        with reading(self._result, self.cure):
            return dict(json.loads(self._result.read_text("utf-8")))

    def write_result(self, result: Mapping[str, Any]) -> None:
        replace_text(self._result, json.dumps(result, indent=2) + "\n")

    def receipt(self) -> Any:
        """What receipt.json holds, see `callbacks.Receipt`. Raises UserError where it cannot be read."""
        try:
            return json.loads(self._receipt.read_text("utf-8"))
        except FileNotFoundError as error:
            raise UserError(
                f"run={self}: there is no {self._receipt.name}, so no step can be repeated\n"
                "a run leaves one by callbacks.receipt, see conf/callbacks/default.yaml"
            ) from error
        except ValueError as error:
            raise UserError(f"{self._receipt} is no JSON: {error}") from error

    def write_receipt(self, receipt: Mapping[str, Any]) -> None:
        replace_text(self._receipt, json.dumps(receipt, indent=2) + "\n")

    def epochs(self) -> list[dict[str, float]]:
        """The whole rows of metrics.csv, a dict of floats each; the file may be growing.

        Raises UserError where it cannot be read.
        """
        with reading(self.metrics):
            text = self.metrics.read_text("utf-8") if self.metrics.exists() else ""
            rows = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
            return [{name: float(value) for name, value in row.items() if value} for row in rows]

    def class_names(self) -> list[str]:
        """Those of the data. Raises UserError where they cannot be read."""
        with reading(self.classes, self.cure):
            return list(json.loads(self.classes.read_text("utf-8")))

    def parts(self) -> dict[str, np.ndarray]:
        """The hashes of its pictures, see `split.parts_of`. Raises UserError where they cannot be read."""
        return read_arrays(self.split, self.cure)

    def write_class_names(self, names: Sequence[str]) -> None:
        replace_text(self.classes, json.dumps(names, indent=2, ensure_ascii=False) + "\n")

    def weights_of(self, epoch: int) -> Path:
        """Where `callbacks.Weights` keeps them."""
        return self.weights / f"epoch_{epoch:05}.npz"

    def kept_weights(self) -> dict[int, Path]:
        """The files of `callbacks.Weights` by epoch, the first first."""
        return {int(path.stem.partition("_")[2]): path for path in sorted(self.weights.glob("epoch_*.npz"))}

    def write_picture(self, name: str, data: bytes) -> None:
        """Write the PNG file `data` as `name`.png."""
        with replacing(self.path / f"{name}.png") as part:
            part.write_bytes(data)

    def pictures(self) -> list[Path]:
        """The files of those that there are."""
        return sorted(path for path in self.path.iterdir() if path.suffix in (".png", ".svg"))

    def resumable(self) -> Path:
        """What `resume=` goes on with: the sweep that this run is a job of, or the run."""
        sweep = self.path.parent
        return sweep if (sweep / "multirun.yaml").exists() else self.path


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`."""
    values: dict[str, Any] = {}
    for key, value in tree.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return values
