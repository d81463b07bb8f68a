"""Metrics beside scikit-learn's, in batches, on one replica and on two."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hydra.utils import instantiate
from scipy.special import softmax
from sklearn import metrics as sklearn_metrics

from resnet.errors import UserError
from resnet.report import evaluation
from resnet.training import metrics
from resnet.training.trainer import Trainer
from tests.test_conf import composed
from tests.test_losses import adam, network, some_digits

ALL = "metrics=[default,top5,balanced,f1,calibration,cross_entropy]"
NAMES = ["accuracy", "top5_accuracy", "balanced_accuracy", "f1", "calibration_error", "cross_entropy"]


def references(labels, logits):
    probabilities, predicted = softmax(logits.astype(float), axis=1), logits.argmax(1)
    classes = np.arange(logits.shape[1])
    return {
        "accuracy": sklearn_metrics.accuracy_score(labels, predicted),
        "top5_accuracy": sklearn_metrics.top_k_accuracy_score(labels, logits, k=5, labels=classes),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(labels, predicted),
        "f1": sklearn_metrics.f1_score(labels, predicted, labels=classes, average="macro", zero_division=0),
        "calibration_error": evaluation.calibration_error(probabilities, labels),
        "cross_entropy": sklearn_metrics.log_loss(labels, probabilities, labels=classes),
    }


def some_outcomes(absent):
    """Labels `(500,)` of 8 classes, unequal in number, and logits that know something of them."""
    random = np.random.default_rng(2)
    labels = random.choice(8, 500, p=np.arange(1, 9) / 36)
    labels[labels == absent] = 7
    logits = random.normal(size=(500, 8)) + 2 * np.eye(8)[labels]
    logits[:, absent] -= 100 if absent >= 0 else 0
    return labels, logits.astype(np.float32)


@pytest.mark.parametrize("absent", [-1, 3])
def test_all_are_scikit_learns(absent):
    """Of a class that is neither there nor predicted, too."""
    labels, logits = some_outcomes(absent)
    found = metrics.built(instantiate(composed(ALL).metrics), 8)
    for _ in range(2):  # the second time after a reset
        for start in range(0, 500, 150):
            part = slice(start, start + 150)
            for metric in found.values():
                metric.update_state(tf.one_hot(labels[part], 8), tf.constant(logits[part]))
        expected = references(labels, logits)
        if absent >= 0:  # scikit-learn's own mean leaves such a class out, Keras' counts it as 0
            assert metrics.values(found)["balanced_accuracy"] > expected["f1"]
        assert metrics.values(found) == pytest.approx(expected, rel=1e-5)
        for metric in found.values():
            metric.reset_state()


def test_thresholds_of_keras_compare_with_probabilities():
    labels, logits = some_outcomes(-1)
    targets, probabilities = np.eye(8)[labels], softmax(logits.astype(float), axis=1)
    names = ["auc", "auc_of_logits", "precision", "recall_of_3", "of_probabilities", "divergence", "f1_above"]
    chosen = [
        keras.metrics.AUC(num_thresholds=5000),
        keras.metrics.AUC(num_thresholds=5000, from_logits=True),
        keras.metrics.Precision(),
        keras.metrics.Recall(class_id=3),
        keras.metrics.CategoricalCrossentropy(),
        keras.metrics.KLDivergence(),
        keras.metrics.F1Score("macro", threshold=0.3),
    ]
    found = metrics.built(dict(zip(names, chosen, strict=True)), 8)
    for metric in found.values():
        metrics.update(metric, tf.constant(targets, tf.float32), tf.constant(logits))
    sure = probabilities > 0.5
    expected = [
        sklearn_metrics.roc_auc_score(targets.ravel(), probabilities.ravel()),
        sklearn_metrics.roc_auc_score(targets.ravel(), logits.ravel()),
        sklearn_metrics.precision_score(targets.ravel(), sure.ravel()),
        sklearn_metrics.recall_score(targets[:, 3], sure[:, 3]),
        sklearn_metrics.log_loss(labels, probabilities),
        sklearn_metrics.log_loss(labels, probabilities),  # of whole classes
        sklearn_metrics.f1_score(targets, probabilities > 0.3, average="macro"),
    ]
    assert list(metrics.values(found).values()) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("classes", [2, 8])
def test_what_takes_numbers_of_classes_is_refused(classes):
    with pytest.raises(UserError, match=r"metrics.sparse cannot take .*\n.*Categorical in their names"):
        metrics.built({"sparse": keras.metrics.SparseCategoricalAccuracy()}, classes)


def test_a_metric_that_fails_without_a_word_is_named():
    def silent(targets, logits):
        raise AssertionError

    with pytest.raises(UserError, match=r"metrics.own cannot take .*: AssertionError"):
        metrics.built({"own": silent}, 8)


def test_shares_of_a_class_by_hand():
    """Half an image of each of two classes, of which the first is predicted; then a whole one of it."""
    found = {"balanced": metrics.BalancedAccuracy(), "calibration": metrics.CalibrationError(bins=2)}
    logits = tf.constant([[np.log(3.0), 0.0], [np.log(3.0), 0.0]], tf.float32)  # 3/4 and 1/4
    for metric in found.values():
        metric.update_state(tf.constant([[0.5, 0.5], [1.0, 0.0]]), logits)
    assert metrics.values(found) == pytest.approx({"balanced": 0.5, "calibration": 0.0})


def test_certainty_falls_into_the_last_bin():
    metric = metrics.CalibrationError()
    metric.update_state(tf.eye(3)[:2], tf.constant([[90.0, 0, 0], [90.0, 0, 0]]))
    assert float(metric.result()) == pytest.approx(0.5)


@pytest.mark.parametrize("replicas", [1, 2])
def test_an_epoch_has_all_of_them_and_evaluation_those_of_the_predictions(replicas, two_replicas):
    trainer = Trainer(epochs=2, batch_size=30, strategy=two_replicas if replicas == 2 else None)
    dataset = some_digits(validation_split=0.2)
    with trainer.scope():
        chosen = instantiate(composed(ALL).metrics)
        trainer.compile(network(dataset), adam(), dataset, metrics=chosen)
    trainer.fit()
    for record in trainer.history:
        for split in ("train", "validation"):
            assert list(record[split]) == ["loss", *NAMES]
    logits = evaluation.logits(trainer.model, dataset.test, trainer.preprocessing)
    found = trainer.evaluate(dataset.test)
    assert found == pytest.approx(references(dataset.test.labels, logits) | {"loss": found["loss"]}, rel=1e-4)
    assert found["cross_entropy"] == pytest.approx(found["loss"], rel=1e-4)  # without weight decay
