"""Augmentation of whole batches inside the graph, keyed by a stateless seed.

Each factory returns a function of a Batch and an int32 seed `(2,)` that gives a Batch of the same
shapes: equal seeds give equal pictures.
"""

from typing import NamedTuple

import tensorflow as tf


class Batch(NamedTuple):
    """What a transform sees and gives.

    `images` are normalised float32 `(B, H, W, C)`, `labels` float32 one-hot `(B, K)`; `indices`
    int32 `(B,)` name the images in the training set, and `epoch` is an int32 scalar counted from 0.
    """

    images: tf.Tensor
    labels: tf.Tensor
    indices: tf.Tensor
    epoch: tf.Tensor


def none():
    """The pictures as they are."""
    return lambda batch, seed: batch


def shift_flip(shift=0.1, flip=True):
    """Shift by up to `shift` of height and width, then mirror left to right half of the pictures.

    Shifts are continuous, bilinear, filled from the nearest edge, as keras' ImageDataGenerator draws
    them. Raises ValueError unless 0 <= shift < 1.
    """
    if not 0 <= shift < 1:
        raise ValueError(f"augmentation: shift lies in [0, 1), not {shift}")

    def augment(batch, seed):
        size, (height, width) = tf.shape(batch.labels)[0], batch.images.shape[1:3]
        y, x = (shift * n * _uniform(seed, i, [size, 1], -1) for i, n in enumerate((height, width)))
        rows = tf.clip_by_value(tf.range(height, dtype=tf.float32) + y, 0, height - 1)
        columns = tf.clip_by_value(tf.range(width, dtype=tf.float32) + x, 0, width - 1)
        return _take(batch, rows, _mirror(columns, seed) if flip else columns)

    return augment


def crop_flip(padding=4, flip=True):
    """Pad with `padding` zeros on each side, crop at random, then flip (He et al. 2015, section 4.2)."""
    if padding < 0:
        raise ValueError(f"augmentation: padding is at least 0, not {padding}")

    def augment(batch, seed):
        size, (height, width) = tf.shape(batch.labels)[0], batch.images.shape[1:3]
        y, x = (tf.floor((2 * padding + 1) * _uniform(seed, i, [size, 1])) - padding for i in (0, 1))
        rows = tf.range(height, dtype=tf.float32) + y
        columns = tf.range(width, dtype=tf.float32) + x
        return _take(batch, rows, _mirror(columns, seed) if flip else columns)

    return augment


def _uniform(seed, stream, shape, low=0.0):
    """Floats in [low, 1); each random choice has a stream, so that none shifts another's draws."""
    return tf.random.stateless_uniform(shape, tf.random.experimental.stateless_fold_in(seed, stream), low)


def _mirror(columns, seed):
    """The columns `(B, W)` from right to left in half of the batch."""
    chosen = _uniform(seed, 2, [tf.shape(columns)[0], 1]) < 0.5
    return tf.where(chosen, columns[:, ::-1], columns)


def _take(batch, rows, columns):
    """The images read at float positions rows `(B, H)` and columns `(B, W)`; zeros beyond the edge.

    Linear interpolation along an axis is a matrix product, which is faster here than a gather.
    """
    images = batch.images
    size, (height, width, channels) = tf.shape(images)[0], images.shape[1:]
    lines = tf.reshape(images, [size, height, width * channels])
    images = tf.reshape(_weights(rows, height) @ lines, [size, height, width, channels])
    return batch._replace(images=tf.einsum("bxw,bhwc->bhxc", _weights(columns, width), images))


def _weights(positions, size):
    """Linear interpolation `(B, P)` positions over `size` pixels as matrices `(B, P, size)`."""
    return tf.maximum(0.0, 1 - tf.abs(positions[:, :, None] - tf.range(size, dtype=tf.float32)))
