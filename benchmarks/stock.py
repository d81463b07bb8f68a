"""The Keras example's ways: every operation a stock Keras layer, batches from ImageDataGenerator."""

from contextlib import nullcontext
from unittest.mock import patch

import keras

from resnet.models import blocks


def stock_layers(yes=True):
    """Context in which networks are built on Keras' own batch normalisation and ReLU."""
    if not yes:
        return nullcontext()
    return patch.multiple(
        blocks, FusedBatchNormalization=keras.layers.BatchNormalization, ReLU=keras.layers.ReLU
    )


def generated_batches(dataset, batch):
    """Shuffled batches without end, normalised, shifted by up to a tenth, half of the images mirrored."""
    import tensorflow as tf

    generator = tf.keras.preprocessing.image.ImageDataGenerator(
        width_shift_range=0.1, height_shift_range=0.1, horizontal_flip=True
    )
    images = dataset.normalization(dataset.train.images.astype("float32"))
    return generator.flow(images, dataset.train.labels, batch)
