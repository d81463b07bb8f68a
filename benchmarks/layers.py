"""What the layers of `resnet.models` gain on a CPU, beside those of Keras that they stand for.

    python -m benchmarks.layers [--turns 5] [--precision bfloat16]

Milliseconds that a forward and a backward pass take, in alternate turns; the quickest of each, and the median
of the turns' ratios.
"""

import argparse
import statistics
import time

import keras
import tensorflow as tf

import resnet
from resnet.models.activations import Activation, ReLU
from resnet.models.batch_norm import FusedBatchNormalization
from resnet.models.convolution import Conv2D

KERNEL = {"kernel_size": 3, "padding": "same", "use_bias": False}
CASES = [  # Keras' layer, ours, their options, shape of the input
    *(
        (keras.layers.Conv2D, Conv2D, {"filters": filters, **KERNEL}, shape)
        for shape, filters in [
            ((250, 3, 3, 256), 256),
            ((128, 4, 4, 512), 512),
            ((250, 7, 7, 192), 256),
            ((64, 8, 8, 640), 640),
        ]
    ),
    *(
        (keras.layers.Activation, Activation, {"activation": name}, (250, 15, 15, 64))
        for name in ("gelu", "silu")
    ),
    (keras.layers.ReLU, ReLU, {}, (250, 15, 15, 64)),
    (keras.layers.BatchNormalization, FusedBatchNormalization, {}, (250, 15, 15, 64)),
]
REPEATS = 8


def passes(layer, images):
    layer.build(images.shape)

    @tf.function
    def run():
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = layer(images, training=True)
        weights = [weight.value for weight in layer.trainable_variables]
        return tape.gradient(outputs, [images, *weights], outputs)

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
    parser.add_argument("--precision", default="bfloat16", choices=["float32", "bfloat16"])
    given = parser.parse_args()
    resnet.prepare(precision=given.precision)
    print("| layer | input | Keras, ms | here, ms | ratio |\n|---|---|--:|--:|--:|")
    for stock, own, options, shape in CASES:
        images = tf.cast(tf.random.normal(shape), given.precision)
        runs = [passes(kind(**options), images) for kind in (stock, own)]
        theirs, ours = zip(*([seconds(run) for run in runs] for _ in range(given.turns)), strict=True)
        ratio = statistics.median(a / b for a, b in zip(theirs, ours, strict=True))
        name = " ".join(str(options[key]) for key in ("filters", "activation") if key in options)
        print(
            f"| {stock.__name__} {name} | {' x '.join(map(str, shape))} "
            f"| {1e3 * min(theirs):.1f} | {1e3 * min(ours):.1f} | {ratio:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
