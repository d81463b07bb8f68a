"""CIFAR-10 and CIFAR-100 from the official Python archives (Krizhevsky 2009)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from resnet.data import archive, safe_pickle
from resnet.data.dataset import Dataset, Split, make_dataset, source
from resnet.errors import UserError

URL = "https://www.cs.toronto.edu/~kriz/"


class Edition(NamedTuple):
    """One of the two archives: what it is called, and what its files hold."""

    archive: str
    sha256: str  # as Keras publishes it
    folder: str
    train_files: list[str]
    test_file: str
    names_file: str
    md5: list[str]  # of the files with images, those of training first, as torchvision publishes them


CIFAR10 = Edition(
    "cifar-10-python.tar.gz",
    "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    "cifar-10-batches-py",
    [f"data_batch_{i}" for i in range(1, 6)],
    "test_batch",
    "batches.meta",
    [
        "c99cafc152244af753f735de768cd75f",
        "d4bba439e000b95fd0a9bffe97cbabec",
        "54ebc095f3ab1f0389bbae665268c751",
        "634d18415352ddfa80567beed471001a",
        "482c414d41f54cd18b22e5b47cb7c3cb",
        "40351d587109b95175f43aff81a1287e",
    ],
)
CIFAR100 = Edition(
    "cifar-100-python.tar.gz",
    "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    "cifar-100-python",
    ["train"],
    "test",
    "meta",
    ["16019d7e3df5f24257cddd939b257f8d", "f0ef6b0ae62326f3e7ffdfab6717acfc"],
)
TRAIN_IMAGES, TEST_IMAGES = 50_000, 10_000


@source
def cifar10(dir: str | Path = "data", **options: Any) -> Dataset:
    """50,000 + 10,000 pictures of 32x32x3 in ten classes.

    Looked for in `dir` (the official folder, its parent, or the archive), then in the Keras cache,
    else downloaded into `dir`. Raises UserError naming the file that is missing or wrong.
    """
    return _read(CIFAR10, dir, "labels", "label_names", 10, options)


@source
def cifar100(dir: str | Path = "data", labels: str = "fine", **options: Any) -> Dataset:
    """50,000 + 10,000 pictures of 32x32x3 in 100 classes, or in their 20 superclasses (`labels=coarse`).

    Looked for and refused as CIFAR-10 is.
    """
    classes = {"fine": 100, "coarse": 20}[labels]
    return _read(CIFAR100, dir, f"{labels}_labels", f"{labels}_label_names", classes, options)


def _read(edition, dir, labels, names, classes, options):
    folder = locate(edition, Path(dir).expanduser())
    train = _split(folder, edition.train_files, TRAIN_IMAGES, edition, labels, classes)
    test = _split(folder, [edition.test_file], TEST_IMAGES, edition, labels, classes)
    dataset = make_dataset(train, test, _class_names(folder, edition, names, classes), **options)
    return replace(dataset, original=partial(is_original, folder, edition))


def is_original(folder: Path, edition: Edition = CIFAR10) -> bool:
    """Whether the images and labels in `folder` are the published files, to the last byte."""
    files = zip([*edition.train_files, edition.test_file], edition.md5, strict=True)
    return all(
        hashlib.md5((folder / name).read_bytes(), usedforsecurity=False).hexdigest() == md5
        for name, md5 in files
    )


def locate(edition: Edition, root: Path) -> Path:
    """The folder with the official files, unpacked or downloaded where need be."""
    cache = Path.home() / ".keras" / "datasets"
    folder = edition.folder
    for place in (root, root / folder, cache / folder, cache / f"{folder}-target" / folder):
        if (place / edition.names_file).exists():
            return place
    with archive.lock(root):
        if (root / folder / edition.names_file).exists():
            return root / folder
        kept = (cache / name for name in (edition.archive, f"{folder}-target_archive", f"{folder}.tar.gz"))
        found = next((path for path in (root / edition.archive, *kept) if path.is_file()), None)
        if found is None:
            found = root / edition.archive
            archive.download(URL + edition.archive, found, edition.sha256)
        archive.unpack(found, folder, root, edition.sha256)
    return root / folder


def _split(folder, files, count, edition, key, classes):
    images, labels = np.empty((count, 1024, 3), np.uint8), np.empty(count, np.int32)
    size = count // len(files)
    for i, name in enumerate(files):
        rows = slice(i * size, (i + 1) * size)
        data, labels[rows] = _batch(folder / name, edition, size, key, classes)
        # Channel by channel, and once, is the fastest way; the first step waits for it.
        for channel, pixels in enumerate(np.split(data, 3, axis=1)):
            images[rows, :, channel] = pixels
    return Split(images.reshape(count, 32, 32, 3), labels)


def _batch(path, edition, size, key, classes):
    batch = _load(path, edition)
    data, labels = batch.get(b"data"), batch.get(key.encode())
    if not isinstance(data, np.ndarray) or data.shape != (size, 3072) or data.dtype != np.uint8:
        raise UserError(f"{path}: expected uint8 data of shape ({size}, 3072); unpack the archive again")
    whole = isinstance(labels, list) and len(labels) == size and all(isinstance(n, int) for n in labels)
    if not whole or min(labels) < 0 or max(labels) >= classes:
        raise UserError(f"{path}: expected {size} {key} from 0 to {classes - 1}; unpack the archive again")
    return data, labels


def _class_names(folder, edition, key, classes):
    path = folder / edition.names_file
    names = _load(path, edition).get(key.encode())
    whole = isinstance(names, list) and all(isinstance(name, bytes | str) for name in names)
    if not whole or len(names) != classes:
        raise UserError(f"{path}: expected {classes} {key}; unpack the archive again")
    return [name.decode(errors="replace") if isinstance(name, bytes) else name for name in names]


def _load(path, edition):
    if not path.exists():
        raise UserError(f"{path} is missing; unpack {edition.archive} again, or use data=digits")
    return safe_pickle.load(path)
