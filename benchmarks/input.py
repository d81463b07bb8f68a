"""Augmented images a second, beside Keras' ImageDataGenerator with the same transforms.

    python -m benchmarks.input --data DIR [--batch 128] [--repeats 5] [--seconds 2]

DIR holds CIFAR-10. Shuffled batches, normalised, shifted by up to a tenth of each side, half of them
mirrored: what training sees, and no training. The two take turns in one process; `a core` divides by
the seconds of processor time instead of those that passed.
"""

import argparse
import time

import numpy as np


def graph_batches(dataset, batch):
    """This project's, without end."""
    import tensorflow as tf

    from resnet.augmentation import shift_flip
    from resnet.data import Preprocessing

    preprocessing = Preprocessing.of(dataset, shift_flip())
    images, labels = tf.constant(dataset.train.images), tf.constant(dataset.train.labels)

    @tf.function(jit_compile=False)
    def make(indices, step):
        chosen = tf.gather(images, indices), tf.gather(labels, indices)
        made = preprocessing.training(*chosen, indices, step, 0)
        return made.images, made.labels

    random, step = np.random.default_rng(1), 0
    while True:
        order = random.permutation(len(dataset.train)).astype("int32")
        for start in range(0, len(order), batch):
            step += 1
            yield make(tf.constant(order[start : start + batch]), tf.constant(step))


def rates(batches, seconds):
    """Images a second, of time passed and of processor time."""
    clocks = np.array([time.perf_counter(), time.process_time()])
    images, passed = 0, np.zeros(2)
    while passed[0] < seconds:
        images += len(next(batches)[0])
        passed = np.array([time.perf_counter(), time.process_time()]) - clocks
    return images / passed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="a turn")
    given = parser.parse_args()

    from benchmarks.contenders import load
    from benchmarks.stock import generated_batches

    dataset = load(given.data)
    sources = {
        "ImageDataGenerator": generated_batches(dataset, given.batch),
        "this project": graph_batches(dataset, given.batch),
    }
    found = {name: [] for name in sources}
    for batches in sources.values():
        next(batches)
    for _ in range(given.repeats):
        for name, batches in sources.items():
            found[name].append(rates(batches, given.seconds))
    medians = {name: np.median(values, axis=0) for name, values in found.items()}
    print("| images/s | all cores | a core |\n|---|--:|--:|")
    for name, (passed, core) in medians.items():
        print(f"| {name} | {passed:,.0f} | {core:,.0f} |")
    first, second = found.values()
    times = np.median(np.divide(second, first), axis=0)
    print(f"| times as many | {times[0]:.1f} | {times[1]:.1f} |")


if __name__ == "__main__":
    main()
