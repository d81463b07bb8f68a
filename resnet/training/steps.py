"""The compiled work of a training: its steps, several per call, and the evaluation of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import NamedTuple

import keras
import tensorflow as tf

from resnet.augmentation.transform import Batch
from resnet.data.feed import Feed
from resnet.data.preprocessing import Preprocessing
from resnet.errors import UserError
from resnet.internals.keras import clip
from resnet.training.losses import BatchLoss
from resnet.training.metrics import Metric, built, default, update, values
from resnet.training.sharpness import SAM

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
        accumulate_steps: parts that each replica sees its share of a batch in, one after the other.
        sharpness: a `sharpness.SAM`, or None.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        loss: BatchLoss,
        metrics: Mapping[str, Metric] | None,
        preprocessing: Preprocessing,
        strategy: tf.distribute.Strategy,
        accumulate_steps: int = 1,
        sharpness: SAM | None = None,
    ) -> None:
        self.model, self.optimizer, self.preprocessing = model, optimizer, preprocessing
        self.strategy, self._loss = strategy, loss
        self.accumulate_steps, self.sharpness = accumulate_steps, sharpness
        assert preprocessing.num_classes, "a Preprocessing for inference alone"
        with strategy.scope():
            optimizer.build(model.trainable_variables)
            of_loss = keras.metrics.Mean(name="loss")
            self.metrics = {
                "loss": of_loss,
                **built(default() if metrics is None else metrics, preprocessing.num_classes),
            }

    def loss(self, batch: Batch, training: bool) -> Losses:
        """Losses of a Batch as the network sees it. Raises UserError unless there is one for each image."""
        logits = tf.cast(self.model(batch.images, training=training), tf.float32)
        losses = self._loss(batch, logits, training)
        if losses.shape.rank != 1:
            raise UserError(
                f"loss: it gives numbers of shape {losses.shape} for images (B,)\n"
                "a loss gives one number per image, and leaves their mean to the trainer"
            )
        return Losses(logits, losses, tf.add_n(self.model.losses) if self.model.losses else tf.constant(0.0))

    def gradients(self, batch: Batch) -> list[tf.Tensor]:
        """Those of the mean loss of a Batch, weight decay included, for each trainable variable."""
        with tf.GradientTape() as tape:
            found = self.loss(batch, training=True)
            loss = tf.reduce_mean(found.losses) + found.decay
        return tape.gradient(loss, self.model.trainable_variables)

    def training(
        self, feed: Feed, after_step: Callable[[tf.Tensor], None], outcomes: bool = False
    ) -> Callable[..., tuple[tf.Tensor, ...]]:
        """A function of a block of `feed`, its indices int32 `(S, B)`, and of S steps, epochs and rates.

        It trains S steps of what is trainable when it is first called, and gives their losses `(S,)`, weight
        decay included. `after_step`, of the step, is called across the replicas once a step is applied. With
        `outcomes` it also gives float32 `(S, B, 2)`: of each image, as the step saw it, the probability of
        its class and the number of the likeliest one.
        """
        strategy, optimizer = self.strategy, self.optimizer

        def replica_step(block, i, indices, step, epoch):
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            places = tf.range(replica, tf.size(indices), strategy.num_replicas_in_sync)
            mine = tf.gather(indices, places)
            images, labels = feed.batch(block, i, places, mine)
            batch = self.preprocessing.training(images, labels, mine, step, epoch, replica)
            gradients, loss, seen = self._differentiate(batch, tf.size(indices))
            if self.sharpness:
                gradients, *_ = self._differentiate(
                    batch, tf.size(indices), self._uphill(self.sharpness, gradients)
                )
            self._apply(gradients)
            for targets, found in seen:
                self.update_metrics(targets, found)
            if not outcomes:
                return (loss,)
            shares = _shares(tf.size(mine), self.accumulate_steps)
            logits = tf.concat([found.logits for _, found in seen], 0)
            order = tf.concat(shares, 0)
            found = _outcomes(logits, tf.gather(labels, order))
            return loss, _among_others(found, tf.gather(places, order), tf.size(indices))

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

            def train_step(i, *kept):
                optimizer.learning_rate.assign(rates[i])
                given = strategy.run(replica_step, (block, i, indices[i], steps[i], epoch))
                after_step(steps[i])
                sums = [strategy.reduce("SUM", value, axis=None) for value in given]
                return i + 1, *(array.write(i, value) for array, value in zip(kept, sums, strict=True))

            start = (0, *(tf.TensorArray(tf.float32, count) for _ in range(1 + outcomes)))
            _, *kept = tf.while_loop(lambda i, *_: i < count, train_step, start)
            return tuple(array.stack() for array in kept)

        return train_steps

    def evaluation(self, feed: Feed) -> Callable[..., tf.Tensor]:
        """A function of a block of `feed` of one step, and of its indices int32 `(1, B)`.

        It adds them to the metrics, and gives their logits, float32 `(B, K)`.
        """

        def replica_step(block, indices):
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            places = tf.range(replica, tf.size(indices), self.strategy.num_replicas_in_sync)
            images, labels = feed.batch(block, 0, places, tf.gather(indices[0], places))
            batch = self.preprocessing.evaluation(images, labels)
            found = self.loss(batch, training=False)
            self.update_metrics(batch.labels, found)
            return _among_others(found.logits, places, tf.size(indices))

        @tf.function(
            input_signature=[feed.signature, tf.TensorSpec([1, None], tf.int32)],
            autograph=False,
            jit_compile=False,
        )
        def evaluate_batch(block, indices):
            return self.strategy.reduce("SUM", self.strategy.run(replica_step, (block, indices)), axis=None)

        # Traced now: TensorFlow warns of a function that each of several trainings traces at its first call.
        return evaluate_batch.get_concrete_function()

    def _differentiate(self, batch, size, weights=None):
        """Gradients, loss, and targets and Losses of each part, of a replica's Batch.

        `size` images are in it and those of the other replicas. The gradients are of the scaled loss.
        `weights` stand in for the trainable variables; what else the network changes, such as batch norm's
        statistics, then stays as it is.
        """
        gradients: list[tf.Tensor] = []
        losses, seen = [], []
        for part in _parts(batch, self.accumulate_steps):
            with tf.control_dependencies(gradients):  # one after the other, to hold the activations of one
                found, loss, more = self._differentiate_part(part, size, weights)
                gradients = [a + b for a, b in zip(gradients, more, strict=True)] if gradients else more
            losses.append(loss)
            seen.append((part.labels, found))
        return gradients, tf.add_n(losses), seen

    def _differentiate_part(self, batch, size, weights):
        variables = self.model.trainable_variables
        # What is frozen is not watched: nothing before the first trained layer is differentiated.
        watched = weights or [variable.value for variable in variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape, _standing_in(variables, weights):
            tape.watch(watched)
            found = self.loss(batch, training=True)
            share = tf.size(found.losses) / size
            loss = tf.reduce_sum(found.losses) / tf.cast(size, tf.float32)
            loss += found.decay * tf.cast(share, tf.float32)
            scaled = self.optimizer.scale_loss(loss)
        return found, loss, tape.gradient(scaled, weights or variables)

    def _uphill(self, sharpness, gradients):
        """The weights that lie uphill of the variables, along the gradient of all replicas."""
        if self.strategy.num_replicas_in_sync > 1:
            gradients = tf.distribute.get_replica_context().all_reduce("SUM", gradients)
        return sharpness.uphill(self.model.trainable_variables, gradients)

    def _apply(self, gradients):
        """Apply one replica's part of the gradients, which the optimizer sums over the replicas."""
        optimizer, variables = self.optimizer, self.model.trainable_variables
        inner, replicas = unscaled(optimizer), self.strategy.num_replicas_in_sync
        clips = any(getattr(inner, name) for name in CLIPPING)
        if replicas > 1 and (clips or inner is not optimizer):
            # Keras would clip, and look for what is not finite in, each replica's part. Clipped parts of a
            # clipped sum stay as they are.
            total = tf.distribute.get_replica_context().all_reduce("SUM", gradients)
            if clips:
                scale = optimizer.scale_loss(tf.constant(1.0))
                total = [gradient * scale for gradient in clip(inner, [part / scale for part in total])]
            gradients = [gradient / replicas for gradient in total]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    def update_metrics(self, targets: tf.Tensor, found: Losses) -> None:
        for name, metric in self.metrics.items():
            if name == "loss":
                metric.update_state(found.losses + found.decay)
            else:
                update(metric, targets, found.logits)

    def reset_metrics(self) -> None:
        for metric in self.metrics.values():
            metric.reset_state()

    def measured(self) -> dict[str, float]:
        """What the metrics say of the images since they were reset, floats by name."""
        return values(self.metrics)


def unscaled(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer that steps, inside one that scales the loss or not."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def averages_weights(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether it ends with other weights than it trained, see `optimizers.ScheduleFreeSGD`."""
    return getattr(unscaled(optimizer), "averages_weights", False)


def _parts(batch, count):
    """A Batch in `count` of nearly the same size."""
    if count == 1:
        return [batch]
    places = _shares(batch.size, count)
    kinds = ("images", "labels", "indices")
    return [
        batch._replace(**{kind: tf.gather(getattr(batch, kind), mine) for kind in kinds}) for mine in places
    ]


def _shares(size, count):
    """Which of `size` images are in each of `count` parts."""
    return [tf.range(i, size, count) for i in range(count)]


def _among_others(rows, places, size):
    """The rows of one replica's images at their places; 0 at those of the others, to be added."""
    return tf.scatter_nd(places[:, None], rows, [size, rows.shape[-1]])


def _outcomes(logits, labels):
    """float32 `(B, 2)`: the probability of each label, and the number of the likeliest class."""
    probabilities = tf.nn.softmax(logits)
    own = tf.gather(probabilities, labels, axis=1, batch_dims=1)
    return tf.stack([own, tf.cast(tf.argmax(probabilities, 1), tf.float32)], 1)


def _standing_in(variables, weights):
    """A scope in which the network computes with `weights` in place of its variables; None: with these."""
    return keras.StatelessScope(list(zip(variables, weights, strict=True))) if weights else nullcontext()
