"""Pictures made up on the spot, of any size and number, that a network can learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from resnet.data.dataset import Dataset, Split, make_dataset, source

PATCHES = 4


@source
def synthetic(
    image_size: int | Sequence[int] = 32,
    channels: int = 3,
    classes: int = 10,
    train_images: int = 1000,
    test_images: int = 200,
    *,
    seed: int = 0,
    **options: Any,
) -> Dataset:
    """One coarse pattern per class, 4 x 4 patches of random levels, under as much noise as pattern.

    `image_size` is pixels, or [height, width]; the classes are alike in number; `seed` draws everything.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 128, (classes, PATCHES, PATCHES, channels), np.uint8)
    rows, columns = (np.arange(n) * PATCHES // n for n in (height, width))
    patterns = patches[:, rows][:, :, columns]
    splits = []
    for count in (train_images, test_images):
        labels = rng.permutation(np.arange(count, dtype=np.int32) % classes)
        images = rng.integers(0, 128, (count, height, width, channels), np.uint8)
        images += patterns[labels]
        splits.append(Split(images, labels))
    train, test = splits
    return make_dataset(train, test, [str(i) for i in range(classes)], seed=seed, **options)
