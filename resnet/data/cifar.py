"""CIFAR-10 from the official Python archive (Krizhevsky 2009)."""

from pathlib import Path

import numpy as np

from resnet.data import archive, safe_pickle
from resnet.data.dataset import Split, make_dataset
from resnet.errors import UserError

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
FOLDER = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"
KERAS_ARCHIVES = ("cifar-10-batches-py-target_archive", "cifar-10-batches-py.tar.gz", ARCHIVE)
TRAIN_FILES = [f"data_batch_{i}" for i in range(1, 6)]
TEST_FILE = "test_batch"
BATCH = 10_000


def cifar10(dir, **options):
    """50,000 + 10,000 pictures of 32x32x3 in ten classes.

    Looked for in `dir` (the official folder, its parent, or the archive), then in the Keras cache,
    else downloaded into `dir`. Raises UserError naming the file that is missing or wrong.
    """
    folder = locate(Path(dir).expanduser())
    batches = [_read(folder / name) for name in TRAIN_FILES]
    train = Split(*(np.concatenate(part) for part in zip(*batches, strict=True)))
    return make_dataset(train, Split(*_read(folder / TEST_FILE)), _class_names(folder), **options)


def locate(root):
    """The folder with the official files, unpacked or downloaded where need be."""
    cache = Path.home() / ".keras" / "datasets"
    for folder in (root, root / FOLDER, cache / FOLDER, cache / "cifar-10-batches-py-target" / FOLDER):
        if (folder / "batches.meta").exists():
            return folder
    with archive.lock(root):
        if (root / FOLDER / "batches.meta").exists():
            return root / FOLDER
        archives = (root / ARCHIVE, *(cache / name for name in KERAS_ARCHIVES))
        found = next((path for path in archives if path.is_file()), None)
        if found is None:
            found = root / ARCHIVE
            archive.download(URL, found, SHA256)
        archive.unpack(found, FOLDER, root, SHA256)
    return root / FOLDER


def _read(path):
    batch = _load(path)
    data, labels = batch.get(b"data"), batch.get(b"labels")
    if not isinstance(data, np.ndarray) or data.shape != (BATCH, 3072) or data.dtype != np.uint8:
        raise UserError(f"{path}: expected uint8 data of shape ({BATCH}, 3072); unpack the archive again")
    try:
        labels = np.asarray(labels, np.int32)
    except (TypeError, ValueError, OverflowError):
        labels = np.empty(0)
    if labels.shape != (BATCH,) or labels.min() < 0 or labels.max() > 9:
        raise UserError(f"{path}: expected {BATCH} labels from 0 to 9; unpack the archive again")
    return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


def _class_names(folder):
    path = folder / "batches.meta"
    names = _load(path).get(b"label_names")
    if not isinstance(names, list) or len(names) != 10:
        raise UserError(f"{path}: expected 10 label_names; unpack the archive again")
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _load(path):
    if not path.exists():
        raise UserError(f"{path} is missing; unpack {ARCHIVE} again, or use data=digits")
    batch = safe_pickle.load(path)
    if not isinstance(batch, dict):
        raise UserError(f"{path}: expected a dict, found {type(batch).__name__}; unpack the archive again")
    return batch
