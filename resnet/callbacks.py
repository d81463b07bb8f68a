"""What a run leaves behind while it trains, as Keras callbacks."""

import csv
import io
import logging
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.summary import session_end_pb
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.image.metadata import create_summary_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.util.tensor_util import make_tensor_proto
from tqdm import tqdm

from resnet.events import EventFile
from resnet.files import replacing

log = logging.getLogger(__name__)
TIMES = ("images_per_second", "epoch_seconds", "evaluation_seconds", "ended_at")
SCALARS = ".scalars"  # how the names of event files with scalars end


class Progress(keras.callbacks.Callback):
    """A live bar on a terminal, and one line an epoch in the log."""

    def __init__(self, trainer):
        super().__init__()
        self.trainer = trainer

    def on_train_begin(self, logs=None):
        self.bar = tqdm(
            total=self.trainer.total_steps,
            initial=self.trainer.step,
            unit="step",
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
        )

    def on_train_batch_begin(self, batch, logs=None):
        if self.trainer.first_step_at is None:
            self.bar.set_description("compiling the first step")

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update(self.trainer.step - self.bar.n)
        self.bar.set_description(f"epoch {len(self.trainer.history) + 1}/{self.params['epochs']}")
        self.bar.set_postfix_str(
            f"{logs['images_per_second']:,.0f} images/s loss {logs['loss']:.3f} "
            f"accuracy {logs['accuracy']:.2%} rate {logs['learning_rate']:.2g}"
        )

    def on_epoch_end(self, epoch, logs=None):
        watched = "validation" if "validation_loss" in logs else "test"
        with tqdm.external_write_mode():
            log.info(
                "epoch %d/%d: loss %.4f accuracy %.2f%% | %s loss %.4f accuracy %.2f%% | "
                "rate %.3g | %s images/s",
                epoch + 1,
                self.params["epochs"],
                logs["loss"],
                100 * logs["accuracy"],
                watched,
                logs[f"{watched}_loss"],
                100 * logs[f"{watched}_accuracy"],
                logs["learning_rate"],
                f"{logs['images_per_second']:,.0f}",
            )

    def on_train_end(self, logs=None):
        self.bar.close()


class MetricsCsv(keras.callbacks.Callback):
    """One row an epoch, whole at any time; equal runs leave equal files, so times are not in it."""

    def __init__(self, path, history):
        """`history` is the trainer's: the logs of all epochs so far."""
        super().__init__()
        self.path, self.history = path, history

    def on_train_begin(self, logs=None):
        self._write()

    def on_epoch_end(self, epoch, logs=None):
        self._write()

    def _write(self):
        rows = [
            {"epoch": epoch, **{name: value for name, value in logs.items() if name not in TIMES}}
            for epoch, logs in enumerate(self.history, 1)
        ]
        with replacing(self.path) as part, part.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
            if rows:
                writer.writeheader()
            writer.writerows(rows)


class TensorBoard(keras.callbacks.Callback):
    """What TensorBoard shows of a run: curves by epoch, pictures, the config, a row among the HParams.

    Train and test have the same names of scalars in directories of their own, and so share a chart.
    """

    def __init__(self, directory, name, config_text, hparams, pictures, history):
        """
        Args:
            directory: of the event files.
            name: of the run among the HParams; those of other runs differ.
            config_text: the configuration, YAML.
            hparams: what tells this run from others, plain values by name.
            pictures: gives those of the training images, PNG by name; the first step does not wait for them.
            history: the trainer's: the logs of all epochs so far.
        """
        super().__init__()
        self.directory, self.name, self.config_text = directory, name, config_text
        self.hparams, self.pictures, self.history = hparams, pictures, history
        self.files = {}

    def on_train_begin(self, logs=None):
        # A run that goes on writes its curves again: whoever reads them sees each point once.
        for old in self.directory.rglob(f"*{SCALARS}"):
            old.unlink()
        self._add(".", 0, hparams_pb(self.hparams, trial_id=self.name))
        self._add("train", 0, text_pb("config", f"```yaml\n{self.config_text}\n```"))
        for epoch in range(len(self.history)):
            self.on_epoch_end(epoch)

    def on_train_batch_end(self, batch, logs=None):
        if self.pictures:
            self._add_pictures("train", 0, self.pictures())
            self.pictures = None

    def on_epoch_end(self, epoch, logs=None):
        logs = self.history[epoch]
        for name, value in logs.items():
            split, _, metric = name.rpartition("_")
            if split in ("validation", "test"):
                self._add(split, epoch + 1, scalar_pb(metric, value), logs["ended_at"])
            elif name != "ended_at":
                self._add("train", epoch + 1, scalar_pb(_tag(name), value), logs["ended_at"])

    def finish(self, test, pictures):
        """The last words: metrics on the test images, and pictures, PNG by name, that show them."""
        self.on_train_batch_end(None)
        epoch = len(self.history)
        if "test_loss" not in self.history[-1]:
            for name, value in test.items():
                self._add("test", epoch, scalar_pb(name, value))
        self._add_pictures("test", epoch, pictures)
        end = session_end_pb(api_pb2.STATUS_SUCCESS)  # TensorFlow's Summary, the same message
        self._add(".", epoch, Summary.FromString(end.SerializeToString()))

    def _add_pictures(self, split, step, pictures):
        for name, data in pictures.items():
            self._add(split, step, image_pb(name, data))

    def _add(self, split, step, summary, wall_time=None):
        """One summary for the directory `split`."""
        wall_time = wall_time or time.time()
        if split not in self.files:
            self.files[split] = EventFile(self.directory / split, SCALARS)
            # A TensorBoard that is looking on drops what it has read of the files that are gone.
            start = SessionLog(status=SessionLog.START)
            self.files[split].add_event(Event(wall_time=wall_time, step=0, session_log=start))
        self.files[split].add_event(Event(wall_time=wall_time, step=step, summary=summary))


def _tag(name):
    """Where TensorBoard shows a scalar: what is neither loss nor accuracy in a section of its kind."""
    kinds = ("rate", ("learning_rate", "schedule_factor", "plateau_factor")), ("time", (*TIMES, "steps"))
    return next((f"{kind}/{name}" for kind, names in kinds if name in names), name)


def image_pb(name, data):
    """A summary of one picture: `data` is a PNG file."""
    with Image.open(io.BytesIO(data)) as picture:
        size = [str(side).encode() for side in picture.size]
    metadata = create_summary_metadata(display_name=None, description=None)
    tensor = make_tensor_proto(np.array([*size, data], object))
    return Summary(value=[Summary.Value(tag=name, metadata=metadata, tensor=tensor)])


class Histograms(keras.callbacks.Callback):
    """After each epoch TensorBoard's histograms of the weights, and of the gradients of one batch.

    The batch is the first of the training images, augmented as in that step.
    """

    def __init__(self, directory, trainer):
        super().__init__()
        self.directory, self.trainer = directory, trainer
        self.gradients = tf.function(self._gradients, jit_compile=False)

    def on_train_begin(self, logs=None):
        self.events = EventFile(self.directory)

    def on_epoch_end(self, epoch, logs=None):
        variables = self.trainer.model.trainable_variables
        untrained = self.trainer.model.non_trainable_variables
        before = [np.array(variable) for variable in untrained]
        gradients = self.gradients(tf.constant(self.trainer.step))
        for variable, value in zip(untrained, before, strict=True):
            variable.assign(value)
        for variable, gradient in zip(variables, gradients, strict=True):
            for kind, values in ("weights", np.array(variable)), ("gradients", gradient.numpy()):
                summary = histogram_pb(f"{kind}/{variable.path}", values)
                self.events.add_event(Event(wall_time=time.time(), step=epoch + 1, summary=summary))

    def _gradients(self, step):
        trainer = self.trainer
        indices = tf.range(trainer.batch_size)
        first = trainer.dataset.train.take(slice(trainer.batch_size))
        batch = trainer.augmented(first.images, first.labels, indices, step)
        with tf.GradientTape() as tape:
            seen = trainer.dataset.normalization.standardize(batch.images)
            _, losses, decay = trainer.losses(seen, batch.labels, training=True)
            loss = tf.reduce_mean(losses) + decay
        return tape.gradient(loss, trainer.model.trainable_variables)


class Profile(keras.callbacks.Callback):
    """A profile of the steps from `trainer.profile[0]` to `trainer.profile[1]`, for TensorBoard."""

    def __init__(self, directory, trainer):
        super().__init__()
        self.directory, self.trainer = directory, trainer
        self.first, self.last = trainer.profile
        self.running = None

    def on_train_batch_begin(self, batch, logs=None):
        if self.trainer.step == self.first:
            tf.profiler.experimental.start(str(self.directory))
        if self.first <= self.trainer.step < self.last:
            self.running = tf.profiler.experimental.Trace("train", step_num=self.trainer.step, _r=1)
            self.running.__enter__()

    def on_train_batch_end(self, batch, logs=None):
        if self.running:
            self.running.__exit__(None, None, None)
            self.running = None
            if self.trainer.step >= self.last:
                self._stop()

    def on_train_end(self, logs=None):
        if self.first <= self.trainer.step < self.last:
            self._stop()
        elif self.trainer.step < self.first:
            log.warning("no profile: training ended at step %d, before %d", self.trainer.step, self.first)

    def _stop(self):
        tf.profiler.experimental.stop()
        log.info("profiled steps %d to %d, in %s", self.first, self.trainer.step, self.directory)
