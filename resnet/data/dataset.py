"""What every data source returns."""

from __future__ import annotations

import hashlib
import logging
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from resnet.data import equality
from resnet.data.cuts import split_off, subset
from resnet.data.label_noise import with_wrong_labels
from resnet.data.normalization import Normalization, measure
from resnet.errors import UserError
from resnet.listing import printable
from resnet.options import with_options_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Images uint8 `(N, H, W, C)` in memory, with labels int32 `(N,)` and, if they have any, names `(N,)`.

    A source whose images lie elsewhere gives an object of its own with `labels`, a length, `image_shape`,
    `checksum`, `hashes` and `batch`, and without `images`.
    """

    images: np.ndarray
    labels: np.ndarray
    names: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, i: int) -> str:
        """What image `i` is called, or its number."""
        return str(i) if self.names is None else self.names[i]

    @cached_property
    def checksum(self) -> int:
        """CRC-32 of images and labels, by which other data are known."""
        return zlib.crc32(self.labels.data, zlib.crc32(np.ascontiguousarray(self.images).data))

    @property
    def image_shape(self) -> tuple[int, ...]:
        return self.images.shape[1:]

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels of int indices `(B,)`, as NumPy arrays."""
        return self.images[indices], self.labels[indices]

    @cached_property
    def hashes(self) -> np.ndarray:
        """uint64 `(N,)`: BLAKE2b of each image's pixels, by which equal pictures are known."""
        digests = (hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8) for image in self.images)
        return np.frombuffer(b"".join(digest.digest() for digest in digests), "<u8")

    def take(self, index: np.ndarray) -> Split:
        taken = Split(
            self.images[index], self.labels[index], None if self.names is None else self.names[index]
        )
        if "hashes" in vars(self):
            vars(taken)["hashes"] = self.hashes[index]  # not to be computed again
        return taken


@dataclass(frozen=True)
class Dataset:
    """Training, test and (or None) validation images, and the statistics of the training images.

    `original()` says, where the source can tell, whether its files are those that were published.
    `true_labels` int32 `(N,)` are those of the training images where some were made wrong on purpose.
    """

    train: Split
    test: Split
    class_names: list[str]
    normalization: Normalization
    validation: Split | None = None
    original: Callable[[], bool] | None = None  # asked at the end only: it reads them once more
    true_labels: np.ndarray | None = None

    @property
    def image_shape(self) -> tuple[int, ...]:
        return self.train.image_shape

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def parts(self) -> dict[str, Split]:
        """Its Splits by name."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}


def make_dataset(
    train: Split,
    test: Split | None,
    class_names: Sequence[str],
    *,
    validation: Split | None = None,
    test_split: float | None = None,
    train_size: int | None = None,
    test_size: int | None = None,
    validation_split: float | None = 0.1,
    normalization: str = "pixel_mean",
    label_noise: float = 0.0,
    seed: int = 0,
) -> Dataset:
    """A Dataset of class-balanced subsets; None for a size takes all.

    Where the source has no `test` (None), `test_split` is the fraction of its images that are for testing;
    None makes all of them test images, for a network that was trained on others.
    `validation_split` is the fraction of the training images held out, unless the source has `validation`
    images of its own. Both are cut off class by class, with equal pictures on one side. How many pictures
    are equal is logged. `label_noise` is the share of what is left for training whose labels are made wrong
    at the end, see `label_noise.with_wrong_labels`. Raises UserError for a cut or size that the source cannot
    give.
    """
    for split in filter(None, (train, test, validation)):
        _check(split)
    class_names = [printable(name) for name in class_names]
    draw: dict[str, Any] = {"seed": seed, "class_names": class_names}
    repeated = {}
    if test is None:
        if test_split is None:
            test = train
        else:
            repeated["test_split"] = (train, equality.copies(train))
            train, test = split_off(train, test_split, name="test_split", **draw)
    train = subset(train, train_size, name="train_size", **draw)
    test = subset(test, test_size, name="test_size", **draw)
    if validation is not None and validation_split:
        log.info("data.validation_split=%g is not used: there are validation images", validation_split)
    elif validation_split:
        repeated["validation_split"] = (train, equality.copies(train))
        train, validation = split_off(train, validation_split, name="validation_split", **draw)
    dataset = Dataset(train, test, class_names, measure(train.images, normalization), validation)
    if equal := [*_kept_together(repeated), *_on_both_sides(dataset), *_contradictory(dataset)]:
        log.warning("equal pictures: %s", "; ".join(equal))
    noisy = label_noise and test is not train  # which then are all test images
    return _mislabelled(dataset, label_noise, seed) if noisy else dataset


def _mislabelled(dataset, share, seed):
    train = dataset.train
    wrong = with_wrong_labels(train.labels, share, dataset.num_classes, seed)
    count = np.sum(wrong != train.labels)
    log.warning("%s of %s training labels were made wrong on purpose", f"{count:,}", f"{len(train):,}")
    return replace(dataset, train=replace(train, labels=wrong), true_labels=train.labels)


def _check(split):
    """Raise UserError for images or labels that a Split does not hold."""
    images, labels = split.images, split.labels
    if images.dtype != np.uint8 or images.ndim != 4 or labels.shape != images.shape[:1]:
        raise UserError(
            f"data: images are {images.dtype} {images.shape} and labels {labels.shape}; "
            "a source gives uint8 (N, H, W, C) and one label per image"
        )
    if labels.dtype != np.int32:
        raise UserError(f"data: labels are {labels.dtype}; a source gives int32")


def source(function: Callable[..., Dataset]) -> Callable[..., Dataset]:
    """A decorator for a data source: its `**options` are those of `make_dataset` that every source has."""
    return with_options_of(make_dataset, without=("validation", "test_split"))(function)


def _kept_together(repeated):
    for name, (whole, copies) in repeated.items():
        if copies:
            yield f"{copies:,} of {len(whole):,} are copies, which data.{name} leaves on one side"


def _on_both_sides(dataset):
    """Equal pictures that a source has in more than one part."""
    parts = dataset.parts
    if dataset.test is dataset.train:
        return
    for name, other in (("test", "train"), ("validation", "train"), ("test", "validation")):
        if name in parts and other in parts and len(found := equality.shared(parts[name], parts[other])):
            example = parts[name].name(found[0])
            yield f"{len(found):,} of {len(parts[name]):,} {name} images are {other} images too, as {example}"


def _contradictory(dataset):
    """Equal pictures with different labels."""
    parts = list(dataset.parts.items())
    count, pair = equality.contradictions([split for _, split in parts])
    if pair:
        first, second = (
            f"{parts[i][0]} image {parts[i][1].name(n)} ({dataset.class_names[parts[i][1].labels[n]]})"
            for i, n in pair
        )
        yield f"{count:,} have more than one label, as {first} and {second}"
