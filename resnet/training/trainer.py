"""The training loop: several steps per call, on tf.distribute, under schedule x plateau."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from resnet.augmentation.transform import Transform
from resnet.data.dataset import AnySplit, Dataset
from resnet.data.feed import feed, with_blocks
from resnet.data.preprocessing import Preprocessing
from resnet.errors import UserError
from resnet.internals.keras import all_layers, own_variables
from resnet.models.batch_norm import synchronize
from resnet.rules import adaptive_has_a_radius
from resnet.run.epoch_record import keras_logs, record
from resnet.training import budget, callback_memory, checks
from resnet.training.callbacks import Callbacks, any_says, named, wishes
from resnet.training.distribution import everyone, is_chief, single
from resnet.training.environment import precision_in_force
from resnet.training.evaluator import Evaluator
from resnet.training.freezing import Freeze
from resnet.training.losses import AnyLoss, cross_entropy, loss_of
from resnet.training.metrics import Metric
from resnet.training.rate import Rate
from resnet.training.recipe import recipe
from resnet.training.schedules import Constant, Plateau, Schedule, Stretched
from resnet.training.sharpness import SAM
from resnet.training.steps import Steps, averages_weights, unscaled
from resnet.training.weights import final_weights, measure_batch_norm

log = logging.getLogger(__name__)
FORMAT = 2  # of what `state` gives
STEPS_PER_CALL = 16
FEW_STEPS, FEW_WATCHED = 200, 50
WATCHED, FINAL_WEIGHTS = ("validation", "test"), ("last", "best", "average", "ema")
TIMES = ("images_per_second", "epoch_seconds", "evaluation_seconds")
SECONDS_PER_CALL = 1.0
CALLBACKS = "callbacks/"  # how what they remember is named in a state


class Trainer:
    """Trains a Keras model on the images of a Dataset.

    Args:
        epochs: epochs to train.
        minutes: the time that the training has in place of `epochs`, from its launch to its last figure, or
            None. Some steps are tried first, and undone; then it is known how many there is time for, and the
            schedule, which is made for `epochs`, is fitted to them.
        batch_size: images per step, over all replicas.
        max_steps: stop after so many steps, or None.
        watch: what plateau, best weights and early stopping go by, after each epoch: the `validation`
            images, where there are any, or the `test` images, whose figures then are no honest test.
        final_weights: those that the model ends with: `last`, `best` (by the watched accuracy), `average` (of
            the late epochs, see `weights.Average`) or `ema` (of all steps, see `weights.Ema`).
        average_from: share of the training after which `average` begins.
        ema_decay: of `ema`.
        accumulate_steps: parts that a batch is seen in, one after the other, for the memory of one part.
            Gradients are means over the images of the batch, as without it; batch norm's are over a part.
        sam_rho: the radius of `sharpness.SAM`; None is without it.
        sam_adaptive: whether it is ASAM.
        plateau: a `schedules.Plateau`, or None.
        precision: `float32`, `bfloat16`, `float16` or `auto`, as it was given to `environment.prepare`. In
            float16 the loss is scaled so that no gradient is lost, see `keras.optimizers.LossScaleOptimizer`.
        deterministic: as it was given to `environment.prepare`.
        scale_rate_from: the batch size that the optimizer's rate is for; the rate then grows in
            proportion to `batch_size` (Goyal et al. 2017, section 2.1). None: it stays.
        synchronize_batch_norm: whether batch statistics are those of all replicas, not of each one.
        strategy: a `tf.distribute.Strategy`, from `distribution`; None for the default one.
        seed: of the order of the images and of their augmentation.

    Raises UserError for an option out of its range or of another kind, unless `batch_size` divides among the
    replicas and gives each part an image, and where `prepare` set another precision than this one; ValueError
    for a rho that is not above 0, and for `sam_adaptive` without one.
    """

    def __init__(
        self,
        epochs: int = 200,
        minutes: float | None = None,
        batch_size: int = 32,
        max_steps: int | None = None,
        watch: str = "validation",
        final_weights: str = "last",
        average_from: float = 0.75,
        ema_decay: float = 0.999,
        accumulate_steps: int = 1,
        sam_rho: float | None = None,
        sam_adaptive: bool = False,
        plateau: Plateau | None = None,
        precision: str = "float32",
        deterministic: bool = False,
        scale_rate_from: int | None = None,
        synchronize_batch_norm: bool = False,
        strategy: tf.distribute.Strategy | None = None,
        seed: int = 0,
    ) -> None:
        checks.options(
            choices={"watch": (watch, WATCHED), "final_weights": (final_weights, FINAL_WEIGHTS)},
            counts={
                "epochs": epochs,
                "batch_size": batch_size,
                "max_steps": max_steps,
                "accumulate_steps": accumulate_steps,
                "scale_rate_from": scale_rate_from,
            },
            shares={"average_from": average_from, "ema_decay": ema_decay},
        )
        checks.kind("plateau", plateau, Plateau | None, "resnet.training.schedules.Plateau")
        expected = "tf.distribute.Strategy; resnet.training.distribution makes them"
        checks.kind("strategy", strategy, tf.distribute.Strategy | None, expected)
        self.batch_size, self._asked = batch_size, (epochs, max_steps)
        self.epochs, self.max_steps = self._asked  # until a plan changes them
        self.minutes = minutes
        self.planned_steps: int | None = None  # by `fit`, unless it is known before
        self.watch, self.final_weights, self.average_from = watch, final_weights, average_from
        self.ema_decay, self.accumulate_steps = ema_decay, accumulate_steps
        adaptive_has_a_radius(sam_rho, sam_adaptive)
        self.sharpness = SAM(sam_rho, sam_adaptive) if sam_rho is not None else None
        self.plateau, self.seed, self.deterministic = plateau, seed, deterministic
        self.scale_rate_from, self.synchronize_batch_norm = scale_rate_from, synchronize_batch_norm
        self.strategy = strategy or single()
        self.chief = is_chief(self.strategy)
        self.precision = precision_in_force()
        checks.precision(precision, self.precision)
        checks.batch_size(batch_size, self.strategy.num_replicas_in_sync, accumulate_steps)

    def scope(self) -> AbstractContextManager:
        """Where model and optimizer must be built."""
        return self.strategy.scope()

    def compile(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        dataset: Dataset,
        *,
        schedule: Schedule | None = None,
        augmentation: Transform | None = None,
        loss: AnyLoss | None = None,
        metrics: Mapping[str, Metric] | None = None,
        freeze: Freeze | None = None,
    ) -> None:
        """Bind what is to be trained; model, optimizer and metrics come from `scope()`.

        Args:
            model: of Keras; it gives logits `(B, K)`.
            optimizer: of Keras.
            dataset: a `data.Dataset`.
            schedule: one of `training.schedules`; None for the optimizer's own rate.
            augmentation: a Transform; None for none.
            loss: one of `training.losses`, or of Keras; None for cross-entropy.
            metrics: by name, as in `training.metrics`; None for the accuracy.
            freeze: a `freezing.Freeze`; None to train all.

        Raises UserError for what is of another kind, for fewer images than a batch has, for an optimizer that
        cannot be stepped here, for a model of another precision or that gives no logits, for metrics without
        the accuracy, and where nothing is there that is to be watched.
        """
        self.freeze = freeze or Freeze()
        (self.epochs, self.max_steps), self.planned_steps = self._asked, None
        checks.kind("model", model, keras.Model, "keras.Model; call what builds one")
        checks.metrics(metrics)
        checks.images(dataset, self.batch_size)
        checks.augmentation(augmentation)
        checks.schedule(schedule)
        if not model.built:
            with self.scope():
                model(keras.Input(dataset.image_shape))
        checks.model(model, self.precision, dataset)
        checks.optimizer(optimizer, model, self.strategy.num_replicas_in_sync, self.final_weights)
        checks.freeze(self.freeze, optimizer, self.minutes)
        if self.precision == "float16" and unscaled(optimizer) is optimizer:
            with self.scope():
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        self.model, self.optimizer, self.dataset = model, optimizer, dataset
        if self.plateau:
            self.plateau.reset()
        growth = self.batch_size / self.scale_rate_from if self.scale_rate_from else 1.0
        self.rate = Rate(optimizer, schedule or Constant(), self.plateau, growth)
        if self.scale_rate_from:
            log.info("learning rate %.4g, scaled from %.4g", self.rate.base, self.rate.base / growth)
        self.recipe = recipe(
            optimizer,
            self.rate.base,
            trainer={name: getattr(self, name) for name in ("batch_size", "accumulate_steps", "seed")},
            schedule=schedule,
            plateau=self.plateau,
            augmentation=augmentation,
            loss=loss,
            sam=self.sharpness,
        )
        self.watched = self._watched(dataset)
        self.weights = final_weights(self.final_weights, self.average_from, self.ema_decay, self.watched)
        with self.scope():
            self.weights.start(model)
        self.preprocessing = Preprocessing.of(dataset, augmentation, self.seed)
        if self.synchronize_batch_norm and self.strategy.num_replicas_in_sync > 1:
            with self.scope():
                synchronize(model)
        with self.scope():
            loss = loss_of(loss or cross_entropy(), dataset, self.preprocessing)
        self.steps = Steps(
            model,
            optimizer,
            loss,
            metrics,
            self.preprocessing,
            self.strategy,
            self.accumulate_steps,
            self.sharpness,
        )
        self.step = self.epoch_start = self.test_looks = 0
        self._news: list[str] = []
        self.history: list[dict[str, Any]] = []
        self.stopped = False
        self.first_step_at: float | None = None
        self._steps_per_call = 1
        self._feed = feed(dataset.train, self.strategy, self.preprocessing.crop, self.seed)
        if any(not variable.trainable for layer in all_layers(model) for variable in own_variables(layer)[0]):
            log.warning(
                "parts of the model are frozen already, and stay so; layer.trainable=True trains them"
            )
        self.frozen = bool(self.freeze.parts)
        thaws = self.frozen and self.freeze.epochs is not None
        self._unstepped = [np.array(v) for v in optimizer.variables] if thaws else []
        self.freeze.freeze(model)
        self._evaluator = Evaluator(self.steps, self.strategy)
        self.callbacks: dict[str, keras.callbacks.Callback] = {}
        self._remembered: dict[str, dict[str, Any]] = {}

    def fit(self, callbacks: Callbacks = (), launched: float | None = None) -> list[dict[str, Any]]:
        """Train to the last epoch, then give the model its final weights; returns `history`.

        `history` holds a record for each epoch, see `run.epoch_record`. Callbacks are those of Keras, in a
        list or by name, called as its `fit` calls them. `on_train_batch_end` comes after each call, which
        holds up to 16 steps; a callback whose `every_step` is true gets every step, and one with
        `steps_to_next(step)` says after how many more steps a call must end (None: it does not mind). Where
        one has a true `needs_outcomes`, `trainer.outcomes` holds what `Steps.training` gives of the images of
        the last call, whose numbers `(S, B)` are `trainer.indices`; where one has a true
        `expects_divergence`, a loss that is not finite is no error. What a callback remembers is part of the
        checkpoint, see `training.callback_memory`. A rate that one assigns to `model.optimizer.learning_rate`
        is honoured: from then on the rate is schedule x plateau x what it made of it. `launched` is when the
        `minutes` began, in seconds since the epoch; None for now.
        """
        launched = launched or time.time()
        self.callbacks = named(callbacks)
        checks.callbacks(self.callbacks, self.final_weights, self.optimizer)
        checks.monitors(self.callbacks, self._expected_logs(), self.steps.metrics)
        self._trace()
        self._warn_of_little()
        before = getattr(self.model, "optimizer", None)
        self.model.optimizer = self.optimizer
        self.model.stop_training = self.stopped
        if self.minutes is not None and self.planned_steps is None:
            self.planned_steps = self._steps_within(launched + 60 * self.minutes)
        if self.planned_steps is not None:
            self._fit_schedule_to(self.planned_steps)
        called = keras.callbacks.CallbackList(
            list(self.callbacks.values()),
            model=self.model,
            epochs=self.epochs,
            steps=self.steps_per_epoch,
            verbose=1,
        )
        for callback in self.callbacks.values():
            callback.trainer = self
            if self.step and isinstance(callback, keras.callbacks.CSVLogger):
                callback.append = True  # to what it wrote before
        called.on_train_begin()
        for name, remembered in self._remembered.items():
            if name in self.callbacks:
                callback_memory.restore(self.callbacks[name], remembered)
            else:
                log.warning("callbacks.%s is not there any more: what it remembers is left out", name)
        while not (self.stopped or self._is_over()):
            self._train_epoch(called)
        self._finish()
        called.on_train_end(self._logs())
        self.model.optimizer = before  # this one is not part of the network
        return self.history

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """All that a training continues from: arrays by name, and a dict that JSON can hold."""
        progress = {
            "format": FORMAT,
            "step": self.step,
            "epoch_start": self.epoch_start,
            "steps_per_epoch": self.steps_per_epoch,
            "history": self.history,
            "data": self.dataset.train.checksum,
            "recipe": self.recipe,
            "test_looks": self.test_looks,
            "final_weights": self.final_weights,
            "minutes": self.minutes,
            "planned_steps": self.planned_steps,
            "stopped": bool(self.stopped or self.model.stop_training),
            "callback_factor": self.rate.callback_factor,
        }
        if self.plateau:
            progress["plateau"] = self.plateau.state()
        # Not copied: TensorFlow leaves a buffer alone, and writes to another one, for as long as it is held.
        arrays = {
            name: np.asarray(tf.convert_to_tensor(variable)) for name, variable in self._variables().items()
        }
        remembered = {name: callback_memory.state(callback) for name, callback in self.callbacks.items()}
        for owner, state in {"weights": self.weights.state(), **_prefixed(remembered)}.items():
            plain, own = callback_memory.parted(state)
            progress[owner] = plain
            arrays |= {f"{owner}/{name}": array for name, array in own.items()}
        return arrays, progress

    def restore(self, arrays: Mapping[str, np.ndarray], progress: Mapping[str, Any]) -> None:
        """Continue from what `state` gave.

        Raises UserError for the state of another version, network or optimizer, for one inside an epoch of
        another number of steps, and for other `minutes`.
        """
        if progress.get("format") != FORMAT:
            raise UserError("the checkpoint is of another version of this program, which can go on with it")
        variables = self._variables()
        kinds = [
            {name: tuple(value.shape) for name, value in each.items() if name.startswith(("model/", "own/"))}
            for each in (arrays, variables)
        ]
        if kinds[0] != kinds[1]:
            raise UserError("the checkpoint holds another network or optimizer than the configuration")
        kept = progress.get("final_weights", self.final_weights)
        if self.final_weights not in ("last", kept):
            raise UserError(
                f"trainer.final_weights={self.final_weights}, it was {kept}: what the former is made of "
                f"was not kept\ngive {kept}, or last"
            )
        self._rebase(progress)
        self._keep_plan(progress)
        for name, variable in variables.items():
            if name in arrays:  # a metric that is new has nothing to go on from
                variable.assign(arrays[name])
        self.step, self.epoch_start, self.history = (
            progress[key] for key in ("step", "epoch_start", "history")
        )
        self.test_looks, self.stopped = progress["test_looks"], progress["stopped"]
        self.rate.callback_factor = progress["callback_factor"]
        thawed = self.freeze.epochs
        if self.frozen and thawed is not None and self._epoch_at(self.step) > thawed:
            self._thaw()
        if self.plateau and "plateau" in progress:
            self.plateau.restore(progress["plateau"])
        owners = {key for key in progress if key == "weights" or key.startswith(CALLBACKS)}
        for owner in owners:
            own = {n.removeprefix(f"{owner}/"): a for n, a in arrays.items() if n.startswith(f"{owner}/")}
            state = callback_memory.joined(progress[owner], own)
            if owner == "weights":
                if kept == self.final_weights:
                    self.weights.restore(state)
            else:
                self._remembered[owner.removeprefix(CALLBACKS)] = state

    def evaluate(
        self, split: AnySplit, callbacks: keras.callbacks.CallbackList | None = None
    ) -> dict[str, float]:
        """Loss (weight decay included) and metrics of a Split, as floats by name.

        `callbacks` are told of its batches. Raises UserError if the loss is not finite.
        """
        for _ in self._logits(split, callbacks):
            pass
        return self._scores()

    def examine(self, split: AnySplit) -> tuple[dict[str, float], np.ndarray]:
        """What `evaluate` says of a Split, and the logits, float32 `(N, K)`."""
        logits = np.concatenate([part.numpy() for part in self._logits(split)])
        return self._scores(), logits

    def _logits(self, split, callbacks=None):
        self.test_looks += split is self.dataset.test
        return self._evaluator.logits(split, callbacks)

    def _scores(self):
        found = self.steps.measured()
        if not np.isfinite(found["loss"]):
            raise self.diverged(f"the loss of the evaluated images is {found['loss']}", self.step)
        return found

    def gradients(self, indices: np.ndarray, step: int) -> list[np.ndarray]:
        """Gradients of the batch that `step` makes of the images `indices` `(B,)`, a NumPy array each."""
        images, labels = self._read(indices, len(self.history))
        batch = self.preprocessing.training(images, labels, tf.constant(indices), step, len(self.history))
        return [gradient.numpy() for gradient in self.steps.gradients(batch)]

    def diverged(self, what: str, step: int) -> UserError:
        """The error that says where `what` happened, and what to do."""
        rate = self.rate(self._epoch_at(step - 1))["learning_rate"]
        return UserError(
            f"{what} in epoch {len(self.history) + 1}, step {step}, at learning rate {rate:.3g}\n"
            "lower optimizer.learning_rate"
        )

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch; the last may be smaller, but has an image for each part of each replica."""
        whole, rest = divmod(len(self.dataset.train), self.batch_size)
        return whole + (rest >= self.strategy.num_replicas_in_sync * self.accumulate_steps)

    @property
    def total_steps(self) -> int:
        """Steps of the whole training."""
        left = (self.epochs - len(self.history)) * self.steps_per_epoch
        steps = self.epoch_start + left
        return steps if self.max_steps is None else min(steps, self.max_steps)

    @property
    def finished(self) -> bool:
        """Whether `max_steps` are done."""
        return self.max_steps is not None and self.step >= self.max_steps

    def _is_over(self):
        return self.step == self.epoch_start and (len(self.history) >= self.epochs or self.finished)

    def _epoch_at(self, step):
        """How many epochs are completed before `step` of the epoch at hand, a float."""
        return len(self.history) + (step - self.epoch_start) / self.steps_per_epoch

    def _train_epoch(self, callbacks):
        trained, images = len(self.history), 0
        if self.step == self.epoch_start:
            self.steps.reset_metrics()
            if self.frozen and trained == self.freeze.epochs:
                self._begin_second_phase()
        self.rate.assign(self._epoch_at(self.step))
        callbacks.on_epoch_begin(trained)
        started = time.perf_counter()
        for indices, block in with_blocks(self._feed, self._calls(trained), trained):
            images += indices.size
            measured = self._train_call(indices, block, callbacks)
            measured["images_per_second"] = images / (time.perf_counter() - started)
            callbacks.on_train_batch_end(self.step - self.epoch_start - 1, measured)
            self._agree_on_next_call()
            if self.stopped:
                break
        speed = {"images_per_second": images / (time.perf_counter() - started)} if images else {}
        record = self._close_epoch(speed, started, callbacks)
        self.epoch_is_whole = self.step - self.epoch_start == self.steps_per_epoch or self.stopped
        self.epoch_start = self.step
        self.history.append(record)
        logs = self._logs()
        callbacks.on_epoch_end(trained, logs)
        self.rate.honour()
        self.stopped = self._agreed(self.model.stop_training)
        self._tell()

    def _warn_of_little(self):
        if not self.chief:
            return
        watched = self.watched and len(self.dataset.parts[self.watched])
        if self.plateau and watched < FEW_WATCHED:
            log.warning(
                "%d %s images steer the learning rate; without them: trainer.plateau=null",
                watched,
                self.watched,
            )
        if self.max_steps is None and self.minutes is None and self.total_steps < FEW_STEPS:
            log.warning(
                "%d steps in all; more trainer.epochs, or a smaller batch, give more", self.total_steps
            )

    def _tell(self):
        """Say what is different from now on, after what an epoch came to."""
        ends = self._is_over()
        if self.stopped and not ends:
            log.info("a callback stopped the training after epoch %d of %d", len(self.history), self.epochs)
        elif self._news and not ends:
            log.info("from epoch %d on: %s", len(self.history) + 1, ", ".join(self._news))
        self._news.clear()

    def _begin_second_phase(self):
        """End a training of some parts, and begin one of all, with the optimizer as new."""
        self.optimizer.finalize_variable_values(self.model.trainable_variables)
        for variable, value in zip(self.optimizer.variables, self._unstepped, strict=True):
            variable.assign(value)
        if self.plateau:
            self.plateau.reset()  # the loss has more weight decay in it
        self._thaw()
        log.info("epoch %d: nothing is frozen any more", len(self.history) + 1)

    def _thaw(self):
        self.freeze.thaw(self.model)
        self.frozen = False
        self._trace()

    def _trace(self):
        """Have steps and evaluation compiled anew, in which stands what is trained."""
        outcomes = any_says(self.callbacks, "needs_outcomes")
        self._train_steps = self.steps.training(self._feed, self.weights.after_step, outcomes)
        self._evaluator = Evaluator(self.steps, self.strategy)

    def _steps_within(self, end):
        """How many steps can be trained before `end`, in seconds since the epoch, as far as can be seen."""
        before = {name: np.array(variable) for name, variable in self._variables().items()}
        weights, looks, most = copy.deepcopy(self.weights.state()), self.test_looks, self.max_steps
        self.max_steps = None
        pace = self._pace(min(budget.LONGEST, budget.SHARE * (end - time.time())))
        for name, variable in self._variables().items():
            variable.assign(before[name])
        self.weights.restore(weights)
        self.step = self.epoch_start = 0
        self.test_looks, self.max_steps, self.first_step_at = looks, most, None
        left = min(everyone(self.strategy, end - time.time()))
        steps = budget.steps_within(left, pace, self.steps_per_epoch)
        log.info(
            "%g minutes hold %d steps, %.1f epochs, to which the schedule of %d epochs is fitted",
            *(self.minutes, steps, steps / self.steps_per_epoch, self.epochs),
        )
        return steps

    def _pace(self, seconds):
        """The `budget.Pace` of steps that are trained for so many seconds, and of an evaluation."""
        silent, calls = keras.callbacks.CallbackList(), self._endless_calls()
        self.rate.assign(0.0)
        for _ in ("compile and warm up", "measure"):
            first, started, passed = self.step, time.perf_counter(), 0.0
            while not passed or passed < seconds / 2:
                indices, block = next(calls)
                self._train_call(indices, block, silent)
                self._agree_on_next_call()
                passed = max(everyone(self.strategy, time.perf_counter() - started))
        step, parts, epoch = passed / (self.step - first), self.dataset.parts, 0.0
        image = step / self.batch_size / 2  # no backward pass, but nothing is compiled for it either
        if self.watched:
            self._evaluator.prepare(parts[self.watched])
            started = time.perf_counter()
            self.evaluate(parts[self.watched])
            epoch = max(everyone(self.strategy, time.perf_counter() - started))
            image = epoch / len(parts[self.watched])
        seen = sum(len(part) for name, part in parts.items() if name != "train")
        measures = self.final_weights in ("average", "ema") or averages_weights(self.optimizer)
        return budget.Pace(step, epoch, image * (seen + measures * len(parts["train"])))

    def _endless_calls(self):
        while True:
            yield from with_blocks(self._feed, self._calls(0))
            self.epoch_start = self.step

    def _fit_schedule_to(self, steps):
        """Train so many steps in all, under the curve that was meant for `epochs`."""
        planned = steps / self.steps_per_epoch
        self.rate.schedule = Stretched(self.rate.schedule, self.epochs / planned)
        self.epochs = math.ceil(planned)
        self.max_steps = min(steps, self.max_steps or steps)

    def _keep_plan(self, progress):
        """Train as many steps as were planned when the training began."""
        planned = progress["planned_steps"]
        if self.minutes is not None and self.minutes != progress["minutes"]:
            raise UserError(
                f"trainer.minutes={self.minutes:g}, it was {progress['minutes']}: the time of a training is "
                "said at its beginning\ngive the same, or trainer.minutes=null and trainer.epochs"
            )
        if self.minutes is None and planned:
            log.warning("the %d steps planned for %g minutes hold no longer", planned, progress["minutes"])
        self.planned_steps = None if self.minutes is None else planned

    def _train_call(self, indices, block, callbacks):
        """Train the steps whose images `indices` `(S, B)` names; gives what was measured so far."""
        called, count = time.perf_counter(), len(indices)
        callbacks.on_train_batch_begin(self.step - self.epoch_start)
        self.rate.honour()
        steps = np.arange(self.step, self.step + count)
        rates = [self.rate(self._epoch_at(step))["learning_rate"] for step in steps]
        losses, *outcomes = self._train_steps(
            block,
            tf.constant(indices, tf.int32),
            tf.constant(steps, tf.int32),
            tf.constant(len(self.history), tf.int32),
            tf.constant(rates, tf.float32),
        )
        self.losses, self.indices = losses.numpy(), indices
        self.outcomes = outcomes[0].numpy() if outcomes else None
        self._check_finite(self.losses)
        self.rate.stepped(self._epoch_at(steps[-1]))
        self.step += count
        self.first_step_at = self.first_step_at or time.time()
        seconds = time.perf_counter() - called
        self._steps_per_call = max(1, int(SECONDS_PER_CALL * count / seconds))
        return self.steps.measured() | {"learning_rate": rates[-1]}

    def _agree_on_next_call(self):
        """Whether the workers go on, and with how many steps."""
        answers = everyone(self.strategy, [self._steps_per_call, bool(self.model.stop_training)])
        self._steps_per_call, self.stopped = answers[0][0], any(stop for _, stop in answers)

    def _close_epoch(self, speed, started, callbacks):
        """The record of the epoch whose last step is done."""
        evaluated, epoch = time.perf_counter(), len(self.history)
        splits = {"train": self.steps.measured()}
        if self.watched:
            callbacks.on_test_begin()
            splits[self.watched] = self.evaluate(self.dataset.parts[self.watched], callbacks)
            callbacks.on_test_end(splits[self.watched])
        rate = self.rate(self._epoch_at(self.step - 1))
        if self.plateau and self.plateau.update(splits[self.watched]["loss"], rate["learning_rate"]):
            self._news.append(f"plateau factor {self.plateau.factor:.4g}")
        factors = [self.rate(e)["schedule_factor"] for e in (epoch, self._epoch_at(self.step - 1), epoch + 1)]
        if factors[0] == factors[1] != factors[2]:  # one that moves in each epoch is no news
            self._news.append(f"schedule factor {factors[2]:.4g}")
        self.weights.update(self.model, splits.get(self.watched), self.step / self.total_steps)
        now = time.perf_counter()
        times = {**speed, "epoch_seconds": now - started, "evaluation_seconds": now - evaluated}
        return record(epoch + 1, self.step, splits, rate, times)

    def _finish(self):
        """Give the model the weights that it ends with."""
        self.optimizer.finalize_variable_values(self.model.trainable_variables)
        if averages_weights(self.optimizer):
            measure_batch_norm(self.model, self._batches())
        self.weights.apply(self.model, self._batches())
        self.rate.give_back()

    def _batches(self):
        """The batches of an epoch of training, as the network sees them."""
        order = self.dataset.order([self.seed, self.epochs])
        whole = len(order) // self.batch_size * self.batch_size
        for i, indices in enumerate(order[:whole].astype(np.int32).reshape(-1, self.batch_size)):
            images, labels = self._read(indices, self.epochs)
            step = tf.constant(self.step + i, tf.int32)
            yield self.preprocessing.training(
                images, labels, tf.constant(indices), step, tf.constant(self.epochs)
            ).images

    def _read(self, indices, epoch):
        """Images and labels of int32 indices `(B,)`, as the feed brings them."""
        crop = self.preprocessing.crop
        train: Any = self.dataset.train
        return train.cropped(indices, crop, [self.seed, epoch]) if crop else train.batch(indices)

    def _calls(self, epoch):
        """What is left of a shuffled epoch in blocks `(steps, batch)` of indices, one call's worth each."""
        order = self.dataset.order([self.seed, epoch])
        batch, whole, done = self.batch_size, len(order) // self.batch_size, self.step - self.epoch_start
        while done < self.steps_per_epoch and not (
            self.max_steps and self.epoch_start + done >= self.max_steps
        ):
            left = [whole - done, self.max_steps and self.max_steps - self.epoch_start - done]
            wanted = [wish(self.epoch_start + done) for wish in wishes(self.callbacks)]
            steps = min(self._steps_per_call, STEPS_PER_CALL, *filter(None, [*left, *wanted]))
            block = order[done * batch : (done + steps) * batch]
            block = block.reshape(-1, min(batch, len(block)))
            yield block
            done += len(block)

    def _logs(self):
        return keras_logs(self.history[-1], self.watched)

    def _expected_logs(self):
        """What the logs of an epoch will hold, with zeros for figures."""
        splits = {name: dict.fromkeys(self.steps.metrics, 0.0) for name in ("train", self.watched) if name}
        return keras_logs(record(0, 0, splits, self.rate(0.0), dict.fromkeys(TIMES, 0.0)), self.watched)

    def _variables(self):
        # Not the path of the others: it counts the optimizers that this process has made before.
        owners = {"own/optimizer": self.optimizer} | {
            f"metrics/{name}": metric for name, metric in self.steps.metrics.items()
        }
        return {f"model/{i}/{variable.path}": variable for i, variable in enumerate(self.model.variables)} | {
            f"{owner}/{i}/{variable.name}": variable
            for owner, of in owners.items()
            for i, variable in enumerate(of.variables)
        }

    def _rebase(self, progress):
        """Say, or refuse, that an epoch has another number of steps than before."""
        before, inside = progress["steps_per_epoch"], progress["step"] - progress["epoch_start"]
        if before == self.steps_per_epoch:
            return
        if inside:
            raise UserError(
                f"the run was cut off after step {inside} of an epoch of {before}, "
                f"and an epoch now has {self.steps_per_epoch}\n"
                f"finish epoch {len(progress['history']) + 1} as it began, with its batch size, images and "
                "replicas, and change them then"
            )
        log.warning("an epoch had %d steps and now has %d", before, self.steps_per_epoch)

    def _agreed(self, stop):
        return any(everyone(self.strategy, bool(stop)))

    def _watched(self, dataset):
        """The name of the split that is watched, or None."""
        if self.watch == "test":
            log.warning("the test images steer this training: plateau, best weights and early stopping")
            return "test"
        if dataset.validation is not None:
            return "validation"
        if self.plateau:
            raise UserError(
                "trainer.plateau watches validation images, and none are held out\n"
                "give data.validation_split=0.1 or trainer.plateau=null (or trainer.watch=test)"
            )
        return None

    def _check_finite(self, losses):
        if any_says(self.callbacks, "expects_divergence"):
            return
        for i in np.flatnonzero(~np.isfinite(losses))[:1]:
            raise self.diverged(f"the loss is {losses[i]}", self.step + i + 1)


def _prefixed(remembered):
    return {f"{CALLBACKS}{name}": state for name, state in remembered.items() if state}
