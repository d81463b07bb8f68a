"""Losses: functions of targets and logits, both `(B, K)`, that give one number per image, `(B,)`.

A loss is called with `training`. In training each is what its docstring says; with `training=False` all of
them are cross-entropy in nats, so that runs with different losses compare, and with what `evaluate.py` says.

Those of Keras serve too. One that depends on the training images, or looks at the images of a batch, is an
object with `bind(dataset, preprocessing)`, which gives a function of a `Batch`, logits and `training`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from resnet.augmentation.transform import Batch
from resnet.errors import UserError

if TYPE_CHECKING:
    from resnet.data.dataset import Dataset
    from resnet.data.preprocessing import Preprocessing

Loss: TypeAlias = Callable[[tf.Tensor, tf.Tensor, bool], tf.Tensor]
BatchLoss: TypeAlias = Callable[[Batch, tf.Tensor, bool], tf.Tensor]


class Bindable(Protocol):
    """A loss that is known once the data are."""

    def bind(self, dataset: Dataset, preprocessing: Preprocessing) -> BatchLoss: ...


AnyLoss: TypeAlias = Loss | keras.losses.Loss | Bindable


def cross_entropy(label_smoothing: float = 0.0) -> Loss:
    """Softmax cross-entropy, in nats.

    In training, `label_smoothing` of each target is spread over all classes (Szegedy et al. 2016, section
    7). Raises ValueError unless it lies in [0, 1).
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"loss: label_smoothing lies in [0, 1), not {label_smoothing}")

    def loss(targets, logits, training):
        smoothing = label_smoothing if training else 0.0
        return keras.losses.categorical_crossentropy(
            targets, logits, from_logits=True, label_smoothing=smoothing
        )

    return loss


def focal(gamma: float = 2.0) -> Loss:
    """Cross-entropy whose term of a class has the weight (1 - p)^`gamma` (Lin et al. 2017, equation 4).

    p is the softmax's probability of the class: what is learned already counts little.
    """

    def loss(targets, logits):
        # Keras' own clips p, and with it the gradient of images that are far wrong.
        logarithms = tf.nn.log_softmax(logits)
        # Not quite 0 for p = 1, where a power has no gradient for gamma < 1.
        unsure = tf.maximum(-tf.math.expm1(logarithms), keras.backend.epsilon())
        return -tf.reduce_sum(targets * unsure**gamma * logarithms, axis=1)

    return _in_training(loss)


def binary(threshold: float | None = None) -> Loss:
    """Mean over the classes of each one's binary cross-entropy, as if an image could be of several.

    Every logit has a sigmoid of its own (Wightman et al. 2021, "ResNet strikes back", section 2). With a
    `threshold` each class whose target exceeds it is wholly there, as in their mixtures of images: 0.2.
    """

    def loss(targets, logits):
        if threshold is not None:
            targets = tf.cast(targets > threshold, logits.dtype)
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(targets, logits), axis=1)

    return _in_training(loss)


def symmetric(alpha: float = 0.1, beta: float = 1.0, log_zero: float = -4.0) -> Loss:
    """`alpha` x cross-entropy + `beta` x reverse cross-entropy, for noisy labels (Wang et al. 2019).

    The reverse, - sum p log t, swaps probabilities and targets; `log_zero` stands for the logarithm of a
    target of 0, and for any below it (equation 7; A there).
    """

    def loss(targets, logits):
        reverse = tf.nn.softmax(logits) * tf.maximum(tf.math.log(targets), log_zero)
        return alpha * _softmax_loss(targets, logits) - beta * tf.reduce_sum(reverse, axis=1)

    return _in_training(loss)


def bootstrapped(beta: float = 0.8, kind: str = "hard") -> Loss:
    """Cross-entropy with targets that the network has a say in, for noisy labels (Reed et al. 2015).

    They are `beta` x target + (1 - `beta`) x prediction: the likeliest class (`hard`, equation 7), or all
    probabilities (`soft`, equation 6). The paper takes 0.8 and 0.95.
    """

    def loss(targets, logits):
        own = tf.nn.softmax(logits)
        if kind == "hard":
            own = tf.one_hot(tf.argmax(logits, axis=1), logits.shape[1])
        return _softmax_loss(beta * targets + (1 - beta) * own, logits)

    return _in_training(loss)


class ClassWeighted:
    """Cross-entropy in which every class counts the same, however many training images it has.

    The term of a class with n of the N training images, of K classes, has the weight N / (K n).
    """

    def bind(self, dataset: Dataset, preprocessing: Preprocessing) -> BatchLoss:
        labels, classes = dataset.train.labels, dataset.num_classes
        counts = np.maximum(np.bincount(labels, minlength=classes), 1)  # none: never a target
        weights = tf.constant(len(labels) / (classes * counts), tf.float32)
        return of_batch(_in_training(lambda targets, logits: _softmax_loss(targets * weights, logits)))


def loss_of(given: AnyLoss, dataset: Dataset, preprocessing: Preprocessing) -> BatchLoss:
    """Any kind of loss as a function of a Batch, logits `(B, K)` and `training`.

    Raises UserError for what is no loss, and ValueError for one of Keras' that says that it takes no logits.
    """
    if hasattr(given, "bind"):
        return given.bind(dataset, preprocessing)
    if not isinstance(given, keras.losses.Loss):
        if not callable(given) or "training" not in inspect.signature(given).parameters:
            name = getattr(given, "__name__", repr(given))
            raise UserError(
                f"loss: {name} is no function of targets, logits and training\n"
                "of Keras' losses give the class, as keras.losses.CategoricalCrossentropy(from_logits=True)"
            )
        return of_batch(given)
    if given.get_config().get("from_logits") is False:
        raise ValueError(f"loss: {type(given).__name__} needs from_logits=true: the networks give logits")
    return of_batch(lambda targets, logits, training: given.call(targets, logits))


def of_batch(loss: Loss) -> BatchLoss:
    """A loss of targets and logits, given a Batch."""
    return lambda batch, logits, training: loss(batch.labels, logits, training=training)


def _in_training(function):
    """A loss that is `function` of targets and logits in training, and cross-entropy in evaluation."""
    evaluated = cross_entropy()

    def loss(targets, logits, training):
        return function(targets, logits) if training else evaluated(targets, logits, training)

    return loss


def _softmax_loss(targets, logits):
    """Cross-entropy `(B,)`."""
    # TensorFlow's own has a wrong gradient where the targets of an image do not sum to 1.
    return -tf.reduce_sum(targets * tf.nn.log_softmax(logits), axis=1)
