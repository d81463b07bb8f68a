"""What a transform is, and how several follow each other."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

fold_in = tf.random.experimental.stateless_fold_in


class Batch(NamedTuple):
    """What a transform sees and gives.

    `images` are normalised float32 `(B, H, W, C)`, `labels` float32 `(B, K)`, one-hot until a transform
    mixes them; `indices` int32 `(B,)` name the images in the training set, and `epoch` is an int32
    scalar counted from 0. `normalization` is the `data.Normalization` that the images went through, for
    transforms that work on pixels.
    """

    images: tf.Tensor
    labels: tf.Tensor
    indices: tf.Tensor
    epoch: tf.Tensor
    normalization: Any = None

    @property
    def size(self) -> tf.Tensor:
        return tf.shape(self.images)[0]


class Transform:
    """A function of a Batch and an int32 seed `(2,)` that gives a Batch of the same shapes.

    Args:
        name: of its stream of draws, so that transforms side by side draw apart; None for one that
            draws nothing of its own.
        apply: the function, of a Batch and the seed of its stream.
        standardization: options of `data.normalization.standardize`, for what is to be done to the images
            after every transform, in evaluation too; None for nothing.
        crop: a `crop.Crop`, of one that begins with it; None for the others.
        rest: what is left of that where the rectangles were cut already.
    """

    def __init__(
        self,
        name: str | None,
        apply: Callable[[Batch, tf.Tensor], Batch],
        standardization: dict[str, Any] | None = None,
        crop: Any = None,
        rest: Transform | None = None,
    ) -> None:
        self.name, self.apply, self.standardization = name, apply, standardization
        self.crop, self.rest = crop, rest

    def __call__(self, batch: Batch, seed: tf.Tensor) -> Batch:
        return self.apply(batch, fold_in(seed, zlib.crc32(self.name.encode()) >> 1) if self.name else seed)


def none() -> Transform:
    """The pictures as they are."""
    return Transform(None, unchanged)


def unchanged(batch: Batch, seed: tf.Tensor) -> Batch:
    return batch


def in_order(transforms: Sequence[Transform]) -> Transform:
    """Each of `transforms` on what the one before it gives.

    A transform draws the same alone and among others; of two of a kind, the second has a stream of its own.
    Raises ValueError where more than one of them standardises.
    """
    met: Counter[str | None] = Counter()
    streams = []
    for transform in transforms:
        again = met[transform.name]
        name = f"{transform.name} {again + 1}" if transform.name and again else transform.name
        streams.append(Transform(name, transform.apply))
        met[transform.name] += 1
    standardizations = [t.standardization for t in transforms if t.standardization]
    if len(standardizations) > 1:
        raise ValueError("augmentation: only one of the transforms can standardise the images")

    def chained(in_order, crop=None, rest=None):
        def apply(batch, seed):
            for transform in in_order:
                batch = transform(batch, seed)
            return batch

        standardization = standardizations[0] if standardizations else None
        return Transform(None, apply, standardization, crop, rest)

    if not (transforms and transforms[0].crop):
        return chained(streams)
    left = [transforms[0].rest] if transforms[0].rest else []
    return chained(streams, transforms[0].crop, chained([*left, *streams[1:]]))


def one_of(transforms: Sequence[Transform]) -> Transform:
    """One of `transforms` for each batch, each of them as often as the others.

    Raises ValueError for one that standardises, or that cuts rectangles from the files.
    """
    if any(transform.standardization or transform.crop for transform in transforms):
        raise ValueError("augmentation: one_of takes none that standardises or begins with a crop")

    def augment(batch, seed):
        number = tf.cast(uniform(seed, 0, [], 0, len(transforms)), tf.int32)
        branches = [lambda t=transform: t(batch, seed)[:2] for transform in transforms]
        images, labels = tf.switch_case(number, branches)
        return batch._replace(images=images, labels=labels)

    return Transform("one_of", augment)


def uniform(
    seed: tf.Tensor, choice: int, shape: Sequence[int | tf.Tensor], low: float = 0.0, high: float = 1.0
) -> tf.Tensor:
    """Floats in [low, high); each `choice` (an int) of a transform has a stream of its own."""
    return tf.random.stateless_uniform(shape, fold_in(seed, choice), low, high)


def mirror(images: tf.Tensor, chosen: tf.Tensor, axis: int) -> tf.Tensor:
    """The pictures `(B, H, W, C)` reversed along `axis` where `chosen` `(B,)`."""
    # Several times as fast as tf.where, which broadcasts, on a slice of negative step.
    return tf.raw_ops.Select(condition=chosen, x=tf.reverse(images, [axis]), y=images)


def each(values: tf.Tensor) -> tf.Tensor:
    """`(B,)` to one value per picture: `(B, 1, 1, 1)`."""
    return values[:, None, None, None]
