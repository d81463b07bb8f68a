"""The training loop: several steps a call, on tf.distribute, under schedule x plateau."""

import logging
import time

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from resnet.augmentation import Batch
from resnet.distribution import everyone, is_chief, single
from resnet.errors import UserError
from resnet.layers import synchronize

log = logging.getLogger(__name__)
STEPS_PER_CALL = 16
SECONDS_PER_CALL = 1.0
EVALUATION_BATCH = 500


def native_bfloat16():
    """What gives the device that trains bfloat16 arithmetic of its own, or None."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        capability = details.get("compute_capability", (0, 0))
        return f"compute capability {'.'.join(map(str, capability))}" if capability >= (8, 0) else None
    try:
        with open("/proc/cpuinfo") as file:
            words = set(file.read().split())
    except OSError:
        return None
    return " and ".join(sorted(words & {"avx512_bf16", "amx_bf16"})) or None


def set_precision(precision, strategy):
    """Make float32 or mixed bfloat16 (float32 weights, statistics and loss) Keras' policy.

    `auto` takes bfloat16 where the chief's hardware has it. Returns the name of what was chosen.
    """
    if precision == "auto":
        native = native_bfloat16()
        precision = everyone(strategy, "bfloat16" if native else "float32")[0]
        log.info("precision auto: %s; bfloat16 hardware: %s", precision, native or "none")
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else precision)
    return precision


class Trainer:
    """Trains a Keras model on arrays in memory.

    Args:
        epochs: epochs to train.
        batch_size: images a step, over all replicas.
        max_steps: stop after so many steps, or None.
        precision: `float32`, `bfloat16` or `auto`.
        plateau: a `schedules.Plateau`, or None.
        deterministic: whether the same seed gives the same weights to the last bit, which costs speed.
        checkpoint_minutes: between checkpoints inside an epoch.
        keep_checkpoints: how many of them stay.
        histograms: whether TensorBoard gets those of weights and gradients after each epoch.
        profile: (first, last), the steps after which a profile begins and ends, or None.
        seed: of the order of the images and of their augmentation.
        strategy: a `tf.distribute.Strategy`, from `distribution`; None for the default one.
        synchronize_batch_norm: whether batch statistics are those of all replicas, not of each one.
        scale_rate_from: the batch size that the optimizer's rate is for; the rate then grows in
            proportion to `batch_size` (Goyal et al. 2017, section 2.1). None: it stays.
        label_smoothing: this share of each training target is spread over all classes (Szegedy et
            al. 2016, section 7).

    Raises UserError unless `batch_size` divides among the replicas.
    """

    def __init__(
        self,
        epochs,
        batch_size,
        max_steps=None,
        precision="float32",
        plateau=None,
        deterministic=False,
        checkpoint_minutes=10,
        keep_checkpoints=3,
        histograms=False,
        profile=None,
        seed=1,
        strategy=None,
        synchronize_batch_norm=False,
        scale_rate_from=None,
        label_smoothing=0.0,
    ):
        self.epochs = epochs
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.plateau = plateau
        self.checkpoint_minutes = checkpoint_minutes
        self.keep_checkpoints = keep_checkpoints
        self.histograms = histograms
        self.profile = profile
        self.seed = seed
        self.strategy = strategy or single()
        self.chief = is_chief(self.strategy)
        self.synchronize_batch_norm = synchronize_batch_norm
        self.scale_rate_from = scale_rate_from
        self.label_smoothing = label_smoothing
        self.precision = set_precision(precision, self.strategy)
        self.step = 0
        self.history = []
        self.first_step_at = None
        self._steps_per_call = 1
        if deterministic:
            tf.config.experimental.enable_op_determinism()
        self._check_batch_size()

    def scope(self):
        """Where model and optimizer must be built."""
        return self.strategy.scope()

    def compile(self, model, optimizer, schedule, augment, dataset):
        """Bind what is to be trained; `model` and `optimizer` come from `scope()`."""
        if len(dataset.train) < self.batch_size:
            raise UserError(
                f"trainer.batch_size={self.batch_size} is more than the {len(dataset.train)} "
                "training images; give a smaller one"
            )
        self.model, self.optimizer, self.dataset = model, optimizer, dataset
        self.schedule, self.augment = schedule, augment
        self.base_rate = float(str(optimizer.learning_rate.numpy()))  # 0.001, not the float32 nearest to it
        if self.scale_rate_from:
            scaled = self.base_rate * self.batch_size / self.scale_rate_from
            log.info("learning rate %.4g, scaled from %.4g", scaled, self.base_rate)
            self.base_rate = scaled
        self.watched_name, self.watched = dataset.watched
        with self.scope():
            if self.synchronize_batch_norm and self.strategy.num_replicas_in_sync > 1:
                synchronize(model)
            optimizer.build(model.trainable_variables)
            self.metrics = {
                "loss": keras.metrics.Mean(),
                "accuracy": keras.metrics.CategoricalAccuracy(),
            }
        self._train_steps = self._compile_training()
        self._evaluated = None

    def fit(self, callbacks=()):
        """Train to the last epoch; returns `history`, the epochs' logs: a dict of floats for each."""
        callbacks = keras.callbacks.CallbackList(
            list(callbacks), model=self.model, epochs=self.epochs, steps=self.steps_per_epoch
        )
        if self.watched_name == "test":
            log.info("no validation split: plateau and best checkpoint watch the test images")
        self.model.stop_training = False
        callbacks.on_train_begin()
        while not (self.model.stop_training or self._is_over()):
            epoch = len(self.history)
            callbacks.on_epoch_begin(epoch)
            logs = self._train_epoch(epoch, callbacks)
            self.history.append(logs)
            callbacks.on_epoch_end(epoch, logs)
        callbacks.on_train_end(self.history[-1])
        return self.history

    def _is_over(self):
        closed = self.step <= len(self.history) * self.steps_per_epoch
        return len(self.history) >= self.epochs or (self.finished and closed)

    def state(self):
        """All that a training continues from: arrays by name, and a dict that JSON can hold."""
        progress = {"step": self.step, "history": self.history, "data": self.dataset.train.checksum}
        if self.plateau:
            progress["plateau"] = self.plateau.state()
        return {name: np.array(variable) for name, variable in self._variables().items()}, progress

    def restore(self, arrays, progress):
        """Continue from what `state` gave. Raises UserError for the arrays of another network."""
        variables = self._variables()
        shapes = [{name: tuple(v.shape) for name, v in each.items()} for each in (arrays, variables)]
        if shapes[0] != shapes[1]:
            raise UserError("the checkpoint holds another network or optimizer than the configuration")
        for name, variable in variables.items():
            variable.assign(arrays[name])
        self.step, self.history = progress["step"], progress["history"]
        if self.plateau and "plateau" in progress:
            self.plateau.restore(progress["plateau"])

    def _variables(self):
        # Not the path of the others: it counts the optimizers that this process has made before.
        owners = {"optimizer": self.optimizer} | self.metrics
        return {f"model/{i}/{variable.path}": variable for i, variable in enumerate(self.model.variables)} | {
            f"{owner}/{i}/{variable.name}": variable
            for owner, of in owners.items()
            for i, variable in enumerate(of.variables)
        }

    def evaluate(self, split):
        """Loss (weight decay included) and accuracy of a Split, as floats.

        Raises UserError if the loss is not finite.
        """
        if split is not self._evaluated:
            self._evaluated, self._evaluate_batch = split, self._compile_evaluation(split)
        self._reset_metrics()
        starts = range(0, len(split), EVALUATION_BATCH)
        for start in tqdm(starts, "evaluation", unit="batch", leave=False, disable=None):
            self._evaluate_batch(tf.range(start, min(start + EVALUATION_BATCH, len(split))))
        found = self._read_metrics()
        if not np.isfinite(found["loss"]):
            raise self.diverged(f"the loss of the evaluated images is {found['loss']}", self.step)
        return found

    def diverged(self, what, step):
        """The error that says where `what` happened, and what to do."""
        epochs = (step - 1) / self.steps_per_epoch
        return UserError(
            f"{what} in epoch {int(epochs) + 1}, step {step}, "
            f"at learning rate {self.rate(epochs)['learning_rate']:.3g}\nlower optimizer.learning_rate"
        )

    def augmented(self, images, labels, indices, step, replica=0):
        """The Batch that `step` makes of uint8 `images` `(B, H, W, C)` with int `labels` `(B,)`.

        `indices` `(B,)` are the images' numbers in the training set.
        """
        batch = Batch(
            self.dataset.normalization.scale(tf.cast(images, tf.float32)),
            tf.one_hot(labels, self.dataset.num_classes),
            indices,
            step // self.steps_per_epoch,
        )
        seed = tf.random.experimental.stateless_fold_in(tf.stack([self.seed, step]), replica)
        return self.augment(batch, seed)

    def losses(self, images, labels, training):
        """Logits `(B, K)`, losses `(B,)` without weight decay, and the decay, a float32 scalar.

        `images` are normalised and `labels` `(B, K)`.
        """
        logits = self.model(images, training=training)
        losses = keras.losses.categorical_crossentropy(
            labels, logits, from_logits=True, label_smoothing=self.label_smoothing if training else 0.0
        )
        return logits, losses, tf.add_n(self.model.losses) if self.model.losses else tf.constant(0.0)

    @property
    def steps_per_epoch(self):
        """Batches in an epoch; the last may be smaller, but has an image for each replica."""
        whole, rest = divmod(len(self.dataset.train), self.batch_size)
        return whole + (rest >= self.strategy.num_replicas_in_sync)

    @property
    def total_steps(self):
        """Steps of the whole training."""
        steps = self.epochs * self.steps_per_epoch
        return steps if self.max_steps is None else min(steps, self.max_steps)

    @property
    def finished(self):
        return self.max_steps is not None and self.step >= self.max_steps

    def rate(self, epoch):
        """The rate at `epoch` (float) and its two factors."""
        scheduled = self.base_rate * self.schedule(epoch)
        rate = self.plateau.bound(scheduled) if self.plateau else scheduled
        return {
            "learning_rate": rate,
            "schedule_factor": scheduled / self.base_rate,
            "plateau_factor": rate / scheduled if scheduled else 1.0,
        }

    def _train_epoch(self, epoch, callbacks):
        started, first_step = time.perf_counter(), epoch * self.steps_per_epoch
        if self.step == first_step:
            self._reset_metrics()
        images = 0
        for indices in self._calls(epoch):
            called = time.perf_counter()
            steps = np.arange(self.step, self.step + len(indices))
            rates = [self.rate(step / self.steps_per_epoch)["learning_rate"] for step in steps]
            callbacks.on_train_batch_begin(self.step - first_step)
            losses = self._train_steps(
                tf.constant(indices, tf.int32), tf.constant(steps, tf.int32), tf.constant(rates, tf.float32)
            )
            self._check_finite(losses.numpy())
            self.step += len(indices)
            images += indices.size
            now = time.perf_counter()
            self.first_step_at = self.first_step_at or time.time()
            fitting = max(1, int(SECONDS_PER_CALL * len(indices) / (now - called)))
            self._steps_per_call = everyone(self.strategy, fitting)[0]
            logs = {
                **self._read_metrics(),
                "learning_rate": rates[-1],
                "images_per_second": images / (now - started),
            }
            callbacks.on_train_batch_end(self.step - first_step - 1, logs)
        seconds = time.perf_counter() - started
        logs = self._close_epoch(epoch, {**self._read_metrics(), "images_per_second": images / seconds})
        return logs | {"epoch_seconds": time.perf_counter() - started, "ended_at": time.time()}

    def _close_epoch(self, epoch, logs):
        started = time.perf_counter()
        watched = self.evaluate(self.watched)
        logs |= {f"{self.watched_name}_{name}": value for name, value in watched.items()}
        logs |= self.rate((self.step - 1) / self.steps_per_epoch)
        logs |= {"steps": self.step, "evaluation_seconds": time.perf_counter() - started}
        if self.plateau and self.plateau.update(watched["loss"], logs["learning_rate"]):
            log.info("epoch %d: plateau factor is now %.4g", epoch + 1, self.plateau.factor)
        now, then = self.rate(epoch + 1)["schedule_factor"], logs["schedule_factor"]
        if now != then and epoch + 1 < self.epochs:
            log.info("epoch %d: schedule factor is now %.4g", epoch + 1, now)
        return logs

    def _calls(self, epoch):
        """What is left of a shuffled epoch in blocks `(steps, batch)` of indices, a call's worth each."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.dataset.train))
        batch, whole = self.batch_size, len(order) // self.batch_size
        while (done := self.step - epoch * self.steps_per_epoch) < self.steps_per_epoch and not self.finished:
            left = [whole - done, self.max_steps and self.max_steps - self.step, self._steps_to_profile()]
            steps = min(self._steps_per_call, STEPS_PER_CALL, *filter(None, left))
            block = order[done * batch : (done + steps) * batch]
            yield block.reshape(-1, min(batch, len(block)))

    def _steps_to_profile(self):
        """Steps until a profile begins; 1 while it runs, so that it shows single steps; or None."""
        first, last = self.profile or (0, 0)
        return first - self.step if self.step < first else 1 if self.step < last else None

    def _compile_training(self):
        images, labels = self._on_device(self.dataset.train)
        normalization = self.dataset.normalization
        strategy, optimizer = self.strategy, self.optimizer

        def replica_step(indices, step):
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            mine = indices[replica :: strategy.num_replicas_in_sync]
            batch = self.augmented(tf.gather(images, mine), tf.gather(labels, mine), mine, step, replica)
            with tf.GradientTape() as tape:
                logits, losses, decay = self.losses(
                    normalization.standardize(batch.images), batch.labels, training=True
                )
                share = tf.size(mine) / tf.size(indices)
                loss = tf.reduce_sum(losses) / tf.cast(tf.size(indices), tf.float32)
                loss += decay * tf.cast(share, tf.float32)
            variables = self.model.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            self._update_metrics(batch.labels, logits, losses + decay)
            return loss

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, None], tf.int32),
                tf.TensorSpec([None], tf.int32),
                tf.TensorSpec([None], tf.float32),
            ],
            autograph=False,
            jit_compile=False,
        )
        def train_steps(indices, steps, rates):
            count = tf.shape(indices)[0]

            def train_step(i, losses):
                optimizer.learning_rate.assign(rates[i])
                loss = strategy.run(replica_step, (indices[i], steps[i]))
                return i + 1, losses.write(i, strategy.reduce("SUM", loss, axis=None))

            start = (0, tf.TensorArray(tf.float32, count))
            _, losses = tf.while_loop(lambda i, _: i < count, train_step, start)
            return losses.stack()

        return train_steps

    def _compile_evaluation(self, split):
        images, labels = self._on_device(split)

        def replica_step(indices):
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            mine = indices[replica :: self.strategy.num_replicas_in_sync]
            batch = self.dataset.normalization(tf.cast(tf.gather(images, mine), tf.float32))
            target = tf.one_hot(tf.gather(labels, mine), self.dataset.num_classes)
            logits, losses, decay = self.losses(batch, target, training=False)
            self._update_metrics(target, logits, losses + decay)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)], autograph=False, jit_compile=False)
        def evaluate_batch(indices):
            self.strategy.run(replica_step, (indices,))

        return evaluate_batch

    def _on_device(self, split):
        return tf.constant(split.images), tf.constant(split.labels)

    def _update_metrics(self, target, logits, losses):
        self.metrics["loss"].update_state(losses)
        self.metrics["accuracy"].update_state(target, logits)

    def _reset_metrics(self):
        for metric in self.metrics.values():
            metric.reset_state()

    def _read_metrics(self):
        return {name: float(metric.result()) for name, metric in self.metrics.items()}

    def _check_batch_size(self):
        size, replicas = self.batch_size, self.strategy.num_replicas_in_sync
        if size % replicas:
            nearest = [n for n in (size // replicas * replicas, -(-size // replicas) * replicas) if n]
            raise UserError(
                f"trainer.batch_size={size} does not divide among {replicas} replicas; "
                f"nearest: {' and '.join(map(str, nearest))}"
            )

    def _check_finite(self, losses):
        for i in np.flatnonzero(~np.isfinite(losses))[:1]:
            raise self.diverged(f"the loss is {losses[i]}", self.step + i + 1)
