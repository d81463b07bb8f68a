"""How the images of a split come to the compiled step: from memory, or in blocks that the host reads ahead.

The trainer says which images a step takes; a feed only brings them, so that order, draws and resuming do
not depend on where images lie. A feed has

    signature               tensor specifications of a block, none where all images are at hand
    read(indices)           on the host: the block of int32 indices `(S, B)`, S steps of B images
    batch(block, step, places, indices)
                            in the graph: images uint8 `(b, H, W, C)` and labels int32 `(b,)` of a step's
                            `indices` `(b,)`, which stand at `places` `(b,)` in its batch
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

from resnet.data.dataset import Split


class Resident:
    """All images of a split on the device; a batch is gathered in the graph."""

    signature = ()

    def __init__(self, split: Split) -> None:
        self.images, self.labels = tf.constant(split.images), tf.constant(split.labels)

    def read(self, indices: np.ndarray) -> tuple:
        return ()

    def batch(
        self, block: tuple, step: tf.Tensor, places: tf.Tensor, indices: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.gather(self.images, indices), tf.gather(self.labels, indices)


class Streamed:
    """A split that gives images by number, on the host: `split.batch(indices)` as in `data.dataset.Split`."""

    def __init__(self, split: Any) -> None:
        self.split = split
        self.signature = (
            tf.TensorSpec([None, None, *split.image_shape], tf.uint8),
            tf.TensorSpec([None, None], tf.int32),
        )

    def read(self, indices: np.ndarray) -> tuple:
        images, labels = self.split.batch(indices.reshape(-1))
        images = np.reshape(images, (*indices.shape, *self.split.image_shape))
        return tf.constant(images), tf.constant(np.reshape(labels, indices.shape), tf.int32)

    def batch(
        self, block: tuple, step: tf.Tensor, places: tf.Tensor, indices: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = block
        return tf.gather(images[step], places), tf.gather(labels[step], places)


Feed = Resident | Streamed


def feed(split: Any) -> Feed:
    """The feed of a split: `Resident` where it holds its images in memory, else `Streamed`."""
    return Resident(split) if hasattr(split, "images") else Streamed(split)


def with_blocks(source: Feed, calls: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, tuple]]:
    """Each of `calls`, arrays of indices `(S, B)`, with its block; the next is read while one is in use."""
    if not source.signature:
        yield from ((indices, ()) for indices in calls)
        return
    with ThreadPoolExecutor(1) as pool:
        waiting = None
        for indices in calls:
            coming = indices, pool.submit(source.read, indices)
            if waiting:
                yield waiting[0], waiting[1].result()
            waiting = coming
        if waiting:
            yield waiting[0], waiting[1].result()
