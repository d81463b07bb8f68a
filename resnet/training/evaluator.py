"""A network judged on held-out images."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from resnet.data.dataset import AnySplit
from resnet.data.feed import feed, with_blocks
from resnet.training.steps import Steps

BATCH = 500


class Evaluator:
    """Shows a split to the network of `steps`, whose metrics then say how it does.

    What is compiled is kept for the split that was seen last.
    """

    def __init__(self, steps: Steps, strategy: tf.distribute.Strategy) -> None:
        self.steps, self.strategy = steps, strategy
        self._split: AnySplit | None = None

    def prepare(self, split: AnySplit) -> None:
        """Bring the images of `split`, and make the function that sees them, unless both are there."""
        if split is not self._split:
            self._split, self._feed = split, feed(split, self.strategy)
            self._see = self.steps.evaluation(self._feed)

    def logits(
        self, split: AnySplit, callbacks: keras.callbacks.CallbackList | None = None
    ) -> Iterator[tf.Tensor]:
        """Those of each batch in turn, float32 `(B, K)`; the metrics have seen no others.

        Of the batches `callbacks` are told, as Keras tells them.
        """
        self.prepare(split)
        self.steps.reset_metrics()
        numbers = np.arange(len(split), dtype=np.int32)[None]
        calls = [numbers[:, i : i + BATCH] for i in range(0, len(split), BATCH)]
        with tqdm(total=len(calls), desc="evaluation", unit="batch", leave=False, disable=None) as bar:
            for batch, (indices, block) in enumerate(with_blocks(self._feed, calls)):
                if callbacks:
                    callbacks.on_test_batch_begin(batch)
                seen = self._see(block, tf.constant(indices))
                if callbacks:
                    callbacks.on_test_batch_end(batch, self.steps.measured())
                yield seen
                bar.update()
