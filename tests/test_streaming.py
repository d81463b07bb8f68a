"""Data that memory does not hold: what is read from disk is, to the last bit, what would lie in memory."""

import os
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from resnet.augmentation import crop_flip, in_order, random_resized_crop
from resnet.augmentation.crop import Crop
from resnet.data import dataset as datasets
from resnet.data import digits, image_folder, imagenet, shards
from resnet.data.checksum import combined
from resnet.data.encoded import Encoded
from resnet.data.picture import read_crop
from resnet.data.shards import Sharded
from resnet.errors import UserError
from resnet.process import available_memory
from resnet.report import evaluation
from resnet.run import split
from resnet.run.checkpoints import checkpoints
from resnet.training.environment import prepare
from tests import entry_point, streamer, test_resume
from tests.cluster import environments, finish, start
from tests.entry_point import ROOT, TINY, result, train
from tests.test_fit import fit

RNG = np.random.default_rng(0)
SIZE = 6
FOLDER = {"image_size": SIZE, "normalization": "channel", "seed": 1}


@pytest.fixture
def small_shards(monkeypatch):
    """Seven pictures each."""
    monkeypatch.setattr(shards, "SHARD_BYTES", 7 * SIZE * SIZE * 3)


@pytest.fixture
def pictures(tmp_path):
    """A folder of 90 pictures of three classes, two of them equal."""
    root, images = tmp_path / "pictures", RNG.integers(0, 256, (90, 9, 8, 3), np.uint8)
    images[42] = images[39]
    for i, image in enumerate(images):
        (root / f"class{i % 3}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / f"class{i % 3}" / f"{i:02}.png")
    return root


def both(root, tmp_path, **options):
    return [
        image_folder(str(root), **FOLDER | options, memory=memory, shards=str(tmp_path / "shards"))
        for memory in ("resident", "streamed")
    ]


@pytest.mark.parametrize("size", [1, 5, 192])
@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_the_checksum_of_pieces_is_that_of_their_bytes(count, size):
    pieces = RNG.integers(0, 256, (count, size), np.uint8)
    crcs = np.array([zlib.crc32(piece.data) for piece in pieces], np.uint32)
    assert combined(crcs, size) == zlib.crc32(pieces.data)


@pytest.mark.parametrize("normalization", ["channel", "pixel_mean"])
def test_what_is_streamed_is_what_is_in_memory(pictures, tmp_path, small_shards, normalization):
    resident, streamed = both(pictures, tmp_path, normalization=normalization)
    for name, expected in resident.parts.items():
        found = streamed.parts[name]
        assert isinstance(found, Sharded) and not hasattr(found, "images")
        order = RNG.permutation(len(expected))
        for one, other in zip(found.batch(order), expected.batch(order), strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype
        for of_each in ("labels", "names", "hashes"):
            np.testing.assert_array_equal(getattr(found, of_each), getattr(expected, of_each))
        assert (found.checksum, found.image_shape) == (expected.checksum, expected.image_shape)
        assert found.take(order[:9]).checksum == expected.take(order[:9]).checksum
        assert (
            Sharded.joined([found, found.take(order)]).checksum
            == type(expected).joined([expected, expected.take(order)]).checksum
        )
    np.testing.assert_array_equal(streamed.normalization.mean, resident.normalization.mean)
    np.testing.assert_array_equal(streamed.normalization.std, resident.normalization.std)


def test_what_is_chosen_and_changed_is_the_same_too(pictures, tmp_path, small_shards):
    """Classes, a fold, wrong labels and the order of a balanced epoch."""
    options = {"classes": ["class2", "class0"], "folds": 3, "fold": 1, "label_noise": 0.25, "balance": True}
    resident, streamed = both(pictures, tmp_path, **options)
    assert resident.class_names == streamed.class_names == ["class2", "class0"]
    for name, expected in resident.parts.items():
        assert isinstance(streamed.parts[name], Sharded)
        assert streamed.parts[name].checksum == expected.checksum
    np.testing.assert_array_equal(streamed.true_labels, resident.true_labels)
    np.testing.assert_array_equal(streamed.order([1, 2]), resident.order([1, 2]))


def test_a_runs_own_test_images_are_found(pictures, tmp_path, small_shards):
    resident, streamed = both(pictures, tmp_path)
    _, others = both(pictures, tmp_path, seed=2)
    parts = split.parts_of(resident)
    assert split.own_test(streamed, parts) is streamed.test
    found = split.own_test(others, parts)
    assert isinstance(found, Sharded)
    assert set(found.hashes) == set(resident.test.hashes)
    assert len(found) == len(resident.test)


def encoded(place, images, read=None):
    labels = np.arange(len(images), dtype=np.int32)
    return Encoded(
        place, images.shape[1:], labels, None, read or (lambda i, _: images[i]), lambda: ["a mark"], labels
    )


def test_who_is_cut_off_goes_on_and_leaves_nothing_half_done(tmp_path, small_shards):
    images = RNG.integers(0, 256, (40, SIZE, SIZE, 3), np.uint8)
    read = []

    def until_killed(i, _):
        if i == 17:
            raise KeyboardInterrupt
        return images[i]

    def noted(i, _):
        read.append(i)
        return images[i]

    with pytest.raises(KeyboardInterrupt):
        shards.write(encoded(tmp_path / "of", images, until_killed), tmp_path)
    (folder,) = tmp_path.glob("of-*")
    assert {path.name for path in folder.iterdir()} - {".lock"} == {
        f"0000{n}.{end}" for n in (0, 1) for end in ("npy", "npz")
    }
    whole, _ = shards.write(encoded(tmp_path / "of", images, noted), tmp_path)
    assert sorted(read) == list(range(14, 40))
    np.testing.assert_array_equal(whole.batch(np.arange(40))[0], images)
    read.clear()
    shards.write(encoded(tmp_path / "of", images, noted), tmp_path)
    assert not read


def test_a_picture_that_changes_is_read_anew(pictures, tmp_path):
    _, before = both(pictures, tmp_path)
    Image.fromarray(np.full((9, 8, 3), 77, np.uint8)).save(pictures / "class0" / "00.png")
    resident, after = both(pictures, tmp_path)
    assert before.train.checksum != after.train.checksum == resident.train.checksum


def test_a_shard_that_is_gone_or_damaged(pictures, tmp_path):
    _, dataset = both(pictures, tmp_path)
    path = dataset.train.pieces[0]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=f"{path} cannot be read: .*\nremove the folder {path.parent}"):
        dataset.train.batch(np.arange(3))
    path.with_suffix(".npz").write_bytes(b"")
    with pytest.raises(UserError, match="remove the folder"):
        both(pictures, tmp_path)


def test_a_shard_of_other_pictures_than_were_written(pictures, tmp_path, small_shards):
    """Whoever opens it, or has read from it before."""
    _, dataset = both(pictures, tmp_path)
    every = np.arange(len(dataset.train))
    dataset.train.batch(every)
    path = dataset.train.pieces[1]
    np.save(path, ~np.load(path))
    line = f"{path} cannot be read: image . in it is not the one that was written\nremove the folder"
    for part in (dataset.train, both(pictures, tmp_path)[1].train):
        with pytest.raises(UserError, match=line):
            part.batch(every)


def test_files_that_cannot_be_read(pictures, tmp_path, small_shards, caplog):
    broken = pictures / "class1" / "04.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"04.png: not a picture; 1 of 90 .*\n.*skip_unreadable=true"):
        both(pictures, tmp_path)[1]
    for _ in range(2):  # the second time it is known from the shards
        caplog.clear()
        resident, streamed = both(pictures, tmp_path, skip_unreadable=True)
        assert caplog.text.count("04.png cannot be read") == 2
        assert streamed.train.checksum == resident.train.checksum
        assert sum(map(len, streamed.parts.values())) == 89
    with pytest.raises(UserError, match="1 of 90"):
        image_folder(str(pictures), **FOLDER, memory="streamed", shards=str(tmp_path / "shards"))


def test_the_only_picture_of_a_class_that_cannot_be_read(pictures, tmp_path):
    (pictures / "class9").mkdir()
    (pictures / "class9" / "broken.png").write_bytes(b"")
    with pytest.raises(UserError, match="no pictures of class9"):
        both(pictures, tmp_path, skip_unreadable=True)


@pytest.mark.parametrize(("available", "kind"), [(10**5, Sharded), (10**9, datasets.Split)])
def test_memory_decides(pictures, tmp_path, monkeypatch, caplog, available, kind):
    monkeypatch.setattr(datasets, "available_memory", lambda: available)
    caplog.set_level("INFO")
    # 90 x 32 x 32 x 3 bytes
    options = FOLDER | {"image_size": 32, "memory": "auto", "shards": str(tmp_path / "shards")}
    assert isinstance(image_folder(str(pictures), **options).train, kind)
    said = f"images of 0.000276 GB, with {available / 1e9:.3g} GB available, are streamed" in caplog.text
    assert said == (kind is Sharded)


def test_a_disk_without_room(pictures, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(shards.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="GB are free\n.*data.shards"):
        both(pictures, tmp_path)


def test_available_memory():
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 10**7 < available_memory() <= total


@pytest.mark.skipif(sys.platform != "linux", reason="a limit that Linux keeps")
@pytest.mark.parametrize("limit", ["v", "d"])
def test_available_memory_under_a_limit(limit):
    code = "from resnet.process import available_memory; print(available_memory())"
    command = f"ulimit -{limit} 2000000; exec '{sys.executable}' -c '{code}'"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 1024 * 2_000_000


# Trainings


def digits_of(memory, folder):
    options = {"train_size": 125, "test_size": 50, "validation_split": 0.2, "normalization": "pixel_mean"}
    return digits(**options, seed=1, memory=memory, shards=str(folder))


def weights(trainer):
    return [np.array(variable) for variable in trainer.model.variables]


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_training_is_the_same_to_the_last_bit_also_cut_off_in_mid_epoch(tmp_path):
    """Weights, scores and predictions; begun streamed, it goes on in memory."""
    prepare(deterministic=True)
    resident, streamed = (digits_of(memory, tmp_path / "shards") for memory in ("resident", "streamed"))
    whole = fit(tmp_path / "whole", dataset=resident, batch_size=30, epochs=2)
    found = fit(tmp_path / "found", dataset=streamed, batch_size=30, epochs=2)
    assert_equal(weights(found), weights(whole))
    for name in ("train", "validation", "test"):
        assert found.result[name] == whole.result[name]
    one, other = (np.load(tmp_path / name / "predictions.npz") for name in ("found", "whole"))
    for name in other.files:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    fit(tmp_path / "parts", dataset=streamed, batch_size=30, epochs=2, max_steps=6)
    (tmp_path / "parts" / "result.json").unlink()
    parts = fit(tmp_path / "parts", dataset=resident, batch_size=30, epochs=2)
    assert_equal(weights(parts), weights(whole))


@pytest.mark.slow
def test_on_two_replicas(two_replicas, tmp_path):
    found, expected = (
        streamer.trained(two_replicas, memory, tmp_path) for memory in ("streamed", "resident")
    )
    assert_equal(found, expected)


@pytest.mark.slow
def test_on_two_workers_each_of_which_reads_its_part(tmp_path):
    codes, outputs = finish(start(("-m", "tests.streamer", tmp_path), environments(2), tmp_path))
    assert codes == [0, 0], outputs
    found = [np.load(tmp_path / f"{place}.npz") for place in range(2)]
    for each in found:
        for name in filter(lambda name: name.startswith("s "), each.files):
            np.testing.assert_array_equal(each[name], each[name.replace("s", "r")], err_msg=name)
    first_epoch = [each["read"][: streamer.IMAGES // 2] for each in found]
    assert sorted(np.concatenate(first_epoch)) == list(range(streamer.IMAGES))


@pytest.mark.slow
def test_killed_and_resumed_it_is_the_resident_run(tmp_path):
    """SIGKILL in an epoch; the receipt says the same images."""
    common = (*TINY, "trainer.epochs=4", "trainer.batch_size=10", "trainer.deterministic=true")
    streamed = (
        *common,
        "data.memory=streamed",
        "callbacks.checkpoints.minutes=1e-6",
        "hydra.run.dir=streamed",
    )
    done = train(*common, "hydra.run.dir=resident", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    process = entry_point.start(*streamed, cwd=tmp_path)
    folder = tmp_path / "streamed" / "checkpoints"
    test_resume.wait_for(process, lambda: checkpoints(folder))
    process.kill()
    process.wait()
    done = train("resume=streamed", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "going on after step" in done.stdout
    found, expected = (test_resume.arrays(tmp_path / name) for name in ("streamed", "resident"))
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    assert result(tmp_path / "streamed")["test"] == result(tmp_path / "resident")["test"]
    images = [(tmp_path / name / "receipt.json").read_text() for name in ("streamed", "resident")]
    assert images[0].split('"circumstances"')[0] == images[1].split('"circumstances"')[0]


MEASURED = """
import sys
import numpy as np
from pathlib import Path
from resnet.data import dataset, shards
from resnet.data.encoded import Encoded
from resnet.data.picture import read_crop
from resnet.data.shards import write
from resnet.process import forget_peak_memory, peak_memory

count, folder = int(sys.argv[1]), Path(sys.argv[2])
shards.SHARD_BYTES = 1 << 20
labels = np.arange(count, dtype=np.int32) % 10

def read(i, doubt):
    return np.full((32, 32, 3), i % 256, np.uint8)

options = dict(memory="streamed", shards=str(folder), validation_split=0.1)
pictures = lambda n: Encoded(folder, (32, 32, 3), labels[:n], None, read, lambda: [str(n)], range(n))
dataset.make_dataset(pictures(100), pictures(90), [*"0123456789"], **options)  # whatever it imports
forget_peak_memory()
before = peak_memory()
made = dataset.make_dataset(pictures(count), pictures(90), [*"0123456789"], **options)
for numbers in np.array_split(np.random.default_rng(0).permutation(len(made.train)), count // 100):
    made.train.batch(numbers)
print(peak_memory() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is forgotten on Linux only")
def test_peak_memory_is_flat_in_the_size_of_the_data(tmp_path):
    """1, 4 and 16 times as many pictures: of 6 MB to 98 MB, what is taken grows by less than a tenth."""
    taken = []
    for times in (1, 4, 16):
        folder = tmp_path / str(times)
        command = [sys.executable, "-c", MEASURED, str(2000 * times), str(folder)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        taken.append(int(done.stdout))
    assert taken[2] - taken[0] < 0.1 * 30_000 * 32 * 32 * 3, taken


def test_scores_of_images_on_disk(tmp_path):
    trainer = fit(dataset=digits_of("resident", tmp_path), max_steps=1)
    found, expected = (
        evaluation.logits(trainer.model, digits_of(memory, tmp_path).test, trainer.preprocessing)
        for memory in ("streamed", "resident")
    )
    np.testing.assert_array_equal(found, expected)


# Originals


@pytest.fixture
def photographs(tmp_path):
    """ImageNet's layout with larger pictures, of which JPEG leaves nearly everything."""
    root = tmp_path / "imagenet"
    for i in range(60):
        waves = np.sin(np.add.outer(np.arange(90) * (1 + i % 3) / 9, np.arange(120) / (5 + i)))
        image = np.stack([127 + 100 * waves, 127 - 100 * waves, 40 + 2 * i + 0 * waves], 2).astype(np.uint8)
        path = root / ("train" if i < 40 else "val") / f"n0000000{i % 2}" / f"{i}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, quality=95)
    return root


def originals(root, tmp_path, **options):
    options = {"image_size": 24, "normalization": "channel", "validation_split": 0.2, "seed": 1} | options
    return imagenet(str(root), **options, shards=str(tmp_path / "shards"))


def test_originals_are_what_is_in_memory_and_take_no_room(photographs, tmp_path):
    resident, found = (originals(photographs, tmp_path, originals=on) for on in (False, True))
    assert found.train.originals and not hasattr(found.test, "originals")
    assert not list(tmp_path.glob("shards/*/*.npy"))
    for name in ("train", "validation"):
        one, other = found.parts[name], resident.parts[name]
        np.testing.assert_array_equal(one.batch(np.arange(len(one)))[0], other.images)
        assert one.checksum == other.checksum
    np.testing.assert_array_equal(found.normalization.std, resident.normalization.std)


def test_crops_of_originals_are_drawn_by_seed_epoch_and_number(photographs, tmp_path):
    """And are those of Pillow, of the picture in its full size."""
    train = originals(photographs, tmp_path, originals=True).train
    how, indices = Crop((0.1, 0.5), (0.75, 1.33)), np.array([5, 2, 9])
    images, labels = train.cropped(indices, how, [3, 7])
    np.testing.assert_array_equal(labels, train.labels[indices])
    np.testing.assert_array_equal(train.cropped(indices[::-1], how, [3, 7])[0], images[::-1])
    for other in ([3, 8], [4, 7]):
        assert np.any(train.cropped(indices, how, other)[0] != images)
    for index, image in zip(indices, images, strict=True):
        with Image.open(photographs / train.name(index)) as picture:
            top, left, rows, columns = how.box(how.draw(np.random.default_rng([3, 7, index])), 90, 120)
            expected = picture.crop((left, top, left + columns, top + rows)).resize((24, 24), 2)
        assert np.mean(abs(image.astype(int) - np.asarray(expected, int))) < 3


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_crop_of_a_turned_picture_is_of_what_is_seen(tmp_path, orientation):
    """Of a picture whose left half is bright the square at its top and left, drawn by zeros."""
    seen = np.zeros((64, 128, 3), np.uint8)
    seen[:, :64] = 200
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.rot90(seen) if orientation == 6 else seen  # brought upright by a quarter turn to the right
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.jpg", exif=exif)
    zeros = type("Zeros", (), {"random": lambda self, count: np.zeros(count)})()
    image = read_crop(tmp_path / "a.jpg", (8, 8), 3, Crop((0.5, 0.5), (1, 1)), zeros)
    assert image[:, :-1].min() > 190


@pytest.mark.slow
def test_a_training_on_originals_goes_on_in_mid_epoch(photographs, tmp_path):
    prepare(deterministic=True)
    dataset = originals(photographs, tmp_path, originals=True, test_crop=0.8)
    augmentation = in_order([random_resized_crop(), crop_flip(2)])
    options = {"dataset": dataset, "augmentation": augmentation, "batch_size": 12, "epochs": 2}
    whole = fit(tmp_path / "whole", **options)
    fit(tmp_path / "parts", **options, max_steps=4)
    (tmp_path / "parts" / "result.json").unlink()
    assert_equal(weights(fit(tmp_path / "parts", **options)), weights(whole))
    uncropped = fit(**options | {"augmentation": crop_flip(2)})
    assert any(np.any(a != b) for a, b in zip(weights(uncropped), weights(whole), strict=True))


def test_the_middle_of_test_pictures(photographs, tmp_path):
    """0.8 of the shorter side, as Pillow cuts and scales it."""
    test = originals(photographs, tmp_path, test_crop=0.8).test
    with Image.open(photographs / test.name(3)) as picture:
        expected = picture.resize((24, 24), Image.Resampling.BICUBIC, (24, 9, 96, 81))
    assert np.mean(abs(test.images[3].astype(int) - np.asarray(expected, int))) < 3


def test_an_original_that_is_gone(photographs, tmp_path):
    train = originals(photographs, tmp_path, originals=True).train
    (photographs / train.name(0)).unlink()
    with pytest.raises(UserError, match="can no longer be read"):
        train.batch(np.arange(2))
    with pytest.raises(UserError, match="can no longer be read"):
        train.cropped(np.arange(2), Crop((0.1, 1), (1, 1)), [0, 0])
