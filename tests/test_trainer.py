import keras
import numpy as np
import pytest
from scipy.special import log_softmax

import resnet
from resnet.augmentation import Batch, shift_flip
from resnet.data import digits
from resnet.errors import UserError
from resnet.models import resnet_v1
from resnet.run.callbacks import Progress
from resnet.training import losses, optimizers
from resnet.training.environment import prepare
from resnet.training.schedules import Plateau, Steps
from resnet.training.trainer import Trainer


def small_digits(validation_split=0.0):
    options = {"validation_split": validation_split, "normalization": "pixel_mean", "seed": 1}
    return digits(train_size=200, test_size=100, **options)


def trained(
    strategy=None, optimizer=None, validation_split=0.0, callbacks=(), loss=None, metrics=None, **options
):
    keras.utils.set_random_seed(3)
    dataset = small_digits(validation_split)
    trainer = Trainer(**{"epochs": 2, "batch_size": 50, "strategy": strategy} | options)
    with trainer.scope():
        model = resnet_v1(dataset.image_shape, 10, depth=14)
        optimizer = optimizer or optimizers.Adam(1e-3)
    resnet.fit(
        model,
        dataset,
        optimizer,
        augmentation=shift_flip(),
        callbacks=callbacks,
        trainer=trainer,
        loss=loss,
        metrics=metrics,
    )
    return trainer, trainer.history


def test_loss_falls():
    _, history = trained(epochs=8, batch_size=20)
    assert history[-1]["train"]["loss"] < 0.8 * history[0]["train"]["loss"]


@pytest.mark.slow
def test_same_seed_same_losses():
    assert [e["train"]["loss"] for e in trained()[1]] == pytest.approx(
        [e["train"]["loss"] for e in trained()[1]], rel=1e-4
    )


@pytest.mark.slow
def test_a_state_stays_as_it_was_taken(two_replicas):
    """Whatever is trained after it, though nothing is copied."""
    kept = []

    class Take(keras.callbacks.Callback):
        every_step = True

        def on_train_batch_end(self, batch, logs=None):
            arrays, _ = self.trainer.state()
            kept.append((arrays, {name: array.copy() for name, array in arrays.items()}))

    for strategy in None, two_replicas:
        trained(strategy, callbacks=[Take()])
    for arrays, copies in kept:
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, copies[name])
    assert len(kept) == 16
    moving = [name for name in kept[0][0] if name.endswith("gamma")]
    assert moving and not any(np.array_equal(kept[0][0][name], kept[7][0][name]) for name in moving)


@pytest.mark.slow
def test_two_replicas(two_replicas):
    trainer, history = trained(two_replicas, epochs=8, batch_size=20)
    assert trainer.strategy.num_replicas_in_sync == 2
    assert history[-1]["train"]["loss"] < 0.8 * history[0]["train"]["loss"]


@pytest.mark.slow
def test_bfloat16_follows_float32():
    """A few hundred steps of both end at like losses, over ten epochs' noise; the weights stay float32."""
    try:
        options = {"epochs": 30, "batch_size": 20}
        _, single = trained(**options)
        prepare(precision="bfloat16")
        trainer, half = trained(precision="bfloat16", **options)
        assert {w.dtype for w in trainer.model.trainable_variables} == {"float32"}
    finally:
        prepare()
    losses = [np.mean([epoch["train"]["loss"] for epoch in history[-10:]]) for history in (single, half)]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
    assert half[-1]["train"]["loss"] < 0.5 * half[0]["train"]["loss"]


def test_max_steps():
    trainer, _ = trained(max_steps=3)
    assert trainer.step == 3
    assert int(trainer.optimizer.iterations.numpy()) == 3


def test_keras_evaluates_to_the_same_numbers():
    trainer, _ = trained()
    test = trainer.dataset.test
    images = trainer.preprocessing.inference(test.images).numpy()
    trainer.model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    loss, accuracy = trainer.model.evaluate(images, test.labels, verbose=0)
    ours = trainer.evaluate(test)
    assert ours["loss"] == pytest.approx(loss, rel=1e-4)
    assert ours["accuracy"] == pytest.approx(accuracy)


def test_batch_larger_than_data():
    with pytest.raises(UserError, match="batch_size"):
        trained(batch_size=500)


def test_a_loss_that_is_not_finite_stops_the_run():
    with pytest.raises(UserError, match="learning rate"):
        trained(optimizer=keras.optimizers.SGD(1e20), epochs=4)


@pytest.mark.slow
def test_the_rate_grows_with_the_batch_where_asked():
    _, scaled = trained(epochs=1, scale_rate_from=25)
    _, kept = trained(epochs=1)
    assert [e["rate"]["learning_rate"] for e in (*scaled, *kept)] == pytest.approx([2e-3, 1e-3])


def test_labels_are_smoothed_in_training_only():
    trainer, _ = trained(max_steps=1, loss=losses.cross_entropy(label_smoothing=0.3))
    images = np.random.default_rng(1).normal(size=(5, 32, 32, 3)).astype("float32")
    labels = np.eye(10, dtype="float32")[[3, 1, 4, 1, 5]]
    for training, target in ((True, 0.7 * labels + 0.03), (False, labels)):
        found = trainer.steps.loss(Batch(images, labels, None, None), training)
        expected = -(target * log_softmax(found.logits.numpy(), axis=1)).sum(1)
        np.testing.assert_allclose(found.losses, expected, rtol=1e-5)


def test_little_to_learn_from_is_told(caplog):
    trained(validation_split=0.2, plateau=Plateau(), max_steps=1)
    trained(epochs=1)
    said = [r.getMessage() for r in caplog.records if r.name.startswith("resnet")]  # TensorFlow warns too
    assert said == [
        "40 validation images steer the learning rate; without them: trainer.plateau=null",
        "4 steps in all; more trainer.epochs, or a smaller batch, give more",
    ]


def test_where_no_log_is_kept_the_epochs_are_printed(capsys):
    dataset = small_digits()
    images = keras.Input(dataset.image_shape)
    model = keras.Model(images, keras.layers.Dense(10)(keras.layers.Flatten()(images)))
    resnet.fit(model, dataset, epochs=2, batch_size=100)
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(" accuracy ")[0].rpartition(" ")[0] for line in said] == [
        "epoch 1/2: loss",
        "epoch 2/2: loss",
    ]


def test_what_changes_is_told_after_the_epoch_and_who_stopped(caplog):
    caplog.set_level("INFO")

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    schedule = Steps([1], [0.1])
    dataset = small_digits()
    model = resnet_v1(dataset.image_shape, 10, depth=8)
    callbacks = {"progress": Progress(), "stop": Stop()}
    resnet.fit(model, dataset, schedule=schedule, callbacks=callbacks, epochs=3, batch_size=100)
    said = [record.getMessage() for record in caplog.records if record.levelname == "INFO"]
    assert [line.partition(":")[0] for line in said] == [
        "epoch 1/3",
        "from epoch 2 on",
        "epoch 2/3",
        "a callback stopped the training after epoch 2 of 3",
    ]
