"""Turn, shear, zoom and shift each picture of a batch by a matrix of its own."""

from __future__ import annotations

import tensorflow as tf

FILL_MODES = ("nearest", "constant", "reflect", "wrap")


def sample(
    images: tf.Tensor, matrices: tf.Tensor, shifts: tf.Tensor, fill_mode: str, cval: float = 0.0
) -> tf.Tensor:
    """The pictures read, bilinearly, at `matrix @ (x, y) + shift`, with (x, y) from the picture's centre.

    Args:
        images: float32 `(B, H, W, C)`; x is the column, y the row.
        matrices, shifts: float32 `(B, 2, 2)` and `(B, 2)`, in pixels.
        fill_mode: what lies beyond the outermost pixels, with the meaning it has in
            `scipy.ndimage.affine_transform`: `nearest`, `constant` (`cval`), `reflect` or `wrap`.
    """
    height, width = images.shape[1:3]
    centre = tf.constant([(width - 1) / 2, (height - 1) / 2])
    offsets = shifts + centre - tf.linalg.matvec(matrices, centre)
    if fill_mode == "wrap":
        return _gather(images, *_wrapped(_positions(matrices, offsets, height, width), height, width))
    rows = tf.concat([matrices, offsets[:, :, None]], 2)
    transforms = tf.concat([tf.reshape(rows, [-1, 6]), tf.zeros([tf.shape(rows)[0], 2])], 1)
    # The kernel's CONSTANT blends the outermost pixels into cval; SciPy's ends sharply at them.
    filled = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=[height, width],
        interpolation="BILINEAR",
        fill_mode="REFLECT" if fill_mode == "reflect" else "NEAREST",
        fill_value=0.0,
    )
    filled.set_shape(images.shape)
    if fill_mode != "constant":
        return filled
    x, y = _positions(matrices, offsets, height, width)
    inside = tf.cast((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1), tf.float32)[..., None]
    return filled * inside + cval * (1 - inside)


def _positions(matrices, offsets, height, width):
    """x and y `(B, H, W)` in the picture of each pixel to be filled."""
    y, x = tf.meshgrid(tf.range(height, dtype=tf.float32), tf.range(width, dtype=tf.float32), indexing="ij")
    read = tf.einsum("bij,hwj->bihw", matrices, tf.stack([x, y], -1)) + offsets[:, :, None, None]
    return read[:, 0], read[:, 1]


def _wrapped(positions, height, width):
    """Positions taken back inside. SciPy's period is the distance of the outermost pixels, not the size."""
    x, y = (
        tf.where((p < 0) | (p > n - 1), tf.math.floormod(p, max(n - 1.0, 1.0)), p)
        for p, n in zip(positions, (width, height), strict=True)
    )
    return x, y


def _gather(images, x, y):
    """Bilinear interpolation at x and y `(B, H, W)`, all inside."""
    left, top = tf.floor(x), tf.floor(y)
    from_left, from_top = (x - left)[..., None], (y - top)[..., None]
    left, top = tf.cast(left, tf.int32), tf.cast(top, tf.int32)
    right = tf.minimum(left + 1, images.shape[2] - 1)
    bottom = tf.minimum(top + 1, images.shape[1] - 1)

    def at(row, column):
        return tf.gather_nd(images, tf.stack([row, column], -1), batch_dims=1)

    above = at(top, left) * (1 - from_left) + at(top, right) * from_left
    below = at(bottom, left) * (1 - from_left) + at(bottom, right) * from_left
    return above * (1 - from_top) + below * from_top
