"""Arrays in a file: one .npz, read without pickle, or one of MATLAB's .mat."""

from __future__ import annotations

import logging
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from resnet.data.dataset import Dataset, Split, make_dataset, source
from resnet.errors import UserError

log = logging.getLogger(__name__)
LARGEST_LABEL = 65_535
PARTS = ("train", "test", "validation")
EXPECTED = "expected an .npz with x_train and y_train, or a .mat of MATLAB"
UNREADABLE = (OSError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error)


@source
def npz(
    file: str | Path = "data.npz", test_split: float | None = 0.2, *, seed: int = 0, **options: Any
) -> Dataset:
    """The arrays `x_train`, `y_train`, `x_test` and `y_test` of an .npz file, named as Keras names them.

    Images are uint8 `(N, H, W, C)` or `(N, H, W)`, labels integers `(N,)` or `(N, 1)` from 0; `class_names`
    are strings `(K,)`, by default the numbers. Without `x_test`, `test_split` of each class is for
    testing, drawn by `seed`; `x_validation` and `y_validation` are what plateau and best checkpoint watch.

    A .mat file (of MATLAB before 7.3) holds the same, or `X` `(H, W, C, N)` and `y` as SVHN has them
    (Netzer et al. 2011), where the digit 0 is called 10; beside `train_32x32.mat`, `test_32x32.mat` is for
    testing. Raises UserError naming the array that is missing or of another kind.
    """
    path = Path(file).expanduser()
    arrays = _load(path)
    given = [part for part in PARTS if f"x_{part}" in arrays or f"y_{part}" in arrays or part == "train"]
    splits = {part: _split(path, arrays, part) for part in given}
    shapes = {f"x_{part}": split.images.shape[1:] for part, split in splits.items()}
    if len(set(shapes.values())) > 1:
        raise UserError(
            f"{path}: {' and '.join(shapes)} differ in size: {' and '.join(map(str, shapes.values()))}"
        )
    known = {f"{axis}_{part}" for axis in "xy" for part in PARTS} | {"class_names"}
    if foreign := sorted(arrays.keys() - known):
        log.warning("%s: arrays that are not used: %s", path, ", ".join(foreign))
    class_names = _class_names(path, arrays, splits)
    options |= {"class_names": class_names, "test_split": test_split, "seed": seed}
    return make_dataset(**{"test": None} | splits, **options)


def _load(path):
    try:
        if path.is_dir():
            raise UserError(f"data.file={path} is a folder; {EXPECTED}, or for pictures data=image_folder")
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"
        if path.suffix.lower() == ".mat":
            return _load_mat(path)
        if not zipped:
            raise UserError(f"data.file={path} is not an .npz; {EXPECTED}")
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except FileNotFoundError as error:
        raise UserError(f"data.file={path} is not there; {EXPECTED}") from error
    except UNREADABLE as error:
        raise UserError(f"{path}: not an .npz of plain arrays: {error}") from error


def _load_mat(path):
    arrays = _mat(path)
    if not {"X", "y"} <= arrays.keys():
        return arrays
    found = _svhn(path, arrays, "train")
    other = path.with_name(path.name.replace("train", "test"))
    if other != path and other.is_file():
        log.info("%s is for testing", other)
        found |= _svhn(other, _mat(other), "test")
    return found


def _mat(path):
    from scipy.io import loadmat  # other files need not wait for it

    try:
        arrays = loadmat(path)
    except NotImplementedError as error:
        raise UserError(f"{path} is of MATLAB 7.3, which is HDF5; save it with -v7, or as an .npz") from error
    except Exception as error:  # a broken file can raise anything
        raise UserError(f"{path}: not a .mat that can be read: {error}; {EXPECTED}") from error
    return {name: array for name, array in arrays.items() if not name.startswith("__")}


def _svhn(path, arrays, part):
    """X and y under the names that an .npz has."""
    images, labels = arrays.get("X"), arrays.get("y")
    if getattr(images, "ndim", 0) != 4 or not isinstance(labels, np.ndarray):
        raise UserError(f"{path}: expected X of (H, W, C, N) and y of (N, 1), as SVHN has them")
    if labels.min(initial=1) >= 1 and labels.max(initial=1) == 10:
        labels = labels % 10
    return {f"x_{part}": np.ascontiguousarray(np.moveaxis(images, 3, 0)), f"y_{part}": labels}


def matlab_split(path: Path) -> Split:
    """The images in one of SVHN's files. Raises UserError for one of another kind."""
    return _split(path, _svhn(path, _mat(path), "train"), "train")


def _split(path, arrays, part):
    for name in (f"x_{part}", f"y_{part}"):
        if name not in arrays:
            held = ", ".join(list(arrays)[:10]) or "nothing"
            raise UserError(f"{path}: there is no {name}; it holds {held}")
    images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.dtype != np.uint8 or not images.size:
        raise UserError(
            f"{path}: x_{part} is {images.dtype} {images.shape}; expected uint8 of (N, H, W, C) or (N, H, W)"
        )
    if _channels_first(*images.shape[1:]):
        raise UserError(
            f"{path}: x_{part} is {images.shape}, which looks like (N, C, H, W); expected (N, H, W, C)\n"
            f"save x_{part}.transpose(0, 2, 3, 1)"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape not in ((len(images),), (len(images), 1)):
        raise UserError(
            f"{path}: y_{part} is {labels.dtype} {labels.shape}; expected integers of ({len(images)},)"
        )
    if labels.min() < 0 or labels.max() > LARGEST_LABEL:
        raise UserError(
            f"{path}: y_{part} holds {labels.min()} to {labels.max()}; expected 0 to {LARGEST_LABEL} at most"
        )
    return Split(images, labels.reshape(-1).astype(np.int32))


def _channels_first(first, second, last):
    """Whether images `(first, second, last)` are rather channels, rows, columns than the other way round."""
    return last > 4 and (first in (1, 3, 4) or second == last != first)


def _class_names(path, arrays, splits):
    """One per class. Raises UserError unless there are training images of each."""
    present = {part: set(split.labels.tolist()) for part, split in splits.items()}
    found = set.union(*present.values())
    largest = max(found)
    names = arrays.get("class_names", np.arange(1 + largest)).reshape(-1).astype(str).tolist()
    if found == set(range(1, largest + 1)) and ("class_names" not in arrays or len(names) == largest):
        raise UserError(f"{path}: the labels are 1 to {largest}; expected them from 0: save y - 1")
    if len(names) < max(1 + largest, 2):
        raise UserError(
            f"{path}: {len(names)} class_names for labels to {largest}; expected one per label, 2 or more"
        )
    for part, classes in present.items():
        if unknown := sorted(classes - present["train"]):
            raise UserError(f"{path}: y_{part} has classes that y_train has not: {_some(names, unknown)}")
    if missing := sorted(set(range(len(names))) - found):
        raise UserError(f"{path}: y_train has none of class {_some(names, missing)}; expected some of each")
    return names


def _some(names, labels):
    return ", ".join(names[label] for label in labels[:5]) + (", ..." if labels[5:] else "")
