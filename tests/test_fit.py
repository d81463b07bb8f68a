"""What a training selects by, and what callbacks may do to it."""

import csv
import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from hydra.utils import instantiate
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import resnet
from resnet.augmentation import Transform, cutout, in_order, mixup, one_of, shift_flip
from resnet.errors import UserError
from resnet.models import resnet_v1
from resnet.run.callbacks import Checkpoints, MetricsCsv, Pictures, TensorBoard, default
from resnet.run.changes import differences
from resnet.run.checkpoints import newest
from resnet.run.directory import RunDirectory
from resnet.run.run import RESULT
from resnet.training import losses, metrics
from resnet.training.environment import prepare
from resnet.training.recipe import recipe
from resnet.training.schedules import Cosine, Plateau, Steps
from resnet.training.trainer import Trainer
from tests.entry_point import ROOT
from tests.test_trainer import small_digits


def fit(
    directory=None,
    dataset=None,
    callbacks=None,
    optimizer=None,
    model=None,
    changes_allowed=False,
    **options,
):
    """A few epochs of a small network, in a run directory or without."""
    keras.utils.set_random_seed(3)
    dataset = dataset or small_digits(0.2)
    model = model or resnet_v1(dataset.image_shape, dataset.num_classes, depth=8)
    optimizer = optimizer or keras.optimizers.SGD(0.05, momentum=0.9)
    options = {"epochs": 3, "batch_size": 40, "augmentation": shift_flip(), **options}
    if directory is None:
        return resnet.fit(model, dataset, optimizer, callbacks=callbacks or {}, **options)
    with resnet.Run(directory, changes_allowed=changes_allowed) as run:
        callbacks = {"checkpoints": Checkpoints(), **(callbacks or {})}
        trainer = resnet.fit(model, dataset, optimizer, callbacks=callbacks, run=run, **options)
        trainer.result = run.result
        return trainer


def weights(trainer):
    return [np.array(variable) for variable in trainer.model.variables]


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(autouse=True)
def deterministic():
    """Bit for bit: op determinism cannot be undone in a process, and costs these tests nothing."""
    prepare(deterministic=True)


# What selects


@pytest.mark.slow
@pytest.mark.parametrize("final_weights", ["last", "best", "average"])
def test_the_test_images_select_nothing(final_weights):
    """With other test labels everything that is trained and chosen is the same to the last bit."""
    dataset = small_digits(0.2)
    rolled = dataclasses.replace(dataset.test, labels=np.roll(dataset.test.labels, 7))
    options = {"final_weights": final_weights, "average_from": 0.3, "plateau": Plateau(patience=1)}
    honest = fit(dataset=dataset, **options)
    other = fit(
        dataset=dataclasses.replace(dataset, test=rolled), **options | {"plateau": Plateau(patience=1)}
    )
    assert_equal(weights(honest), weights(other))
    assert honest.test_looks == 0
    drop = ("time",)
    for a, b in zip(honest.history, other.history, strict=True):
        assert {k: v for k, v in a.items() if k not in drop} == {k: v for k, v in b.items() if k not in drop}


@pytest.mark.slow
def test_the_best_weights_are_those_of_the_best_epoch(tmp_path):
    seen = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append((logs["val_accuracy"], self.model.get_weights()))

    trainer = fit(tmp_path, callbacks={"look": Look()}, epochs=5, final_weights="best")
    best = max(range(5), key=lambda i: (seen[i][0], i))
    assert_equal(trainer.model.get_weights(), seen[best][1])
    assert trainer.result["validation"]["accuracy"] == pytest.approx(seen[best][0])
    assert trainer.result["objective"] == {
        "name": "validation/accuracy",
        "value": trainer.result["validation"]["accuracy"],
    }
    assert trainer.result["test_looks"] == 1


@pytest.mark.slow
def test_the_average_is_that_of_the_late_epochs_with_its_own_batch_norm():
    seen = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append([np.array(variable) for variable in self.model.trainable_variables])

    trainer = fit(callbacks={"look": Look()}, epochs=4, final_weights="average", average_from=0.5)
    expected = [np.mean(arrays, 0) for arrays in zip(*seen[2:], strict=True)]
    for variable, array in zip(trainer.model.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(variable, array, rtol=1e-5, atol=1e-6)
    stem = keras.Model(trainer.model.input, trainer.model.get_layer("stem_conv").output)
    moments = [
        (out.mean((0, 1, 2)), out.var((0, 1, 2)))
        for out in (stem(images).numpy() for images in trainer._batches())
    ]
    norm = trainer.model.get_layer("stem_bn")
    np.testing.assert_allclose(norm.moving_mean, np.mean([m for m, _ in moments], 0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, np.mean([v for _, v in moments], 0), rtol=1e-3)


@pytest.mark.slow
def test_a_plateau_has_something_to_watch():
    with pytest.raises(UserError, match="validation_split=0.1 or trainer.plateau=null"):
        fit(dataset=small_digits(), plateau=Plateau())
    with pytest.raises(UserError, match="final_weights=best"):
        fit(dataset=small_digits(), final_weights="best")
    trainer = fit(dataset=small_digits(), plateau=Plateau(), watch="test")
    assert trainer.test_looks == 3
    assert [set(record) & {"validation", "test"} for record in trainer.history] == [{"test"}] * 3


@pytest.mark.slow
def test_outcomes_of_every_image_are_kept(tmp_path):
    trainer = fit(tmp_path)
    for split in ("validation", "test"):
        with np.load(tmp_path / "predictions.npz") as file:
            index, label, logits = (file[f"{split}_{name}"] for name in ("index", "label", "logits"))
        assert (index.dtype, label.dtype, logits.dtype) == (np.int32, np.int32, np.float16)
        images = getattr(trainer.dataset, split)
        np.testing.assert_array_equal(label, images.labels[index])
        expected = trainer.model.predict(trainer.preprocessing.inference(images.images), verbose=0)
        np.testing.assert_allclose(logits, expected, rtol=2e-3, atol=2e-3)
        assert np.mean(logits.argmax(1) == label) == pytest.approx(trainer.result[split]["accuracy"])


# Callbacks


class Counts(keras.callbacks.Callback):
    every_step = True

    def __init__(self):
        super().__init__()
        self.batches = []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(batch)


@pytest.mark.slow
def test_a_callback_that_asks_for_every_step_gets_it(tmp_path):
    counts = Counts()
    fit(callbacks={"counts": counts})
    assert counts.batches == [0, 1, 2, 3] * 3
    saved = keras.callbacks.ModelCheckpoint(str(tmp_path / "{epoch}_{batch}.keras"), save_freq=3)
    fit(callbacks=[saved])
    assert len(list(tmp_path.glob("*.keras"))) == 4


@pytest.mark.slow
def test_early_stopping_stops_a_resumed_run_where_it_stops_the_other(tmp_path):
    def stopping():
        return keras.callbacks.EarlyStopping(
            "val_loss", min_delta=10.0, patience=3, restore_best_weights=True
        )

    class Kill(keras.callbacks.Callback):
        order = 9

        def __init__(self, after):
            super().__init__()
            self.after = after

        def on_epoch_end(self, epoch, logs=None):
            if epoch + 1 == self.after:
                raise KeyboardInterrupt

    whole = fit(tmp_path / "whole", callbacks={"stop": stopping()}, epochs=9)
    assert len(whole.history) == 4
    assert whole.result["final_weights"] == "callbacks.stop"  # which are not the last
    for after in (1, 2, 3):
        parts = tmp_path / f"killed after {after}"
        with pytest.raises(KeyboardInterrupt):
            fit(parts, callbacks={"stop": stopping(), "kill": Kill(after)}, epochs=9)
        resumed = fit(parts, callbacks={"stop": stopping()}, epochs=9)
        assert len(resumed.history) == 4
        assert_equal(weights(resumed), weights(whole))


def test_runs_are_judged_by_their_accuracy():
    with pytest.raises(UserError, match="there is no accuracy"):
        fit(metrics={"top3": metrics.top_k(3)})


def test_what_a_callback_monitors_must_be_there():
    stop = keras.callbacks.EarlyStopping("val_los")
    with pytest.raises(UserError, match="callbacks.stop.monitor=val_los: .*val_loss"):
        fit(callbacks={"stop": stop})


@pytest.mark.parametrize(
    ("callback", "words"),
    [
        (keras.callbacks.BackupAndRestore("backup"), "callbacks.mine: BackupAndRestore .*\n.*resume="),
        (
            keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
            "callbacks.mine.swap_on_epoch=true: .*\ngive false",
        ),
        (
            keras.callbacks.SwapEMAWeights(),
            "callbacks.mine: .*and SGD has none\ngive an optimizer with use_ema=true",
        ),
    ],
)
def test_another_way_to_go_on_or_to_end_is_refused(callback, words):
    with pytest.raises(UserError, match=words):
        fit(callbacks={"mine": callback})


@pytest.mark.slow
def test_callbacks_are_called_as_keras_calls_them(capsys):
    def short(given):
        return given if isinstance(given, int) else "loss" in given

    class Hear(keras.callbacks.Callback):
        every_step = True

        def __init__(self):
            super().__init__()
            self.heard = []

        def __getattribute__(self, name):
            if name.startswith("on_"):
                return lambda *given, logs=None: self.heard.append((name, *map(short, (*given, logs or {}))))
            return super().__getattribute__(name)

    dataset, ours, theirs = small_digits(0.2), Hear(), Hear()
    fit(dataset=dataset, callbacks=[ours, keras.callbacks.ProgbarLogger()], epochs=2)
    assert "Epoch 2/2" in capsys.readouterr().out
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(dataset.num_classes)])
    model.compile(loss="sparse_categorical_crossentropy")
    parts = [(part.images, part.labels) for part in (dataset.train, dataset.validation)]
    model.fit(*parts[0], 40, 2, 0, [theirs], validation_data=parts[1], validation_batch_size=500)
    assert ours.heard == theirs.heard


@pytest.mark.slow
def test_what_swaps_averages_in_has_them_judged():
    def trained(callbacks):
        optimizer = keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.9)
        return fit(optimizer=optimizer, callbacks=callbacks)

    trainer, other = trained([keras.callbacks.SwapEMAWeights()]), trained([])
    judged = [t.history[-1]["validation"]["loss"] for t in (trainer, other)]
    ended = trainer.evaluate(trainer.dataset.validation)["loss"]
    assert judged[0] == pytest.approx(ended, rel=1e-5)
    assert judged[1] != pytest.approx(ended, rel=1e-4)


@pytest.mark.slow
def test_a_resumed_run_writes_on_in_the_csv_of_keras(tmp_path):
    def csv_logger():
        return {"csv": keras.callbacks.CSVLogger(tmp_path / "mine.csv")}

    fit(tmp_path / "run", callbacks=csv_logger(), epochs=2)
    (tmp_path / "run" / "result.json").unlink()
    fit(tmp_path / "run", callbacks=csv_logger(), epochs=3)
    rows = list(csv.DictReader((tmp_path / "mine.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]


@pytest.mark.slow
def test_a_rate_that_a_callback_assigns_counts_from_then_on(tmp_path):
    """It multiplies what schedule and plateau say, also after a resume."""

    class Halve(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                self.model.optimizer.learning_rate = 0.5 * float(self.model.optimizer.learning_rate.numpy())

    options = {"schedule": Steps([3], [0.1])}
    fit(tmp_path, callbacks={"halve": Halve()}, epochs=3, **options)
    (tmp_path / "result.json").unlink()
    trainer = fit(tmp_path, epochs=4, **options)
    rates = [record["rate"]["learning_rate"] for record in trainer.history]
    assert rates == pytest.approx([0.05, 0.05, 0.025, 0.0025])
    assert trainer.history[2]["rate"]["callback_factor"] == pytest.approx(0.5)


@pytest.mark.slow
def test_keras_scheduler_and_plateau_are_honoured():
    absolute = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.01 * (epoch + 1))
    rates = [r["rate"]["learning_rate"] for r in fit(callbacks=[absolute]).history]
    assert rates == pytest.approx([0.01, 0.02, 0.03])
    plateau = keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.1, patience=1, min_delta=10.0)
    rates = [r["rate"]["learning_rate"] for r in fit(callbacks=[plateau]).history]
    assert rates == pytest.approx([0.05, 0.05, 0.005])


@pytest.mark.slow
def test_a_metric_is_everywhere(tmp_path, caplog):
    """In every split of csv, TensorBoard, result and log, and in what Keras' callbacks are told."""
    told = {}

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            told.update(logs)

    def margin(targets, logits):
        best = keras.ops.max(logits, axis=1)
        return best - keras.ops.sum(targets * logits, axis=1)

    callbacks = {"look": Look(), "csv": MetricsCsv(), "tensorboard": TensorBoard()}
    measured = metrics.default() | {"top3": metrics.top_k(3), "margin": margin}
    trainer = fit(tmp_path, callbacks=callbacks, metrics=measured)
    (*_, row) = csv.DictReader((tmp_path / "metrics.csv").open())
    for name in ("top3", "margin"):
        assert f"validation/{name}" in row and f"train/{name}" in row
        assert float(row[f"validation/{name}"]) == told[f"val_{name}"]
        assert trainer.result["test"][name] >= 0
        for split in ("train", "validation", "test"):
            events = EventAccumulator(str(tmp_path / "tensorboard" / split))
            events.Reload()
            assert name in events.Tags()["tensors"]
    with np.load(tmp_path / "predictions.npz") as file:
        logits, labels = file["test_logits"].astype(np.float32), file["test_label"]
    right = np.take_along_axis(logits, labels[:, None], 1)[:, 0]
    assert trainer.result["test"]["margin"] == pytest.approx(np.mean(logits.max(1) - right), rel=1e-2)
    ranks = (logits > right[:, None]).sum(1)
    assert trainer.result["test"]["top3"] == pytest.approx(np.mean(ranks < 3), abs=0.011)


# Going on


@pytest.mark.slow
def test_another_number_of_steps_an_epoch_counts_from_its_own_start(tmp_path, caplog):
    fit(tmp_path, epochs=2, batch_size=40)
    (tmp_path / "result.json").unlink()
    trainer = fit(tmp_path, epochs=4, batch_size=20, changes_allowed=True)
    assert [record["step"] for record in trainer.history] == [4, 8, 16, 24]
    assert "an epoch had 4 steps and now has 8" in caplog.text
    losses = [record["train"]["loss"] for record in trainer.history]
    assert len(set(losses)) == 4


@pytest.mark.slow
def test_inside_an_epoch_its_steps_cannot_change(tmp_path):
    fit(tmp_path, max_steps=6, batch_size=40)
    (tmp_path / "result.json").unlink()
    assert newest(tmp_path / "checkpoints")[1]["step"] == 6
    with pytest.raises(
        UserError, match=r"after step 2 of an epoch of 4, and an epoch now has 8\nfinish epoch 2"
    ):
        fit(tmp_path, epochs=4, batch_size=20, changes_allowed=True)


@pytest.mark.slow
def test_a_checkpoint_of_another_version_is_refused(tmp_path):
    fit(tmp_path, epochs=1)
    (tmp_path / "result.json").unlink()
    (path,) = (tmp_path / "checkpoints").glob("*.npz")
    with np.load(path) as file:
        arrays = dict(file)
    arrays["notes"] = np.array(str(arrays["notes"]).replace('"format": 2', '"format": 1'))
    np.savez(path, **arrays)
    with pytest.raises(UserError, match="another version"):
        fit(tmp_path)


def test_a_model_of_another_precision_is_an_error():
    model = resnet_v1((32, 32, 3), 10, depth=8)
    try:
        prepare(precision="bfloat16")
        with pytest.raises(UserError, match="before the model is built"):
            resnet.fit(model, small_digits(), epochs=1, batch_size=50, precision="bfloat16")
        with pytest.raises(UserError, match="trainer.precision=float32"):
            Trainer(precision="float32")
    finally:
        prepare()


def test_a_balanced_training_sees_each_class_alike_often():
    dataset = small_digits(0.0)
    labels = dataset.train.labels
    kept = np.concatenate([np.flatnonzero(labels > 0), np.flatnonzero(labels == 0)[:2]])
    dataset = dataclasses.replace(dataset, train=dataset.train.take(kept), balance=True)
    seen = []

    def look(indices):
        seen.extend(indices)
        return indices

    def apply(batch, seed):
        return batch._replace(indices=tf.numpy_function(look, [batch.indices], tf.int32))

    fit(dataset=dataset, epochs=1, batch_size=20, augmentation=Transform(None, apply), watch="test")
    assert len(seen) == len(kept) // 20 * 20 + len(kept) % 20
    assert np.ptp(np.bincount(dataset.train.labels[seen])) <= 1


class Says(keras.callbacks.Callback):
    """Remembers and says what it is given."""

    def __init__(self, remembered=None, said=None):
        super().__init__()
        self.remembered, self.said = remembered or {}, said or {}

    def state(self):
        return self.remembered

    def restore(self, state):
        self.remembered = state

    def result(self):
        return self.said


def test_numbers_of_numpy_are_kept_and_what_json_cannot_hold_is_named(tmp_path):
    kept = Says({"best": [np.float32(0.5)], "at": {"epoch": np.int64(1)}}, {"rate": np.float32(0.25)})
    trainer = fit(tmp_path / "kept", callbacks={"kept": kept}, epochs=1)
    assert newest(tmp_path / "kept" / "checkpoints")[1]["callbacks/kept"] == {
        "best": [0.5],
        "at": {"epoch": 1},
    }
    assert trainer.result["kept"] == {"rate": 0.25}
    assert set(trainer.result) - {"kept"} <= set(RESULT)
    with pytest.raises(UserError, match=r"^callbacks.odd: a checkpoint cannot hold its state\(\): set is no"):
        fit(tmp_path / "state", callbacks={"odd": Says({"seen": {1}})}, epochs=1)
    with pytest.raises(UserError, match=r"^callbacks.odd: result.json cannot hold its result\(\): ndarray"):
        fit(tmp_path / "result", callbacks={"odd": Says(None, {"each": np.ones(2)})}, epochs=1)


def test_a_callback_takes_no_place_in_the_result(tmp_path):
    with pytest.raises(UserError, match=r"callbacks.test: its result\(\) would take the place of test"):
        fit(tmp_path, callbacks={"test": Says()}, epochs=1)
    assert not (tmp_path / "metrics.csv").exists()


def test_a_run_has_one_training_and_says_so_when_it_is_over(tmp_path, caplog):
    dataset = small_digits(0.2)
    options = {"epochs": 1, "batch_size": 40}
    with resnet.Run(tmp_path) as run:
        resnet.fit(resnet_v1(dataset.image_shape, 10, depth=8), dataset, run=run, **options)
        assert {"metrics.csv", "receipt.json", "checkpoints", "tensorboard"} <= {
            path.name for path in tmp_path.iterdir()
        }
        with pytest.raises(UserError, match="this Run has had its training"):
            resnet.fit(resnet_v1(dataset.image_shape, 10, depth=8), dataset, run=run, **options)
    test = run.result["test"]
    caplog.clear()
    with resnet.Run(tmp_path) as again:
        resnet.fit(resnet_v1(dataset.image_shape, 10, depth=8), dataset, run=again, **options)
    assert f"{tmp_path} is finished, and nothing was trained" in caplog.text
    assert again.result["test"] == pytest.approx(test)


def test_a_run_is_gone_on_with_by_its_recipe(tmp_path):
    """What no weight tells: options of the optimizer, schedule, batch. More epochs are the same recipe."""
    begun = {"epochs": 1, "schedule": Cosine(9), "plateau": Plateau(patience=2)}
    fit(tmp_path, **begun)
    others = [
        ({"optimizer": keras.optimizers.SGD(0.01, momentum=0.8)}, ["learning_rate=0.01, it was 0.05"]),
        ({"optimizer": keras.optimizers.SGD(0.05, momentum=0.8)}, ["optimizer.momentum=0.8, it was 0.9"]),
        ({"schedule": Cosine(8)}, ["schedule.epochs=8, it was 9"]),
        ({"schedule": lambda epoch: 1.0}, ["schedule.kind", "it was Cosine"]),
        ({"plateau": None}, ["plateau.patience=absent, it was 2"]),
        ({"batch_size": 20}, ["trainer.batch_size=20, it was 40"]),
        ({"augmentation": shift_flip(flip=False)}, ["augmentation.flip=False, it was True"]),
        ({"augmentation": None}, ["augmentation.name=absent, it was shift_flip"]),
        ({"loss": keras.losses.CategoricalFocalCrossentropy(from_logits=True)}, ["loss.kind=Categorical"]),
    ]
    before = (tmp_path / "result.json").read_text()
    for options, words in others:
        with pytest.raises(UserError) as raised:
            fit(tmp_path, **{**begun, "epochs": 2, **options})
        assert all(word in str(raised.value) for word in words), raised.value
        assert "changes_allowed=True" in str(raised.value)
        assert (tmp_path / "result.json").read_text() == before
    assert len(fit(tmp_path, **{**begun, "epochs": 2}).history) == 2
    other = keras.optimizers.SGD(0.01, momentum=0.8)
    allowed = fit(tmp_path, **{**begun, "epochs": 3}, optimizer=other, changes_allowed=True)
    assert len(allowed.history) == 3


def test_a_recipe_shows_what_stands_in_functions_and_transforms():
    def shown(gamma, size):
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.05))
        both = in_order([shift_flip(), one_of([cutout(size), mixup()])])
        return recipe(optimizer, 0.1, loss=losses.focal(gamma), augmentation=both)

    assert differences(shown(2.0, 16), shown(2.0, 16)) == []
    assert differences(shown(2.0, 16), shown(3.0, 8)) == [
        "augmentation.in_order.1.transforms.0.size=8, it was 16",
        "loss.function.gamma=3.0, it was 2.0",
    ]

    class Own(keras.losses.Loss):
        def __init__(self, weight):
            super().__init__()
            self.weight = weight

    of_losses = [recipe(keras.optimizers.SGD(), 0.1, loss=Own(weight)) for weight in (1.0, 2.0)]
    assert differences(*of_losses) == ["loss.weight=2.0, it was 1.0"]


def test_the_default_callbacks_are_those_of_the_configuration():
    config = OmegaConf.load(ROOT / "conf" / "callbacks" / "default.yaml")
    assert list(default()) == list(config)
    for name, callback in default().items():
        configured = instantiate(config[name])
        assert type(callback) is type(configured)
        assert vars(callback) == vars(configured)


def test_a_run_directory_says_what_it_holds(tmp_path):
    trainer = fit(tmp_path, callbacks={"csv": MetricsCsv()})
    run = RunDirectory.finished(tmp_path)
    assert [row["epoch"] for row in run.epochs()] == [1, 2, 3]
    assert run.epochs()[-1]["validation/loss"] == trainer.history[-1]["validation"]["loss"]
    assert run.result()["test"] == trainer.result["test"]
    with pytest.raises(UserError, match="there is no run"):
        RunDirectory.finished(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("drawing", "what"),
    [("grid", "the training images"), ("curves", "the curves"), ("confusion", "the test images")],
)
def test_a_picture_that_cannot_be_drawn_ends_no_training(tmp_path, monkeypatch, caplog, drawing, what):
    def broken(*_, **__):
        raise RuntimeError("no font")

    monkeypatch.setattr(f"resnet.report.figures.{drawing}", broken)
    trainer = fit(tmp_path, callbacks={"pictures": Pictures()}, epochs=1)
    assert trainer.result["status"] == "finished"
    assert f"{what} cannot be shown: RuntimeError: no font" in caplog.text
    assert (tmp_path / "mistakes.png").exists() is (drawing == "curves")
