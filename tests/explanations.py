"""What the tests of pictures need: networks and images without a run."""

from types import SimpleNamespace

import numpy as np
import tensorflow as tf

from resnet.data.dataset import Dataset, Split
from resnet.data.normalization import Normalization
from resnet.models.cutting import cut
from resnet.training.losses import cross_entropy

CLASSES = ["cat", "dog", "$emu$"]


def subject(model, label=None, fresh=None):
    """A model as pictures take a run; its preprocessing only makes floats of pixels."""
    loss = cross_entropy()
    return SimpleNamespace(
        label=label or model.name,
        model=model,
        blocks=cut(model),
        fresh=lambda: fresh or model,
        inputs=lambda images: tf.cast(images, tf.float32) / 255,
        loss=lambda labels, logits: loss(tf.one_hot(labels, logits.shape[1]), logits, False),
        network=SimpleNamespace(class_names=CLASSES, image_shape=model.input.shape[1:]),
    )


def dataset(count=24, size=16):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, count, size, size, 3), np.uint8)
    labels = np.arange(count, dtype=np.int32) % len(CLASSES)
    normalization = Normalization(np.zeros(3, np.float32), np.ones(3, np.float32))
    return Dataset(Split(images[0], labels), Split(images[1], labels), CLASSES, normalization)
