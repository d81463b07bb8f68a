"""STL-10 (Coates et al. 2011): larger pictures of ten classes, few of them for training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from resnet.data import archive
from resnet.data.dataset import Dataset, Split, make_dataset, source
from resnet.errors import UserError

URL = "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz"
SHA256 = "f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866"  # as TensorFlow Datasets has it
MD5 = {  # as torchvision publishes them
    "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
    "train_y.bin": "5a34089d4802c674881badbb80307741",
    "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
    "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
}
SHAPE = (3, 96, 96)  # columns before rows


@source
def stl10(dir: str | Path = "data", **options: Any) -> Dataset:
    """5,000 + 8,000 pictures of 96x96x3; those without labels are not used.

    Looked for in `dir` (the folder stl10_binary, its parent, or the archive), else downloaded into it. Raises
    UserError naming the file that is missing or wrong.
    """
    folder = archive.unpacked(URL, Path(dir).expanduser(), "stl10_binary", SHA256)
    names = _bytes(folder / "class_names.txt").decode(errors="replace").split()
    train, test = (_split(folder, part, len(names)) for part in ("train", "test"))
    dataset = make_dataset(train, test, names, **options)
    return replace(dataset, original=lambda: all(archive.has(folder / n, md5) for n, md5 in MD5.items()))


def _split(folder, part, classes):
    pixels, labels = (np.frombuffer(_bytes(folder / f"{part}_{which}.bin"), np.uint8) for which in ("X", "y"))
    if pixels.size != len(labels) * np.prod(SHAPE) or not len(labels):
        raise UserError(f"{folder}: {part}_X.bin and {part}_y.bin do not match; unpack the archive again")
    if labels.min() < 1 or labels.max() > classes:
        raise UserError(f"{folder / part}_y.bin: expected labels from 1 to {classes}")
    images = pixels.reshape(-1, *SHAPE).transpose(0, 3, 2, 1)
    return Split(np.ascontiguousarray(images), labels.astype(np.int32) - 1)


def _bytes(path):
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; unpack the archive again") from error
