"""What a network sees of pictures: one object for training, evaluation, prediction and export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf

from resnet.augmentation.transform import Batch, Transform, none
from resnet.data.normalization import Normalization, standardize
from resnet.errors import UserError

if TYPE_CHECKING:
    from resnet.augmentation.crop import Crop
    from resnet.data.dataset import Dataset


class Preprocessing:
    """Normalises pictures and, in training, augments them in between.

    Args:
        normalization: of the training images, as `data.normalization` measures it.
        augment: an `augmentation.Transform`, or None.
        crop: that of `augment`, where it was done to the images before they came here; None where it was not.
        num_classes: K, of the labels; None for inference alone.
        seed: of the draws; equal seeds and steps draw the same.
    """

    def __init__(
        self,
        normalization: Normalization,
        augment: Transform | None = None,
        num_classes: int | None = None,
        seed: int = 0,
        crop: Crop | None = None,
    ) -> None:
        self.normalization, self.augment, self.crop = normalization, augment or none(), crop
        self.num_classes, self.seed = num_classes, seed

    @classmethod
    def of(cls, dataset: Dataset, augment: Transform | None = None, seed: int = 0) -> Preprocessing:
        """For the training on `dataset`; what `augment` standardises is measured on its training images."""
        normalization, augment = dataset.normalization, augment or none()
        if augment.standardization:
            normalization = standardize(normalization, dataset.train, **augment.standardization)
        crop = augment.crop if getattr(dataset.train, "originals", False) else None
        if crop:
            augment = augment.rest or none()
        return cls(normalization, augment, dataset.num_classes, seed, crop)

    def training(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        indices: tf.Tensor,
        step: tf.Tensor,
        epoch: tf.Tensor,
        replica: tf.Tensor | int = 0,
    ) -> Batch:
        """The Batch that the network sees in a training step.

        Args:
            images: uint8 `(B, H, W, C)`.
            labels: int `(B,)`.
            indices: int32 `(B,)`, the images' numbers in the training set.
            step: int32 scalar counted from 0.
            epoch: likewise.
            replica: its number, of those that share the step.
        """
        batch = self.augmented(images, labels, indices, step, epoch, replica)
        return batch._replace(images=self.normalization.standardize(batch.images))

    def augmented(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        indices: tf.Tensor,
        step: tf.Tensor,
        epoch: tf.Tensor,
        replica: tf.Tensor | int = 0,
    ) -> Batch:
        """As `training`, before the images are standardised: `pixels` makes them pictures again.

        Raises UserError where the augmentation gives what is no Batch of such images.
        """
        scaled = self.normalization.scale(tf.cast(images, tf.float32))
        batch = Batch(scaled, self.targets(labels), indices, epoch, self.normalization)
        seed = tf.random.experimental.stateless_fold_in(tf.stack([self.seed, step]), replica)
        return _alike(self.augment(batch, seed), batch)

    def pixels(self, images: tf.Tensor) -> tf.Tensor:
        """Images of `augmented`, as uint8."""
        pixels = tf.clip_by_value(tf.round(self.normalization.unscale(images)), 0.0, 255.0)
        return tf.cast(pixels, tf.uint8)

    def evaluation(self, images: tf.Tensor, labels: tf.Tensor) -> Batch:
        """The Batch of images as they are, with their targets."""
        return Batch(self.inference(images), self.targets(labels), None, None)

    def inference(self, images: tf.Tensor) -> tf.Tensor:
        """float32 `(B, H, W, C)` of uint8 images, as evaluation and prediction see them."""
        return self.normalization(tf.cast(images, tf.float32))

    def targets(self, labels: tf.Tensor) -> tf.Tensor:
        """float32 `(B, K)`, one-hot, of int labels `(B,)`."""
        return tf.one_hot(labels, self.num_classes)

    def save(self, path: Path) -> None:
        """Write what `load` reads: all that inference needs."""
        self.normalization.save(path)

    @classmethod
    def load(cls, path: Path) -> Preprocessing:
        """The Preprocessing of a finished run, for inference."""
        return cls(Normalization.load(path))


def _alike(found, batch):
    """What an augmentation made of a Batch, which must be of the same kind and size."""
    gives, expected = _kind(found), _kind(batch)
    if gives != expected:
        raise UserError(f"augmentation: it gives {gives}; expected {expected}")
    same = [
        tf.debugging.assert_equal(
            tf.shape(part)[0], batch.size, "augmentation: it gives another number of images"
        )
        for part in (found.images, found.labels)
    ]
    with tf.control_dependencies(same):
        return found._replace(images=tf.identity(found.images))


def _kind(batch):
    if not isinstance(batch, Batch):
        return type(batch).__name__
    parts = (("images", batch.images), ("labels", batch.labels))
    return ", ".join(f"{name} {part.dtype.name} {(None, *part.shape[1:])}" for name, part in parts)
