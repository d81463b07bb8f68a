"""The compiled work of a training: its steps, several a call, and the evaluation of a batch."""

from typing import NamedTuple

import keras
import tensorflow as tf

from resnet.internals.keras import clip
from resnet.training.metrics import built, default, values

CLIPPING = ("clipnorm", "global_clipnorm", "clipvalue")


class Losses(NamedTuple):
    """Logits `(B, K)`, losses `(B,)` without weight decay, and the decay, a float32 scalar."""

    logits: tf.Tensor
    losses: tf.Tensor
    decay: tf.Tensor


class Steps:
    """What a training computes, on a `tf.distribute.Strategy`.

    Args:
        model, optimizer: made in the strategy's scope.
        loss: a function of a Batch, logits and `training`, see `losses.loss_of`.
        metrics: by name, as in `training.metrics`; None for the accuracy.
        preprocessing: a `data.Preprocessing`.
        strategy: where it runs.
    """

    def __init__(self, model, optimizer, loss, metrics, preprocessing, strategy):
        self.model, self.optimizer, self.preprocessing = model, optimizer, preprocessing
        self.strategy, self._loss = strategy, loss
        with strategy.scope():
            optimizer.build(model.trainable_variables)
            of_loss = keras.metrics.Mean(name="loss")
            self.metrics = {"loss": of_loss, **built(metrics or default(), preprocessing.num_classes)}

    def loss(self, batch, training):
        """Losses of a Batch as the network sees it."""
        logits = self.model(batch.images, training=training)
        losses = self._loss(batch, logits, training)
        return Losses(logits, losses, tf.add_n(self.model.losses) if self.model.losses else tf.constant(0.0))

    def gradients(self, batch):
        """Those of the mean loss of a Batch, weight decay included, for each trainable variable."""
        with tf.GradientTape() as tape:
            found = self.loss(batch, training=True)
            loss = tf.reduce_mean(found.losses) + found.decay
        return tape.gradient(loss, self.model.trainable_variables)

    def training(self, feed):
        """A function of a block of `feed`, its indices int32 `(S, B)`, and of S steps, epochs and rates.

        It trains S steps and gives their losses `(S,)`, weight decay included.
        """
        strategy, optimizer = self.strategy, self.optimizer

        def replica_step(block, i, indices, step, epoch):
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            places = tf.range(replica, tf.size(indices), strategy.num_replicas_in_sync)
            mine = tf.gather(indices, places)
            images, labels = feed.batch(block, i, places, mine)
            batch = self.preprocessing.training(images, labels, mine, step, epoch, replica)
            with tf.GradientTape() as tape:
                found = self.loss(batch, training=True)
                share = tf.size(mine) / tf.size(indices)
                loss = tf.reduce_sum(found.losses) / tf.cast(tf.size(indices), tf.float32)
                loss += found.decay * tf.cast(share, tf.float32)
                scaled = optimizer.scale_loss(loss)
            self._apply(tape.gradient(scaled, self.model.trainable_variables))
            self.update_metrics(batch.labels, found)
            return loss

        @tf.function(
            input_signature=[
                feed.signature,
                tf.TensorSpec([None, None], tf.int32),
                tf.TensorSpec([None], tf.int32),
                tf.TensorSpec([], tf.int32),
                tf.TensorSpec([None], tf.float32),
            ],
            autograph=False,
            jit_compile=False,
        )
        def train_steps(block, indices, steps, epoch, rates):
            count = tf.shape(indices)[0]

            def train_step(i, losses):
                optimizer.learning_rate.assign(rates[i])
                loss = strategy.run(replica_step, (block, i, indices[i], steps[i], epoch))
                return i + 1, losses.write(i, strategy.reduce("SUM", loss, axis=None))

            start = (0, tf.TensorArray(tf.float32, count))
            _, losses = tf.while_loop(lambda i, _: i < count, train_step, start)
            return losses.stack()

        return train_steps

    def evaluation(self, feed):
        """A function of a block of `feed` of one step, and of its indices int32 `(1, B)`: for the metrics."""

        def replica_step(block, indices):
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            places = tf.range(replica, tf.size(indices), self.strategy.num_replicas_in_sync)
            images, labels = feed.batch(block, 0, places, tf.gather(indices[0], places))
            batch = self.preprocessing.evaluation(images, labels)
            self.update_metrics(batch.labels, self.loss(batch, training=False))

        @tf.function(
            input_signature=[feed.signature, tf.TensorSpec([1, None], tf.int32)],
            autograph=False,
            jit_compile=False,
        )
        def evaluate_batch(block, indices):
            self.strategy.run(replica_step, (block, indices))

        return evaluate_batch

    def _apply(self, gradients):
        """Apply one replica's part of the gradients, which the optimizer sums over the replicas."""
        optimizer, variables = self.optimizer, self.model.trainable_variables
        replicas = self.strategy.num_replicas_in_sync
        if replicas > 1 and any(getattr(optimizer, name) for name in CLIPPING):
            # Keras would clip each replica's part. Clipped parts of a clipped sum stay as they are.
            total = tf.distribute.get_replica_context().all_reduce("SUM", gradients)
            scale = optimizer.loss_scale_factor or 1.0
            clipped = clip(optimizer, [gradient / scale for gradient in total])
            gradients = [gradient * (scale / replicas) for gradient in clipped]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    def update_metrics(self, targets, found):
        for name, metric in self.metrics.items():
            if name == "loss":
                metric.update_state(found.losses + found.decay)
            else:
                metric.update_state(targets, found.logits)

    def reset_metrics(self):
        for metric in self.metrics.values():
            metric.reset_state()

    def measured(self):
        """What the metrics say of the images since they were reset, floats by name."""
        return values(self.metrics)
