"""What a network computes, and what the machine could."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from resnet.internals.keras import all_layers
from resnet.models.repeat import Repeat

if TYPE_CHECKING:
    from collections.abc import Sequence

COUNTED = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
PASSES = 3  # of a training step, as long as each other: forward, gradients of inputs, gradients of kernels
SIZE_ON_CPU, SIZE_ON_GPU = 1024, 4096
PRODUCTS, SECONDS = 8, 0.05


def multiply_adds(model: keras.Model) -> int:
    """Multiplications, each with an addition, of the convolutions and dense layers for one image.

    What papers call the FLOPs of a network, norms, activations, pooling and attention left out.
    """
    return sum(
        times * math.prod(layer.kernel.shape) * _pixels(layer) for layer, times in _counted(model.layers)
    )


def training_flops(model: keras.Model) -> int | None:
    """Operations of a training step for one image, where a multiplication and an addition are two.

    None for a network whose layers are not all in sight, as in a layer or model that is a class of its own.
    """
    counted = {id(layer) for layer, _ in _counted(model.layers)}
    if any(isinstance(layer, COUNTED) and id(layer) not in counted for layer in all_layers(model)):
        return None
    return 2 * PASSES * multiply_adds(model)


def matrix_product(precision: str, strategy: tf.distribute.Strategy) -> float:
    """Floating-point operations a second of products of matrices on all replicas, measured for a moment."""
    size = SIZE_ON_GPU if tf.config.list_physical_devices("GPU") else SIZE_ON_CPU

    def multiply(value):
        matrix = product = tf.fill((size, size), tf.cast(value, precision))
        for _ in range(PRODUCTS):
            product = product @ matrix
        return tf.reduce_sum(product)

    @tf.function(jit_compile=False, autograph=False)
    def products(value):
        return strategy.experimental_local_results(strategy.run(multiply, (value,)))

    def finished(results):
        return [result.numpy() for result in results]

    value = tf.constant(1 / size)  # an argument: a constant matrix would be multiplied before
    finished(products(value))
    times: list[float] = []
    while sum(times) < SECONDS:
        started = time.perf_counter()
        finished(products(value))
        times.append(time.perf_counter() - started)
    # The quickest: others may have been held up by what the machine did beside them.
    return 2 * size**3 * PRODUCTS * strategy.num_replicas_in_sync / min(times)


def _counted(layers: Sequence[keras.Layer], times: int = 1) -> Iterator[tuple[keras.Layer, int]]:
    """The layers that are counted, and how often each is run."""
    for layer in layers:
        if isinstance(layer, Repeat):
            yield from _counted(layer.block.layers, times * layer.repeats)
        elif isinstance(layer, keras.Model):
            yield from _counted(layer.layers, times)
        elif isinstance(layer, COUNTED) and hasattr(layer, "output"):  # not in a graph that is in sight
            yield layer, times


def _pixels(layer):
    return math.prod(layer.output.shape[1:-1])
