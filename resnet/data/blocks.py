"""Images in pieces that memory holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


def blocks(images: Any, size: int) -> Iterator[np.ndarray]:
    """uint8 `(size, H, W, C)` one after the other, the last perhaps smaller, of an array or of a split."""
    at_hand = getattr(images, "images", images)
    for start in range(0, len(images), size):
        stop = min(start + size, len(images))
        if isinstance(at_hand, np.ndarray):
            yield at_hand[start:stop]
        else:
            yield images.batch(np.arange(start, stop))[0]
