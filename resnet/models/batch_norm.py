"""Batch norm as one fused operation, and over all replicas."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import tensorflow as tf

from resnet.errors import UserError
from resnet.internals.keras import all_layers
from resnet.models.repeat import Repeat

COLLECTIVE_GROUP = 2**30  # far from the keys that tf.distribute counts up from 1
COLLECTIVES = itertools.count(0, 2)  # the same in all workers, which build the same networks


@keras.saving.register_keras_serializable("resnet")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` on `FusedBatchNormV3` (Ioffe and Szegedy 2015).

    Same arguments, variables and results. The fused op serves float images `(N, H, W, C)` normalised
    over the last axis; any other use (masks, synchronised or renormalised statistics) is Keras' own,
    but for what `synchronize` says.
    """

    collective: int | None = None  # numbers the sums over replicas, where `synchronize` asks for them

    def add_weight(self, *args: Any, **kwargs: Any) -> keras.Variable:
        # Replicas each see their own part of a batch: their moving statistics are averaged.
        if not kwargs.get("trainable", True):
            kwargs.setdefault("aggregation", "mean")
        return super().add_weight(*args, **kwargs)

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        if not self._fusible(inputs, mask):
            return super().call(inputs, training=training, mask=mask)
        training = bool(training) and self.trainable
        if training and self.collective is not None and _replicas() > 1:
            return self._call_synchronized(inputs)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma if self.scale else tf.ones_like(self.moving_mean),
            offset=self.beta if self.center else tf.zeros_like(self.moving_mean),
            mean=self.moving_mean,
            variance=self.moving_variance,
            epsilon=self.epsilon,
            is_training=training,
        )
        if training:
            # The op's variance divides by n-1, Keras' by n.
            n = tf.cast(tf.size(inputs) / tf.shape(inputs)[-1], tf.float32)
            self._move(self.moving_mean, mean)
            self._move(self.moving_variance, variance * ((n - 1) / n))
        return outputs

    def _call_synchronized(self, inputs):
        x = tf.cast(inputs, tf.float32)
        n = tf.cast(tf.size(x) / tf.shape(x)[-1], tf.float32)
        sums = tf.concat([tf.reduce_sum(x, [0, 1, 2]), tf.reduce_sum(x * x, [0, 1, 2]), [n]], 0)
        sums = _sum_over_replicas(sums, self.collective)
        mean, square = tf.split(sums[:-1] / sums[-1], 2)
        variance = tf.maximum(square - mean * mean, 0.0)
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance)
        offset, scale = self.beta if self.center else None, self.gamma if self.scale else None
        outputs = tf.nn.batch_normalization(x, mean, variance, offset, scale, self.epsilon)
        return tf.cast(outputs, inputs.dtype)

    def _move(self, average, value):
        average.assign(average * self.momentum + value * (1 - self.momentum))

    def _fusible(self, inputs, mask):
        return (
            mask is None
            and not self.synchronized
            and not getattr(self, "renorm", False)  # Keras 3.12 has none
            and len(inputs.shape) == 4
            and self.axis in (3, -1)
            and inputs.dtype in (tf.float32, tf.bfloat16, tf.float16)
        )


def synchronize(model: keras.Model) -> None:
    """Let every FusedBatchNormalization of `model` train on the statistics of all replicas' images.

    Raises UserError for a looped stage on several devices of one process: in a function the loops of
    two devices run one after the other, so that the first would wait for ever.
    """
    devices = tf.distribute.get_strategy().extended.worker_devices
    if len(devices) > 1 and any(isinstance(layer, Repeat) for layer in all_layers(model)):
        raise UserError(
            f"trainer.synchronize_batch_norm=true on the {len(devices)} devices of one process "
            "needs model.stage=unrolled"
        )
    for norm in batch_norms(model):
        if isinstance(norm, FusedBatchNormalization):
            norm.collective = next(COLLECTIVES)


def batch_norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Every batch normalisation in `model`, also in models and layers in it; of a loop that of its block."""
    return [layer for layer in all_layers(model) if isinstance(layer, keras.layers.BatchNormalization)]


def _replicas():
    return tf.distribute.get_strategy().num_replicas_in_sync


def _sum_over_replicas(x, number):
    """`x` summed over the replicas, also inside a loop, where `ReplicaContext.all_reduce` cannot go.

    `number` tells it from other sums; the one after it is the gradient's.
    """

    @tf.custom_gradient
    def reduce(x):
        # Not V2, whose calls on the devices of one host wait for each other in a function.
        y = tf.raw_ops.CollectiveReduce(
            input=x,
            group_size=_replicas(),
            group_key=COLLECTIVE_GROUP,
            instance_key=number,
            merge_op="Add",
            final_op="Id",
            subdiv_offsets=[0],
            communication_hint="ring",  # NCCL would need one order on all devices
        )
        return y, lambda dy: _sum_over_replicas(dy, number + 1)

    return reduce(x)
