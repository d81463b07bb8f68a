"""Street View House Numbers, cropped digits (Netzer et al. 2011)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from resnet.data import archive
from resnet.data.dataset import Dataset, Split, make_dataset, source
from resnet.data.npz import matlab_split

URL = "http://ufldl.stanford.edu/housenumbers/"
SHA256 = {  # as TensorFlow Datasets publishes them
    "train": "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
    "test": "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
    "extra": "a133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3",
}


@source
def svhn(dir: str | Path = "data/svhn", extra: bool = False, **options: Any) -> Dataset:
    """73,257 + 26,032 digits of 32x32x3; `extra` adds 531,131 easier ones to those of training.

    `train_32x32.mat` and the others are looked for in `dir`, else downloaded into it. Raises UserError naming
    the file that is wrong.
    """
    root = Path(dir).expanduser()
    parts = ["train", "test", *(["extra"] if extra else [])]
    paths = {part: archive.fetched(f"{URL}{part}_32x32.mat", root, SHA256[part]) for part in parts}
    splits = {part: matlab_split(path) for part, path in paths.items()}
    train = Split.joined([splits["train"], splits["extra"]]) if extra else splits["train"]
    dataset = make_dataset(train, splits["test"], [*"0123456789"], **options)
    return replace(
        dataset, original=lambda: all(archive.has(path, SHA256[part]) for part, path in paths.items())
    )
