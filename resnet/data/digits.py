"""The handwritten digits that ship inside scikit-learn: 1,797 pictures, no download."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from resnet.data.cuts import draw
from resnet.data.dataset import Dataset, Split, make_dataset, source
from resnet.errors import UserError

SIZE, GREYS = 32, 16
TEST_IMAGES = 360


@source
def digits(**options: Any) -> Dataset:
    """The UCI test digits (Alpaydin and Kaynak 1998), 8x8 resized to 32x32x3; a fifth is for testing.

    Raises UserError where scikit-learn has no file of them.
    """
    rows = np.loadtxt(_file(), np.int32, delimiter=",")
    images, labels = np.stack([_resize(row.reshape(8, 8)) for row in rows[:, :-1]]), rows[:, -1]
    train = np.sort(draw(labels, len(labels) - TEST_IMAGES, 0))
    test = np.delete(np.arange(len(labels)), train)
    everything, names = Split(images, labels), list("0123456789")
    return make_dataset(everything.take(train), everything.take(test), names, **options)


def _file():
    """That of scikit-learn, whose import would take longer than all else before a training."""
    package = find_spec("sklearn")
    folders = package.submodule_search_locations if package else None
    path = Path(folders[0]) / "datasets" / "data" / "digits.csv.gz" if folders else None
    if path is None or not path.exists():
        raise UserError(
            "data=digits: they come with scikit-learn, which is not there: pip install scikit-learn"
        )
    return path


def _resize(image):
    picture = Image.fromarray((image * (255 / GREYS)).astype(np.uint8))
    return np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC).convert("RGB"))
