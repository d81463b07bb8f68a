"""The run directory: what it holds, how it is written, and how a run goes on that was cut off."""

import json
import logging
import platform
import resource
import shlex
import subprocess
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tensorflow as tf
import yaml
from filelock import FileLock, Timeout

from resnet import architecture
from resnet.callbacks import Histograms, MetricsCsv, Profile, Progress, TensorBoard
from resnet.checkpoints import Checkpoints, checkpoints, newest
from resnet.distribution import everyone, is_chief
from resnet.errors import UserError
from resnet.files import replace_text, replacing
from resnet.models import summary

log = logging.getLogger(__name__)
PACKAGES = ("tensorflow", "keras", "hydra-core", "numpy")


class Run:
    """One training in one directory, held by one process.

    A context manager: an error that leaves it is written to result.json. Of several workers only the
    chief writes; the others read its checkpoints, and say nothing but warnings.

    Args:
        directory: made by the caller; a run that was cut off there goes on.
        record: what `.hydra/` holds, text by file name; `config.yaml` is the configuration.
        started: when the program was launched, or this job of a sweep began, in seconds since the epoch.
        strategy: the trainer's `tf.distribute.Strategy`, which connects the workers.
        changes_allowed: whether a run may go on with another configuration than it began with.

    Raises UserError while another process runs in this directory, for another configuration unless
    allowed, and where the workers' configurations differ.
    """

    def __init__(self, directory, record, started, strategy, changes_allowed=False):
        self.directory = Path(directory)
        self.launched = self.started = started
        self.strategy, self.chief = strategy, is_chief(strategy)
        self.config_text, self.changes_allowed = record["config.yaml"], changes_allowed
        self.hparams = _hparams(record)
        self.result = None
        self._checkpoints = self._tensorboard = None
        self._lock = FileLock(self.directory / ".lock", timeout=0)
        if self.chief:
            self._hold(record)
        else:
            leave_the_log_to_the_chief()
        self._agree()

    def _hold(self, record):
        """Take the directory, or raise; then it is ours to write to."""
        try:
            self._lock.acquire()
        except Timeout as error:
            raise UserError(
                f"{self.directory} is in use by another run; give another hydra.run.dir"
            ) from error
        try:
            self.result = self._begin(record)
        except BaseException:
            self._lock.release()
            raise

    def _agree(self):
        """Take the chief's result; raise unless all workers have its configuration."""
        chief, *workers = everyone(self.strategy, [self.config_text, self.result])
        self.result = chief[1]
        for number, (config_text, _) in enumerate(workers, 1):
            if changed := changes(chief[0], config_text):
                raise UserError(f"worker {number} and the chief differ: {'; '.join(changed)}")
        if workers:
            log.info("%d replicas on %d workers", self.strategy.num_replicas_in_sync, 1 + len(workers))

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if self._checkpoints:
            self._checkpoints.close()
        try:
            if isinstance(error, KeyboardInterrupt):
                self._write_result({"status": "interrupted"})
                resume = shlex.quote(f"resume={self._resumable()}")
                log.info("%s\ngo on with: python train.py %s", error or "stopped", resume)
            elif isinstance(error, Exception):
                with suppress(UserError):  # a full disk must not hide the error
                    self._write_result({"status": "failed", "error": str(error)})
        finally:
            self._lock.release()

    def describe(self, trainer):
        """Print the model's summary; write it, its picture and what the data are called beside the logs."""
        if not self.chief:
            return
        text = summary(trainer.model)
        print(text)
        replace_text(self.directory / "summary.txt", text + "\n")
        replace_text(self.directory / "architecture.svg", architecture.svg(trainer.model))
        with replacing(self.directory / "normalization.npz") as part:
            trainer.dataset.normalization.save(part)
        names = json.dumps(trainer.dataset.class_names, indent=2, ensure_ascii=False)
        replace_text(self.directory / "class_names.json", names + "\n")

    def resume(self, trainer):
        """Give a compiled `trainer` the state of the newest whole checkpoint, if there is one."""
        found = newest(self.directory / "checkpoints")
        steps = everyone(self.strategy, found and found[1]["step"])
        if len(set(steps)) > 1:
            raise UserError(
                f"the workers find checkpoints of different steps: {steps}\n"
                "give all of them one hydra.run.dir, on storage that they share"
            )
        if found is None:
            if checkpoints(self.directory / "checkpoints"):
                log.warning("no checkpoint in %s is whole; beginning anew", self.directory)
            return
        arrays, notes = found
        if notes["data"] != trainer.dataset.train.checksum and not self.changes_allowed:
            raise UserError(
                f"the training images are not those that {self.directory} began with\n"
                "go on in the working directory that a relative data.dir is meant for, or with changes=allow"
            )
        trainer.restore(arrays, notes)
        self.started -= notes["elapsed_seconds"]
        log.info("going on after step %d, in epoch %d", trainer.step, len(trainer.history) + 1)

    def callbacks(self, trainer):
        """Keras callbacks that save and log what `trainer` does."""
        self._checkpoints = Checkpoints(
            self.directory / "checkpoints",
            trainer,
            lambda: {"elapsed_seconds": time.time() - self.started},
            trainer.checkpoint_minutes,
            trainer.keep_checkpoints,
        )
        if not self.chief:
            return [self._checkpoints]

        def show_data():
            from resnet import pictures  # loads matplotlib, for which the first step need not wait

            return self._write_pictures(pictures.of_data(trainer))

        self._tensorboard = TensorBoard(
            self.directory / "tensorboard",
            f"{self.directory.name} in {self.directory.parent}",
            self.config_text,
            self.hparams,
            show_data,
            trainer.history,
        )
        # A checkpoint comes before the logs: from it they write again what they lack.
        callbacks = [
            self._checkpoints,
            self._tensorboard,
            MetricsCsv(self.directory / "metrics.csv", trainer.history),
            Progress(trainer),
        ]
        if trainer.histograms:
            callbacks.append(Histograms(self.directory / "tensorboard" / "histograms", trainer))
        if trainer.profile:
            callbacks.append(Profile(self.directory / "tensorboard", trainer))
        return callbacks

    def finish(self, trainer, test, seed):
        """Write model, pictures and result, given what `trainer.evaluate` says of the test images."""
        if self.chief:
            with replacing(self.directory / "model.keras") as part:
                trainer.model.save(part)
            self._show(trainer, test)
        history = trainer.history
        accuracies = [epoch["test_accuracy"] for epoch in history if "test_accuracy" in epoch]
        self.result = {
            "status": "finished",
            "test_accuracy": test["accuracy"],
            "test_loss": test["loss"],
            "best_test_accuracy": max([*accuracies, test["accuracy"]]),
            "epochs": len(history),
            "steps": trainer.step,
            "elapsed_seconds": time.time() - self.started,
            "first_step_seconds": trainer.first_step_at and trainer.first_step_at - self.launched,
            "images_per_second": float(np.median([epoch["images_per_second"] for epoch in history])),
            "parameters": trainer.model.count_params(),
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "precision": trainer.precision,
            "threads": tf.config.threading.get_intra_op_parallelism_threads(),
            "replicas": self.strategy.num_replicas_in_sync,
            "seed": seed,
            "git_commit": git_commit(),
            "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        }
        self._write_result(self.result)
        log.info(
            "test loss %.4f, test accuracy %.2f%%, elapsed %s, in %s",
            test["loss"],
            100 * test["accuracy"],
            time.strftime("%H:%M:%S", time.gmtime(self.result["elapsed_seconds"])),
            self.directory,
        )
        everyone(self.strategy, "done")  # who leaves earlier would look like a worker that died
        return self.result

    def _show(self, trainer, test):
        """Pictures of the training, and of what the model makes of the test images."""
        from resnet import evaluation, pictures

        self._write_pictures(pictures.of_history(trainer.history, trainer.model.name))
        dataset = trainer.dataset
        probabilities = evaluation.predict(trainer.model, dataset.test.images, dataset.normalization)
        shown = pictures.of_predictions(probabilities, dataset.test, dataset.class_names)
        self._tensorboard.finish(test, self._write_pictures(shown))

    def _begin(self, record):
        """The result of a run that is finished, else None and the directory is marked as this run's."""
        finished, changed = self._finished(), self._changed()
        if changed and not self.changes_allowed and (finished or checkpoints(self.directory / "checkpoints")):
            raise UserError(
                f"{self.directory} holds a run with another configuration: {'; '.join(changed)}\n"
                "give that one, or changes=allow to go on with this one"
            )
        if finished and not changed:
            accuracy = 100 * finished["test_accuracy"]
            log.info("%s is finished: test accuracy %.2f%%", self.directory, accuracy)
            return finished
        self._write_result({"status": "running"})  # before the configuration that it does not belong to
        (self.directory / ".hydra").mkdir(exist_ok=True)
        for name, text in record.items():
            replace_text(self.directory / ".hydra" / name, text)
        return None

    def _changed(self):
        """How the configuration differs from the one that began this run, a text a key."""
        path = self.directory / ".hydra" / "config.yaml"
        if not path.exists():
            return []
        return changes(path.read_text(), self.config_text)

    def _finished(self):
        path = self.directory / "result.json"
        result = json.loads(path.read_text()) if path.exists() else {}
        return result if result.get("status") == "finished" else None

    def _resumable(self):
        """What `resume=` goes on with: the sweep that this run is a job of, or the run."""
        sweep = self.directory.parent
        return sweep if (sweep / "multirun.yaml").exists() else self.directory

    def _write_pictures(self, pictures):
        for name, data in pictures.items():
            with replacing(self.directory / f"{name}.png") as part:
                part.write_bytes(data)
        return pictures

    def _write_result(self, result):
        if self.chief:
            replace_text(self.directory / "result.json", json.dumps(result, indent=2) + "\n")


def leave_the_log_to_the_chief():
    """Log warnings only, and not to files."""
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    for handler in [h for h in root.handlers if isinstance(h, logging.FileHandler)]:
        root.removeHandler(handler)
        handler.close()


def changes(before, after):
    """How one configuration, as YAML, differs from the one before: a text a key."""
    old, new = (_flat(yaml.safe_load(text)) for text in (before, after))
    keys = sorted({*old, *new} - {"changes"})
    return [
        f"{key}={new.get(key, 'absent')}, it was {old.get(key, 'absent')}"
        for key in keys
        if old.get(key, "absent") != new.get(key, "absent")
    ]


def _flat(tree, prefix=""):
    """`{"a": {"b": 1}}` as `{"a.b": 1}`."""
    flat = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _hparams(record):
    """What tells this run from others: its seed and what was overridden."""
    config = _flat(yaml.safe_load(record["config.yaml"]))
    hparams = {"seed": config["seed"]}
    for override in yaml.safe_load(record["overrides.yaml"]):
        key, _, text = override.lstrip("+").partition("=")
        value = config.get(key, text)
        hparams[key] = value if isinstance(value, bool | int | float) else str(value)
    return hparams


def git_commit():
    """Commit of this code, or None outside a checkout."""
    root = Path(__file__).parent
    found = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True)
    return found.stdout.strip() or None
