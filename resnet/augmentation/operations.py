"""RandAugment (Cubuk et al. 2019): a few operations, drawn for each picture, at one magnitude."""

from __future__ import annotations

from math import pi

import tensorflow as tf

from resnet.augmentation.affine import sample
from resnet.augmentation.transform import Transform, each, fold_in, uniform

GREY = 128.0
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow's


def randaugment(operations: int = 2, magnitude: float = 9) -> Transform:
    """`operations` times one of OPERATIONS, drawn for each picture, at `magnitude` of 10.

    The operations see pixels from 0 to 255, so it undoes the normalisation and does it again; raises
    ValueError for a batch that does not say how it was normalised.
    """

    def augment(batch, seed):
        if batch.normalization is None:
            raise ValueError("augmentation: randaugment needs the normalization of the batch")
        images = tf.clip_by_value(batch.normalization.unscale(batch.images), 0.0, 255.0)
        for turn in range(operations):
            images = _one_each(images, fold_in(seed, turn), magnitude / 10)
        return batch._replace(images=batch.normalization.scale(images))

    return Transform("randaugment", augment)


def _one_each(images, seed, strength):
    """One operation per picture: the batch is parted by operation and put together again."""
    size = tf.shape(images)[0]
    drawn = tf.cast(uniform(seed, 0, [size], 0, len(OPERATIONS)), tf.int32)
    strengths = tf.where(uniform(seed, 1, [size]) < 0.5, -strength, strength)
    parts = [
        operation(part, strengths)
        for operation, part, strengths in zip(
            OPERATIONS.values(),
            tf.dynamic_partition(images, drawn, len(OPERATIONS)),
            tf.dynamic_partition(strengths, drawn, len(OPERATIONS)),
            strict=True,
        )
    ]
    return tf.ensure_shape(
        tf.dynamic_stitch(tf.dynamic_partition(tf.range(size), drawn, len(OPERATIONS)), parts), images.shape
    )


# An operation takes float32 pixels `(B, H, W, C)` from 0 to 255 and strengths `(B,)` from -1 to 1, of
# which some mind the size only, and gives pixels from 0 to 255.


def identity(images: tf.Tensor, strengths: tf.Tensor) -> tf.Tensor:
    return images


def auto_contrast(images: tf.Tensor, strengths: tf.Tensor) -> tf.Tensor:
    """Each channel stretched to 0 to 255."""
    low, high = tf.reduce_min(images, [1, 2], True), tf.reduce_max(images, [1, 2], True)
    low, gain = tf.where(high > low, low, 0.0), tf.where(high > low, 255 / (high - low), 1.0)
    return (images - low) * gain


def equalize(images: tf.Tensor, strengths: tf.Tensor) -> tf.Tensor:
    """Each channel mapped so that its 256 levels are used alike, as Pillow's `ImageOps.equalize`."""
    height, width, channels = images.shape[1:]
    planes = tf.reshape(tf.transpose(images, [0, 3, 1, 2]), [-1, height * width])
    levels = tf.cast(tf.round(planes), tf.int32)
    count = tf.shape(levels)[0]
    histogram = tf.math.bincount(levels, minlength=256, maxlength=256, axis=-1)
    histogram = tf.ensure_shape(histogram, [None, 256])
    last = tf.gather(histogram, tf.reduce_max(levels, 1), batch_dims=1)
    step = ((height * width - last) // 255)[:, None]
    below = tf.cumsum(histogram, axis=1, exclusive=True)
    table = tf.minimum((step // 2 + below) // tf.maximum(step, 1), 255)
    mapped = tf.where(step > 0, tf.gather(table, levels, batch_dims=1), levels)
    mapped = tf.reshape(tf.cast(mapped, tf.float32), [count // channels, channels, height, width])
    return tf.transpose(mapped, [0, 2, 3, 1])


def rotate(images: tf.Tensor, strengths: tf.Tensor) -> tf.Tensor:
    angle = strengths * (30 * pi / 180)
    return _affine(images, tf.cos(angle), -tf.sin(angle), tf.sin(angle), tf.cos(angle))


def shear_x(images: tf.Tensor, strengths: tf.Tensor) -> tf.Tensor:
    return _affine(images, 1, 0.3 * strengths, 0, 1)


def shear_y(images: tf.Tensor, strengths: tf.Tensor) -> tf.Tensor:
    return _affine(images, 1, 0, 0.3 * strengths, 1)


def translate_x(images: tf.Tensor, strengths: tf.Tensor) -> tf.Tensor:
    """Up to 10 pixels of 32."""
    return _affine(images, 1, 0, 0, 1, x=strengths * (images.shape[2] * 10 / 32))


def translate_y(images: tf.Tensor, strengths: tf.Tensor) -> tf.Tensor:
    return _affine(images, 1, 0, 0, 1, y=strengths * (images.shape[1] * 10 / 32))


def solarize(images: tf.Tensor, strengths: tf.Tensor) -> tf.Tensor:
    """Invert the pixels from a threshold on, which falls from 256 to 0."""
    return tf.where(images < each(256 * (1 - tf.abs(strengths))), images, 255 - images)


def posterize(images: tf.Tensor, strengths: tf.Tensor) -> tf.Tensor:
    """Keep the highest 8 to 4 bits."""
    step = each(2 ** tf.round(4 * tf.abs(strengths)))
    return tf.floor(tf.round(images) / step) * step


def color(images: tf.Tensor, strengths: tf.Tensor) -> tf.Tensor:
    return _enhance(_grey(images), images, strengths)


def contrast(images: tf.Tensor, strengths: tf.Tensor) -> tf.Tensor:
    return _enhance(tf.reduce_mean(_grey(images), [1, 2], True), images, strengths)


def brightness(images: tf.Tensor, strengths: tf.Tensor) -> tf.Tensor:
    return _enhance(tf.zeros_like(images), images, strengths)


def sharpness(images: tf.Tensor, strengths: tf.Tensor) -> tf.Tensor:
    """Away from or towards a blurred picture, whose outermost pixels stay."""
    if min(images.shape[1:3]) < 3:
        return images
    # Sums of slices, not depthwise_conv2d, whose shape is wrong where no picture drew this operation.
    lines = images[:, :-2] + images[:, 1:-1] + images[:, 2:]
    inner = (lines[:, :, :-2] + lines[:, :, 1:-1] + lines[:, :, 2:] + 4 * images[:, 1:-1, 1:-1]) / 13
    rows = tf.concat([images[:, 1:-1, :1], inner, images[:, 1:-1, -1:]], 2)
    return _enhance(tf.concat([images[:, :1], rows, images[:, -1:]], 1), images, strengths)


OPERATIONS = {
    operation.__name__: operation
    for operation in (
        identity,
        auto_contrast,
        equalize,
        rotate,
        solarize,
        color,
        posterize,
        contrast,
        brightness,
        sharpness,
        shear_x,
        shear_y,
        translate_x,
        translate_y,
    )
}


def _affine(images, a, b, c, d, x=0.0, y=0.0):
    entries = [tf.broadcast_to(tf.cast(v, tf.float32), tf.shape(images)[:1]) for v in (a, b, c, d, x, y)]
    matrices = tf.reshape(tf.stack(entries[:4], 1), [-1, 2, 2])
    return sample(images, matrices, tf.stack(entries[4:], 1), "constant", GREY)


def _enhance(degenerate, images, strengths):
    """From the degenerate picture past the picture itself: by 0.1 to 1.9 of the way, 1 being itself."""
    factor = 1 + 0.9 * each(strengths)
    return tf.clip_by_value(degenerate + (images - degenerate) * factor, 0.0, 255.0)


def _grey(images):
    if images.shape[-1] != 3:
        return tf.reduce_mean(images, -1, keepdims=True)
    return tf.tensordot(images, tf.constant(LUMA), 1)[..., None]
