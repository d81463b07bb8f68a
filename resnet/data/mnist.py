"""MNIST (LeCun et al. 1998) and Fashion-MNIST (Xiao et al. 2017) in the files that both are published in."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from resnet.data import archive
from resnet.data.dataset import Dataset, Split, make_dataset, source
from resnet.errors import UserError

FILES = [f"{part}-{what}-ubyte.gz" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]
UNSIGNED_BYTES = 8


class Edition(NamedTuple):
    """Where the four FILES are, their SHA-256 as TensorFlow Datasets publishes them, and the classes."""

    url: str
    sha256: list[str]
    class_names: list[str]


MNIST = Edition(
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    [
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ],
    [*"0123456789"],
)
FASHION = Edition(
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    [
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ],
    [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ],
)


@source
def mnist(dir: str | Path = "data/mnist", **options: Any) -> Dataset:
    """60,000 + 10,000 handwritten digits of 28x28x1.

    The four published files are looked for in `dir`, else downloaded into it. Raises UserError naming the one
    that is wrong.
    """
    return _read(MNIST, Path(dir).expanduser(), options)


@source
def fashion_mnist(dir: str | Path = "data/fashion_mnist", **options: Any) -> Dataset:
    """60,000 + 10,000 pictures of clothes of 28x28x1, in ten classes; looked for as `mnist` is."""
    return _read(FASHION, Path(dir).expanduser(), options)


def _read(edition, root, options):
    paths = [
        archive.fetched(edition.url + name, root, sha256)
        for name, sha256 in zip(FILES, edition.sha256, strict=True)
    ]
    train, test = (_split(images, labels) for images, labels in (paths[:2], paths[2:]))
    dataset = make_dataset(train, test, edition.class_names, **options)
    return replace(dataset, original=partial(_is_original, paths, edition.sha256))


def _is_original(paths, digests):
    return all(archive.has(path, digest) for path, digest in zip(paths, digests, strict=True))


def _split(images_path, labels_path):
    images, labels = _idx(images_path, 3), _idx(labels_path, 1)
    if len(images) != len(labels):
        raise UserError(f"{images_path}: {len(images)} images, and {labels_path} has {len(labels)} labels")
    if labels.max(initial=0) > 9:
        raise UserError(f"{labels_path}: labels up to {labels.max()}; expected 0 to 9")
    return Split(images[..., None], labels.astype(np.int32))


def _idx(path, dimensions):
    """The array of bytes in a compressed file of the form IDX: kind, sizes as int32, and the bytes."""
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {error}; delete it and try again") from error
    head, kind = 4 + 4 * dimensions, bytes([0, 0, UNSIGNED_BYTES, dimensions])
    shape = [int.from_bytes(content[i : i + 4], "big") for i in range(4, head, 4)]
    if content[:4] != kind or len(content) != head + prod(shape):
        raise UserError(f"{path}: not a file of bytes in {dimensions} dimensions; delete it and try again")
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)
