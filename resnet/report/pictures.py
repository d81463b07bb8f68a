"""The pictures that a run leaves in its directory and shows in TensorBoard, as PNG by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from resnet.report import evaluation, figures
from resnet.run.epoch_record import flat

if TYPE_CHECKING:
    import numpy as np

    from resnet.data.dataset import AnySplit
    from resnet.training.trainer import Trainer


def of_data(trainer: Trainer) -> dict[str, bytes]:
    """`samples`, training images of every class, and `augmented`, the same as a first step sees them."""
    dataset, preprocessing = trainer.dataset, trainer.preprocessing
    chosen = figures.samples(dataset.train, dataset.class_names)
    images, labels = dataset.train.batch(chosen)
    first = tf.constant(0)
    batch = preprocessing.augmented(images, labels, tf.constant(chosen, tf.int32), first, first)
    names = [figures.short(dataset.class_names[label]) for label in labels]
    mixed = [figures.label_caption(label, dataset.class_names) for label in batch.labels.numpy()]
    augmented = preprocessing.pixels(batch.images).numpy()
    return {
        "samples": figures.png(figures.grid(images, names, "training images")),
        "augmented": figures.png(figures.grid(augmented, mixed, "the same images after augmentation")),
    }


def of_history(history: Sequence[Mapping[str, Any]], title: str) -> dict[str, bytes]:
    """`curves` of a Trainer's history."""
    return {"curves": figures.png(figures.curves([flat(record) for record in history], title))}


def of_predictions(
    probabilities: np.ndarray, split: AnySplit, class_names: Sequence[str]
) -> dict[str, bytes]:
    """`confusion` and `mistakes` of probabilities `(N, K)` for a Split."""
    matrix = evaluation.confusion(probabilities, split.labels)
    return {
        "confusion": figures.png(figures.confusion(matrix, class_names)),
        "mistakes": figures.png(figures.mistakes(split, probabilities, class_names)),
    }
