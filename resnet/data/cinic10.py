"""CINIC-10 (Darlow et al. 2018): CIFAR-10's classes with pictures of ImageNet, scaled down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from resnet.data import archive
from resnet.data.dataset import Dataset, make_dataset, source
from resnet.data.image_folder import pictures_in
from resnet.listing import files

URL = "https://datashare.ed.ac.uk/bitstream/handle/10283/3192/CINIC-10.tar.gz"
MD5 = "6ee4d0c996905fe93221de577967a372"
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
PARTS = {"train": "train", "validation": "valid", "test": "test"}
HOW = {"image_size": (32, 32), "channels": 3, "resize": "crop"}


@source
def cinic10(dir: str | Path = "data", **options: Any) -> Dataset:
    """90,000 pictures each for training, validation and test, of 32x32x3 in ten classes.

    Looked for in `dir` (the folder CINIC-10, its parent, or the archive), else downloaded into it. Raises
    UserError naming the folder or file that is wrong.
    """
    root = archive.unpacked(URL, Path(dir).expanduser(), "CINIC-10", MD5, bare=True)
    pictures: dict[str, Any] = {}
    for part, name in PARTS.items():
        listed = [(path, i) for i, of in enumerate(CLASSES) for path in files(root / name / of)]
        pictures[part] = pictures_in(root, root / name, listed, CLASSES, HOW)
    return make_dataset(**pictures, class_names=CLASSES, **options)
