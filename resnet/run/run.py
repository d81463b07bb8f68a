"""One training in one directory: who holds it, how it goes on, and what it leaves there."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
import yaml
from filelock import FileLock, Timeout

from resnet.data.preprocessing import Preprocessing
from resnet.errors import UserError, decoration
from resnet.files import csv_text, json_text, reading, replace_arrays, replace_text, replacing
from resnet.models import cost
from resnet.process import forget_peak_memory, git_commit, hours, peak_memory, resume_command, versions
from resnet.run import split
from resnet.run.callbacks.base import Callback, in_order
from resnet.run.changes import changes, differences, schedule_warning, told
from resnet.run.checkpoints import checkpoints, newest
from resnet.run.directory import RunDirectory, flat
from resnet.run.epoch_record import split_text
from resnet.training.distribution import everyone, is_chief, single

if TYPE_CHECKING:
    import keras

    from resnet.data.normalization import Normalization
    from resnet.training.trainer import Trainer

log = logging.getLogger(__name__)
NO_RECORD = {"config.yaml": "{}\n", "overrides.yaml": "[]\n"}
# What result.json says of a run; what callbacks say by `result()` stands beside it, under their names.
RESULT = (
    *("status", "error", "objective", "train", "validation", "test", "test_looks", "original_data"),
    *("final_weights", "epochs", "steps", "elapsed_seconds", "first_step_seconds", "images_per_second"),
    *("training_flops_per_image", "matrix_product_flops", "share_of_matrix_product", "parameters"),
    *("peak_memory_bytes", "precision", "threads", "replicas", "seed", "git_commit", "versions"),
)
FIRST_STEP = "the first step"  # among the callbacks' names, of which none has spaces


class Run:
    """One training in one directory, held by one process.

    A context manager, which takes the directory and gives it back; an error that leaves it is written to
    result.json. What a training left there stays as it is until a step of this one is done: so a finished
    run whose going on fails before stays finished. Of several workers only the chief writes; the others read
    its checkpoints, and say nothing but warnings.

    Args:
        directory: made if missing; a run that was cut off there goes on.
        record: what `.hydra/` holds, text by file name; `config.yaml` is the configuration.
        strategy: the trainer's `tf.distribute.Strategy`, which connects the workers.
        started: when the program was launched, or this job of a sweep began, in seconds since the epoch.
        changes_allowed: whether a run may go on with another configuration, or recipe, than it began with.

    Entering raises UserError while another process runs in this directory, for another configuration unless
    allowed, and where the workers' configurations differ.
    """

    entered = False  # one by this process

    def __init__(
        self,
        directory: str | Path,
        record: Mapping[str, str] | None = None,
        strategy: tf.distribute.Strategy | None = None,
        started: float | None = None,
        changes_allowed: bool = False,
    ) -> None:
        self.directory = RunDirectory(directory)
        self.record = record or NO_RECORD
        self.config_text = self.record["config.yaml"]
        self.strategy = strategy or single()
        self.chief = is_chief(self.strategy)
        self.launched = self.started = started or time.time()
        self.changes_allowed = changes_allowed
        self.result: Any = None  # a dict that JSON can hold, once the run is finished
        self._lock = FileLock(self.directory.lock, timeout=0)
        self._callbacks: dict[str, keras.callbacks.Callback] = {}
        self._begun = False
        self._finished = False  # what lies there, and no step was trained since
        self._owns = False  # whether the record there is of this training
        self._goes_on = False  # after a step of an earlier one
        self._had_a_training = False
        self._summary: str | None = None  # of its model, where that can be told

    @property
    def name(self) -> str:
        """What TensorBoard calls it among other runs."""
        return f"{self.directory.path.name} in {self.directory.path.parent}"

    @property
    def hparams(self) -> dict[str, bool | int | float | str]:
        """What tells this run from others: its seed and what was overridden, plain values by name."""
        config = flat(yaml.safe_load(self.config_text))
        values = {"seed": config["seed"]} if "seed" in config else {}
        for override in yaml.safe_load(self.record["overrides.yaml"]):
            key, _, text = override.lstrip("+").partition("=")
            value = config.get(key, text)
            values[key] = value if isinstance(value, bool | int | float) else str(value)
        return values

    def __enter__(self) -> Run:
        if Run.entered:  # a job of a sweep: what earlier ones held does not count; looking for it takes time
            forget_peak_memory()
        Run.entered = True
        try:
            if self.chief:
                self._hold()
            else:
                leave_the_log_to_the_chief()
            self._agree()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._begun:
                self._leave(error)
        finally:
            self._close()

    def _close(self):
        """Let the callbacks end, who can read how the run ended, and give the directory back."""
        try:
            for callback in self._callbacks.values():
                if hasattr(callback, "close"):
                    callback.close()
        finally:
            self._lock.release()

    def _leave(self, error):
        """Say in the directory how the run ended, where it did not end well."""
        if self._finished:
            return
        if isinstance(error, KeyboardInterrupt):
            self.directory.write_result({"status": "interrupted"})
            log.info("%s\ngo on with: %s", error or "stopped", resume_command(self.directory.resumable()))
        elif isinstance(error, Exception):
            reason = str(_reason(error)) or type(error).__name__
            with suppress(UserError):  # a full disk must not hide the error
                self.directory.write_result({"status": "failed", "error": reason})

    def describe(self, trainer: Trainer) -> None:
        """Print the model's summary; write it, its picture and what the data are called beside the logs.

        Where another training has left its own, that is done after the first step.
        """
        if not self.chief:
            return
        from resnet.models import summary

        with decoration("the summary"):
            self._summary = summary(trainer.model)
            print(self._summary)
        if self._owns:
            self._write_description(trainer)

    def _write_description(self, trainer):
        from resnet.models import architecture

        if self._summary is not None:
            replace_text(self.directory.summary, self._summary + "\n")
        with decoration("the architecture"):
            replace_text(self.directory.architecture, architecture.svg(trainer.model))
        with replacing(self.directory.normalization) as part:
            trainer.preprocessing.save(part)
        self.directory.write_class_names(trainer.dataset.class_names)
        self._write_wrong_labels(trainer.dataset)
        parts = split.parts_of(trainer.dataset)
        if self._goes_on and self.directory.split.exists():
            parts = split.gone_on_with(parts, self.directory.parts())
        replace_arrays(self.directory.split, parts)

    def take_over(self, trainer: Trainer) -> None:
        """Make what another training left in the directory that of this one, of which a step is done."""
        self.result, self._finished = None, False
        if self.chief and not self._owns:
            self._write_record()
            self._write_description(trainer)

    def _write_record(self):
        self.directory.write_result({"status": "running"})  # before the configuration it does not belong to
        self.directory.write_record(self.record)
        self._owns = True

    @cached_property
    def _checkpoint(self):
        """The newest whole one, or None."""
        return newest(self.directory.checkpoints)

    @property
    def goes_on(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return self._checkpoint is not None

    def normalization(self) -> Normalization:
        """That of a run that goes on, as it began."""
        with reading(
            self.directory.normalization, "put it back, or give another hydra.run.dir to begin anew"
        ):
            return Preprocessing.load(self.directory.normalization).normalization

    def resume(self, trainer: Trainer) -> None:
        """Give a compiled `trainer` the state of the newest whole checkpoint, if there is one.

        Raises UserError for a second training, for workers that find other checkpoints, and for other images
        or another recipe than the run began with, unless changes are allowed.
        """
        if self._had_a_training:
            raise UserError(
                f"{self.directory}: this Run has had its training; for another enter another, "
                "with resnet.Run(directory)"
            )
        self._had_a_training = True
        found = self._checkpoint
        steps = everyone(self.strategy, found and found[1]["step"])
        if len(set(steps)) > 1:
            raise UserError(
                f"the workers find checkpoints of different steps: {steps}\n"
                "give all of them one hydra.run.dir, on storage that they share"
            )
        if found is None:
            if checkpoints(self.directory.checkpoints):
                log.warning("no checkpoint in %s is whole; beginning anew", self.directory)
            return
        arrays, notes = found
        if notes.get("data") not in (None, trainer.dataset.train.checksum) and not self.changes_allowed:
            raise UserError(
                f"the training images are not those that {self.directory} began with\n"
                "go on in the working directory that a relative data.dir is meant for, or with changes=allow"
            )
        recipe = json.loads(json_text(trainer.recipe))  # as a checkpoint has it; older ones have none
        changed = differences(notes.get("recipe", recipe), recipe)
        if changed and not self.changes_allowed:
            raise UserError(
                f"{self.directory} holds a run of another recipe: {told(changed)}\n"
                "give that one, or changes=allow (changes_allowed=True in Python) to go on with this one"
            )
        trainer.restore(arrays, notes)
        self._goes_on = True
        self.started -= notes["elapsed_seconds"]
        del self._checkpoint  # the arrays are in the trainer now
        log.info("going on after step %d, in epoch %d", trainer.step, len(trainer.history) + 1)

    def attach(
        self, callbacks: Mapping[str, keras.callbacks.Callback]
    ) -> dict[str, keras.callbacks.Callback]:
        """The callbacks, by name, that this process runs, in their order; they are told of the run.

        Raises UserError for one whose result would take the place of something else in result.json.
        """
        for name, callback in callbacks.items():
            if name in RESULT and hasattr(callback, "result"):
                raise UserError(
                    f"callbacks.{name}: its result() would take the place of {name} in result.json\n"
                    "give the callback another name"
                )
        mine = {n: c for n, c in callbacks.items() if self.chief or not getattr(c, "chief_only", False)}
        for callback in mine.values():
            callback.run = self
        first = {} if self._owns else {FIRST_STEP: FirstStep(self)}
        self._callbacks = in_order(first | mine)
        return self._callbacks

    def notes(self) -> dict[str, float]:
        """What a checkpoint keeps of the run."""
        return {"elapsed_seconds": time.time() - self.started}

    def show(self, split: str, pictures: Mapping[str, bytes]) -> None:
        """Write PNG files of a split, by name, to the directory, and tell the callbacks of them."""
        for name, data in pictures.items():
            self.directory.write_picture(name, data)
        self._tell("on_pictures", split, pictures)

    def finish(self, trainer: Trainer) -> dict[str, Any]:
        """Score the finished network; write it, the outcome of each held-out image and the result."""
        if self.result and self.chief:
            log.warning(
                "%s is finished, and nothing was trained; give another directory to train anew",
                self.directory,
            )
        self.take_over(trainer)
        parts = {name: part for name, part in trainer.dataset.parts.items() if name != "train"}
        found = {name: trainer.examine(part) for name, part in parts.items()}
        scores = {name: of_part for name, (of_part, _) in found.items()}
        if self.chief:
            with replacing(self.directory.model) as part:
                trainer.model.save(part)
            logits = {name: of_part for name, (_, of_part) in found.items()}
            self._write_predictions(trainer.dataset, logits)
            self._tell("on_scored", scores, logits)
        scores["train"] = trainer.history[-1]["train"]
        objective = trainer.watched and f"{trainer.watched}/accuracy"
        history = trainer.history
        rates = [r["time"]["images_per_second"] for r in history if "images_per_second" in r["time"]]
        self.result = {
            "status": "finished",
            "objective": {"name": objective, "value": objective and scores[trainer.watched]["accuracy"]},
            **scores,
            "test_looks": trainer.test_looks,
            "original_data": trainer.dataset.original and trainer.dataset.original(),
            "final_weights": _ended_with(trainer),
            "epochs": len(history),
            "steps": trainer.step,
            "elapsed_seconds": time.time() - self.started,
            "first_step_seconds": trainer.first_step_at and trainer.first_step_at - self.launched,
            **self._speed(trainer, rates),
            "parameters": trainer.model.count_params(),
            "peak_memory_bytes": peak_memory(),
            "precision": trainer.precision,
            "threads": tf.config.threading.get_intra_op_parallelism_threads(),
            "replicas": self.strategy.num_replicas_in_sync,
            "seed": trainer.seed,
            "git_commit": git_commit(__file__),
            "versions": versions(),
            **self._said(),
        }
        if self.chief:
            self.directory.write_result(self.result)
        self._finished = True
        log.info(
            "test %s, %selapsed %s, in %s",
            split_text(scores["test"]),
            _speed_text(self.result),
            hours(self.result["elapsed_seconds"]),
            self.directory,
        )
        if trainer.watched == "test":
            log.warning("the test images were looked at %d times: no honest test", trainer.test_looks)
        everyone(self.strategy, "done")  # who leaves earlier would look like a worker that died
        return self.result

    def _speed(self, trainer, rates):
        """Images a second, the median of the epochs' `rates`, and the arithmetic that they are."""
        rate, flops = float(np.median(rates)) if rates else None, cost.training_flops(trainer.model)
        product = cost.matrix_product(trainer.precision, self.strategy)
        return {
            "images_per_second": rate,
            "training_flops_per_image": flops,
            "matrix_product_flops": product,
            "share_of_matrix_product": rate and flops and rate * flops / product,
        }

    def _said(self):
        """What callbacks with a `result()` say in the result, by name."""
        said = {name: c.result() for name, c in self._callbacks.items() if hasattr(c, "result")}
        for name, result in said.items():
            try:
                said[name] = json.loads(json_text(result))
            except (TypeError, ValueError) as error:
                raise UserError(f"callbacks.{name}: result.json cannot hold its result(): {error}") from error
        return said

    def _hold(self):
        """Take the directory, or raise; then it is ours to write to."""
        self.directory.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise UserError(
                f"{self.directory} is in use by another run; give another hydra.run.dir"
            ) from error
        self.result = self._begin()

    def _agree(self):
        """Take the chief's result; raise unless all workers have its configuration."""
        chief, *workers = everyone(self.strategy, [self.config_text, self.result])
        self.result = chief[1]
        for number, (config_text, _) in enumerate(workers, 1):
            if changed := changes(chief[0], config_text):
                raise UserError(f"worker {number} and the chief differ: {told(changed)}")
        if workers:
            log.info("%d replicas on %d workers", self.strategy.num_replicas_in_sync, 1 + len(workers))

    def _begin(self):
        """The result of a run that is finished, else None; where no training was, this one's is begun."""
        result = self.directory.result()
        finished = result if result.get("status") == "finished" else None
        before, begun = self.directory.config_text(), checkpoints(self.directory.checkpoints)
        changed = changes(before, self.config_text) if before else []
        if changed and not self.changes_allowed and (finished or begun):
            raise UserError(
                f"{self.directory} holds a run with another configuration: {told(changed)}\n"
                "give that one, or changes=allow to go on with this one"
            )
        self._begun, self._finished = True, finished is not None
        if finished and not changed and not self._lost(begun):
            if before is None:
                self.directory.write_record(self.record)
            log.info("%s is finished: test %s", self.directory, split_text(finished["test"]))
            return finished
        if before and begun and (warning := schedule_warning(before, self.config_text)):
            log.warning(warning)
        if not (finished or begun):
            self._write_record()
        return None

    def _lost(self, begun):
        """The files that a finished run has lost, which its last checkpoint gives again; they are logged."""
        lost = ", ".join(path.name for path in self.directory.lost)
        if lost and not begun:
            raise UserError(
                f"{self.directory} is finished, but {lost} and its checkpoints are gone\n"
                "give another hydra.run.dir to train anew"
            )
        if lost:
            log.warning("%s is finished, but without %s: written again", self.directory, lost)
        return lost

    def _tell(self, event, *arguments):
        """Call the method `event` of the callbacks that know runs."""
        for callback in self._callbacks.values():
            if isinstance(callback, Callback):
                getattr(callback, event)(*arguments)

    def _write_wrong_labels(self, dataset):
        labels, true = dataset.train.labels, dataset.true_labels
        changed = () if true is None else np.flatnonzero(labels != true)
        if rows := [{"image": i, "label": labels[i], "true_label": true[i]} for i in changed]:
            replace_text(self.directory.wrong_labels, csv_text(rows))

    def _write_predictions(self, dataset, logits):
        arrays: dict[str, Any] = {}
        for name, found in logits.items():
            labels = dataset.parts[name].labels
            arrays |= {
                f"{name}_index": np.arange(len(labels), dtype=np.int32),
                f"{name}_label": labels.astype(np.int32),
                f"{name}_logits": found.astype(np.float16),
            }
        replace_arrays(self.directory.predictions, arrays)


class FirstStep(Callback):
    """Has `run` take its directory over once a step was trained, before anyone writes what came of it."""

    chief_only = False

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.run.take_over(self.trainer)


def _reason(error):
    """What a node raised while Hydra built it, which is no part of this package's imports."""
    while type(error).__name__ == "InstantiationException" and error.__cause__:
        error = error.__cause__
    return error


def _ended_with(trainer):
    """Which weights the training ended with, by a rule of the trainer or from a callback."""
    gave = (
        f"callbacks.{name}"
        for name, callback in trainer.callbacks.items()
        if getattr(callback, "restore_best_weights", False) and callback.best_weights is not None
    )
    return next(gave, trainer.final_weights)


def _speed_text(result):
    if result["images_per_second"] is None:
        return ""
    share = result["share_of_matrix_product"]
    of_product = "" if share is None else f" at {share:.0%} of the matrix product"
    return f"{result['images_per_second']:,.0f} images/s{of_product}, "


def leave_the_log_to_the_chief() -> None:
    """Log warnings only, and not to files."""
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    for handler in [h for h in root.handlers if isinstance(h, logging.FileHandler)]:
        root.removeHandler(handler)
        handler.close()
