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
    """Shift by up to `shift` of height and width (whole pixels, nearest fill), then flip.

    Raises ValueError unless 0 <= shift < 1.
    """
    if not 0 <= shift < 1:
        raise ValueError(f"augmentation: shift lies in [0, 1), not {shift}")

    def augment(batch, seed):
        height, width = batch.images.shape[1:3]
        rows, columns = round(shift * height), round(shift * width)
        images = _shift(batch.images, seed, rows, columns, clamp=True)
        return batch._replace(images=_flip(images, seed, flip))

    return augment


def crop_flip(padding=4, flip=True):
    """Pad with `padding` zeros on each side, crop at random, then flip (He et al. 2015, section 4.2)."""
    if padding < 0:
        raise ValueError(f"augmentation: padding is at least 0, not {padding}")

    def augment(batch, seed):
        images = _shift(batch.images, seed, padding, padding, clamp=False)
        return batch._replace(images=_flip(images, seed, flip))

    return augment


def _shift(images, seed, rows, columns, clamp):
    """Move each picture by its own whole number of pixels; fill from the edge (clamp) or with zeros."""
    batch, (height, width) = tf.shape(images)[0], images.shape[1:3]
    y = _positions(_substream(seed, 0), batch, height, rows)
    x = _positions(_substream(seed, 1), batch, width, columns)
    inside = _inside(y, height)[:, :, None, None] & _inside(x, width)[:, None, :, None]
    images = tf.gather(images, tf.clip_by_value(y, 0, height - 1), axis=1, batch_dims=1)
    images = tf.gather(images, tf.clip_by_value(x, 0, width - 1), axis=2, batch_dims=1)
    return images if clamp else tf.where(inside, images, tf.zeros_like(images))


def _positions(seed, batch, size, reach):
    """Source index of each row or column, `(batch, size)`, moved by up to `reach` either way."""
    offset = tf.random.stateless_uniform([batch, 1], seed, -reach, reach + 1, tf.int32)
    return tf.range(size)[None, :] + offset


def _inside(index, size):
    return (index >= 0) & (index < size)


def _flip(images, seed, flip):
    """Mirror each picture left to right with probability one half."""
    if not flip:
        return images
    chosen = tf.random.stateless_uniform([tf.shape(images)[0], 1, 1, 1], _substream(seed, 2)) < 0.5
    return tf.where(chosen, images[:, :, ::-1], images)


def _substream(seed, index):
    """A seed of its own for each random choice, so that no choice shifts another's draws."""
    return tf.random.experimental.stateless_fold_in(seed, index)
