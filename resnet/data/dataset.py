"""What every data source returns, and how a source is cut into subsets."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from resnet.data.normalization import Normalization, measure
from resnet.errors import UserError


@dataclass(frozen=True)
class Split:
    """Images uint8 `(N, H, W, C)` with labels int32 `(N,)`, in memory.

    A source whose images lie elsewhere gives an object of its own with `labels`, a length, `image_shape`,
    `checksum` and `batch`, and without `images`.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.labels)

    @cached_property
    def checksum(self):
        """CRC-32 of images and labels, by which other data are known."""
        return zlib.crc32(self.labels, zlib.crc32(np.ascontiguousarray(self.images)))

    @property
    def image_shape(self):
        return self.images.shape[1:]

    def batch(self, indices):
        """Images and labels of int indices `(B,)`, as NumPy arrays."""
        return self.images[indices], self.labels[indices]

    def take(self, index):
        return Split(self.images[index], self.labels[index])


@dataclass(frozen=True)
class Dataset:
    """Training, test and (or None) validation images, and the statistics of the training images."""

    train: Split
    test: Split
    class_names: list[str]
    normalization: Normalization
    validation: Split | None = None

    @property
    def image_shape(self):
        return self.train.image_shape

    @property
    def num_classes(self):
        return len(self.class_names)


def make_dataset(
    train,
    test,
    class_names,
    *,
    train_size=None,
    test_size=None,
    validation_split=0.1,
    normalization="pixel_mean",
    seed=0,
):
    """A Dataset of class-balanced subsets; None for a size takes all.

    `validation_split` is the fraction of the training images held out, class by class. Raises
    UserError for a size that the source cannot give.
    """
    train = subset(train, train_size, seed, "train_size")
    test = subset(test, test_size, seed, "test_size")
    validation = None
    if validation_split:
        train, validation = split_off(train, validation_split, seed, "validation_split")
    statistics = measure(train.images, normalization)
    return Dataset(train, test, class_names, statistics, validation)


def subset(split, size, seed, name):
    """`size` images with the classes in the same proportion, in their old order."""
    if size is None or size == len(split):
        return split
    return _cut(split, size, seed, name)[0]


def split_off(split, fraction, seed, name):
    """What is left of `split`, and the `fraction` of it that is split off, class by class."""
    part, rest = _cut(split, round(fraction * len(split)), seed, name)
    return rest, part


def _cut(split, size, seed, name):
    counts = np.bincount(split.labels)
    classes = np.count_nonzero(counts)
    if not classes <= size <= len(split) - classes:
        raise UserError(
            f"data.{name}: {size} of {len(split)} images cannot be drawn from each of {classes} classes; "
            f"{classes} to {len(split) - classes} can"
        )
    if 1 in counts:
        raise UserError(f"data.{name}: class {list(counts).index(1)} has one image; a cut needs two of each")
    from sklearn.model_selection import train_test_split  # who takes all need not wait for it

    chosen, rest = train_test_split(
        np.arange(len(split)), train_size=size, stratify=split.labels, random_state=seed
    )
    return split.take(np.sort(chosen)), split.take(np.sort(rest))
