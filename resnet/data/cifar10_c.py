"""CIFAR-10-C: CIFAR-10's test images under common corruptions (Hendrycks and Dietterich 2019)."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from resnet.data import archive
from resnet.data.dataset import Dataset, make_dataset, source
from resnet.data.encoded import Encoded
from resnet.errors import UserError

URL = "https://zenodo.org/record/2535967/files/CIFAR-10-C.tar"
SHA256 = "c72763e101c723b7c507b96205f7e938912a5d587376173b825850cf3cb876a7"  # as TensorFlow Datasets has it
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CORRUPTIONS = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
SEVERITIES = 5


@source
def cifar10_c(dir: str | Path = "data", corruptions: Sequence[str] | None = None, **options: Any) -> Dataset:
    """10,000 pictures of 32x32x3 under each of `corruptions` in each of five severities, all for testing.

    None for the fifteen CORRUPTIONS of the benchmark. Looked for in `dir` (the folder CIFAR-10-C, its parent,
    or the archive), else downloaded into it. An image is called `corruption severity number`, and
    `condition` gives the first two. Raises UserError naming the file that is missing or wrong.
    """
    folder = archive.unpacked(URL, Path(dir).expanduser(), "CIFAR-10-C", SHA256)
    corruptions = corruptions or CORRUPTIONS
    paths = [folder / f"{name}.npy" for name in corruptions]
    labels = _array(folder / "labels.npy")
    images = [_array(path) for path in paths]
    for path, array in zip(paths, images, strict=True):
        if array.dtype != np.uint8 or array.shape != (len(labels), 32, 32, 3):
            raise UserError(f"{path}: {array.dtype} {array.shape}; expected uint8 {(len(labels), 32, 32, 3)}")
    each = len(labels) // SEVERITIES
    numbers = range(len(labels))
    pictures = Encoded(
        place=folder,
        image_shape=(32, 32, 3),
        labels=np.tile(labels.astype(np.int32), len(images)),
        names=np.array([f"{c} {1 + i // each} {i % each}" for c in corruptions for i in numbers], object),
        read=lambda i, _: images[i // len(labels)][i % len(labels)],
        marks=lambda: [f"{path.name} {os.stat(path).st_size} {os.stat(path).st_mtime_ns}" for path in paths],
    )
    return replace(make_dataset(pictures, None, CLASSES, **options), condition=_condition)


def _condition(name):
    corruption, severity, _ = name.split()
    return corruption, int(severity)


def _array(path):
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read: {error}; unpack the archive again") from error


def errors(right: np.ndarray, conditions: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """Shares of wrong answers, of bool `right` `(N,)`: by corruption and severity, and their mean.

    `mean_corruption_error` is the mean over corruptions of the mean over severities. On CIFAR-10-C it is not
    divided by another network's, as ImageNet-C's is by AlexNet's (Hendrycks et al. 2020, section 4).
    """
    found: dict[str, dict[int, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for answer, (corruption, severity) in zip(right, conditions, strict=True):
        found[corruption][severity].append(bool(answer))
    table = {
        corruption: {str(severity): 1 - float(np.mean(answers)) for severity, answers in sorted(of.items())}
        for corruption, of in found.items()
    }
    means = [float(np.mean(list(of.values()))) for of in table.values()]
    return {"mean_corruption_error": float(np.mean(means)), "corruptions": table}
