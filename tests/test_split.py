"""A run knows its own pictures: what it trained on is not its test, whatever became of the folder."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from resnet.data import Split
from resnet.data.dataset import make_dataset
from resnet.errors import UserError
from resnet.files import read_arrays, replace_arrays
from resnet.run import split
from tests.entry_point import run, train

RNG = np.random.default_rng(0)


def noise(count, size=8):
    labels = np.arange(count, dtype=np.int32) % 2
    return Split(RNG.integers(0, 256, (count, size, size, 3), np.uint8), labels)


def dataset_of(images):
    return make_dataset(images, None, ["a", "b"], test_split=0.25, validation_split=0.25)


def both(first, second):
    return Split(np.concatenate([first.images, second.images]), np.concatenate([first.labels, second.labels]))


def test_its_own_test_images_are_found_among_others(caplog):
    images = noise(80)
    first = dataset_of(images)
    parts = split.parts_of(first)
    assert split.own_test(first, parts) is first.test
    turned = split.own_test(dataset_of(images.take(np.arange(80)[::-1])), parts)
    assert set(turned.hashes) == set(first.test.hashes)
    assert not caplog.records
    kept = np.flatnonzero(~np.isin(images.hashes, first.test.hashes[:3]))
    changed = split.own_test(dataset_of(both(images.take(kept), noise(10))), parts)
    assert set(changed.hashes) == set(first.test.hashes[3:])
    assert "of its 20 test images 3 are missing; 10 pictures are new" in caplog.text
    with pytest.raises(UserError, match="none of the run's own test images"):
        split.own_test(dataset_of(noise(40)), parts)


def test_a_test_image_that_is_trained_on_too_counts_as_often_as_it_did(caplog):
    training, testing = noise(20), noise(9)
    shared = training.take(np.arange(5))
    tested = both(both(testing, shared), shared.take(np.arange(2)))
    first = make_dataset(both(training, noise(4)), tested, ["a", "b"], validation_split=0.0)
    parts = split.parts_of(first)
    grown = make_dataset(both(training, noise(4)), both(noise(1), tested), ["a", "b"], validation_split=0.0)
    caplog.clear()
    found = split.own_test(grown, parts)
    assert sorted(found.hashes) == sorted(first.test.hashes)
    assert "of its 16 test images 0 are missing; 5 pictures are new" in caplog.text
    fewer = make_dataset(training, both(testing, shared), ["a", "b"], validation_split=0.0)
    found = split.own_test(fewer, parts)  # two of the seven are among the training images only
    assert sorted(found.hashes) == sorted(first.test.hashes)


def test_images_that_are_read_otherwise_are_found_by_their_numbers():
    small, large = noise(60), noise(60, 12)
    parts = split.parts_of(dataset_of(small))
    whole = {"test_split": None, "validation_split": 0.0}
    as_read, larger = (make_dataset(s, None, ["a", "b"], **whole) for s in (small, large))
    found = split.own_test(larger, parts, as_read)
    numbers = np.flatnonzero(np.isin(small.hashes, parts["test"]))
    np.testing.assert_array_equal(found.images, large.images[numbers])
    fewer = make_dataset(large.take(np.arange(1, 60)), None, ["a", "b"], **whole)
    with pytest.raises(UserError, match="not the pictures that the run read"):
        split.own_test(fewer, parts, as_read)


def test_they_keep_their_labels_where_training_labels_are_made_wrong():
    images, labels = noise(60).images, np.arange(60, dtype=np.int32) % 3
    first = make_dataset(Split(images, labels), None, [*"abc"], test_split=0.2, validation_split=0.0)
    parts = split.parts_of(first)
    noisy = {"test_split": 0.4, "validation_split": 0.0, "label_noise": 0.9, "seed": 5}
    found = split.own_test(make_dataset(Split(images, labels), None, [*"abc"], **noisy), parts)
    true = dict(zip(Split(images, labels).hashes, labels, strict=True))
    assert sorted(found.hashes) == sorted(first.test.hashes)
    assert [true[picture] for picture in found.hashes] == found.labels.tolist()


def test_what_was_trained_on_stays_trained_on(caplog, tmp_path):
    images = noise(80)
    before = split.parts_of(dataset_of(images))
    moved = make_dataset(images, None, ["a", "b"], test_split=0.25, validation_split=0.25, seed=1)
    parts = split.gone_on_with(split.parts_of(moved), before)
    crossed = np.isin(moved.test.hashes, before["train"]).sum()
    assert crossed
    assert f"{crossed} of the 20 test images were trained on" in caplog.text
    replace_arrays(tmp_path / "split.npz", parts)
    loaded = read_arrays(tmp_path / "split.npz")
    assert set(loaded["train"]) == {*before["train"], *moved.train.hashes}


def write(folder, images):
    for i, (image, label) in enumerate(zip(images.images, images.labels, strict=True)):
        (folder / "ab"[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / "ab"[label] / f"{i:03}.png")


def scored(cwd, output, *arguments):
    done = run("evaluate.py", "run=run", *arguments, f"output={output}", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads((cwd / output / "evaluation.json").read_text()), done.stdout + done.stderr


@pytest.mark.slow
def test_a_folder_that_grew_and_other_folders(tmp_path):
    """Noise under random labels: only what was trained on can be told, and 50% is honest elsewhere."""
    write(tmp_path / "noise", noise(160, 16))
    small = ("data=image_folder", "data.dir=noise", "data.image_size=16", "augmentation=none")
    quick = ("trainer.epochs=30", "trainer.batch_size=20", "model.depth=8", "model.bn_momentum=0.9")
    done = train(
        *small, *quick, "trainer.plateau=null", "schedule=constant", "hydra.run.dir=run", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    honest, said = scored(tmp_path, "first")
    assert (honest["images"], "missing" in said) == (32, False)
    assert honest["accuracy"] < 0.8
    write(tmp_path / "noise" / "a" / "more", noise(2, 16))
    again, said = scored(tmp_path, "second")
    assert again["accuracy"] == honest["accuracy"]
    assert "0 are missing; 2 pictures are new, and left out" in said
    other, said = scored(tmp_path, "third", "data=image_folder", "data.dir=noise")
    assert other["images"] == 162
    assert other["data"]["image_size"] == 16  # as the run read its own
    assert "of the 162 images that are scored were trained on" in said
    write(tmp_path / "fresh", noise(30, 40))
    fresh, said = scored(tmp_path, "fourth", "data=image_folder", "data.dir=fresh")
    assert (fresh["images"], "trained on" in said) == (30, False)


@pytest.mark.slow
def test_the_runs_own_test_images_are_scored_however_they_are_read(tmp_path):
    """A folder that grew, at another size and in another place; and one whose parts share pictures."""
    write(tmp_path / "noise", noise(60, 16))
    options = ("data=image_folder", "data.dir=noise", "data.image_size=12", "data.normalization=channel")
    quick = ("trainer.epochs=1", "model.depth=8", "augmentation=none", "~callbacks.pictures")
    done = train(*options, *quick, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    write(tmp_path / "noise" / "a" / "more", noise(10, 16))
    shutil.copytree(tmp_path / "noise", tmp_path / "moved")
    for i, change in enumerate(("+data.image_size=16", "+data.dir=moved")):
        found, said = scored(tmp_path, f"out{i}", change)
        assert found["images"] == 12
        assert "of its 12 test images 0 are missing; 10 pictures are new, and left out" in said, said
    other, said = scored(tmp_path, "cut", "+data.test_split=0.5", "+data.image_size=16")
    assert other["images"] == 35 and "of the 35 images that are scored were trained on" in said
