"""Equal pictures: how many a data set has, and where they stand."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from resnet.data.dataset import AnySplit


def digest(image: np.ndarray) -> bytes:
    """BLAKE2b of an image's pixels, 8 bytes, by which equal pictures are known wherever they lie."""
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8).digest()


def copies(split: AnySplit) -> int:
    """How many images of a Split repeat another of the same class."""
    return len(split) - len(set(zip(split.hashes.tolist(), split.labels.tolist(), strict=True)))


def shared(part: AnySplit, other: AnySplit) -> np.ndarray:
    """Numbers `(n,)` of the images in the Split `part` that are in `other` too."""
    return np.flatnonzero(np.isin(part.hashes, other.hashes))


def contradictions(splits: Sequence[AnySplit]) -> tuple[int, tuple[tuple[int, int], tuple[int, int]] | None]:
    """How many pictures of several Splits have more than one label, and two images of one, or None.

    An image is (number of its Split, number in it).
    """
    hashes, labels = (np.concatenate([getattr(s, name) for s in splits]) for name in ("hashes", "labels"))
    order = np.lexsort((labels, hashes))
    same = hashes[order][1:] == hashes[order][:-1]
    differ = np.flatnonzero(same & (labels[order][1:] != labels[order][:-1]))
    if not len(differ):
        return 0, None
    place = [(number, i) for number, split in enumerate(splits) for i in range(len(split))]
    first, second = order[differ[0]], order[differ[0] + 1]
    return len(np.unique(hashes[order][differ])), (place[first], place[second])
