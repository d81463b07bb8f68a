"""What a trained network says of images, and how well."""

import numpy as np
import tensorflow as tf
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)
from tqdm import tqdm

BATCH = 500
BINS = 15


def predict(model, images, normalization, flip=False):
    """Probabilities float32 `(N, K)` of images uint8 `(N, H, W, C)`.

    `flip` averages them over each image and its mirror. Shows a bar on a terminal.
    """

    @tf.function(jit_compile=False, reduce_retracing=True)
    def batch_probabilities(batch):
        batch = normalization(tf.cast(batch, tf.float32))
        views = [batch, batch[:, :, ::-1]] if flip else [batch]
        return tf.reduce_mean([tf.nn.softmax(model(view, training=False)) for view in views], 0)

    parts = []
    with tqdm(total=len(images), unit=" images", desc="evaluation", disable=None) as bar:
        for start in range(0, len(images), BATCH):
            batch = images[start : start + BATCH]
            parts.append(batch_probabilities(tf.constant(batch)).numpy())
            bar.update(len(batch))
    return np.concatenate(parts)


def score(probabilities, labels, class_names):
    """Figures of merit of probabilities `(N, K)` against labels `(N,)`, as plain numbers and lists.

    `cross_entropy` is in nats an image, without weight decay. `top5_accuracy` is None below six classes.
    """
    classes = np.arange(len(class_names))
    predicted = probabilities.argmax(1)
    precision, recall, _, images = precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=0
    )
    table = zip(class_names, images, recall, precision, strict=True)
    return {
        "images": len(labels),
        "accuracy": float(accuracy_score(labels, predicted)),
        "top5_accuracy": float(top_k_accuracy_score(labels, probabilities, k=5, labels=classes))
        if len(classes) > 5
        else None,
        "cross_entropy": float(log_loss(labels, _distributions(probabilities), labels=classes)),
        "calibration_error": calibration_error(probabilities, labels),
        "per_class": [
            {"class": name, "images": int(n), "accuracy": float(r), "precision": float(p)}
            for name, n, r, p in table
        ],
        "confusion": confusion(probabilities, labels).tolist(),
    }


def confusion(probabilities, labels):
    """Counts `(K, K)`: true classes down, predicted ones across."""
    return confusion_matrix(labels, probabilities.argmax(1), labels=np.arange(probabilities.shape[1]))


def _distributions(probabilities):
    """In float64 and to sum 1 exactly, as scikit-learn asks."""
    probabilities = np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny)
    return probabilities / probabilities.sum(1, keepdims=True)


def calibration_error(probabilities, labels, bins=BINS):
    """Expected calibration error: mean gap between confidence and accuracy over bins of equal width.

    Guo et al. 2017, equation 3; a bin is open below and closed above.
    """
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == labels
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(bin_of, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))
