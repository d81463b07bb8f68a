"""Which weights a training ends with: the last, the best, or an average."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from resnet.errors import UserError
from resnet.models.batch_norm import batch_norms

log = logging.getLogger(__name__)


class Last:
    """The weights after the last step."""

    mean: Sequence[Any] = ()

    variables: Sequence[keras.Variable] = ()

    def start(self, model: keras.Model) -> None:
        """Make what is needed beside the trainable weights of `model`; in the strategy's scope."""
        self.variables = model.trainable_variables  # be some of them frozen later

    def after_step(self, step: tf.Tensor) -> None:
        """Take note of the weights after `step`, an int32 scalar counted from 0.

        Part of the compiled steps, across the replicas.
        """

    def update(self, model: keras.Model, watched: Mapping[str, float] | None, done: float) -> None:
        """Take note of a model after an epoch.

        Args:
            watched: figures of the watched images, by name; None where none are watched.
            done: share of the training that is over, from 0 to 1.
        """

    def apply(self, model: keras.Model, batches: Iterable[tf.Tensor]) -> None:
        """Give `model` the weights that it is to end with.

        `batches` gives the batches of an epoch of training, as the network sees them.
        """

    def _assign_mean(self):
        for variable, mean in zip(self.variables, self.mean, strict=True):
            if variable.trainable:  # of what is frozen the mean is the same but for rounding
                variable.assign(mean)

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)


class Best(Last):
    """Those after the epoch with the highest accuracy of the watched images, the later one of equals."""

    def __init__(self) -> None:
        self.accuracy = -1.0
        self.weights: list[np.ndarray] = []

    def update(self, model: keras.Model, watched: Mapping[str, float] | None, done: float) -> None:
        assert watched is not None  # `final_weights` has seen to it
        if watched["accuracy"] >= self.accuracy:
            self.accuracy, self.weights = watched["accuracy"], model.get_weights()

    def apply(self, model: keras.Model, batches: Iterable[tf.Tensor]) -> None:
        model.set_weights(self.weights)

    def state(self) -> dict[str, Any]:
        return {"accuracy": self.accuracy, "weights": self.weights}


class Average(Last):
    """The mean of those after each epoch in the last part of a training (SWA, Izmailov et al. 2018).

    The statistics of batch norm are measured anew for the averaged network, over an epoch of training
    (section 3.2 there).

    Args:
        start: share of the training after which the mean begins; the paper's is 0.75.
    """

    def __init__(self, start: float) -> None:
        self.begins, self.count = start, 0
        self.mean: list[np.ndarray] = []

    def update(self, model: keras.Model, watched: Mapping[str, float] | None, done: float) -> None:
        if done <= self.begins and done < 1:
            return
        weights = [np.array(variable) for variable in self.variables]
        before = self.mean or [np.zeros_like(w) for w in weights]
        self.count += 1
        self.mean = [m + (w - m) / self.count for m, w in zip(before, weights, strict=True)]

    def apply(self, model: keras.Model, batches: Iterable[tf.Tensor]) -> None:
        if not self.count:
            log.warning("the training ended before the average of its weights began: these are the last")
            return
        self._assign_mean()
        measure_batch_norm(model, batches)

    def state(self) -> dict[str, Any]:
        return {"count": self.count, "mean": self.mean}


class Ema(Last):
    """The mean of those after each step, in which one k steps before the last counts `decay` to the k.

    An exponential moving average whose start is corrected as in Kingma and Ba 2015, section 3. The
    statistics of batch norm are measured anew, as for `Average`.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def start(self, model: keras.Model) -> None:
        super().start(model)
        self.strategy = tf.distribute.get_strategy()
        self.mean = [tf.Variable(tf.zeros(v.shape, v.dtype), trainable=False) for v in self.variables]

    def after_step(self, step: tf.Tensor) -> None:
        share = (1 - self.decay) / (1 - self.decay ** tf.cast(step + 1, tf.float32))

        def move(mean, value):
            mean.assign_add(tf.cast(share, mean.dtype) * (value - mean))

        for mean, variable in zip(self.mean, self.variables, strict=True):
            self.strategy.extended.update(mean, move, args=(variable.value,))

    def apply(self, model: keras.Model, batches: Iterable[tf.Tensor]) -> None:
        self._assign_mean()
        measure_batch_norm(model, batches)

    def state(self) -> dict[str, Any]:
        return {"mean": [mean.numpy() for mean in self.mean]}

    def restore(self, state: Mapping[str, Any]) -> None:
        for mean, value in zip(self.mean, state["mean"], strict=True):
            mean.assign(value)


KINDS = {"last": Last, "best": Best}


def final_weights(kind: str, average_from: float, ema_decay: float, watch: str | None) -> Last:
    """The rule that `kind` names. Raises UserError where it watches images and there are none."""
    if kind == "average":
        return Average(average_from)
    if kind == "ema":
        return Ema(ema_decay)
    if kind == "best" and watch is None:
        raise UserError(
            "trainer.final_weights=best: no images are watched to tell which are best\n"
            "hold some out (data.validation_split=0.1), or give trainer.final_weights=last"
        )
    return KINDS[kind]()


def measure_batch_norm(model: keras.Model, batches: Iterable[tf.Tensor]) -> None:
    """Set every moving mean and variance of `model` to its mean over `batches` of float32 images."""
    norms = batch_norms(model)
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    moving = [v for v in model.non_trainable_variables if "moving" in v.path]
    try:
        for norm in norms:
            norm.momentum = 0.0  # what a batch leaves is then its own statistics

        @tf.function(autograph=False, jit_compile=False, reduce_retracing=True)
        def see(images):
            model(images, training=True)

        total, count = [np.zeros(v.shape, np.float64) for v in moving], 0
        for images in batches:
            see(images)
            total = [t + np.array(v, np.float64) for t, v in zip(total, moving, strict=True)]
            count += 1
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    for variable, value in zip(moving, total, strict=True):
        variable.assign(keras.ops.convert_to_tensor(value / count, variable.dtype))
