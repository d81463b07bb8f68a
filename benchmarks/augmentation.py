"""Images a second of every augmentation, beside the Keras layers or the generator that do the like.

    python benchmarks/augmentation.py [--size 32] [--batch 128] [--seconds 1]

All are timed in turn, several rounds, and the median counts; writes a table, and augmentation.json to
`--output`. `ImageDataGenerator` runs in Python on one core, the rest in TensorFlow on all of them.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import keras
import tensorflow as tf
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from resnet import augmentation
from resnet.augmentation import Batch
from resnet.data import synthetic

ROUNDS = 5
SHIFTS = {"width_shift_range": 0.1, "height_shift_range": 0.1, "horizontal_flip": True}
TURNS = SHIFTS | {"rotation_range": 15.0, "zoom_range": 0.1, "shear_range": 5.0}
OURS = {
    "shift_flip": augmentation.shift_flip,
    "image_data_generator: shifts, flip": lambda: augmentation.image_data_generator(**SHIFTS),
    "image_data_generator: turns too": lambda: augmentation.image_data_generator(**TURNS),
    "image_data_generator: turns, wrap": lambda: augmentation.image_data_generator(**TURNS, fill_mode="wrap"),
    "crop_flip": augmentation.crop_flip,
    "alternating_flip": augmentation.alternating_flip,
    "cutout": augmentation.cutout,
    "mixup": augmentation.mixup,
    "cutmix": augmentation.cutmix,
    "randaugment": augmentation.randaugment,
}
LAYERS = {
    "shift_flip": lambda: [
        keras.layers.RandomTranslation(0.1, 0.1, fill_mode="nearest"),
        keras.layers.RandomFlip("horizontal"),
    ],
    "image_data_generator: turns too": lambda: [
        keras.layers.RandomTranslation(0.1, 0.1, fill_mode="nearest"),
        keras.layers.RandomRotation(15 / 360, fill_mode="nearest"),
        keras.layers.RandomZoom(0.1, 0.1, fill_mode="nearest"),
        keras.layers.RandomShear(0.1, 0.1, fill_mode="nearest"),
        keras.layers.RandomFlip("horizontal"),
    ],
    "crop_flip": lambda: [
        keras.layers.ZeroPadding2D(4),
        keras.layers.RandomCrop(*SHAPE),
        keras.layers.RandomFlip("horizontal"),
    ],
    "cutout": lambda: [keras.layers.RandomErasing(1.0, scale=(0.25, 0.25), fill_value=0)],
    "mixup": lambda: [keras.layers.MixUp(0.2)],
    "cutmix": lambda: [keras.layers.CutMix(1.0)],
    "randaugment": lambda: [keras.layers.RandAugment(value_range=(0, 255), num_ops=2, factor=0.9)],
}
GENERATORS = {
    "shift_flip": SHIFTS,
    "image_data_generator: shifts, flip": SHIFTS,
    "image_data_generator: turns too": TURNS,
}
SHAPE = [32, 32]


def of_transform(make, dataset, batch):
    """A function that augments one batch, given a number to draw by."""
    transform = make()
    images = tf.cast(dataset.train.images[:batch], tf.float32)
    images, labels = dataset.normalization(images), tf.one_hot(dataset.train.labels[:batch], 10)

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32)])
    def run(number):
        batch_of = Batch(images, labels, tf.range(batch), number, dataset.normalization)
        return transform(batch_of, tf.stack([1, number]))[:2]

    return lambda number: run(tf.constant(number))


def of_layers(make, dataset, batch):
    layers = make()
    images = tf.cast(dataset.train.images[:batch], tf.float32)
    labels = tf.one_hot(dataset.train.labels[:batch], 10)
    mixes = isinstance(layers[0], keras.layers.MixUp | keras.layers.CutMix)

    @tf.function
    def run():
        data = {"images": images, "labels": labels} if mixes else images
        for layer in layers:
            data = layer(data, training=True)
        return data

    return lambda number: run()


def of_generator(ranges, dataset, batch):
    flow = ImageDataGenerator(**ranges).flow(dataset.train.images, batch_size=batch)
    return lambda number: next(flow)


def measure(candidates, batch, seconds):
    """Median images/s of each, over rounds in which all take their turn."""
    for run in candidates.values():
        run(0)
    rates = {name: [] for name in candidates}
    for _ in range(ROUNDS):
        for name, run in candidates.items():
            started, count = time.perf_counter(), 0
            while time.perf_counter() - started < seconds:
                run(count)
                count += 1
            rates[name].append(count * batch / (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in rates.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", nargs="+", choices=OURS, default=list(OURS))
    parser.add_argument("--output", type=Path, default=Path("outputs/benchmarks"))
    arguments = parser.parse_args()
    SHAPE[:] = [arguments.size] * 2
    whole = {"train_size": None, "test_size": None, "validation_split": 0.0, "normalization": "channel"}
    dataset = synthetic(arguments.size, train_images=max(1000, arguments.batch), seed=1, **whole)
    kinds = {
        "here": (OURS, of_transform),
        "layers": (LAYERS, of_layers),
        "generator": (GENERATORS, of_generator),
    }
    candidates = {
        (name, kind): build(made[name], dataset, arguments.batch)
        for name in arguments.only
        for kind, (made, build) in kinds.items()
        if name in made
    }
    rates = measure(candidates, arguments.batch, arguments.seconds / ROUNDS)
    title = f"images/s, batch {arguments.batch}, {arguments.size} x {arguments.size}"
    print(f"| {title} | here | Keras layers | ImageDataGenerator |")
    print("|---|---:|---:|---:|")
    for name in arguments.only:
        row = (f"{rates[name, kind]:,.0f}" if (name, kind) in rates else "" for kind in kinds)
        print(f"| {name} | {' | '.join(row)} |")
    arguments.output.mkdir(parents=True, exist_ok=True)
    table = {f"{name} / {kind}": rate for (name, kind), rate in rates.items()}
    (arguments.output / "augmentation.json").write_text(json.dumps(table, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
