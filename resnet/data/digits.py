"""The handwritten digits that ship inside scikit-learn: 1,797 pictures, no download."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from resnet.data.dataset import Dataset, Split, make_dataset, source

SIZE = 32
TEST_IMAGES = 360


@source
def digits(**options: Any) -> Dataset:
    """The UCI test digits (Alpaydin and Kaynak 1998), 8x8 resized to 32x32x3; a fifth is for testing."""
    from sklearn.datasets import load_digits  # other data need not wait for it
    from sklearn.model_selection import train_test_split

    source = load_digits()
    images = np.stack([_resize(image) for image in source.images])
    labels = source.target.astype(np.int32)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=TEST_IMAGES, stratify=labels, random_state=0
    )
    everything = Split(images, labels)
    names = [str(name) for name in source.target_names]
    return make_dataset(everything.take(train), everything.take(test), names, **options)


def _resize(image):
    picture = Image.fromarray((image * (255 / 16)).astype(np.uint8))
    return np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC).convert("RGB"))
