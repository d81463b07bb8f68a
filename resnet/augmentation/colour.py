"""Other light and other colours for each picture."""

from __future__ import annotations

import tensorflow as tf

from resnet.augmentation.operations import LUMA
from resnet.augmentation.transform import Batch, Transform, each, fold_in, uniform

# Of the colours of ImageNet's pixels, from 0 to 1: their principal directions, as columns, and eigenvalues
# (as Facebook's fb.resnet.torch published them).
DIRECTIONS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)
EIGENVALUES = (0.2175, 0.0188, 0.0045)
ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


def colour_jitter(brightness: float = 0.4, contrast: float = 0.4, saturation: float = 0.4) -> Transform:
    """Brightness, contrast and saturation times 1 - x to 1 + x each, in an order drawn for each picture.

    They blend a picture with black, with the grey of its mean, and with its own grey (Howard 2013, as
    fb.resnet.torch has it). Raises ValueError for x < 0, and for a batch that does not say how it was
    normalised.
    """
    amounts = (brightness, contrast, saturation)
    if min(amounts) < 0:
        raise ValueError(f"augmentation: colour_jitter takes amounts of 0 or more, not {list(amounts)}")

    def augment(batch: Batch, seed: tf.Tensor) -> Batch:
        images = _pixels(batch, "colour_jitter")
        factors = [
            each(uniform(seed, i, [batch.size], max(0.0, 1 - amount), 1 + amount))
            for i, amount in enumerate(amounts)
        ]
        drawn = tf.cast(uniform(seed, 3, [batch.size], 0, len(ORDERS)), tf.int32)
        orders = tf.gather(tf.constant(ORDERS), drawn)
        for turn in range(3):
            kind = each(orders[:, turn])
            grey = _grey(images)
            mean = tf.reduce_mean(grey, [1, 2], keepdims=True)
            other = tf.where(kind == 0, 0.0, tf.where(kind == 1, mean, grey))
            factor = tf.where(kind == 0, factors[0], tf.where(kind == 1, factors[1], factors[2]))
            images = tf.clip_by_value(other + (images - other) * factor, 0.0, 255.0)
        return batch._replace(images=batch.normalization.scale(images))

    return Transform("colour_jitter", augment)


def pca_lighting(deviation: float = 0.1) -> Transform:
    """Adds to all pixels of a picture one colour, drawn along the principal directions of ImageNet's.

    Along each it is normal, of `deviation` times the eigenvalue (Krizhevsky et al. 2012, section 4.1).
    Raises ValueError for pictures without colours, and for a batch that does not say how it was normalised.
    """

    def augment(batch: Batch, seed: tf.Tensor) -> Batch:
        images = _pixels(batch, "pca_lighting")
        if images.shape[-1] != 3:
            raise ValueError(f"augmentation: pca_lighting takes 3 channels, not {images.shape[-1]}")
        drawn = tf.random.stateless_normal([batch.size, 3], fold_in(seed, 0), stddev=deviation)
        colours = 255 * tf.linalg.matvec(tf.constant(DIRECTIONS), drawn * tf.constant(EIGENVALUES))
        return batch._replace(images=batch.normalization.scale(images + colours[:, None, None, :]))

    return Transform("pca_lighting", augment)


def _pixels(batch, name):
    if batch.normalization is None:
        raise ValueError(f"augmentation: {name} needs the normalization of the batch")
    return batch.normalization.unscale(batch.images)


def _grey(images):
    if images.shape[-1] != 3:
        return images
    return tf.tensordot(images, tf.constant(LUMA), 1)[..., None]
