"""Files of a network, each tried in its own runtime before it counts."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from resnet.errors import UserError
from resnet.export import runtime
from resnet.export.card import card
from resnet.export.formats import FORMATS
from resnet.export.serving import Serving
from resnet.files import writing
from resnet.report import evaluation
from resnet.run.directory import RunDirectory
from resnet.run.trained import Trained

if TYPE_CHECKING:
    from resnet.data.dataset import Split

TOLERANCE = 1e-4  # of a probability, between the network in float32 and its export
ROUNDING = {
    "float32": TOLERANCE,
    "bfloat16": 0.1,
    "float16": 0.02,
}  # between the network as it was trained and in float32
AGREEMENT = 0.9  # of the classes that a quantised network names with those of the network
CALIBRATION = 200  # training pictures


class Shipped(NamedTuple):
    """A file that was tried: its bytes, accuracy on the pictures it was tried on, and milliseconds a call."""

    format: str
    file: str
    bytes: int
    accuracy: float
    apart: float  # the largest difference of a probability from the network's
    one: float
    batch: float


def export(
    run: RunDirectory, network: Trained, formats: Sequence[str], train: Split, test: Split, output: Path
) -> list[Shipped]:
    """Write `network`, of a finished run, to the new directory `output` in these formats, with a model card.

    Each is loaded in a process of its own and compared with the network on the `test` pictures; int8 is
    calibrated on some of the `train` pictures. Raises UserError, and leaves nothing, where one is not the
    same network.
    """
    with writing(output), tempfile.TemporaryDirectory(dir=_made(output.parent), prefix=".part-") as folder:
        part, serving = Path(folder) / "export", Serving(network)
        part.mkdir()
        expected = _expected(network, serving, test)
        calibration = train.batch(np.linspace(0, len(train) - 1, min(CALIBRATION, len(train))).astype(int))[0]
        shipped = []
        for name in formats:
            path = part / FORMATS[name].file
            FORMATS[name].write(serving, path, calibration)
            shipped.append(_tried(name, path, serving, expected, test, Path(folder)))
        (part / "README.md").write_text(card(run, network, shipped, len(test)), "utf-8")
        shutil.move(part, output)
    return shipped


def _made(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _expected(network, serving, test):
    """Probabilities of the network in float32. Raises UserError where it is another than was trained."""
    own = evaluation.predict(network.model, test, network.preprocessing)
    found = evaluation.predict(serving.model, test, network.preprocessing)
    allowed = max(ROUNDING[layer.compute_dtype] for layer in network.model.layers)
    if (apart := np.abs(own - found).max()) > allowed:
        raise UserError(f"in float32 the network is another: its probabilities are {apart:.2g} apart")
    return found


def _tried(name, path, serving, expected, test, folder):
    """The Shipped of a file that gives, in its own runtime, the expected probabilities. Raises UserError."""
    pictures, answers = folder / "pictures.npy", folder / "answers.npz"
    np.save(pictures, test.batch(np.arange(len(test)))[0])
    command = [sys.executable, "-I", runtime.__file__, str(path), str(pictures), str(answers)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or "no word").splitlines()[-1]
        raise UserError(f"format={name}: what was written does not run: {reason}")
    with np.load(answers) as file:
        found = dict(file)
    if found["class_names"].tolist() != serving.class_names:
        raise UserError(f"format={name}: what was written has other class names")
    probabilities = found["probabilities"]
    apart, agreement = np.abs(probabilities - expected).max(), _agreement(probabilities, expected)
    if (apart > TOLERANCE) if FORMATS[name].exact else (agreement < AGREEMENT):
        raise UserError(
            f"format={name}: what was written is another network: probabilities are {apart:.2g} apart, "
            f"and {agreement:.1%} of {len(test)} pictures are taken for the same; nothing is left of it"
        )
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    accuracy = float((probabilities.argmax(1) == test.labels).mean())
    size = sum(p.stat().st_size for p in files)
    return Shipped(name, path.name, size, accuracy, float(apart), float(found["one"]), float(found["batch"]))


def _agreement(probabilities, expected):
    return (probabilities.argmax(1) == expected.argmax(1)).mean()
