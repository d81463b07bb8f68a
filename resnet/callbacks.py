"""What a run leaves behind while it trains, as Keras callbacks."""

import csv
import logging
import sys
import time

import keras
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tqdm import tqdm

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
    """One row an epoch, appended as it ends; equal runs leave equal files, so times are not in it."""

    def __init__(self, path, history):
        """`history` is the trainer's: the logs of all epochs so far."""
        super().__init__()
        self.path, self.history = path, history

    def on_train_begin(self, logs=None):
        with replacing(self.path) as part, part.open("w", newline="") as file:
            for epoch in range(len(self.history)):
                self._write(file, epoch)

    def on_epoch_end(self, epoch, logs=None):
        with self.path.open("a", newline="") as file:
            self._write(file, epoch)

    def _write(self, file, epoch):
        row = {name: value for name, value in self.history[epoch].items() if name not in TIMES}
        writer = csv.DictWriter(file, ["epoch", *row])
        if epoch == 0:
            writer.writeheader()
        writer.writerow({"epoch": epoch + 1, **row})


class TensorBoard(keras.callbacks.Callback):
    """Scalars by epoch: train and test on one chart, the rate with its factors, speed, the config."""

    def __init__(self, directory, config_text, history):
        """`history` is the trainer's: the logs of all epochs so far."""
        super().__init__()
        self.directory, self.config_text, self.history = directory, config_text, history
        self.writers = {}

    def on_train_begin(self, logs=None):
        # A run that goes on writes its curves again: whoever reads them sees each point once.
        for old in self.directory.glob(f"*/*{SCALARS}"):
            old.unlink()
        self._add("train", 0, time.time(), text_pb("config", f"```yaml\n{self.config_text}\n```"))
        for epoch in range(len(self.history)):
            self.on_epoch_end(epoch)

    def on_epoch_end(self, epoch, logs=None):
        logs = self.history[epoch]
        for name, value in logs.items():
            split, _, metric = name.rpartition("_")
            if split in ("validation", "test"):
                self._add(split, epoch + 1, logs["ended_at"], scalar_pb(metric, value))
            elif name != "ended_at":
                self._add("train", epoch + 1, logs["ended_at"], scalar_pb(name, value))
        for writer in self.writers.values():
            writer.flush()

    def on_train_end(self, logs=None):
        for writer in self.writers.values():
            writer.close()

    def _add(self, split, step, wall_time, summary):
        if split not in self.writers:
            self.writers[split] = EventFileWriter(str(self.directory / split), filename_suffix=SCALARS)
            # A TensorBoard that is looking on drops what it has read of the files that are gone.
            start = SessionLog(status=SessionLog.START)
            self.writers[split].add_event(Event(wall_time=wall_time, step=0, session_log=start))
        self.writers[split].add_event(Event(wall_time=wall_time, step=step, summary=summary))
