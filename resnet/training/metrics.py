"""Metrics of a split: how well logits `(B, K)` fit targets `(B, K)`, averaged over an epoch.

A metric is a `keras.metrics.Metric`, or a function of targets and logits that gives one number per image. It
is measured in training and in evaluation, and stands in the epoch's record under the name it is given. A
`_target_` is called to give one, as `top_k` is; for a bare function of targets and logits `_partial_: true`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import keras
import tensorflow as tf

Metric: TypeAlias = keras.metrics.Metric | Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def top_k(k: int = 5) -> keras.metrics.Metric:
    """Share of the images whose class is among the `k` likeliest."""
    return keras.metrics.TopKCategoricalAccuracy(k)


def built(metrics: Mapping[str, Metric], num_classes: int) -> dict[str, keras.metrics.Metric]:
    """The metrics, by name, as Keras metrics whose variables exist; to be called in the strategy's scope."""
    found = {}
    for name, metric in metrics.items():
        if not isinstance(metric, keras.metrics.Metric):
            metric = keras.metrics.MeanMetricWrapper(metric, name=name)
        # Some make their variables when they first see a batch, which in a compiled step is too late.
        metric.update_state(tf.zeros([1, num_classes]), tf.zeros([1, num_classes]))
        metric.reset_state()
        found[name] = metric
    return found


def default() -> dict[str, Metric]:
    """What is measured where nothing else is asked for."""
    return {"accuracy": keras.metrics.CategoricalAccuracy()}


def values(metrics: Mapping[str, keras.metrics.Metric]) -> dict[str, float]:
    """What the metrics say, floats by name; of one with several numbers, such as one per class, the mean."""
    return {name: float(tf.reduce_mean(metric.result())) for name, metric in metrics.items()}
