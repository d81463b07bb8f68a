"""The pictures that a run leaves in its directory and shows in TensorBoard, as PNG by name."""

import numpy as np
import tensorflow as tf

from resnet import evaluation, figures


def of_data(trainer):
    """`samples`, training images of every class, and `augmented`, the same as a first step sees them."""
    dataset = trainer.dataset
    chosen = figures.samples(dataset.train, dataset.class_names)
    samples = dataset.train.take(chosen)
    batch = trainer.augmented(samples.images, samples.labels, tf.constant(chosen, tf.int32), tf.constant(0))
    pixels = np.asarray(dataset.normalization.unscale(batch.images))
    augmented = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    names = [figures.short(dataset.class_names[label]) for label in samples.labels]
    labels = [figures.label_caption(label, dataset.class_names) for label in batch.labels.numpy()]
    return {
        "samples": figures.png(figures.grid(samples.images, names, "training images")),
        "augmented": figures.png(figures.grid(augmented, labels, "the same images after augmentation")),
    }


def of_history(history, title):
    """`curves` of a Trainer's history."""
    epochs = [{"epoch": i, **logs} for i, logs in enumerate(history, 1)]
    return {"curves": figures.png(figures.curves(epochs, title))}


def of_predictions(probabilities, split, class_names):
    """`confusion` and `mistakes` of probabilities `(N, K)` for a Split."""
    matrix = evaluation.confusion(probabilities, split.labels)
    return {
        "confusion": figures.png(figures.confusion(matrix, class_names)),
        "mistakes": figures.png(figures.mistakes(split.images, split.labels, probabilities, class_names)),
    }
