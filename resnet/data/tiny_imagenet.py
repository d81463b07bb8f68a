"""Tiny ImageNet: 200 of ImageNet's classes in pictures of 64 pixels (Le and Yang 2015, Stanford's CS231N)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from resnet.data import archive
from resnet.data.dataset import Dataset, make_dataset, source
from resnet.data.image_folder import pictures_in
from resnet.data.imagenet import names_of, table
from resnet.errors import UserError
from resnet.listing import files

URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
HOW = {"image_size": (64, 64), "channels": 3, "resize": "crop"}


@source
def tiny_imagenet(dir: str | Path = "data", **options: Any) -> Dataset:
    """100,000 + 10,000 pictures of 64x64x3 in 200 classes.

    Those that are published as validation images are for testing, for the labels of the others are not
    published. Looked for in `dir` (the folder tiny-imagenet-200, its parent, or the archive), else downloaded
    into it. Raises UserError naming the folder or file that is missing or wrong.
    """
    root = archive.unpacked(URL, Path(dir).expanduser(), "tiny-imagenet-200", MD5)
    classes = [words[0] for words in table(root / "wnids.txt")]
    class_names = names_of(classes, dict(table(root / "words.txt", "\t")))
    number = {name: i for i, name in enumerate(classes)}
    train = [(path, i) for name, i in number.items() for path in files(root / "train" / name / "images")]
    annotations = root / "val" / "val_annotations.txt"
    test = []
    for name, of, *_ in table(annotations, "\t"):
        if of not in number:
            raise UserError(f"{annotations}: {name} is of {of}, which wnids.txt does not name")
        test.append((root / "val" / "images" / name, number[of]))
    return make_dataset(
        pictures_in(root, root / "train", train, class_names, HOW),
        pictures_in(root, root / "val", test, class_names, HOW),
        class_names,
        **options,
    )
