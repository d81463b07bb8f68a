"""The run directory: what it holds and how it is written."""

import json
import logging
import platform
import resource
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
from filelock import FileLock, Timeout

from resnet.callbacks import MetricsCsv, Progress, TensorBoard, Timing
from resnet.errors import UserError
from resnet.models import summary

log = logging.getLogger(__name__)
PACKAGES = ("tensorflow", "keras", "hydra-core", "numpy")


class Run:
    """One training in one directory: its callbacks, summary and result."""

    def __init__(self, directory, config_text, started):
        """`started` is when the program was launched, in seconds since the epoch.

        Raises UserError while another process runs in this directory.
        """
        self.directory = Path(directory)
        self._lock = FileLock(self.directory / ".lock", timeout=0)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise UserError(f"{directory} is in use by another run; give another hydra.run.dir") from error
        self.started = started
        self.timing = Timing()
        self.config_text = config_text

    def callbacks(self, watched):
        """Keras callbacks; `watched` is `test` or `validation`."""
        checkpoints = self.directory / "checkpoints"
        checkpoints.mkdir(exist_ok=True)
        return [
            self.timing,
            TensorBoard(self.directory / "tensorboard", self.config_text),
            MetricsCsv(self.directory / "metrics.csv"),
            keras.callbacks.ModelCheckpoint(checkpoints / "last.weights.h5", save_weights_only=True),
            keras.callbacks.ModelCheckpoint(
                checkpoints / "best.weights.h5",
                monitor=f"{watched}_accuracy",
                mode="max",
                save_best_only=True,
                save_weights_only=True,
            ),
            Progress(),
        ]

    def describe(self, model, dataset):
        """Print the model's summary and write it, with the normalisation, beside the logs."""
        text = summary(model)
        print(text)
        (self.directory / "summary.txt").write_text(text + "\n")
        np.savez(self.directory / "normalization.npz", **vars(dataset.normalization))

    def finish(self, trainer, history, test, seed):
        """Write model.keras and result.json; returns the result."""
        trainer.model.save(self.directory / "model.keras")
        accuracies = [epoch["test_accuracy"] for epoch in history if "test_accuracy" in epoch]
        result = {
            "test_accuracy": test["accuracy"],
            "test_loss": test["loss"],
            "best_test_accuracy": max([*accuracies, test["accuracy"]]),
            "epochs": len(history),
            "steps": trainer.step,
            "elapsed_seconds": time.time() - self.started,
            "first_step_seconds": self.timing.first_step_at - self.started,
            "images_per_second": float(np.median([epoch["images_per_second"] for epoch in history])),
            "parameters": trainer.model.count_params(),
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "precision": trainer.precision,
            "seed": seed,
            "git_commit": git_commit(),
            "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        }
        (self.directory / "result.json").write_text(json.dumps(result, indent=2) + "\n")
        log.info(
            "test loss %.4f, test accuracy %.2f%%, elapsed %s, in %s",
            test["loss"],
            100 * test["accuracy"],
            time.strftime("%H:%M:%S", time.gmtime(result["elapsed_seconds"])),
            self.directory,
        )
        return result


def git_commit():
    """Commit of this code, or None outside a checkout."""
    root = Path(__file__).parent
    found = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True)
    return found.stdout.strip() or None
