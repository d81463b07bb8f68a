"""What each training image was taken for, epoch by epoch, and which labels that shows to be wrong."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf
from omegaconf import OmegaConf
from PIL import Image

import resnet
from resnet.data import digits, image_folder, synthetic
from resnet.errors import UserError
from resnet.models import resnet_v1
from resnet.report.explain import data_map
from resnet.report.subject import Subject
from resnet.run.callbacks import Checkpoints, Outcomes
from tests.smooth import BATCH, Keep, network, trained, without_batch_norm
from tests.worker import noise

NO_STEP = {"optimizer": lambda: keras.optimizers.SGD(1e-30), "model": without_batch_norm}


def assert_same(outcomes, expected):
    np.testing.assert_allclose(outcomes.state()["confidence"], expected[0], atol=1e-3)
    np.testing.assert_array_equal(outcomes.state()["predicted"], expected[1])


@pytest.mark.parametrize("options", [{}, {"accumulate_steps": 5}, {"sam_rho": 0.05}])
def test_outcomes_are_those_of_the_network_on_every_image(options):
    trainer = trained(callbacks=[outcomes := Outcomes()], **NO_STEP, **options)
    train = noise().train
    logits = trainer.model(trainer.preprocessing.inference(train.images))
    own = tf.nn.softmax(logits).numpy()[np.arange(len(train)), train.labels]
    assert_same(outcomes, ([own] * 3, [np.argmax(logits, 1)] * 3))


def test_two_replicas_have_the_outcomes_of_one(two_replicas):
    """The last batch of an epoch has 8 images: three parts on each replica."""
    one, two = Outcomes(), Outcomes()
    trained(callbacks=[one], **NO_STEP)
    trained(callbacks=[two], strategy=two_replicas, accumulate_steps=3, **NO_STEP)
    assert_same(two, [*one.state().values()])


def test_they_say_what_was_seen_before_the_step():
    """Of two epochs of steps, the first batch is of the untrained network, the others are not."""
    trainer = trained(
        lambda: keras.optimizers.SGD(0.5), model=without_batch_norm, callbacks=[outcomes := Outcomes()]
    )
    train = noise().train
    first = np.random.default_rng([trainer.seed, 0]).permutation(len(train))[:BATCH]
    logits = without_batch_norm(noise())(trainer.preprocessing.inference(train.images))
    own = tf.nn.softmax(logits).numpy()[np.arange(len(train)), train.labels]
    difference = np.abs(outcomes.confidence[0] - own)
    assert difference[first].max() < 1e-3 < difference.max()


@pytest.mark.parametrize("step", [3, 5, 7])
def test_a_training_that_goes_on_has_the_outcomes_of_the_uninterrupted_one(step):
    """An epoch has 5 steps."""

    def adam():
        return keras.optimizers.Adam(0.01)

    kept = {"a": (whole := Outcomes()), "keep": (keep := Keep(step))}
    trained(adam, model=network, callbacks=kept, deterministic=True)
    trained(
        adam, model=network, callbacks={"a": (again := Outcomes())}, checkpoint=keep.kept, deterministic=True
    )
    for name, array in whole.state().items():
        np.testing.assert_array_equal(again.state()[name], array)
    assert (whole.state()["predicted"] >= 0).all()


def test_outcomes_that_begin_late_leave_earlier_epochs_unseen():
    def sgd():
        return keras.optimizers.SGD(0.01)

    trained(sgd, callbacks=[keep := Keep(7)])
    trained(sgd, callbacks=[late := Outcomes()], checkpoint=keep.kept)
    unseen = (late.state()["predicted"] < 0).sum(1)
    assert unseen.tolist() == [200, 2 * BATCH, 0]


def test_a_map_by_hand():
    predicted = np.array([[1, 0, 2, 2], [1, 1, -1, 0], [0, 1, 2, 0], [1, 0, 1, -1]])
    confidence = np.array(
        [[0.8, 0.2, 0.5, 0.1], [0.6, 0.8, 0.9, 0.1], [0.2, 0.6, 0.7, 0.1], [0.8, 0.4, 0.3, 0.9]]
    )
    right, found = data_map.cartography(confidence, predicted, np.array([1, 1, 2, 1]))
    assert right.T.tolist() == [[1, 1, 0, 1], [0, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(found["confidence"], [0.6, 0.5, 0.5, 0.1])
    np.testing.assert_allclose(found["variability"], [0.06**0.5, 0.05**0.5, (0.08 / 3) ** 0.5, 0], atol=1e-9)
    np.testing.assert_allclose(found["correctness"], [0.75, 0.5, 2 / 3, 0])
    assert found["learned"].tolist() == [1, 2, 1, 0]
    assert found["forgotten"].tolist() == [1, 1, 1, 0]
    assert found["seen_as"].tolist() == [1, 0, 2, 0]
    assert found["rank"].tolist() == [4, 2, 3, 1]
    wrong = np.array([True, False, False, True])
    assert data_map.found_share(found["rank"], wrong, top=0.25) == 0.5


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_noise_changes_its_share_of_the_training_labels_and_nothing_else(share):
    options = {"train_images": 1000, "test_images": 50, "validation_split": 0.2, "seed": 3}
    clean, noisy = synthetic(**options), synthetic(**options, label_noise=share)
    changed = noisy.train.labels != clean.train.labels
    assert changed.sum() == round(share * 800)
    assert noisy.train.labels.dtype == np.int32 and set(noisy.train.labels) <= set(range(10))
    np.testing.assert_array_equal(noisy.true_labels, clean.train.labels)
    assert clean.true_labels is None
    for name in ("validation", "test"):
        np.testing.assert_array_equal(noisy.parts[name].labels, clean.parts[name].labels)
    np.testing.assert_array_equal(noisy.train.images, clean.train.images)
    others = synthetic(**options | {"seed": 4}, label_noise=share)
    assert ((others.train.labels != others.true_labels) != changed).any()
    moved = (noisy.train.labels - clean.train.labels)[changed] % 10
    assert len(set(moved)) == 9 if share > 0.1 else len(set(moved)) > 4


@pytest.mark.slow
def test_labels_that_were_made_wrong_are_found_and_recorded(tmp_path):
    """80% of them among the 10% of the least confidence: the run's own record says which they are."""
    data = digits(label_noise=0.05, seed=1)
    with resnet.Run(tmp_path / "run") as run:
        resnet.fit(
            resnet_v1((32, 32, 3), 10, depth=8),
            data,
            run=run,
            epochs=8,
            batch_size=64,
            callbacks={"outcomes": Outcomes()},
        )
    with run.directory.wrong_labels.open() as file:
        recorded = {
            int(row["image"]): (int(row["label"]), int(row["true_label"])) for row in csv.DictReader(file)
        }
    wrong = np.flatnonzero(data.train.labels != data.true_labels)
    assert recorded == {i: (data.train.labels[i], data.true_labels[i]) for i in wrong}
    with np.load(run.directory.outcomes) as file:
        _, found = data_map.cartography(**file)
    hidden = np.isin(np.arange(len(data.train)), list(recorded))
    assert data_map.found_share(found["rank"], hidden) >= 0.8
    assert np.mean(found["seen_as"][hidden] == data.true_labels[hidden]) > 0.8


@pytest.mark.slow
def test_outcomes_are_of_the_files_that_had_them(tmp_path):
    """Also after a resumption; files that were renamed since would be taken for each other."""
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    for i, image in enumerate(images):
        (tmp_path / "noise" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "noise" / "ab"[i % 2] / f"{i:02}.png")
    options = {"dir": str(tmp_path / "noise"), "image_size": 8, "validation_split": 0.0}
    data = image_folder(**options)
    for epochs in (1, 2):
        with resnet.Run(
            tmp_path / "run",
            {"config.yaml": f"epochs: {epochs}", "overrides.yaml": "[]"},
            changes_allowed=True,
        ) as run:
            callbacks = {"outcomes": Outcomes(), "checkpoints": Checkpoints()}
            resnet.fit(
                resnet_v1((8, 8, 3), 2, depth=8),
                data,
                run=run,
                epochs=epochs,
                batch_size=8,
                callbacks=callbacks,
                plateau=None,
            )

    def shown():
        config = OmegaConf.create({"data": {"_target_": "resnet.data.image_folder", **options}})
        return data_map.explain([Subject.of_run(run.directory, config)], None).rows

    assert [row["name"] for row in shown()] == [str(name) for name in data.train.names]
    for path in sorted((tmp_path / "noise" / "a").iterdir()):  # in reverse
        path.rename(path.with_name(f"{99 - int(path.stem)}.png"))
    with pytest.raises(UserError, match="not those of the run, in its order\\nleave data, and the names"):
        shown()
