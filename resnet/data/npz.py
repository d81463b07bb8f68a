"""Arrays in a file: one .npz, read without pickle."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from resnet.data.dataset import Split, make_dataset, split_off
from resnet.errors import UserError
from resnet.options import with_options_of

LARGEST_LABEL = 65_535
UNREADABLE = (OSError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error)


@with_options_of(make_dataset)
def npz(file="data.npz", test_split=0.2, *, seed=0, **options):
    """The arrays `x_train`, `y_train`, `x_test` and `y_test` of an .npz file, named as Keras names them.

    Images are uint8 `(N, H, W, C)` or `(N, H, W)`, labels integers `(N,)` or `(N, 1)` from 0; `class_names`
    are strings `(K,)`, by default the numbers. Without `x_test`, `test_split` of each class is for
    testing, drawn by `seed`. Raises UserError naming the array that is missing or of another kind.
    """
    path = Path(file).expanduser()
    arrays = _load(path)
    parts = ("train", "test") if "x_test" in arrays else ("train",)
    splits = [_split(path, arrays, part) for part in parts]
    shapes = {split.images.shape[1:] for split in splits}
    if len(shapes) > 1:
        raise UserError(f"{path}: x_train and x_test differ in size: {' and '.join(map(str, shapes))}")
    class_names = _class_names(path, arrays, 1 + max(int(split.labels.max()) for split in splits))
    if len(splits) == 1:
        splits = split_off(splits[0], test_split, seed, "test_split")
    return make_dataset(*splits, class_names, seed=seed, **options)


def _load(path):
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except FileNotFoundError as error:
        raise UserError(
            f"data.file={path} is not there; expected an .npz with x_train and y_train"
        ) from error
    except UNREADABLE as error:
        raise UserError(f"{path}: not an .npz of plain arrays: {error}") from error


def _split(path, arrays, part):
    for name in (f"x_{part}", f"y_{part}"):
        if name not in arrays:
            raise UserError(f"{path}: there is no {name}; it holds {', '.join(arrays) or 'nothing'}")
    images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.dtype != np.uint8 or not images.size:
        raise UserError(
            f"{path}: x_{part} is {images.dtype} {images.shape}; expected uint8 of (N, H, W, C) or (N, H, W)"
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


def _class_names(path, arrays, classes):
    names = arrays.get("class_names", np.arange(classes)).reshape(-1).astype(str)
    if len(names) < max(classes, 2):
        raise UserError(
            f"{path}: {len(names)} class_names for labels to {classes - 1}; expected one a label, 2 or more"
        )
    return names.tolist()
