"""Parts of a network frozen in a training, thawed in it, and trained at rates of their own."""

import shutil
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from resnet.data import synthetic
from resnet.errors import UserError
from resnet.models import resnet_v1, resnet_v2, summary, unstack
from resnet.run.checkpoints import checkpoints, newest
from resnet.training import optimizers
from resnet.training.freezing import Freeze
from resnet.training.schedules import Constant
from resnet.training.trainer import Trainer
from tests.entry_point import TINY, start, train
from tests.smooth import Keep

BELOW = ("stem", "stage1", "stage2")


def data():
    return synthetic(
        image_size=8,
        classes=3,
        train_images=24,
        test_images=12,
        validation_split=0.0,
        normalization="channel",
        seed=1,
    )


def network(stage="looped"):
    keras.utils.set_random_seed(3)
    return resnet_v1((8, 8, 3), 3, depth=20, stage=stage, bn_momentum=0.5)


def trained(freeze, optimizer=None, checkpoint=None, callbacks=(), model=None, **options):
    """The Trainer after its training, and the weights by block before and after it."""
    trainer = Trainer(**{"epochs": 4, "batch_size": 8, "watch": "test", "deterministic": True} | options)
    model, optimizer = model or network(), optimizer or optimizers.AdamW(0.01, weight_decay=0.1)
    trainer.compile(model, optimizer, data(), schedule=Constant(), freeze=freeze)
    before = unstack(model)
    if checkpoint:
        trainer.restore(*checkpoint)
    trainer.fit(callbacks)
    return trainer, before, unstack(model)


def moved(before, after):
    return {name for name, array in after.items() if not np.array_equal(array, before[name])}


def part(name):
    return next((p for p in ("stem", "stage1", "stage2", "stage3") if name.startswith(p)), "head")


@pytest.mark.parametrize("stage", ["looped", "unrolled"])
@pytest.mark.parametrize("statistics", [True, False])
def test_frozen_parts_do_not_move(stage, statistics):
    """By decay neither, nor the statistics of batch norm, unless these are let go."""
    _, before, after = trained(Freeze(BELOW, statistics), model=network(stage), final_weights="ema")
    for name in after:
        still = part(name) in BELOW and (statistics or "moving" not in name)
        assert (name in moved(before, after)) != still, name


def test_all_but_the_head_and_its_count_in_the_summary():
    trainer, before, after = trained(Freeze(["all_but_head"]))
    assert moved(before, after) == {"logits/kernel", "logits/bias"}
    table = [line.split() for line in summary(trainer.model).splitlines()]
    assert {line[0]: line[-2] for line in table if line[0] in ("stem", "stage2", "logits")} == {
        "stem": "0",
        "stage2": "0",
        "logits": "195",  # 64 x 3 + 3
    }
    assert table[-1][-4:] == ["195", "of", "them", "trainable"]


class Snapshots(keras.callbacks.Callback):
    """Weights by block at the end of each epoch."""

    def on_train_begin(self, logs=None):
        self.taken = []

    def on_epoch_end(self, epoch, logs=None):
        self.taken.append(unstack(self.model))


KINDS = {
    "adamw": lambda: optimizers.AdamW(0.01, weight_decay=0.1, clipnorm=1.0),
    "schedule_free": lambda: optimizers.ScheduleFreeSGD(0.05),
    "lookahead": lambda: optimizers.SGD(0.05, lookahead_steps=2),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_thawed_it_is_a_new_training_of_all_from_there(kind):
    """The second phase is that of a fresh optimizer, from the weights that the first one ends with."""
    snapshots = Snapshots()
    _, before, after = trained(Freeze(["all_but_head"], epochs=2), KINDS[kind](), callbacks=[snapshots])
    assert {part(name) for name in moved(before, snapshots.taken[1])} == {"head"}
    assert moved(snapshots.taken[1], after) == after.keys()
    first, _, ended = trained(Freeze(["all_but_head"]), KINDS[kind](), epochs=2)
    model = first.model
    first.freeze.thaw(model)
    second = Trainer(epochs=4, batch_size=8, watch="test")
    second.compile(model, KINDS[kind](), data(), schedule=Constant())
    second.history, second.step = (
        list(first.history),
        first.step,
    )  # the images come in the order of epochs 3 and 4
    second.epoch_start = first.step
    second.fit()
    for name, array in unstack(model).items():
        np.testing.assert_allclose(after[name], array, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("step", [4, 6, 7, 9, 10])
def test_cut_off_and_resumed_it_is_the_uninterrupted_training(step, whole):
    """Bit for bit; steps 1 to 6 are of the head alone, 6 ends the epoch before all is thawed."""
    keep, expected = whole
    trainer, _, after = trained(Freeze(["all_but_head"], epochs=2), checkpoint=keep[step].kept)
    assert moved(expected, after) == set()
    assert not trainer.frozen


@pytest.fixture(scope="module")
def whole():
    keep = {step: Keep(step) for step in (4, 6, 7, 9, 10)}
    _, _, after = trained(Freeze(["all_but_head"], epochs=2), callbacks=list(keep.values()))
    return keep, after


def test_rates_fall_from_the_head_down():
    """Of plain gradient descent a step is the rate times the gradient, so that steps tell the rates."""
    steps = {}
    for decay in (1.0, 0.5):
        optimizer = optimizers.SGD(0.01, momentum=0.0, layer_decay=decay)
        _, before, after = trained(None, optimizer, epochs=1, max_steps=1)
        steps[decay] = {name: after[name] - before[name] for name in after if "moving" not in name}
    factors = {"head": 1.0, "stage3": 0.5, "stage2": 0.25, "stage1": 0.125, "stem": 0.0625}
    for name, step in steps[1.0].items():
        np.testing.assert_allclose(steps[0.5][name], factors[part(name)] * step, 1e-3, 1e-7, err_msg=name)


def test_groups_and_layer_decay_multiply():
    optimizer = optimizers.SGD(0.01, layer_decay=0.5, groups=[{"match": "^stage3", "rate_factor": 3.0}])
    model = network()
    optimizer.build(model.trainable_variables)
    factors = {
        v.path.split("/")[0]: r.rate_factor
        for v, r in zip(model.trainable_variables, optimizer._rules, strict=True)
    }
    assert factors["stage3_block1_conv1"] == 1.5 and factors["logits"] == 1 and factors["stem_conv"] == 0.0625


def test_what_cannot_be_frozen_is_named():
    with pytest.raises(UserError, match="resnet_v1_20 has no stage7; it has stem, stage1, .*all_but_head"):
        Freeze(["stage7"]).freeze(network())
    with pytest.raises(UserError, match="freeze.parts=.*: nothing is left to train"):
        Freeze(["all_but_head", "head"]).freeze(network())
    own = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    with pytest.raises(UserError, match="no stages"):
        Freeze(["stem"]).freeze(own)
    with pytest.raises(UserError, match="layer_decay: the network has no stages"):
        optimizers.SGD(layer_decay=0.5).build(own.trainable_variables)


def test_the_head_of_v2_is_what_follows_its_last_stage():
    model = resnet_v2((8, 8, 3), 3, depth=11)
    Freeze(["all_but_head"]).freeze(model)
    assert {v.path.split("/")[0] for v in model.trainable_variables} == {"final_bn", "logits"}


@pytest.mark.slow
@pytest.mark.parametrize("steps", [5, 25])
def test_killed_and_resumed_a_fine_tuning_is_the_uninterrupted_one(steps, tmp_path):
    """Before and after the thaw, to the last bit; and the run that it began from may be gone by then."""
    assert train(*TINY, "trainer.epochs=1", "hydra.run.dir=base", cwd=tmp_path).returncode == 0
    others = "data.classes=[1,7]", "trainer.epochs=4", "freeze.epochs=2", "trainer.batch_size=2"
    exact = "trainer.deterministic=true", "callbacks.checkpoints.minutes=1e-6"
    fine = "experiment=finetune", "init.run=base", *TINY, "data.train_size=25", *others, *exact
    done = train(*fine, "hydra.run.dir=whole", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "logits is new" in done.stdout and "epoch 3: nothing is frozen any more" in done.stdout
    folder = tmp_path / "run" / "checkpoints"
    process = start(*fine, "hydra.run.dir=run", cwd=tmp_path)
    while process.poll() is None and not any(int(p.stem[5:]) >= steps for p in checkpoints(folder)):
        time.sleep(0.01)
    process.kill()
    process.wait()
    shutil.rmtree(tmp_path / "base")
    done = train("resume=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found, expected = (newest(tmp_path / name / "checkpoints")[0] for name in ("run", "whole"))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    assert (tmp_path / "run/normalization.npz").read_bytes() == (
        tmp_path / "whole/normalization.npz"
    ).read_bytes()


def test_nothing_before_the_first_trained_layer_is_differentiated():
    @tf.custom_gradient
    def barrier(x):
        def gradient(dy):
            raise AssertionError("a gradient that nobody asked for")

        return tf.identity(x), gradient

    class Barrier(keras.layers.Layer):
        def call(self, inputs):
            return barrier(inputs)

    images = keras.Input((8, 8, 3))
    x = Barrier()(keras.layers.Conv2D(4, 3, name="frozen")(images))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(x))
    model = keras.Model(images, keras.layers.Dense(3)(x))
    model.get_layer("frozen").trainable = False
    before = model.get_weights()
    trainer = Trainer(epochs=1, batch_size=8, watch="test")
    trainer.compile(model, optimizers.Adam(0.01), data())
    trainer.fit()
    same = [np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert same == [True, True, False, False, False, False]
