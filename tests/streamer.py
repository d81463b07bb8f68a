"""Trains in memory and streamed, for tests/test_streaming.py, as one of several workers.

    python -m tests.streamer OUTPUT

Leaves OUTPUT/<place>.npz with the weights of both, and the numbers of the images that were read from disk.
"""

import sys
from pathlib import Path

import keras
import numpy as np

import resnet
from resnet.augmentation import shift_flip
from resnet.data import shards, synthetic
from resnet.models import resnet_v1
from resnet.training.distribution import everyone, multi_worker

IMAGES, BATCH, STEPS = 100, 24, 7  # the fifth step of an epoch is of four images
PICTURES = {
    "image_size": 8,
    "train_images": IMAGES,
    "test_images": 31,
    "validation_split": 0.0,
    "normalization": "channel",
}


def trained(strategy, memory, folder):
    """Weights after a few steps with augmentation."""
    resnet.prepare(deterministic=True)
    dataset = synthetic(**PICTURES, memory=memory, shards=str(folder))
    trainer = resnet.Trainer(
        epochs=9, batch_size=BATCH, max_steps=STEPS, watch="test", strategy=strategy, seed=1
    )
    with trainer.scope():
        model = resnet_v1(dataset.image_shape, dataset.num_classes, depth=8)
        optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    resnet.fit(model, dataset, optimizer, augmentation=shift_flip(), trainer=trainer, callbacks=())
    return [np.array(variable) for variable in model.variables]


if __name__ == "__main__":
    output = Path(sys.argv[1])
    strategy, read = multi_worker(), []
    batch = shards.Sharded.batch

    def noted(split, indices):
        if len(split) == IMAGES:
            read.append(np.array(indices))
        return batch(split, indices)

    resident = trained(strategy, "resident", output)
    synthetic(**PICTURES, memory="streamed", shards=str(output))  # measured once, which reads all images
    shards.Sharded.batch = noted
    streamed = trained(strategy, "streamed", output)
    arrays = {f"{how} {i}": a for how, of in (("r", resident), ("s", streamed)) for i, a in enumerate(of)}
    place = strategy.cluster_resolver.task_id
    np.savez(output / f"{place}.npz", read=np.concatenate(read), **arrays)
    everyone(strategy, "done")
