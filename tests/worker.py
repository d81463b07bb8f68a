"""Trains what tests/test_distribution.py compares, alone or as one of several workers.

    python -m tests.worker RESOLVER OUTPUT

Leaves OUTPUT/<place>.npz with the weights of two networks and the indices of the images it saw.
"""

import os
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import resnet
from resnet.augmentation import Transform
from resnet.data.dataset import Dataset, Split
from resnet.data.normalization import measure
from resnet.models import resnet_v1, unstack
from resnet.run.callbacks import Outcomes
from resnet.training.distribution import everyone, multi_worker
from resnet.training.trainer import Trainer

IMAGES, BATCH = 200, 40


def noise():
    """Few and small images."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (IMAGES, 8, 8, 3), np.uint8)
    split = Split(images, random.integers(0, 10, IMAGES, np.int32))
    return Dataset(split, split.take(np.arange(101)), [*"0123456789"], measure(images, "pixel_mean"))


def trained(strategy, depth, stage, steps, seen=None):
    """Weights by name, and the history, of a network after `steps` steps with momentum."""

    def look(indices):
        seen.extend(indices)
        return indices

    def apply(batch, seed):
        if seen is None:
            return batch
        return batch._replace(indices=tf.numpy_function(look, [batch.indices], tf.int32))

    keras.utils.set_random_seed(3)
    dataset = noise()
    trainer = Trainer(
        epochs=100,
        batch_size=BATCH,
        max_steps=steps,
        watch="test",
        strategy=strategy,
        synchronize_batch_norm=True,
    )
    with trainer.scope():
        # SiLU: where a ReLU is near its kink, the last bit would decide which way the gradient goes.
        smooth = {"conv_bias": False, "activation": "silu"}
        model = resnet_v1(dataset.image_shape, 10, depth=depth, stage=stage, **smooth)
        optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    outcomes = Outcomes()
    parts = {"augmentation": Transform(None, apply), "trainer": trainer, "callbacks": [outcomes]}
    resnet.fit(model, dataset, optimizer, **parts)
    return unstack(model) | {"outcomes": outcomes.state()["predicted"]}, trainer.history


def two_networks(strategy, seen=None):
    """Looped stages as well, for fewer steps: depth makes more of a last bit's difference."""
    unrolled, history = trained(strategy, depth=8, stage="unrolled", steps=20, seen=seen)
    looped, _ = trained(strategy, depth=14, stage="looped", steps=2)
    return unrolled | {f"looped {name}": array for name, array in looped.items()}, history


if __name__ == "__main__":
    resolver, output = sys.argv[1:]
    strategy, seen = multi_worker(resolver, int(os.environ.get("PORT", 8888))), []
    weights, history = two_networks(strategy, seen)
    place = strategy.cluster_resolver.task_id
    np.savez(Path(output) / f"{place}.npz", seen=seen, losses=[e["test"]["loss"] for e in history], **weights)
    everyone(strategy, "done")
