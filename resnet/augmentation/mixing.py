"""Cut pictures out, or two of them into one: cutout, mixup, cutmix.

Keras has layers of these, but they draw from a generator with a state, not from a seed that a run finds
again when it goes on; only MixUp is as fast, and CutMix labels by the box asked for, not by its pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from resnet.augmentation.transform import Transform, each, fold_in, uniform
from resnet.errors import UserError


def cutout(size: int = 16) -> Transform:
    """Zero a square of `size` pixels around a random pixel; it may hang over (DeVries and Taylor 2017).

    Raises UserError for pictures that the square can cover as a whole.
    """

    def augment(batch, seed):
        height, width = batch.images.shape[1:3]
        if size >= max(height, width):
            raise UserError(
                f"augmentation.size={size}: cutout can leave nothing of pictures of {height}x{width}; "
                f"give less than {max(height, width)}, as a rule half: {min(height, width) // 2}"
            )
        inside = _boxes(batch, seed, tf.fill([batch.size, 1], size), tf.fill([batch.size, 1], size))
        return batch._replace(images=batch.images * (1 - inside))

    return Transform("cutout", augment)


def mixup(alpha: float = 1.0) -> Transform:
    """Blend each picture, and its label, with another of the batch (Zhang et al. 2017).

    The share of the picture itself is drawn for each from Beta(`alpha`, `alpha`).
    """

    def augment(batch, seed):
        share, other = beta(seed, alpha, [batch.size]), _partners(batch, seed)
        return batch._replace(
            images=_blend(batch.images, tf.gather(batch.images, other), each(share)),
            labels=_blend(batch.labels, tf.gather(batch.labels, other), share[:, None]),
        )

    return Transform("mixup", augment)


def cutmix(alpha: float = 1.0) -> Transform:
    """Paste a box of another picture of the batch into each (Yun et al. 2019).

    The share of the picture itself is drawn from Beta(`alpha`, `alpha`), the box's centre anywhere; the
    labels mix by the pixels that the box, cut at the edge, really covers.
    """

    def augment(batch, seed):
        side = tf.sqrt(1 - beta(seed, alpha, [batch.size, 1]))
        height, width = (tf.cast(side * float(n), tf.int32) for n in batch.images.shape[1:3])
        inside, other = _boxes(batch, seed, height, width), _partners(batch, seed)
        share = 1 - tf.reduce_mean(inside, [1, 2])
        return batch._replace(
            images=_blend(batch.images, tf.gather(batch.images, other), 1 - inside),
            labels=_blend(batch.labels, tf.gather(batch.labels, other), share),
        )

    return Transform("cutmix", augment)


def beta(seed: tf.Tensor, alpha: float, shape: Sequence[int | tf.Tensor]) -> tf.Tensor:
    """Beta(`alpha`, `alpha`): a ratio of gammas in logarithms, which a small alpha does not underflow."""
    shape = tf.convert_to_tensor(shape)
    seeds = (fold_in(seed, choice) for choice in (0, 1))
    first, second = (
        tf.math.log(tf.random.stateless_gamma(shape, gamma, alpha + 1.0))
        + tf.math.log(tf.random.stateless_uniform(shape, fold_in(gamma, 0), 1e-30)) / alpha
        for gamma in seeds
    )
    return tf.sigmoid(first - second)


def _partners(batch, seed):
    return tf.random.experimental.stateless_shuffle(tf.range(batch.size), fold_in(seed, 2))


def _boxes(batch, seed, height, width):
    """float32 `(B, H, W, 1)`, 1 inside boxes of int32 sizes `(B, 1)` around random pixels, else 0."""
    rows, columns = (
        _stretch(tf.cast(uniform(seed, choice, [batch.size, 1], 0, n), tf.int32), extent, n)
        for choice, extent, n in zip((3, 4), (height, width), batch.images.shape[1:3], strict=True)
    )
    return (rows[:, :, None] * columns[:, None, :])[..., None]


def _stretch(centre, extent, size):
    """1 for those of `size` pixels that lie in the `extent` around `centre`: float32 `(B, size)`."""
    first, pixels = centre - extent // 2, tf.range(size)
    return tf.cast((pixels >= first) & (pixels < first + extent), tf.float32)


def _blend(own, others, share):
    return share * own + (1 - share) * others
