"""Losses: functions of targets and logits, both `(B, K)`, that give one number an image.

A loss is called with `training`, since some treat the two apart. Those of Keras serve too, through `loss_of`.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

Loss = Callable[[tf.Tensor, tf.Tensor, bool], tf.Tensor]


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


def loss_of(given: Loss | keras.losses.Loss) -> Loss:
    """`given`, or what it computes an image where it is a `keras.losses.Loss`, which takes no `training`.

    Keras' loss must take logits: `from_logits=True`. Raises ValueError for one that says it does not.
    """
    if not isinstance(given, keras.losses.Loss):
        return given
    if given.get_config().get("from_logits") is False:
        raise ValueError(f"loss: {type(given).__name__} needs from_logits=true: the networks give logits")
    return lambda targets, logits, training: given.call(targets, logits)
