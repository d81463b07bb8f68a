"""How the images of a split come to the compiled step: from memory, or in blocks that the host reads ahead.

The trainer says which images a step takes; a feed only brings them, so that order, draws and resuming do
not depend on where images lie. A feed has

    signature               tensor specifications of a block, none where all images are at hand
    read(indices, epoch)    on the host: the block of int32 indices `(S, B)`, S steps of B images
    batch(block, step, places, indices)
                            in the graph: images uint8 `(b, H, W, C)` and labels int32 `(b,)` of a step's
                            `indices` `(b,)`, which stand at `places` `(b,)` in its batch
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from resnet.data.dataset import Split

if TYPE_CHECKING:
    from resnet.augmentation.crop import Crop


class Resident:
    """All images of a split on the device; a batch is gathered in the graph."""

    signature = ()

    def __init__(self, split: Split) -> None:
        self.images, self.labels = tf.constant(split.images), tf.constant(split.labels)

    def read(self, indices: np.ndarray, epoch: int) -> tuple:
        return ()

    def batch(
        self, block: tuple, step: tf.Tensor, places: tf.Tensor, indices: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.gather(self.images, indices), tf.gather(self.labels, indices)


class Streamed:
    """A split that gives images by number, on the host: `split.batch(indices)` as in `data.dataset.Split`.

    With a `crop` it gives rectangles of them, drawn by `seed`, the epoch and the image's number. A block
    holds the images of this process's own replicas only: of each batch those at the places that these take,
    which are every `replicas`-th.
    """

    def __init__(
        self,
        split: Any,
        strategy: tf.distribute.Strategy,
        crop: Crop | None = None,
        seed: int = 0,
    ) -> None:
        self.split, self.crop, self.seed = split, crop, seed
        self.replicas = strategy.num_replicas_in_sync
        self.own = _own_replicas(strategy)
        self.signature = (
            tf.TensorSpec([None, None, *split.image_shape], tf.uint8),
            tf.TensorSpec([None, None], tf.int32),
        )

    def read(self, indices: np.ndarray, epoch: int) -> tuple:
        mine = indices[:, np.isin(np.arange(indices.shape[1]) % self.replicas, self.own)]
        if self.crop:
            images, labels = self.split.cropped(mine.reshape(-1), self.crop, [self.seed, epoch])
        else:
            images, labels = self.split.batch(mine.reshape(-1))
        images = np.reshape(images, (*mine.shape, *self.split.image_shape))
        return tf.constant(images), tf.constant(np.reshape(labels, mine.shape), tf.int32)

    def batch(
        self, block: tuple, step: tf.Tensor, places: tf.Tensor, indices: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = block
        columns = places // self.replicas * len(self.own) + places % self.replicas - self.own[0]
        return tf.gather(images[step], columns), tf.gather(labels[step], columns)


def _own_replicas(strategy):
    """The numbers of the replicas in this process, which follow each other."""
    numbers: list[int] = []

    def note(context):
        numbers.append(context.replica_id_in_sync_group)
        return tf.constant(0)

    strategy.experimental_distribute_values_from_function(note)
    return numbers


Feed = Resident | Streamed


def feed(split: Any, strategy: tf.distribute.Strategy, crop: Crop | None = None, seed: int = 0) -> Feed:
    """The feed of a split: `Resident` where it holds its images in memory, else `Streamed`."""
    return Resident(split) if hasattr(split, "images") else Streamed(split, strategy, crop, seed)


def with_blocks(
    source: Feed, calls: Iterable[np.ndarray], epoch: int = 0
) -> Iterator[tuple[np.ndarray, tuple]]:
    """Each of `calls`, arrays of indices `(S, B)`, with its block; the next is read while one is in use."""
    if not source.signature:
        yield from ((indices, ()) for indices in calls)
        return
    with ThreadPoolExecutor(1) as pool:
        waiting = None
        for indices in calls:
            coming = indices, pool.submit(source.read, indices, epoch)
            if waiting:
                yield waiting[0], waiting[1].result()
            waiting = coming
        if waiting:
            yield waiting[0], waiting[1].result()
