"""What cannot be trained is said before the first step; what was used before is trained as if it were new."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import resnet
from resnet.augmentation import Transform
from resnet.errors import UserError
from resnet.internals.keras import all_layers
from resnet.models import cost, resnet_v1
from resnet.run.callbacks import MetricsCsv
from resnet.training import metrics
from resnet.training.environment import prepare
from resnet.training.freezing import Freeze
from resnet.training.optimizers import ScheduleFreeSGD
from resnet.training.schedules import Cosine, Plateau, Steps
from resnet.training.trainer import Trainer
from resnet.training.weights import measure_batch_norm
from tests.test_fit import fit
from tests.test_trainer import small_digits

SHAPE = (32, 32, 3)  # of `small_digits`


def dense(classes=10, **options):
    return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(classes, **options)])


def train(
    model, optimizer=None, loss=None, augmentation=None, callbacks=(), freeze=None, dataset=None, **options
):
    """An epoch of few steps."""
    trainer = Trainer(**{"epochs": 1, "batch_size": 40, "max_steps": 2, **options})
    optimizer = optimizer or keras.optimizers.SGD(0.05)
    given = {"loss": loss, "augmentation": augmentation, "freeze": freeze}
    trainer.compile(model, optimizer, dataset or small_digits(0.2), **given)
    trainer.fit(callbacks)
    return trainer


def rates(trainer):
    return [record["rate"]["learning_rate"] for record in trainer.history]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"watch": "tset"}, "trainer.watch=tset: expected validation or test"),
        ({"final_weights": "bset"}, "final_weights=bset: expected last or best or average or ema"),
        ({"epochs": 2.5}, "trainer.epochs=2.5: expected a whole number from 1 on"),
        ({"epochs": 0}, "trainer.epochs=0"),
        ({"max_steps": 0}, "trainer.max_steps=0"),
        ({"accumulate_steps": 0}, "trainer.accumulate_steps=0"),
        ({"ema_decay": 1.5}, "trainer.ema_decay=1.5: expected a number from 0 to 1"),
    ],
)
def test_options_out_of_their_range(option, words):
    with pytest.raises(UserError, match=words):
        Trainer(**option)


# Losses


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"model": resnet_v1}, "model: resnet_v1 is no keras.Model; call what builds one"),
        (
            {"dataset": (np.zeros((9, 4, 4, 3)), np.zeros(9))},
            "dataset: a tuple is no .*make_dataset makes one",
        ),
        ({"optimizer": "adam"}, "optimizer: 'adam' is no keras.optimizers.Optimizer; build one"),
        ({"metrics": ["accuracy"]}, "metrics: a list is no dict of metrics by name"),
        ({"schedule": Cosine}, "schedule: Cosine is no function of the epoch"),
        ({"schedule": lambda epoch: -1.0}, "schedule: -1 at epoch 0; expected a factor"),
        ({"schedule": lambda epoch: float("nan")}, "schedule: nan at epoch 0; expected a factor"),
        ({"plateau": True}, "plateau: True is no resnet.training.schedules.Plateau"),
        ({"strategy": "mirrored"}, "strategy: 'mirrored' is no tf.distribute.Strategy"),
        ({"callbacks": keras.callbacks.TerminateOnNaN()}, "callbacks: TerminateOnNaN alone; expected a list"),
        ({"run": "outputs"}, "run: 'outputs' is no resnet.Run; enter one"),
    ],
)
def test_arguments_of_another_kind(given, words):
    arguments = {"model": dense(), "dataset": small_digits(0.2), "epochs": 1, **given}
    with pytest.raises(UserError, match=words):
        resnet.fit(**arguments)


@pytest.mark.parametrize("rho", [0.0, -0.05, float("nan")])
def test_a_radius_is_above_0(rho):
    with pytest.raises(ValueError, match="sam_rho=.*: expected a distance above 0"):
        Trainer(sam_rho=rho)


def mean(targets, logits, training):
    return tf.reduce_mean(tf.square(targets - logits))


def every_class(targets, logits, training):
    return tf.square(targets - logits)


class Mean(keras.losses.Loss):
    def call(self, targets, logits):
        return tf.reduce_mean(tf.square(targets - logits))


@pytest.mark.parametrize("loss", [mean, every_class, Mean()])
def test_a_loss_gives_one_number_per_image(loss):
    with pytest.raises(UserError, match=r"numbers of shape .* for images \(B,\)"):
        train(dense(), loss=loss)


@pytest.mark.parametrize(
    "loss",
    [keras.losses.categorical_crossentropy, keras.losses.mean_squared_error, "categorical_crossentropy"],
)
def test_a_function_of_keras_is_no_loss_of_logits(loss):
    with pytest.raises(UserError, match="is no function of targets, logits and training\nof Keras' losses"):
        train(dense(), loss=loss)


# Models


def test_a_model_that_has_no_weights_yet_gets_them():
    model = dense()
    assert train(model).step == 2
    assert model.built


class Own(keras.Model):
    """A class of its own, whose layers Keras knows no graph of."""

    def __init__(self, activation=None):
        super().__init__()
        self.flat, self.dense = keras.layers.Flatten(), keras.layers.Dense(10, activation)

    def call(self, images):
        return self.dense(self.flat(images))


def test_a_model_of_a_class_of_its_own_is_recorded(tmp_path):
    trainer = fit(tmp_path, model=Own(), epochs=1)
    assert trainer.result["training_flops_per_image"] is None
    assert trainer.result["share_of_matrix_product"] is None


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: dense(9), r"gives \(9,\) for an image; expected logits \(10,\)"),
        (
            lambda: resnet_v1((16, 16, 1), 10, depth=8),
            r"takes images \(16, 16, 1\); those of the data are \(32, 32, 3\)",
        ),
        (lambda: _two_outputs(), r"gives \(10,\) and \(10,\)"),
    ],
)
def test_a_model_that_does_not_fit_the_data(model, words):
    with pytest.raises(UserError, match=words):
        train(model())


@pytest.mark.parametrize(
    "model",
    [
        lambda: dense(activation="softmax"),
        lambda: keras.Sequential([*dense().layers, keras.layers.Activation("sigmoid", dtype="float32")]),
        lambda: _in_a_model(keras.layers.Softmax()),
        lambda: _in_a_model(keras.ops.softmax),
        lambda: Own("softmax"),
    ],
)
def test_probabilities_are_no_logits(model):
    with pytest.raises(UserError, match="ends in a softmax or sigmoid; expected logits"):
        train(model())


def _in_a_model(function):
    images, pictures = keras.Input(SHAPE), keras.Input(SHAPE)
    inner = keras.Model(images, function(dense()(images)))
    return keras.Model(pictures, inner(pictures))


def test_a_model_that_scales_pictures_is_told_that_they_are_normalised(caplog):
    train(keras.Sequential([keras.Sequential([keras.layers.Rescaling(1 / 255)]), *dense().layers]))
    assert "the model begins with Rescaling (rescaling" in caplog.text
    caplog.clear()
    train(dense())
    assert "begins with" not in caplog.text


def test_what_a_model_was_compiled_with_is_told_not_to_count(caplog):
    model = dense()
    train(model)
    assert "compiled" not in caplog.text
    model.compile("adam", "mse")
    train(model)
    assert "its optimizer, loss and metrics count for Keras' fit only" in caplog.text


def _two_outputs():
    images = keras.Input(SHAPE)
    x = keras.layers.Flatten()(images)
    return keras.Model(images, [keras.layers.Dense(10)(x), keras.layers.Dense(10)(x)])


def test_logits_in_half_precision_are_trained_on():
    """As those of a plain Dense of the user's own."""
    try:
        prepare(precision="bfloat16")
        assert np.isfinite(train(dense(), precision="bfloat16").history[0]["train"]["loss"])
    finally:
        prepare()


def nested(model):
    images = keras.Input(SHAPE)
    return keras.Model(images, model(images))


def test_batch_norm_in_a_model_in_a_model_is_measured_too():
    flat = resnet_v1(SHAPE, 10, depth=8)
    inside = keras.models.clone_model(flat)
    inside.set_weights(flat.get_weights())
    batches = np.random.default_rng(0).normal(2.0, 1.0, (3, 16, *SHAPE)).astype("float32")
    for model in (flat, nested(inside)):
        measure_batch_norm(model, map(tf.constant, batches))
    for expected, found in zip(flat.get_weights(), inside.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert abs(flat.get_layer("stem_bn").moving_mean.numpy()).max() > 0.1


def test_the_cost_of_a_model_in_a_model():
    model = resnet_v1(SHAPE, 10, depth=14)
    assert cost.training_flops(nested(model)) == cost.training_flops(model) > 0


def test_a_model_in_a_model_of_another_precision():
    model = nested(resnet_v1(SHAPE, 10, depth=8))
    try:
        prepare(precision="bfloat16")
        with pytest.raises(UserError, match="was built in float32"):
            train(model, precision="bfloat16")
    finally:
        prepare()


# Optimizers, and what is used again


def test_an_optimizer_of_another_model():
    optimizer = keras.optimizers.SGD(0.05)
    train(dense(), optimizer)
    with pytest.raises(UserError, match="built for another model; make a new one"):
        train(dense(), optimizer)


@pytest.mark.parametrize("optimizer", [keras.optimizers.SGD, "sgd"])
def test_no_optimizer(optimizer):
    with pytest.raises(UserError, match=r"is no keras.optimizers.Optimizer"):
        train(dense(), optimizer)


def test_an_optimizer_that_scales_the_loss_itself():
    assert train(dense(), keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.05))).step == 2


def test_a_second_training_has_the_rates_of_the_first():
    """The optimizer's own rate, the plateau and the trainer begin anew."""
    model, optimizer = dense(), keras.optimizers.SGD(0.1)
    plateau = Plateau(factor=0.1, patience=1, min_delta=1e9)
    trainer = Trainer(epochs=4, batch_size=40, scale_rate_from=20, plateau=plateau)
    found = []
    for _ in range(2):
        trainer.compile(model, optimizer, small_digits(0.2), schedule=Steps([3], [0.5]))
        trainer.fit()
        found.append(rates(trainer))
    assert found[0] == found[1]
    assert found[0][0] == pytest.approx(0.2)
    assert found[0][-1] < 0.1


def test_a_model_that_is_frozen_already_is_told_of(caplog):
    model = resnet_v1(SHAPE, 10, depth=8)
    train(model, freeze=Freeze(["all_but_head"]))
    assert "frozen already" not in caplog.text
    train(model)
    assert "parts of the model are frozen already, and stay so" in caplog.text


# Augmentation


def test_a_function_is_no_transform():
    with pytest.raises(UserError, match="is no resnet.augmentation.Transform"):
        train(dense(), augmentation=lambda batch, seed: batch)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: b._replace(images=tf.cast(b.images, tf.uint8)), "images uint8"),
        (lambda b: b._replace(labels=b.labels[:, :5]), r"labels float32 \(None, 5\)"),
        (lambda b: b.images, "Tensor"),
    ],
)
def test_a_transform_gives_a_batch_of_the_same_kind(change, words):
    with pytest.raises(UserError, match=f"augmentation: .*{words}"):
        train(dense(), augmentation=Transform("own", lambda batch, seed: change(batch)))


def test_a_transform_gives_as_many_images_as_it_gets():
    twice = Transform("own", lambda b, seed: b._replace(images=tf.repeat(b.images, 2, 0)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="augmentation: .* another number of images"):
        train(dense(), augmentation=twice)


# Callbacks


def test_whether_more_is_better_is_known_of_a_metric():
    stop = keras.callbacks.EarlyStopping("val_accuracy", patience=1, min_delta=2.0)
    trainer = fit(callbacks={"stop": stop}, epochs=9)
    assert (stop.mode, len(trainer.history)) == ("max", 2)


def test_where_it_is_not_known_it_is_asked_for():
    measured = metrics.default() | {"margin": lambda targets, logits: tf.reduce_max(logits, 1)}
    stop = keras.callbacks.EarlyStopping("val_margin")
    with pytest.raises(UserError, match="callbacks.stop.mode=auto: whether val_margin .*\ngive max or min"):
        fit(callbacks={"stop": stop}, metrics=measured)


@pytest.mark.parametrize(
    "options", [{"final_weights": "ema"}, {"optimizer": ScheduleFreeSGD(0.05)}], ids=["ema", "schedule-free"]
)
def test_two_rules_for_the_final_weights(options):
    stop = keras.callbacks.EarlyStopping("val_loss", restore_best_weights=True)
    with pytest.raises(UserError, match="callbacks.stop.restore_best_weights=true and .* are two rules"):
        fit(callbacks={"stop": stop}, **options)


def test_what_is_no_callback_and_what_needs_a_run():
    with pytest.raises(UserError, match="callbacks.ReLU: .* is no keras.callbacks.Callback"):
        train(dense(), callbacks=[keras.layers.ReLU()])
    with pytest.raises(UserError, match="callbacks.MetricsCsv records a run"):
        train(dense(), callbacks=[MetricsCsv()])


def test_all_layers_are_looked_at():
    model = nested(resnet_v1(SHAPE, 10, depth=26))
    norms = [layer for layer in all_layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) == len({id(norm) for norm in norms}) > 3
