"""Metrics of a split: how well logits `(B, K)` fit targets `(B, K)`, averaged over an epoch.

A metric is a `keras.metrics.Metric`, or a function of targets and logits that gives one number per image. It
is measured in training and in evaluation, and stands in the epoch's record under the name it is given. Where
training mixes images, an image is of several classes, in shares. Of Keras' own those that compare with a
threshold (`AUC`, `Precision`), say `from_logits=False`, or are a `KLDivergence`, see the logits' softmax.

A `_target_` is called to give a metric, as `top_k` is; for a bare function say `_partial_: true`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import keras
import tensorflow as tf
from keras import ops

from resnet.errors import UserError, first_line

Metric: TypeAlias = keras.metrics.Metric | Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def top_k(k: int = 5) -> keras.metrics.Metric:
    """Share of the images whose class is among the `k` likeliest."""
    return keras.metrics.TopKCategoricalAccuracy(k)


class BalancedAccuracy(keras.metrics.Metric):
    """Mean of the classes' own accuracies, over those that have images (Brodersen et al. 2010)."""

    def __init__(self) -> None:
        super().__init__(name="balanced_accuracy")
        self._direction = "up"  # as Keras' metrics say it

    def update_state(self, targets: tf.Tensor, logits: tf.Tensor) -> None:
        if not self.variables:
            self.right, self.images = (self.add_variable([targets.shape[1]], "zeros") for _ in range(2))
        self.right.assign_add(tf.reduce_sum(targets * _predicted(logits), axis=0))
        self.images.assign_add(tf.reduce_sum(targets, axis=0))

    def result(self) -> tf.Tensor:
        accuracies = ops.divide_no_nan(self.right, self.images)
        return ops.divide_no_nan(ops.sum(accuracies), ops.sum(self.images > 0))


class CalibrationError(keras.metrics.Metric):
    """Expected calibration error: mean gap between confidence and accuracy (Guo et al. 2017, equation 3).

    Images are sorted into `bins` of equal width by their confidence, the highest probability; a bin is open
    below and closed above.
    """

    def __init__(self, bins: int = 15) -> None:
        super().__init__(name="calibration_error")
        self._direction = "down"
        self.bins = bins
        self.gaps = self.add_variable([bins], "zeros")
        self.images = self.add_variable([], "zeros")

    def update_state(self, targets: tf.Tensor, logits: tf.Tensor) -> None:
        confidence = tf.reduce_max(tf.nn.softmax(logits), axis=1)
        correct = tf.reduce_sum(targets * _predicted(logits), axis=1)
        bin_of = tf.cast(tf.math.ceil(confidence * self.bins), tf.int32) - 1
        bin_of = tf.clip_by_value(bin_of, 0, self.bins - 1)  # rounding can bring it beyond 1
        self.gaps.assign_add(tf.math.unsorted_segment_sum(correct - confidence, bin_of, self.bins))
        self.images.assign_add(tf.cast(tf.size(confidence), tf.float32))

    def result(self) -> tf.Tensor:
        return ops.divide_no_nan(ops.sum(ops.abs(self.gaps)), self.images)


def built(metrics: Mapping[str, Metric], num_classes: int) -> dict[str, keras.metrics.Metric]:
    """The metrics, by name, as Keras metrics whose variables exist; to be called in the strategy's scope.

    Raises UserError for one that cannot take what it will be given.
    """
    found = {}
    for name, metric in metrics.items():
        if not isinstance(metric, keras.metrics.Metric):
            metric = keras.metrics.MeanMetricWrapper(metric, name=name)
        # Some make their variables when they first see a batch, which in a compiled step is too late. It has
        # another number of images than of classes, between which nothing must be taken for the other.
        batch = tf.zeros([num_classes + 1, num_classes])
        try:
            update(metric, batch, batch)
        except Exception as error:  # one's own can raise anything
            raise UserError(
                f"metrics.{name} cannot take targets and logits, both (B, {num_classes}): "
                f"{first_line(error)}\n"
                "targets are one-hot, for which Keras' have Categorical in their names, not Sparse"
            ) from error
        metric.reset_state()
        found[name] = metric
    return found


def update(metric: keras.metrics.Metric, targets: tf.Tensor, logits: tf.Tensor) -> None:
    """Show a batch to a metric, as what it takes: logits or probabilities."""
    metric.update_state(targets, tf.nn.softmax(logits) if _takes_probabilities(metric) else logits)


def default() -> dict[str, Metric]:
    """What is measured where nothing else is asked for."""
    return {"accuracy": keras.metrics.CategoricalAccuracy()}


def values(metrics: Mapping[str, keras.metrics.Metric]) -> dict[str, float]:
    """What the metrics say, floats by name; of one with several numbers, such as one per class, the mean."""
    return {name: float(tf.reduce_mean(metric.result())) for name, metric in metrics.items()}


def _takes_probabilities(metric):
    kind = type(metric)
    if kind is keras.metrics.MeanMetricWrapper or not kind.__module__.startswith("keras."):
        return False  # a function's, or one's own
    if kind is keras.metrics.KLDivergence:
        return True
    config = metric.get_config()
    if "from_logits" in config:
        return not config["from_logits"]
    return config.get("threshold") is not None or hasattr(metric, "thresholds")


def _predicted(logits):
    """The likeliest classes, one-hot `(B, K)`."""
    return tf.one_hot(tf.argmax(logits, axis=1), logits.shape[1])
