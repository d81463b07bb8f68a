"""What every data source returns."""

from __future__ import annotations

import hashlib
import logging
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from resnet.data import archive, equality
from resnet.data.cuts import fold_off, split_off, subset
from resnet.data.encoded import Encoded, Findings, Reader, check_classes, tell
from resnet.data.label_noise import with_wrong_labels
from resnet.data.labelled import Labelled
from resnet.data.normalization import Normalization, measure
from resnet.data.sampling import balanced
from resnet.data.shards import Sharded, write
from resnet.errors import UserError
from resnet.files import replacing, writing
from resnet.listing import printable
from resnet.options import with_options_of
from resnet.process import available_memory
from resnet.rules import fold_of_folds

log = logging.getLogger(__name__)
COPIES = 3  # of all images, while a training on them begins


@dataclass(frozen=True)
class Split(Labelled):
    """Images uint8 `(N, H, W, C)` in memory, with labels int32 `(N,)` and, if they have any, names `(N,)`.

    Labels may come as any integers. One whose images lie elsewhere, as `shards.Sharded`, has all that this
    has but `images`. Raises UserError for arrays of another kind or shape.
    """

    images: np.ndarray
    labels: np.ndarray
    names: np.ndarray | None = None

    def __post_init__(self) -> None:
        images, labels = self.images, np.asarray(self.labels)
        if images.dtype != np.uint8 or images.ndim != 4 or labels.shape != images.shape[:1]:
            raise UserError(
                f"data: images are {images.dtype} {images.shape} and labels {labels.shape}; "
                "a source gives uint8 (N, H, W, C) and one label per image"
            )
        if labels.dtype.kind not in "iu":
            raise UserError(f"data: labels are {labels.dtype}; a source gives integers, those of classes")
        object.__setattr__(self, "labels", np.ascontiguousarray(labels, np.int32))

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
        """uint64 `(N,)`: `equality.digest` of each image."""
        return np.frombuffer(b"".join(map(equality.digest, self.images)), "<u8")

    def take(self, index: np.ndarray) -> Split:
        taken = Split(
            self.images[index], self.labels[index], None if self.names is None else self.names[index]
        )
        if "hashes" in vars(self):
            vars(taken)["hashes"] = self.hashes[index]  # not to be computed again
        return taken

    @staticmethod
    def joined(parts: Sequence[Split]) -> Split:
        """The images of several, which have one shape, in their order."""
        images, labels = (np.concatenate([getattr(p, name) for p in parts]) for name in ("images", "labels"))
        named = [part.names for part in parts if part.names is not None]
        return Split(images, labels, np.concatenate(named) if len(named) == len(parts) else None)


AnySplit: TypeAlias = Split | Sharded


@dataclass(frozen=True)
class Dataset:
    """Training, test and (or None) validation images, and the statistics of the training images.

    `original()` says, where the source can tell, whether its files are those that were published.
    `true_labels` int32 `(N,)` are those of the training images where some were made wrong on purpose.
    `condition`, of a source that has it, gives the corruption and severity that a test image's name says.
    Raises UserError for a part without images, for parts of several shapes, and for labels that are none of
    the classes.
    """

    train: AnySplit
    test: AnySplit
    class_names: list[str]
    normalization: Normalization
    validation: AnySplit | None = None
    original: Callable[[], bool] | None = None  # asked at the end only: it reads them once more
    true_labels: np.ndarray | None = None
    condition: Callable[[str], tuple[str, int]] | None = None
    balance: bool = False

    def __post_init__(self) -> None:
        for name, part in self.parts.items():
            if not len(part):
                raise UserError(f"data: there are no {name} images")
            if part.image_shape != self.image_shape:
                raise UserError(
                    f"data: {name} images are {part.image_shape}, training images {self.image_shape}"
                )
            check_labels(part.labels, self.class_names, name)

    @property
    def image_shape(self) -> tuple[int, ...]:
        return self.train.image_shape

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def order(self, seed: Sequence[int]) -> np.ndarray:
        """The numbers `(N,)` of the training images that an epoch shows, in an order drawn by `seed`.

        Each comes once; or, with `balance`, each class as often as the others.
        """
        random = np.random.default_rng(seed)
        return balanced(self.train.labels, random) if self.balance else random.permutation(len(self.train))

    @property
    def parts(self) -> dict[str, AnySplit]:
        """Its Splits by name."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}


def make_dataset(
    train: Any,
    test: Any,
    class_names: Sequence[str],
    *,
    validation: Any = None,
    test_split: float | None = None,
    classes: Sequence[str | int] | None = None,
    train_size: int | None = None,
    test_size: int | None = None,
    validation_split: float | None = 0.1,
    folds: int | None = None,
    fold: int = 0,
    balance: bool = False,
    normalization: str = "pixel_mean",
    label_noise: float = 0.0,
    memory: str = "auto",
    shards: str | Path = "data/shards",
    seed: int = 0,
) -> Dataset:
    """A Dataset of class-balanced subsets; None for a size takes all.

    `train`, `test` and `validation` are each a Split, or an Encoded, which is still to be read; or None.
    `memory` says where the images are: `resident`, in memory; `streamed`, in files below the folder `shards`,
    of which a training reads what it needs; or `auto`, in memory where they fit.

    Where the source has no `test` (None), `test_split` is the fraction of its images that are for testing;
    None makes all of them test images, for a network that was trained on others.
    `validation_split` is the fraction of the training images held out, unless the source has `validation`
    images of its own. With `folds` they are in its place part `fold` of so many parts of the training images.
    All are cut off class by class, with equal pictures on one side. How many pictures are equal is logged.
    `classes` takes some of the classes by name, in this order, before all that. `balance`: see
    `Dataset.order`. `label_noise` is the share of what is left for training whose labels are made wrong at
    the end, see `label_noise.with_wrong_labels`. Raises UserError for a name that is no class, for a cut or
    size that the source cannot give, and for pictures that cannot be read.
    """
    train, test, validation = _held((train, test, validation), class_names, memory, Path(shards).expanduser())
    class_names = [printable(name) for name in class_names]
    for name, part in (("training", train), ("test", test), ("validation", validation)):
        if part is not None and len(part):
            check_labels(part.labels, class_names, name)
    if classes is not None:
        numbers = _numbers(list(map(str, classes)), class_names)
        train = _of_classes(train, numbers)
        test, validation = (part and _of_classes(part, numbers) for part in (test, validation))
        class_names = [class_names[number] for number in numbers]
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
    if folds:
        if validation is not None:
            log.warning("data.folds=%d: the validation images that there are are not used", folds)
        fold_of_folds(folds, fold)
        train, validation = fold_off(train, folds, fold, **draw)
    elif validation is not None and validation_split:
        log.info("data.validation_split=%g is not used: there are validation images", validation_split)
    elif validation_split:
        repeated["validation_split"] = (train, equality.copies(train))
        train, validation = split_off(train, validation_split, name="validation_split", **draw)
    measured = _measured(train, normalization)
    dataset = Dataset(train, test, class_names, measured, validation, balance=balance)
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


def _held(parts, class_names, memory, folder):
    """The `parts`, of which some may be None, in memory or in shards, see `make_dataset`."""
    given = [part for part in parts if part is not None]
    brought: list[tuple[Any, Findings]] = []
    streamed = _streamed([part for part in given if not getattr(part, "originals", False)], memory, folder)
    for part in given:
        if getattr(part, "originals", False) or (streamed and isinstance(part, Encoded)):
            brought.append(write(part, folder))
        elif streamed:
            brought.append(write(_encoded(part), folder))
        else:
            brought.append(_in_memory(part) if isinstance(part, Encoded) else (part, Findings()))
    tell([(part, found) for part, (_, found) in zip(given, brought, strict=True)])
    for part, (split, found) in zip(given, brought, strict=True):
        if found.unreadable:
            check_classes(split.labels, class_names, part.place)
    splits = iter(split for split, _ in brought)
    return [part if part is None else next(splits) for part in parts]


def _streamed(parts, memory, folder):
    """Whether the images are to be in shards; where that is for their size to say, streaming is logged."""
    if memory != "auto":
        return memory == "streamed"
    needed = sum(len(part) * int(np.prod(part.image_shape)) for part in parts)
    available = available_memory()
    streamed = COPIES * needed > available
    if streamed:
        held = f"images of {needed / 1e9:.3g} GB, with {available / 1e9:.3g} GB available"
        log.info("%s, are streamed from %s", held, folder)
    return streamed


def _encoded(split):
    """A Split in memory as pictures that are still to be read."""

    def marks():
        yield hashlib.sha256(split.hashes.data).hexdigest()

    return Encoded(
        Path("images"), split.image_shape, split.labels, split.names, lambda i, _: split.images[i], marks
    )


def _in_memory(encoded):
    """Pictures as a Split in memory, without those that cannot be read, and Findings of these."""
    images = np.empty((len(encoded), *encoded.image_shape), np.uint8)
    with Reader(len(encoded)) as reader:
        found = reader.read(encoded, range(len(encoded)), images.__setitem__)
    split = Split(images, encoded.labels, encoded.names)
    if found.unreadable:
        split = split.take(np.delete(np.arange(len(split)), [*found.unreadable]))
    return split, found


def _measured(split, kind):
    """Its `normalization.measure`; of images in shards it is kept beside them."""
    if isinstance(split, Split):
        return measure(split, kind)
    path = split.folder / f"{kind}-{split.checksum:08x}.npz"
    if not path.exists():
        with writing(path), archive.lock(path.parent), replacing(path) as part:
            measure(split, kind).save(part)
    return Normalization.load(path)


def check_labels(labels: np.ndarray, class_names: Sequence[str], name: str) -> None:
    """Raise UserError for labels of the images `name` that are none of the classes, counted from 0."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= len(class_names):
        raise UserError(
            f"data: labels of {name} images are {low} to {high}; "
            f"with {len(class_names)} class names they are 0 to {len(class_names) - 1}"
        )


def _numbers(wanted, class_names):
    """Labels of the classes of these names. Raises UserError for a name that is none, or stands twice."""
    for i, name in enumerate(wanted):
        if name not in class_names or name in wanted[:i]:
            what = "stands twice" if name in class_names else "is not there"
            raise UserError(f"data.classes: {name} {what}; the classes are {', '.join(class_names)}")
    return [class_names.index(name) for name in wanted]


def _of_classes(split, numbers):
    """The images of the classes of these numbers, whose labels become 0, 1, ..."""
    taken = split.take(np.flatnonzero(np.isin(split.labels, numbers)))
    places = np.zeros(max(numbers) + 1, np.int32)
    places[numbers] = np.arange(len(numbers))
    return replace(taken, labels=places[taken.labels])


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
