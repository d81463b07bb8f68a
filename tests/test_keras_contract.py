"""What Keras documents of its optimizers holds: the weights are those of Model.fit on the same batches."""

import keras
import numpy as np
import pytest

from resnet.errors import UserError
from resnet.training import optimizers
from tests.smooth import BATCH, EPOCHS, Keep, assert_equal, network, trainable, trained, without_batch_norm


def fitted(optimizer, trainer):
    """The trainable weights after Model.fit on the batches that `trainer` had, in their order."""
    dataset = trainer.dataset
    model = network(dataset)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer(), loss, jit_compile=False)
    images = trainer.preprocessing.inference(dataset.train.images).numpy()
    orders = [np.random.default_rng([trainer.seed, e]).permutation(len(images)) for e in range(EPOCHS)]
    finalize, model.optimizer.finalize_variable_values = model.optimizer.finalize_variable_values, list
    for order in orders:  # each epoch has an order of its own: one `fit` an epoch, and the end of the last
        model.fit(images[order], dataset.train.labels[order], BATCH, epochs=1, shuffle=False, verbose=0)
    finalize(model.trainable_variables)
    return trainable(model)


OPTIONS = [
    {"use_ema": True, "ema_momentum": 0.8},
    {"use_ema": True, "ema_momentum": 0.8, "ema_overwrite_frequency": 4},
    {"loss_scale_factor": 1024.0},
    {"loss_scale_factor": 1024.0, "global_clipnorm": 0.5},
    {"gradient_accumulation_steps": 4},
    {"gradient_accumulation_steps": 4, "use_ema": True, "ema_momentum": 0.8, "clipnorm": 0.1},
    {"clipnorm": 0.1},
    {"global_clipnorm": 0.5},
    {"clipvalue": 0.01},
    {"weight_decay": 0.1},
]


@pytest.fixture(scope="module")
def plain():
    return trainable(trained(lambda: keras.optimizers.SGD(0.05, momentum=0.9)).model)


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_the_weights_are_those_of_model_fit(options, plain):
    def optimizer():
        return keras.optimizers.SGD(0.05, momentum=0.9, **options)

    trainer = trained(optimizer)
    found = trainable(trainer.model)
    assert_equal(found, fitted(optimizer, trainer))
    if options.keys() != {"loss_scale_factor"}:  # which changes nothing but the gradients' size in between
        assert max(np.abs(a - b).max() for a, b in zip(found, plain, strict=True)) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Adam", "AdamW", "Muon"])
def test_our_own_optimizers_are_stepped_as_model_fit_does(name):
    def optimizer():
        return getattr(optimizers, name)(2e-3, epsilon=1e-3, global_clipnorm=1.0)

    trainer = trained(optimizer)
    assert_equal(trainable(trainer.model), fitted(optimizer, trainer), atol=2e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"use_ema": True},
        {"use_ema": True, "ema_overwrite_frequency": 4},
        {"gradient_accumulation_steps": 4},
        {"gradient_accumulation_steps": 4, "use_ema": True},
    ],
    ids=" ".join,
)
def test_resumed_within_an_average_or_an_accumulation_it_is_the_uninterrupted_training(options):
    def optimizer():
        return keras.optimizers.SGD(0.05, momentum=0.9, **options)

    keep = Keep(step=6)  # one after an epoch's end, two after an update
    whole = trained(optimizer, callbacks=[keep])
    resumed = trained(optimizer, checkpoint=keep.kept)
    assert resumed.step == whole.step == 15
    for value, expected in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "options",
    [
        {"clipnorm": 0.1},
        {"global_clipnorm": 0.5},
        {"clipvalue": 0.01},
        {"loss_scale_factor": 64.0, "global_clipnorm": 0.5},
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "decoupled": False, "clipnorm": 0.1},
    ],
    ids=" ".join,
)
def test_two_replicas_clip_the_gradient_of_one_process(options, two_replicas):
    def optimizer():
        return optimizers.SGD(0.05, momentum=0.9, **options)

    several, one = (
        trainable(trained(optimizer, strategy, without_batch_norm, epochs=1).model)
        for strategy in (two_replicas, None)
    )
    assert_equal(several, one)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"use_ema": True}, "use_ema does not work on several replicas\ngive .*final_weights"),
        ({"gradient_accumulation_steps": 2}, "gradient_accumulation_steps .* several replicas\ngive"),
    ],
    ids=" ".join,
)
def test_what_several_replicas_cannot_do_is_refused(options, words, two_replicas):
    with pytest.raises(UserError, match=words):
        trained(lambda: keras.optimizers.SGD(0.05, **options), two_replicas, without_batch_norm)


def test_a_schedule_of_keras_is_refused():
    rate = keras.optimizers.schedules.CosineDecay(0.1, 100)
    with pytest.raises(UserError, match="a schedule of Keras', which .*\ngive a number"):
        trained(lambda: keras.optimizers.SGD(rate))


@pytest.mark.parametrize("final_weights", ["best", "average", "ema"])
def test_two_rules_for_the_final_weights_are_refused(final_weights):
    with pytest.raises(UserError, match=f"final_weights={final_weights} and SGD, which averages .*\ngive"):
        trained(lambda: keras.optimizers.SGD(0.05, use_ema=True), final_weights=final_weights)
