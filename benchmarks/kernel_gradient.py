"""What `models.convolution.Conv2D` gains: the gradient of a bfloat16 kernel, beside Keras' layer.

    python -m benchmarks.kernel_gradient [--turns 5]

Milliseconds that a forward and a backward pass take, of a layer 3 x 3 on pictures of some sizes, in alternate
turns; the quickest of each, and the median of the turns' ratios.
"""

import argparse
import statistics
import time

import keras
import tensorflow as tf

import resnet
from resnet.models.convolution import Conv2D

CASES = [  # images, pixels, channels before and after
    (250, 3, 256, 256),
    (128, 4, 512, 512),
    (250, 7, 128, 256),
    (128, 8, 64, 64),
    (128, 8, 256, 256),
    (64, 8, 640, 640),
]
REPEATS = 8


def passes(layer, images, upstream):
    @tf.function
    def run():
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = layer(images)
        return tape.gradient(outputs, [images, layer.kernel.value], upstream)

    run()
    return run


def seconds(run):
    started = time.perf_counter()
    for _ in range(REPEATS):
        found = run()
    found[0].numpy()
    return (time.perf_counter() - started) / REPEATS


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    turns = parser.parse_args().turns
    resnet.prepare(precision="bfloat16")
    print("| pictures | channels | Keras, ms | here, ms | ratio |\n|---|---|--:|--:|--:|")
    for count, size, before, after in CASES:
        images = tf.cast(tf.random.normal((count, size, size, before)), tf.bfloat16)
        upstream = tf.cast(tf.random.normal((count, size, size, after)), tf.bfloat16)
        layers = [kind(after, 3, padding="same", use_bias=False) for kind in (keras.layers.Conv2D, Conv2D)]
        runs = [passes(layer, images, upstream) for layer in layers]
        theirs, ours = zip(*([seconds(run) for run in runs] for _ in range(turns)), strict=True)
        ratio = statistics.median(a / b for a, b in zip(theirs, ours, strict=True))
        print(
            f"| {count} x {size} x {size} | {before} to {after} "
            f"| {1e3 * min(theirs):.1f} | {1e3 * min(ours):.1f} | {ratio:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
