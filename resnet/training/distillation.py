"""What a finished run knows, as targets of another network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from resnet.augmentation.transform import unchanged
from resnet.errors import UserError
from resnet.run.directory import RunDirectory
from resnet.run.trained import load
from resnet.training.losses import cross_entropy

if TYPE_CHECKING:
    from resnet.data.dataset import Dataset
    from resnet.data.preprocessing import Preprocessing
    from resnet.training.losses import BatchLoss


class Distillation:
    """(1 - `alpha`) x cross-entropy + `alpha` x `temperature`^2 x KL(teacher || network); Hinton et al. 2015.

    KL is of the softmax of logits / `temperature`; its factor keeps the gradients of both terms alike
    (section 2 there). In evaluation it is cross-entropy, and the teacher is not asked.

    The teacher sees each batch as the network does, with the same crops and mixtures, normalised as in its
    own training: a forward pass of it in every step. With `augmentation.none` its logits are computed once,
    before the first step, and kept: float32 `(N, K)`.

    Args:
        teacher: directory of a finished run of images of the same shape and of the same classes.
        temperature: above 1 it shows how the teacher ranks the classes that are not the likeliest.
        alpha: share of the teacher, from 0 to 1.
    """

    def __init__(self, teacher: str, temperature: float = 4.0, alpha: float = 0.9) -> None:
        self.teacher, self.temperature, self.alpha = teacher, temperature, alpha

    def bind(self, dataset: Dataset, preprocessing: Preprocessing) -> BatchLoss:
        """The loss for these training images. Raises UserError for a teacher that does not fit them."""
        taught, of_labels = self._logits(dataset, preprocessing), cross_entropy()
        alpha, temperature = self.alpha, self.temperature

        def loss(batch, logits, training):
            hard = of_labels(batch.labels, logits, training)
            if not training:
                return hard
            soft = divergence(taught(batch) / temperature, logits / temperature)
            return (1 - alpha) * hard + alpha * temperature**2 * soft

        return loss

    def _logits(self, dataset, preprocessing):
        """A function of a Batch that gives the teacher's logits float32 `(B, K)`."""
        if preprocessing.normalization.standardization:
            raise UserError(
                "loss.teacher: it sees pictures before they are standardised, which cannot be undone\n"
                "give an augmentation that standardises nothing"
            )
        teacher = self._loaded(dataset)
        if preprocessing.augment.apply is unchanged:
            from resnet.report import evaluation  # loads scikit-learn

            kept = tf.constant(evaluation.logits(teacher.model, dataset.train, teacher.preprocessing))
            return lambda batch: tf.gather(kept, batch.indices)

        def asked(batch):
            pixels = preprocessing.normalization.unscale(batch.images)
            logits = teacher.model(teacher.preprocessing.inference(pixels), training=False)
            return tf.stop_gradient(tf.cast(logits, tf.float32))

        return asked

    def _loaded(self, dataset):
        try:
            teacher = load(RunDirectory.finished(self.teacher).path)
            teacher.check(dataset)
        except UserError as error:
            raise UserError(f"loss.teacher: {error}") from error
        return teacher


def divergence(teacher: tf.Tensor, network: tf.Tensor) -> tf.Tensor:
    """Kullback-Leibler divergence, in nats `(B,)`, of the softmax of two arrays of logits `(B, K)`."""
    teacher, network = tf.nn.log_softmax(teacher), tf.nn.log_softmax(network)
    return tf.reduce_sum(tf.exp(teacher) * (teacher - network), axis=1)
