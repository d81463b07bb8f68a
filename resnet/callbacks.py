"""What a run leaves behind while it trains, as Keras callbacks."""

import csv
import logging
import sys
import time

import keras
import tensorflow as tf
from tqdm import tqdm

log = logging.getLogger(__name__)
SCALARS = ("learning_rate", "schedule_factor", "plateau_factor", "images_per_second", "epoch_seconds")


class Progress(keras.callbacks.Callback):
    """A live bar on a terminal, and one line an epoch in the log."""

    def on_train_begin(self, logs=None):
        total = self.params["epochs"] * self.params["steps"]
        self.bar = tqdm(total=total, unit="step", disable=not sys.stderr.isatty(), dynamic_ncols=True)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.done = epoch + 1, 0

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update(batch + 1 - self.done)
        self.done = batch + 1
        self.bar.set_description(f"epoch {self.epoch}/{self.params['epochs']}")
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


class Timing(keras.callbacks.Callback):
    """Adds `epoch_seconds` to the logs, and keeps when the first step was done (time.time())."""

    first_step_at = None

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.first_step_at = self.first_step_at or time.time()

    def on_epoch_end(self, epoch, logs=None):
        logs["epoch_seconds"] = time.perf_counter() - self.started


class MetricsCsv(keras.callbacks.Callback):
    """One row an epoch, appended as it ends."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, **logs}
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if not file.tell():
                writer.writeheader()
            writer.writerow(row)


class TensorBoard(keras.callbacks.Callback):
    """Scalars by epoch: train and test on one chart, the rate with its factors, speed, the config."""

    def __init__(self, directory, config_text):
        super().__init__()
        self.directory, self.config_text = directory, config_text

    def on_train_begin(self, logs=None):
        self.writers = {"train": self._writer("train")}
        with self.writers["train"].as_default():
            tf.summary.text("config", f"```yaml\n{self.config_text}\n```", step=0)

    def on_epoch_end(self, epoch, logs=None):
        with self.writers["train"].as_default(step=epoch + 1):
            for name in ("loss", "accuracy", *SCALARS):
                tf.summary.scalar(name, logs[name])
        for split in ("validation", "test"):
            if f"{split}_loss" in logs:
                self._scalars_of(split, logs, epoch + 1)
        for writer in self.writers.values():
            writer.flush()

    def on_train_end(self, logs=None):
        for writer in self.writers.values():
            writer.close()

    def _scalars_of(self, split, logs, step):
        if split not in self.writers:
            self.writers[split] = self._writer(split)
        with self.writers[split].as_default(step=step):
            for name in ("loss", "accuracy"):
                tf.summary.scalar(name, logs[f"{split}_{name}"])

    def _writer(self, split):
        return tf.summary.create_file_writer(str(self.directory / split))
