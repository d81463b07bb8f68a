"""From the pixels of a picture to what a network sees of it, by statistics of the training images."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from resnet.data.blocks import blocks
from resnet.errors import UserError

if TYPE_CHECKING:
    from resnet.data.dataset import AnySplit

log = logging.getLogger(__name__)
CHUNK = 1000
EPSILON = 1e-6  # Keras adds it to each standard deviation
LARGEST_WHITENING = 64 * 64 * 3


@dataclass(frozen=True)
class Standardization:
    """What keras' ImageDataGenerator does to a batch last, by its names and in its order.

    `rescale` multiplies; the samplewise ones take mean and standard deviation of each picture; `mean` and
    `std` `(C,)` are the featurewise ones, and `whitening` `(D, D)`, D = H x W x C, or None, is ZCA's matrix.
    """

    rescale: float | np.float32
    samplewise_center: bool
    samplewise_std_normalization: bool
    mean: np.ndarray
    std: np.ndarray
    whitening: np.ndarray | None = None

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """float32 `(B, H, W, C)`, NumPy or TensorFlow, to a tensor of the same shape."""
        images = tf.convert_to_tensor(images, tf.float32) * self.rescale
        if self.samplewise_center:
            images -= tf.reduce_mean(images, [1, 2, 3], keepdims=True)
        if self.samplewise_std_normalization:
            images /= tf.math.reduce_std(images, [1, 2, 3], keepdims=True) + EPSILON
        images = (images - self.mean) / self.std
        if self.whitening is None:
            return images
        with tf.init_scope():  # a tensor that the graph refers to, not a constant inside it
            whitening = tf.constant(self.whitening)
        return tf.reshape(tf.reshape(images, [-1, len(self.whitening)]) @ whitening, tf.shape(images))


@dataclass(frozen=True)
class Normalization:
    """Scale to [0, 1], subtract `mean`, divide by `std` (float32, broadcast over images); then standardise.

    Augmentation, where there is any, comes between `scale` and `standardize`.
    """

    mean: np.ndarray
    std: np.ndarray
    standardization: Standardization | None = None

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """uint8 images, NumPy or TensorFlow cast to float32, to what evaluation and prediction see."""
        return self.standardize(self.scale(images))

    def scale(self, images: tf.Tensor) -> tf.Tensor:
        return (images / 255.0 - self.mean) / self.std

    def unscale(self, images: tf.Tensor) -> tf.Tensor:
        """What `scale` gave, back to pixels from 0 to 255."""
        return (images * self.std + self.mean) * 255.0

    def standardize(self, images: tf.Tensor) -> tf.Tensor:
        return self.standardization(images) if self.standardization else images

    def save(self, path: Path) -> None:
        """Write an .npz that `load` reads."""
        arrays: dict[str, Any] = {"mean": self.mean, "std": self.std}
        if self.standardization:
            fields = asdict(self.standardization).items()
            arrays |= {f"standardization.{name}": value for name, value in fields if value is not None}
        np.savez(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> Normalization:
        with np.load(path) as arrays:
            normalization = cls(arrays["mean"], arrays["std"])
            after = {name.split(".")[1]: arrays[name] for name in arrays.files if "." in name}
        return replace(normalization, standardization=Standardization(**after)) if after else normalization


def measure(images: np.ndarray | AnySplit, kind: str) -> Normalization:
    """Normalization of training images: `pixel_mean` (one mean per pixel) or `channel` (mean, std).

    They are uint8 `(N, H, W, C)`, an array or a split, and seen a block at a time. A channel that is the
    same in all of them becomes 0 there: its std counts as 1.
    """
    if kind == "pixel_mean":
        # Whole numbers, which float64 adds up exactly in any order.
        total = sum(block.sum(0, dtype=np.float64) for block in blocks(images, CHUNK))
        mean = total / len(images) / 255
        return Normalization(mean.astype(np.float32), np.ones(1, np.float32))
    if kind == "channel":
        levels = sum(_levels(block) for block in blocks(images, CHUNK))
        share, value = levels / levels.sum(1, keepdims=True), np.arange(256) / 255
        mean = share @ value
        std = np.sqrt(np.maximum(share @ value**2 - mean**2, 1e-12))
        if len(constant := np.flatnonzero(share.max(1) == 1)):
            log.warning("channel %s is the same in all training images", ", ".join(map(str, constant)))
            std[constant] = 1
        return Normalization(mean.astype(np.float32), std.astype(np.float32))
    raise ValueError(f"normalization is pixel_mean or channel, not {kind}")


def _levels(images):
    """How often each of 256 levels occurs in each channel: `(C, 256)`."""
    return np.stack([np.bincount(c.ravel(), minlength=256) for c in np.moveaxis(images, -1, 0)])


def standardize(
    normalization: Normalization,
    images: np.ndarray | AnySplit,
    *,
    rescale: float | None,
    samplewise_center: bool,
    samplewise_std_normalization: bool,
    featurewise_center: bool,
    featurewise_std_normalization: bool,
    zca_whitening: bool,
    zca_epsilon: float,
) -> Normalization:
    """`normalization` followed by a Standardization measured on uint8 training images `(N, H, W, C)`.

    As in Keras, whitening and each std normalisation centre first, and whitening leaves the featurewise
    std out. Raises UserError for pictures too large to whiten.
    """
    if zca_whitening and featurewise_std_normalization:
        log.warning("zca_whitening leaves featurewise_std_normalization out")
    scale = np.float32(1.0 if rescale is None else rescale)
    mean, std = _moments(normalization, images, scale)
    if not (featurewise_center or featurewise_std_normalization or zca_whitening):
        mean = np.zeros_like(mean)
    if not featurewise_std_normalization or zca_whitening:
        std = np.ones_like(std)
    whitening = _whitening(normalization, images, scale, mean, zca_epsilon) if zca_whitening else None
    return replace(
        normalization,
        standardization=Standardization(
            scale,
            samplewise_center or samplewise_std_normalization,
            samplewise_std_normalization,
            mean,
            std,
            whitening,
        ),
    )


def _chunks(normalization, images, rescale):
    for block in blocks(images, CHUNK):
        yield normalization.scale(block).astype(np.float64) * rescale


def _moments(normalization, images, rescale):
    """Mean and standard deviation `(C,)` of the channels, as they divide: with EPSILON."""
    total, squares = np.zeros((2, 1))
    pixels = 0
    for chunk in _chunks(normalization, images, rescale):
        total = total + chunk.sum((0, 1, 2))
        squares = squares + (chunk**2).sum((0, 1, 2))
        pixels += chunk[..., 0].size
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0)) + EPSILON
    return mean.astype(np.float32), std.astype(np.float32)


def _whitening(normalization, images, rescale, mean, epsilon):
    """ZCA's matrix `(D, D)`, from the eigenvectors of the second moments of the centred images."""
    image_shape = next(blocks(images, 1)).shape[1:]
    size = int(np.prod(image_shape))
    if size > LARGEST_WHITENING:
        shape = "x".join(map(str, image_shape))
        raise UserError(
            f"augmentation.zca_whitening: pictures of {shape} need a matrix of {size:,} x {size:,}; "
            f"it takes at most {LARGEST_WHITENING:,} values per picture"
        )
    log.info("zca_whitening: measuring %s images", f"{len(images):,}")
    products = np.zeros((size, size))
    for chunk in _chunks(normalization, images, rescale):
        flat = (chunk - mean).reshape(len(chunk), size)
        products += flat.T @ flat
    squares, vectors = np.linalg.eigh(products)
    # As many directions as the singular value decomposition of the images has: no more than images.
    squares, vectors = (a[..., -min(size, len(images)) :] for a in (squares, vectors))
    gains = np.sqrt(len(images)) / (np.sqrt(np.maximum(squares, 0)) + epsilon)
    return ((vectors * gains) @ vectors.T).astype(np.float32)
