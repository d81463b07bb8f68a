"""What a trained network says of images, and how well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from scipy import special
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)
from tqdm import tqdm

from resnet.data.blocks import blocks

if TYPE_CHECKING:
    import keras

    from resnet.data.dataset import AnySplit
    from resnet.data.preprocessing import Preprocessing

BATCH = 500
BINS = 15


def logits(
    model: keras.Model, images: np.ndarray | AnySplit, preprocessing: Preprocessing, views: int = 1
) -> np.ndarray:
    """float32 `(N, K)` of uint8 images `(N, H, W, C)`, or of a Split. Shows a bar on a terminal.

    With more `views` the logarithm of the mean of their probabilities. 2: each image and its mirror. 6: these
    and, at half their weight, both moved by a pixel up and left, and down and right (Jordan 2024, section
    3.5). 10, of images that are larger than the network's: their corners and middle, and the mirrors of these
    (Krizhevsky et al. 2012, section 4.1).
    """
    height, width = model.input_shape[1:3]

    @tf.function(autograph=False, jit_compile=False, reduce_retracing=True)
    def of_batch(batch):
        batch = preprocessing.inference(batch)
        if views == 1:
            return model(batch, training=False)
        parts, weights = {
            2: lambda: ([batch], [1]),
            6: lambda: ([batch, *_moved_by_a_pixel(batch)], [2, 1, 1]),
            10: lambda: (_corners_and_middle(batch, height, width), [1] * 5),
        }[views]()
        found = [
            tf.math.log(weight / (2 * sum(weights))) + tf.nn.log_softmax(model(view, training=False))
            for part, weight in zip(parts, weights, strict=True)
            for view in (part, part[:, :, ::-1])
        ]
        return tf.reduce_logsumexp(found, 0)

    parts = []
    with tqdm(total=len(images), unit=" images", desc="evaluation", leave=False, disable=None) as bar:
        for batch in blocks(images, BATCH):
            parts.append(of_batch(tf.constant(batch)).numpy())
            bar.update(len(batch))
    return np.concatenate(parts)


def _moved_by_a_pixel(images):
    """Up and left, and down and right; what comes in is mirrored, as in `augmentation.crop_flip`."""
    height, width = images.shape[1:3]
    padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], "REFLECT")
    return padded[:, :height, :width], padded[:, 2:, 2:]


def _corners_and_middle(images, height, width):
    """Five parts `(B, height, width, C)`."""
    down, right = images.shape[1] - height, images.shape[2] - width
    starts = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    return [images[:, top : top + height, left : left + width] for top, left in starts]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities `(N, K)` of logits `(N, K)`."""
    return special.softmax(logits.astype(np.float32), axis=1)


def predict(
    model: keras.Model, images: np.ndarray | AnySplit, preprocessing: Preprocessing, views: int = 1
) -> np.ndarray:
    """Probabilities float32 `(N, K)` of images as `logits` takes them."""
    return softmax(logits(model, images, preprocessing, views))


def score(probabilities: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """Figures of merit of probabilities `(N, K)` against labels `(N,)`, as plain numbers and lists.

    `cross_entropy` is in nats per image, without weight decay. `top5_accuracy` is None below six classes.
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


def confusion(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Counts `(K, K)`: true classes down, predicted ones across."""
    return confusion_matrix(labels, probabilities.argmax(1), labels=np.arange(probabilities.shape[1]))


def _distributions(probabilities):
    """In float64 and to sum 1 exactly, as scikit-learn asks."""
    probabilities = np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny)
    return probabilities / probabilities.sum(1, keepdims=True)


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over bins of equal width.

    Guo et al. 2017, equation 3; a bin is open below and closed above.
    """
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == labels
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(bin_of, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))
