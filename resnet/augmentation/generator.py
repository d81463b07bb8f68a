"""What keras' ImageDataGenerator does to a picture, for a batch at a time and inside the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import pi
from typing import Any

import tensorflow as tf

from resnet.augmentation.affine import FILL_MODES, sample
from resnet.augmentation.transform import Transform, each, fold_in, mirror, uniform

Extent = int | float | Sequence[int | float]


def image_data_generator(
    rotation_range: float = 0.0,
    width_shift_range: Extent = 0.1,
    height_shift_range: Extent = 0.1,
    shear_range: float = 0.0,
    zoom_range: float | Sequence[float] = 0.0,
    channel_shift_range: float = 0.0,
    brightness_range: Sequence[float] | None = None,
    horizontal_flip: bool = True,
    vertical_flip: bool = False,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    rescale: float | None = None,
    samplewise_center: bool = False,
    samplewise_std_normalization: bool = False,
    featurewise_center: bool = False,
    featurewise_std_normalization: bool = False,
    zca_whitening: bool = False,
    zca_epsilon: float = 1e-6,
) -> Transform:
    """The transforms of `keras.preprocessing.image.ImageDataGenerator`, by its names and in its order.

    Ranges are drawn from as there: degrees for rotation and shear; a shift as a fraction of the size
    (floats below 1), in pixels (floats from 1 on), up to so many whole pixels (an int) or one of a list;
    zoom and brightness as factors. The defaults are what the Keras example asks for, not Keras' zeros.

    Where its code leaves its names, the names hold here: `width_shift_range` moves along the width (Keras
    3 moves the rows), and pictures that are not square turn about their centre.

    What standardises (`rescale` to `zca_whitening`) comes after every transform of a list, is measured on
    the training images, and is done to the pictures of evaluation and prediction too: by
    `data.Preprocessing`. A batch for which nothing was measured raises ValueError.
    """
    if fill_mode not in FILL_MODES:
        raise ValueError(f"augmentation: fill_mode is one of {', '.join(FILL_MODES)}, not {fill_mode}")
    ranges: dict[str, Any] = {
        "rotation_range": rotation_range,
        "width_shift_range": width_shift_range,
        "height_shift_range": height_shift_range,
        "shear_range": shear_range,
        "zoom_range": zoom_range,
        "channel_shift_range": channel_shift_range,
        "brightness_range": brightness_range,
        "horizontal_flip": horizontal_flip,
        "vertical_flip": vertical_flip,
    }
    standardization = {
        "rescale": rescale,
        "samplewise_center": samplewise_center,
        "samplewise_std_normalization": samplewise_std_normalization,
        "featurewise_center": featurewise_center,
        "featurewise_std_normalization": featurewise_std_normalization,
        "zca_whitening": zca_whitening,
    }

    standardized = any(standardization.values())

    def augment(batch, seed):
        if standardized and not (batch.normalization and batch.normalization.standardization):
            raise ValueError("augmentation: what standardises was not measured; use it through Preprocessing")
        drawn = draw(seed, batch.size, *batch.images.shape[1:3], **ranges)
        return batch._replace(images=transform(batch.images, drawn, fill_mode, cval))

    options = standardization | {"zca_epsilon": zca_epsilon} if standardized else None
    return Transform("image_data_generator", augment, options)


def draw(
    seed: tf.Tensor,
    size: tf.Tensor | int,
    height: int,
    width: int,
    *,
    rotation_range: float,
    width_shift_range: Extent,
    height_shift_range: Extent,
    shear_range: float,
    zoom_range: float | Sequence[float],
    channel_shift_range: float,
    brightness_range: Sequence[float] | None,
    horizontal_flip: bool,
    vertical_flip: bool,
) -> dict[str, tf.Tensor]:
    """Parameters by Keras' names, each `(size,)`; what no range asks for is left out.

    `theta` and `shear` are in degrees, `tx` and `ty` pixels along the width and the height, `zx` and `zy`
    factors along the same.
    """
    drawn = {}
    if rotation_range:
        drawn["theta"] = uniform(seed, 0, [size], -rotation_range, rotation_range)
    if width_shift_range:
        drawn["tx"] = _shift(fold_in(seed, 1), size, width_shift_range, width)
    if height_shift_range:
        drawn["ty"] = _shift(fold_in(seed, 2), size, height_shift_range, height)
    if shear_range:
        drawn["shear"] = uniform(seed, 3, [size], -shear_range, shear_range)
    low, high = (1 - zoom_range, 1 + zoom_range) if isinstance(zoom_range, int | float) else zoom_range
    if (low, high) != (1, 1):
        drawn["zx"], drawn["zy"] = (uniform(seed, choice, [size], low, high) for choice in (4, 5))
    if channel_shift_range:
        drawn["channel_shift_intensity"] = uniform(seed, 6, [size], -channel_shift_range, channel_shift_range)
    if horizontal_flip:
        drawn["flip_horizontal"] = uniform(seed, 7, [size]) < 0.5
    if vertical_flip:
        drawn["flip_vertical"] = uniform(seed, 8, [size]) < 0.5
    if brightness_range:
        drawn["brightness"] = uniform(seed, 9, [size], *brightness_range)
    return drawn


def _shift(seed, size, extent, pixels):
    if isinstance(extent, float):
        return (pixels if extent < 1 else 1) * uniform(seed, 0, [size], -extent, extent)
    choices = [float(c) for c in (range(extent) if isinstance(extent, int) else extent)]
    picked = tf.gather(choices, tf.cast(uniform(seed, 0, [size], 0, len(choices)), tf.int32))
    sign = tf.where(uniform(seed, 1, [size]) < 0.5, -1.0, 1.0)
    return sign * picked * (pixels if max(choices) < 1 else 1)


def transform(images: tf.Tensor, drawn: Mapping[str, tf.Tensor], fill_mode: str, cval: float) -> tf.Tensor:
    """The pictures `(B, H, W, C)` under the parameters that `draw` gives, in Keras' order."""
    if drawn.keys() & {"theta", "tx", "ty", "shear", "zx", "zy"}:
        matrices, shifts = _matrices(drawn, tf.shape(images)[0])
        images = sample(images, matrices, shifts, fill_mode, cval)
    if "channel_shift_intensity" in drawn:
        images = _shift_channels(images, each(drawn["channel_shift_intensity"]))
    if "flip_horizontal" in drawn:
        images = mirror(images, drawn["flip_horizontal"], axis=2)
    if "flip_vertical" in drawn:
        images = mirror(images, drawn["flip_vertical"], axis=1)
    if "brightness" in drawn:
        images = _brighten(images, each(drawn["brightness"]))
    return images


def _matrices(drawn, size):
    """Rotation x shear x zoom, and rotation x shift: `(B, 2, 2)` and `(B, 2)` on (x, y)."""
    zero, one = tf.zeros([size]), tf.ones([size])
    theta, shear = (drawn.get(name, zero) * (pi / 180) for name in ("theta", "shear"))
    turn = _matrix(tf.cos(theta), -tf.sin(theta), tf.sin(theta), tf.cos(theta))
    slant = _matrix(one, -tf.sin(shear), zero, tf.cos(shear))
    zoom = _matrix(drawn.get("zx", one), zero, zero, drawn.get("zy", one))
    shift = tf.stack([drawn.get("tx", zero), drawn.get("ty", zero)], 1)
    return turn @ slant @ zoom, tf.linalg.matvec(turn, shift)


def _matrix(a, b, c, d):
    return tf.stack([tf.stack([a, b], 1), tf.stack([c, d], 1)], 1)


def _shift_channels(images, intensity):
    return tf.clip_by_value(images + intensity, *_extremes(images))


def _brighten(images, factor):
    """Times `factor` within 0 to 255; a picture that leaves these, within its own darkest and lightest."""
    low, high = _extremes(images)
    foreign = (low < 0) | (high > 255)
    low, high = tf.where(foreign, low, 0.0), tf.where(foreign, high, 255.0)
    return tf.clip_by_value(low + (images - low) * factor, low, high)


def _extremes(images):
    axes = [1, 2, 3]
    return tf.reduce_min(images, axes, keepdims=True), tf.reduce_max(images, axes, keepdims=True)
