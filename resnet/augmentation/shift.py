"""Shifts, crops and flips, whose rows and columns move alone: one matrix product per axis."""

from __future__ import annotations

import tensorflow as tf

from resnet.augmentation.transform import Transform, mirror, uniform


def shift_flip(shift: float = 0.1, flip: bool = True) -> Transform:
    """Shift by up to `shift` of height and width, then mirror left to right half of the pictures.

    Shifts are continuous, bilinear, filled from the nearest edge, as keras' ImageDataGenerator draws
    them; `image_data_generator` does the same at half the speed. Raises ValueError unless
    0 <= shift < 1.
    """
    if not 0 <= shift < 1:
        raise ValueError(f"augmentation: shift lies in [0, 1), not {shift}")

    def augment(batch, seed):
        height, width = batch.images.shape[1:3]
        y, x = (shift * n * uniform(seed, i, [batch.size, 1], -1) for i, n in enumerate((height, width)))
        rows = tf.clip_by_value(tf.range(height, dtype=tf.float32) + y, 0, height - 1)
        columns = tf.clip_by_value(tf.range(width, dtype=tf.float32) + x, 0, width - 1)
        return _take(batch, rows, _mirror(columns, seed) if flip else columns)

    return Transform("shift_flip", augment)


def crop_flip(padding: int = 4, fill: str = "zeros", flip: bool = True) -> Transform:
    """Pad with `padding` pixels on each side, crop at random, then flip (He et al. 2015, section 4.2).

    `fill` is `zeros`, or `reflect` for the picture mirrored about its outermost pixels. Raises
    ValueError for another fill or padding < 0.
    """
    if padding < 0:
        raise ValueError(f"augmentation: padding is at least 0, not {padding}")
    if fill not in ("zeros", "reflect"):
        raise ValueError(f"augmentation: fill is zeros or reflect, not {fill}")

    def augment(batch, seed):
        rows, columns = (
            tf.range(n, dtype=tf.float32) + tf.floor(uniform(seed, i, [batch.size, 1], -padding, padding + 1))
            for i, n in enumerate(batch.images.shape[1:3])
        )
        if fill == "reflect":
            rows, columns = (
                _reflect(p, n) for p, n in zip((rows, columns), batch.images.shape[1:3], strict=True)
            )
        return _take(batch, rows, _mirror(columns, seed) if flip else columns)

    return Transform("crop_flip", augment)


def alternating_flip(seed: int = 0) -> Transform:
    """Mirror each picture left to right in every other epoch, half of them from the first on.

    With it any two epochs in a row hold each picture both ways round (Jordan 2024, "94% on CIFAR-10 in
    3.29 seconds", section 3.6). Which half is first is a hash of the picture's index and of `seed`.
    """

    def augment(batch, _):
        turn = _hash(tf.cast(batch.indices, tf.int64) + (seed << 32)) + tf.cast(batch.epoch, tf.int64)
        return batch._replace(images=mirror(batch.images, turn % 2 == 1, axis=2))

    return Transform("alternating_flip", augment)


def _hash(numbers):
    """int64 `(B,)` to as many that look random, from 0 to 2^31 - 1, in the manner of SplitMix64."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        numbers = tf.bitwise.bitwise_xor(numbers, tf.bitwise.right_shift(numbers, shift))
        numbers *= factor - 2**64  # int64 wraps
    return tf.bitwise.bitwise_and(tf.bitwise.right_shift(numbers, 31), 2**31 - 1)


def _mirror(columns, seed):
    """The columns `(B, W)` from right to left in half of the batch."""
    chosen = uniform(seed, 2, [tf.shape(columns)[0], 1]) < 0.5
    return tf.where(chosen, columns[:, ::-1], columns)


def _reflect(positions, size):
    """Positions beyond 0 and `size - 1` folded back about these, as often as it takes."""
    if size == 1:
        return tf.zeros_like(positions)
    positions = tf.math.floormod(positions, 2.0 * (size - 1))
    return tf.minimum(positions, 2 * (size - 1) - positions)


def _take(batch, rows, columns):
    """The images read at float positions rows `(B, H)` and columns `(B, W)`; zeros beyond the edge.

    Linear interpolation along an axis is a matrix product, which is faster here than a gather.
    """
    height, width, channels = batch.images.shape[1:]
    lines = tf.reshape(batch.images, [batch.size, height, width * channels])
    images = tf.reshape(_weights(rows, height) @ lines, [batch.size, height, width, channels])
    return batch._replace(images=tf.einsum("bxw,bhwc->bhxc", _weights(columns, width), images))


def _weights(positions, size):
    """Linear interpolation `(B, P)` positions over `size` pixels as matrices `(B, P, size)`."""
    return tf.maximum(0.0, 1 - tf.abs(positions[:, :, None] - tf.range(size, dtype=tf.float32)))
