"""A part of each picture, drawn in size and shape, in the size of the whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from resnet.augmentation.transform import Batch, Transform, uniform
from resnet.errors import UserError

ATTEMPTS = 10


class Crop(NamedTuple):
    """How a rectangle is drawn: its share of the area, and its width to height."""

    scale: Sequence[float]
    ratio: Sequence[float]

    def draw(self, random: np.random.Generator) -> np.ndarray:
        """Numbers from 0 to 1 that `box` makes a rectangle of."""
        return random.random(2 * ATTEMPTS + 2)

    def box(self, drawn: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width in a picture of this size, in pixels; as `boxes` for a batch."""
        low, high = (math.log(bound) for bound in self.ratio)
        for share, shape in zip(drawn[:ATTEMPTS], drawn[ATTEMPTS:-2], strict=True):
            area = height * width * (self.scale[0] + (self.scale[1] - self.scale[0]) * share)
            shape = math.exp(low + (high - low) * shape)
            rows, columns = round(math.sqrt(area / shape)), round(math.sqrt(area * shape))
            if 1 <= rows <= height and 1 <= columns <= width:
                return (
                    int(drawn[-2] * (height - rows + 1)),
                    int(drawn[-1] * (width - columns + 1)),
                    rows,
                    columns,
                )
        rows, columns = self.largest(height, width)
        return (height - rows) // 2, (width - columns) // 2, rows, columns

    def largest(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the largest rectangle whose shape is allowed."""
        rows = min(height, round(width / self.ratio[0]))
        return rows, min(width, round(height * self.ratio[1]))


def random_resized_crop(
    scale: Sequence[float] = (0.08, 1.0), ratio: Sequence[float] = (0.75, 1.3333333333333333)
) -> Transform:
    """A rectangle of a share of the area from `scale`, of width to height from `ratio`, scaled to the whole.

    The share is uniform, the logarithm of the ratio too (Szegedy et al. 2015, section 6, as the frameworks
    have it): the first of ten draws that fits, else the largest in the middle whose shape is allowed. What is
    scaled is interpolated linearly; what is scaled down is averaged over what a pixel covers, as Pillow's
    BILINEAR does. Where a source reads each picture from its file anew, it cuts the rectangle from that, see
    `data.shards.Sharded.cropped`. Raises ValueError for ranges that do not rise from above 0, and UserError
    for a batch whose normalization is not the same for every pixel.
    """
    crop = Crop(scale, ratio)
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(f"augmentation: scale rises from above 0 to 1 at most, not {list(scale)}")
    if not 0 < ratio[0] <= ratio[1]:
        raise ValueError(f"augmentation: ratio rises from above 0, not {list(ratio)}")

    def augment(batch: Batch, seed: tf.Tensor) -> Batch:
        height, width, channels = batch.images.shape[1:]
        if batch.normalization is not None and batch.normalization.mean.ndim > 1:
            raise UserError(
                "augmentation: random_resized_crop moves pixels far away from the mean of their place\n"
                "give data.normalization=channel"
            )
        top, left, rows, columns = boxes(seed, batch.size, height, width, crop)
        lines = tf.reshape(batch.images, [batch.size, height, width * channels])
        images = tf.reshape(weights(top, rows, height) @ lines, [batch.size, height, width, channels])
        images = tf.einsum("bxw,bhwc->bhxc", weights(left, columns, width), images)
        return batch._replace(images=images)

    return Transform("random_resized_crop", augment, crop=crop)


def boxes(seed: tf.Tensor, count: tf.Tensor, height: int, width: int, crop: Crop) -> tuple[tf.Tensor, ...]:
    """Top, left, height and width of `count` rectangles in pixels: whole numbers, float32 `(count,)`."""
    shape = [count, ATTEMPTS]
    area = height * width * uniform(seed, 0, shape, *crop.scale)
    shapes = tf.exp(uniform(seed, 1, shape, *(math.log(bound) for bound in crop.ratio)))
    rows, columns = tf.round(tf.sqrt(area / shapes)), tf.round(tf.sqrt(area * shapes))
    fits = (rows >= 1) & (rows <= height) & (columns >= 1) & (columns <= width)
    first, found = tf.argmax(fits, axis=1), tf.reduce_any(fits, axis=1)
    sides = []
    for drawn, most in zip((rows, columns), crop.largest(height, width), strict=True):
        sides.append(tf.where(found, tf.gather(drawn, first, batch_dims=1), float(most)))
    starts = []
    for choice, side, size in zip((2, 3), sides, (height, width), strict=True):
        anywhere = tf.floor(uniform(seed, choice, [count]) * (size - side + 1))
        starts.append(tf.where(found, anywhere, tf.floor((size - side) / 2)))
    return *starts, *sides


def weights(start: tf.Tensor, length: tf.Tensor, size: int) -> tf.Tensor:
    """Matrices `(B, size, size)` that scale the `length` pixels from `start` on, both `(B,)`, to `size`."""
    step = (length / size)[:, None]  # pixels that one covers
    places = tf.range(size, dtype=tf.float32)
    centres = start[:, None] + (places + 0.5) * step - 0.5
    triangle = tf.maximum(0.0, 1 - tf.abs(places - centres[:, :, None]) / tf.maximum(step, 1.0)[:, :, None])
    inside = (places >= start[:, None]) & (places < (start + length)[:, None])
    triangle *= tf.cast(inside, tf.float32)[:, None]
    return triangle / tf.reduce_sum(triangle, axis=2, keepdims=True)
