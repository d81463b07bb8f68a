import hashlib
import inspect
import io
import json
import logging
import os
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from hydra.utils import instantiate
from keras.src.datasets import cifar10 as keras_cifar10
from keras.src.datasets import cifar100 as keras_cifar100
from PIL import Image
from sklearn.neighbors import NearestCentroid

from resnet.cli.command import command
from resnet.data import archive, cifar, cifar10, cifar100, digits, image_folder, npz, safe_pickle, synthetic
from resnet.data.dataset import Dataset, Split, make_dataset
from resnet.data.layout import parts
from resnet.data.normalization import measure
from resnet.data.picture import read_picture
from resnet.errors import UserError

OPTIONS = {
    "train_size": None,
    "test_size": None,
    "validation_split": 0.0,
    "normalization": "pixel_mean",
    "seed": 1,
}


CIFAR10_LABELS = {b"labels": 10}
CIFAR100_LABELS = {b"fine_labels": 100, b"coarse_labels": 20}


def write_official_layout(folder, edition, labels, monkeypatch):
    """As the official archive, but for 100 images per training file and 100 test images."""
    monkeypatch.setattr(cifar, "TRAIN_IMAGES", 100 * len(edition.train_files))
    monkeypatch.setattr(cifar, "TEST_IMAGES", 100)
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in (*edition.train_files, edition.test_file):
        batch = {b"data": rng.integers(0, 256, (100, 3072), np.uint8)}
        batch |= {key: [i % classes for i in range(100)] for key, classes in labels.items()}
        (folder / name).write_bytes(pickle.dumps(batch, 2))
    names = {
        key.replace(b"labels", b"label_names"): [f"class{i}".encode() for i in range(classes)]
        for key, classes in labels.items()
    }
    (folder / edition.names_file).write_bytes(pickle.dumps(names, 2))


@pytest.fixture
def layout(tmp_path, monkeypatch):
    write_official_layout(tmp_path / cifar.CIFAR10.folder, cifar.CIFAR10, CIFAR10_LABELS, monkeypatch)
    return tmp_path


def test_official_layout_by_folder_or_parent(layout):
    for path in (layout, layout / cifar.CIFAR10.folder):
        dataset = cifar10(str(path), **OPTIONS)
        assert dataset.train.images.shape == (500, 32, 32, 3)
        assert dataset.class_names[3] == "class3"


@pytest.mark.parametrize(("labels", "classes"), [("fine", 100), ("coarse", 20)])
def test_cifar100_by_fine_or_coarse_labels(labels, classes, tmp_path, monkeypatch):
    folder = tmp_path / cifar.CIFAR100.folder
    write_official_layout(folder, cifar.CIFAR100, CIFAR100_LABELS, monkeypatch)
    dataset = cifar100(str(tmp_path), labels, **OPTIONS)
    assert dataset.num_classes == len(dataset.class_names) == classes
    assert dataset.train.images.shape == dataset.test.images.shape == (100, 32, 32, 3)
    np.testing.assert_array_equal(dataset.train.labels, np.arange(100) % classes)
    (folder / "train").unlink()
    with pytest.raises(UserError, match=r"train is missing; unpack cifar-100-python.tar.gz"):
        cifar100(str(tmp_path), labels, **OPTIONS)


def test_hashes_are_those_keras_publishes():
    for edition, module in ((cifar.CIFAR10, keras_cifar10), (cifar.CIFAR100, keras_cifar100)):
        source = inspect.getsource(module)
        assert edition.sha256 in source
        assert cifar.URL + edition.archive in source


def test_pixels_are_read_as_planes(layout):
    raw = safe_pickle.load(layout / cifar.CIFAR10.folder / "data_batch_1")[b"data"][0]
    image = cifar10(str(layout), **OPTIONS).train.images[0]
    assert image[2, 5, 1] == raw[1024 + 2 * 32 + 5]


def test_hostile_pickle_is_not_run(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    (tmp_path / "batch").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(UserError, match="system"):
        safe_pickle.load(tmp_path / "batch")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("damage", ["missing", "short", "shape", "labels"])
def test_damaged_batch_is_named(layout, damage):
    path = layout / cifar.CIFAR10.folder / "data_batch_2"
    batch = safe_pickle.load(path)
    if damage == "missing":
        path.unlink()
    elif damage == "short":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        batch[b"data"] = batch[b"data"][:5] if damage == "shape" else batch[b"data"]
        batch[b"labels"] = [11] * 100 if damage == "labels" else batch[b"labels"]
        path.write_bytes(pickle.dumps(batch, 2))
    with pytest.raises(UserError, match="data_batch_2"):
        cifar10(str(layout), **OPTIONS)


def make_archive(path, name, kind=tarfile.REGTYPE):
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc"
        member.size = 4 if kind == tarfile.REGTYPE else 0
        tar.addfile(member, io.BytesIO(b"text"))


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_archive_is_unpacked(tmp_path):
    make_archive(tmp_path / "a.tar.gz", "x/file")
    archive.unpack(tmp_path / "a.tar.gz", "x", tmp_path / "out", sha256(tmp_path / "a.tar.gz"))
    assert (tmp_path / "out" / "x" / "file").read_text() == "text"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["x"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../climbed", tarfile.REGTYPE),
        ("x/../../climbed", tarfile.REGTYPE),
        ("x/..", tarfile.REGTYPE),
        ("/climbed", tarfile.REGTYPE),
        ("x/climbed", tarfile.SYMTYPE),
        ("x", tarfile.SYMTYPE),
        ("x/climbed", tarfile.LNKTYPE),
    ],
)
def test_archive_that_climbs_out_is_refused(name, kind, tmp_path):
    make_archive(tmp_path / "a.tar.gz", name, kind)
    with pytest.raises(UserError, match="unpacked"):
        archive.unpack(tmp_path / "a.tar.gz", "x", tmp_path / "out", sha256(tmp_path / "a.tar.gz"))
    assert not (tmp_path / "out" / "climbed").exists()
    assert not (tmp_path / "climbed").exists()


@pytest.mark.parametrize("edition", [cifar.CIFAR10, cifar.CIFAR100])
def test_wrong_hash_names_the_file_and_the_cure(edition, tmp_path):
    make_archive(tmp_path / edition.archive, "x")
    with pytest.raises(UserError, match=rf"(?s){edition.archive}.*data=digits"):
        cifar.locate(edition, tmp_path)


def test_download_leaves_nothing_half(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"short")
    with pytest.raises(UserError, match="damaged"):
        archive.download(source.as_uri(), tmp_path / "target", "0" * 64)
    with pytest.raises(UserError, match="cannot be downloaded"):
        archive.download((tmp_path / "none").as_uri(), tmp_path / "target", "0" * 64)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]
    archive.download(source.as_uri(), tmp_path / "target", sha256(source))
    assert (tmp_path / "target").read_bytes() == b"short"


def test_subsets_are_balanced_and_statistics_come_from_training_images():
    dataset = digits(**OPTIONS | {"train_size": 500, "test_size": 100, "validation_split": 0.2})
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (400, 100, 100)
    assert np.ptp(np.bincount(dataset.train.labels)) <= 3
    expected = (dataset.train.images / 255.0).mean(0)
    np.testing.assert_allclose(dataset.normalization.mean, expected, atol=1e-6)


def test_channel_statistics():
    dataset = digits(**OPTIONS | {"normalization": "channel"})
    pixels = dataset.train.images / 255.0
    np.testing.assert_allclose(dataset.normalization.mean, pixels.mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(dataset.normalization.std, pixels.std((0, 1, 2)), atol=1e-6)


def test_a_constant_channel_becomes_nothing(tmp_path, caplog):
    saved = arrays()
    saved["x_train"][..., 1] = 77
    saved["x_test"][..., 1] = 78
    np.savez(tmp_path / "data.npz", **saved)
    dataset = npz(str(tmp_path / "data.npz"), **OPTIONS | {"normalization": "channel"})
    assert "channel 1 is the same in all training images" in caplog.text
    pixels = dataset.train.images / 255.0
    expected = [pixels[..., 0].std(), 1, pixels[..., 2].std()]
    np.testing.assert_allclose(dataset.normalization.std, expected, atol=1e-6)
    seen = [
        dataset.normalization(split.images.astype(np.float32))[..., 1]
        for split in (dataset.train, dataset.test)
    ]
    np.testing.assert_allclose(seen[0], 0, atol=1e-6)
    np.testing.assert_allclose(seen[1], 1 / 255, atol=1e-6)


def test_impossible_size():
    with pytest.raises(UserError, match="data.train_size"):
        digits(**OPTIONS | {"train_size": 10_000})


# One folder per class


def photograph(path, level, size=(40, 30), mode="RGB", **options):
    """A picture of about one level, lighter to the right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    ramp = np.broadcast_to(np.linspace(level, level + 20, width), (height, width)).astype(np.uint8)
    Image.fromarray(ramp).convert(mode).save(path, **options)


@pytest.fixture
def photographs(tmp_path):
    """Ten dark and ten light pictures of several formats and sizes, some further down or hidden."""
    for name, level in (("dark", 20), ("light", 200)):
        for i, suffix in enumerate(("jpg", "png", "gif", "bmp", "webp") * 2):
            photograph(tmp_path / name / f"{i}.{suffix}", level, (30 + i, 50 - i))
        photograph(tmp_path / name / "below" / "a.png", level, mode="L")
        photograph(tmp_path / name / "below" / "b.png", level, mode="P")
        (tmp_path / name / ".hidden").write_text("not a picture")
    return tmp_path


@pytest.mark.parametrize("image_size", [8, [12, 10]])
@pytest.mark.parametrize("channels", [1, 3])
def test_image_folder(image_size, channels, photographs):
    dataset = image_folder(str(photographs), image_size, channels, **OPTIONS)
    height, width = np.broadcast_to(image_size, 2)
    assert dataset.image_shape == (height, width, channels)
    assert dataset.class_names == ["dark", "light"]
    assert (len(dataset.train), len(dataset.test)) == (19, 5)
    levels = dataset.train.images.mean((1, 2, 3))
    np.testing.assert_array_equal(levels > 110, dataset.train.labels)
    assert sorted(np.bincount(dataset.test.labels)) == [2, 3]


def test_the_split_follows_the_seed(photographs):
    first, again, other = (
        image_folder(str(photographs), **OPTIONS | {"seed": seed}).test.images for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_a_given_split(tmp_path):
    for part, count in (("train", 3), ("test", 2)):
        for i in range(count):
            photograph(tmp_path / part / "dark" / f"{i}.png", 10)
            photograph(tmp_path / part / "light" / f"{i}.png", 200)
    dataset = image_folder(str(tmp_path), **OPTIONS)
    assert (len(dataset.train), len(dataset.test)) == (6, 4)
    photograph(tmp_path / "test" / "grey" / "0.png", 100)
    with pytest.raises(UserError, match="found grey; expected the classes of train"):
        image_folder(str(tmp_path), **OPTIONS)


def test_crop_keeps_the_middle_and_stretch_keeps_all(tmp_path):
    picture = np.zeros((10, 30, 3), np.uint8)
    picture[:, 10:20] = 255
    Image.fromarray(picture).save(tmp_path / "wide.png")
    cropped = read_picture(tmp_path / "wide.png", 10, 3, "crop")
    np.testing.assert_array_equal(cropped, 255)
    stretched = read_picture(tmp_path / "wide.png", [10, 30], 1, "stretch")
    np.testing.assert_array_equal(stretched, picture[..., :1])


def test_unreadable_files_are_named_and_skipped_only_when_told(photographs, caplog):
    (photographs / "dark" / "notes.txt").write_text("text")
    whole = (photographs / "light" / "1.png").read_bytes()
    (photographs / "light" / "1.png").write_bytes(whole[: len(whole) // 2])
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(UserError, match=r"(?s)notes.txt.*2 of 25 .*skip_unreadable"),
    ):
        image_folder(str(photographs), **OPTIONS)
    assert "notes.txt" in caplog.text
    assert "1.png" in caplog.text
    caplog.clear()
    dataset = image_folder(str(photographs), skip_unreadable=True, **OPTIONS)
    assert len(dataset.train) + len(dataset.test) == 23
    assert "notes.txt" in caplog.text


def empty_class(root):
    (root / "empty").mkdir()


def one_class(root):
    (root / "light").rename(root / "dark" / "light")


def train_alone(root):
    (root / "train").mkdir()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (empty_class, "no pictures of empty"),
        (one_class, "found 1 folders; expected two"),
        (train_alone, "found train/ beside dark/, light/; expected train/ and test/"),
    ],
)
def test_folders_of_another_shape(change, words, photographs):
    change(photographs)
    with pytest.raises(UserError, match=words):
        image_folder(str(photographs), **OPTIONS)


def test_no_folder(tmp_path):
    with pytest.raises(UserError, match="none is not there"):
        image_folder(str(tmp_path / "none"), **OPTIONS)


def test_what_a_source_refuses_is_said_without_hydra_around_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr("sys.argv", ["train.py"])
    node = {"_target_": "resnet.data.image_folder", "dir": str(tmp_path / "none"), **OPTIONS}
    with pytest.raises(SystemExit):
        command(lambda: instantiate(node))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"data.dir={tmp_path / 'none'} is not there; expected a folder that holds a folder for each class"
    ]


def test_too_few_pictures_to_split(tmp_path):
    photograph(tmp_path / "a" / "0.png", 10)
    for i in range(8):
        photograph(tmp_path / "b" / f"{i}.png", 200, (40 + i, 30))
    with pytest.raises(UserError, match="class a has one image"):
        image_folder(str(tmp_path), **OPTIONS)
    photograph(tmp_path / "a" / "1.png", 15)
    dataset = image_folder(str(tmp_path), test_split=0.1, **OPTIONS)
    assert dataset.test.labels.tolist() == [0, 1]  # one of each, though a tenth of ten is one
    assert set(dataset.train.labels) == {0, 1}


def write_classes(root, counts, first=0):
    """Pictures of noise, all different: those of the first class are dark, the others light."""
    for number, (name, count) in enumerate(counts.items()):
        for i in range(count):
            noise = np.random.default_rng([first, number, i]).integers(0, 100, (8, 8, 3), np.uint8)
            path = root / name / f"{i:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise + (0 if number == 0 else 150)).save(path)


def levels_agree_with_labels(split):
    return np.array_equal(split.images.mean((1, 2, 3)) > 125, split.labels > 0)


@pytest.mark.parametrize(
    "names",
    [
        ("Train", "Test"),
        ("TRAIN", "TEST", "VAL"),
        ("training", "testing", "validation"),
        ("seg_train", "seg_test"),
        ("training_set", "test_set", "valid_set"),
        ("trainset", "testset"),
        ("train2017", "test2017", "val2017"),
        ("TrainImages", "TestImages"),
        ("Training Data", "Testing Data"),
        ("flower_training", "flowers_test"),
    ],
)
def test_parts_go_by_many_names(names, tmp_path):
    sizes = dict(zip(("train", "test", "validation"), (4, 3, 2), strict=True))
    for first, (name, count) in enumerate(zip(names, sizes.values(), strict=False)):
        write_classes(tmp_path / name, {"cat": count, "dog": count}, first)
    dataset = image_folder(str(tmp_path), 8, **OPTIONS)
    assert dataset.class_names == ["cat", "dog"]
    found = {part: len(split) for part, split in dataset.parts.items()}
    assert found == {part: 2 * n for part, n in sizes.items() if part in found}
    assert len(found) == len(names)
    assert all(map(levels_agree_with_labels, dataset.parts.values()))


@pytest.mark.parametrize(
    "names",
    [
        ["bullet_train", "bus", "car"],
        ["bullet_train", "steam_train"],
        ["control", "contest"],
        ["trainer", "valley", "testament"],
        ["cat", "dog"],
    ],
)
def test_classes_are_no_parts(names):
    assert parts("here", names) == {}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["train", "Training", "test"], "train/, Training/ all mean train"),
        (["train1", "train2"], "train1/, train2/ all mean train"),
        (["cats_train", "dogs_train", "cats_test", "dogs_test"], "cats_train/, dogs_train/ all mean train"),
        (["train", "test", "cat"], "found train/, test/ beside cat/"),
        (["seg_train", "seg_test", "seg_pred"], "found seg_train/, seg_test/ beside seg_pred/"),
        (["test", "cat", "dog"], "found test/ beside cat/, dog/"),
        (["train"], "found train/ alone"),
        (["test", "val"], "found test/, val/ alone"),
    ],
)
def test_what_could_be_parts_or_classes_is_refused(names, words):
    with pytest.raises(UserError, match=f"here: {words}; expected train/ and test/"):
        parts("here", names)


def test_an_archive_in_a_folder_of_its_own_name(tmp_path):
    for first, part in enumerate(("seg_train", "seg_test")):
        write_classes(tmp_path / part / part, {"cat": 3, "dog": 3}, first)
    dataset = image_folder(str(tmp_path), 8, **OPTIONS)
    assert dataset.class_names == ["cat", "dog"]
    assert (len(dataset.train), len(dataset.test)) == (6, 6)


def test_validation_alone_is_for_testing(tmp_path, caplog):
    for first, part in enumerate(("training", "validation")):
        write_classes(tmp_path / part, {"cat": 4 - first, "dog": 4 - first}, first)
    with caplog.at_level(logging.INFO):
        dataset = image_folder(str(tmp_path), 8, **OPTIONS)
    assert {part: len(split) for part, split in dataset.parts.items()} == {"train": 8, "test": 6}
    assert "validation is for testing" in caplog.text


def test_given_validation_images_come_before_a_share_of_the_training(tmp_path, caplog):
    for first, part in enumerate(("train", "val", "test")):
        write_classes(tmp_path / part, {"cat": 5 - first, "dog": 5 - first}, first)
    with caplog.at_level(logging.INFO):
        dataset = image_folder(str(tmp_path), 8, **OPTIONS | {"validation_split": 0.2})
    sizes = {part: len(split) for part, split in dataset.parts.items()}
    assert sizes == {"train": 10, "validation": 8, "test": 6}
    assert "data.validation_split=0.2 is not used" in caplog.text


HIDDEN = [".git", "@eaDir", "__MACOSX", "$RECYCLE.BIN", "System Volume Information", "lost+found", "#recycle"]


def test_what_systems_leave_behind_is_passed_over(tmp_path, caplog):
    write_classes(tmp_path, {"cat": 5, "dog": 5})
    for folder in (tmp_path, tmp_path / "cat", tmp_path / "dog" / "below"):
        for name in HIDDEN:
            photograph(folder / name / "thumbnail.png", 250)
        for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._000.png"):
            (folder / name).write_bytes(b"no picture")
    dataset = image_folder(str(tmp_path), 8, **OPTIONS)
    assert dataset.class_names == ["cat", "dog"]
    assert len(dataset.train) + len(dataset.test) == 10
    assert caplog.records == []


def test_links_lead_to_pictures(tmp_path):
    write_classes(tmp_path / "elsewhere", {"cat": 4, "dog": 4, "more": 2})
    (tmp_path / "here" / "cat").mkdir(parents=True)
    for path in (tmp_path / "elsewhere" / "cat").iterdir():
        (tmp_path / "here" / "cat" / path.name).symlink_to(path)
    (tmp_path / "here" / "dog").symlink_to(tmp_path / "elsewhere" / "dog")
    (tmp_path / "elsewhere" / "dog" / "more").symlink_to("../more")
    dataset = image_folder(str(tmp_path / "here"), 8, **OPTIONS)
    assert len(dataset.train) + len(dataset.test) == 10
    assert np.bincount(np.concatenate([dataset.train.labels, dataset.test.labels])).tolist() == [4, 6]


def test_links_in_a_circle_end(tmp_path, caplog):
    write_classes(tmp_path, {"cat": 4, "dog": 4})
    (tmp_path / "cat" / "self").symlink_to(".")
    (tmp_path / "cat" / "above").symlink_to("..")
    for i in range(12):  # each leads to all
        (tmp_path / "dog" / f"{i}").mkdir()
        for j in range(12):
            (tmp_path / "dog" / f"{i}" / f"to {j}").symlink_to(f"../{j}")
    dataset = image_folder(str(tmp_path), 8, **OPTIONS)
    assert len(dataset.train) + len(dataset.test) == 8
    for name in ("self", "above"):
        assert f"{tmp_path / 'cat' / name} is passed over" in caplog.text


def test_a_link_to_nowhere_is_named(tmp_path, caplog):
    write_classes(tmp_path, {"cat": 5, "dog": 5})
    (tmp_path / "cat" / "dangling.png").symlink_to("nowhere.png")
    with pytest.raises(
        UserError, match=r"dangling.png: a link to nowhere; 1 of 11 files .*\n.*skip_unreadable"
    ):
        image_folder(str(tmp_path), 8, **OPTIONS)
    caplog.clear()
    dataset = image_folder(str(tmp_path), 8, skip_unreadable=True, **OPTIONS)
    assert len(dataset.train) + len(dataset.test) == 10
    assert "dangling.png cannot be read: a link to nowhere" in caplog.text
    (tmp_path / "emu").symlink_to("nowhere")
    with pytest.raises(UserError, match="links to nowhere: emu"):
        image_folder(str(tmp_path), 8, **OPTIONS)


def test_a_pipe_is_not_waited_for(tmp_path):
    write_classes(tmp_path, {"cat": 5, "dog": 5})
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    with pytest.raises(UserError, match="pipe.png: not a file"):
        image_folder(str(tmp_path), 8, **OPTIONS)


def test_a_folder_that_cannot_be_looked_into_is_named(tmp_path, monkeypatch):
    write_classes(tmp_path, {"cat": 5, "dog": 5, "dog/locked": 2})
    iterdir = Path.iterdir

    def locked(path):  # root may look anywhere
        if path.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", locked)
    with pytest.raises(UserError, match="dog/locked: a folder that cannot be looked into; 1 of 11 files"):
        image_folder(str(tmp_path), 8, **OPTIONS)


def test_pictures_beside_the_folders_are_counted(tmp_path, caplog):
    for first, part in enumerate(("train", "test")):
        write_classes(tmp_path / part, {"cat": 3, "dog": 3}, first)
    for name in ("README.txt", "train/a.png", "train/b.png", "train/c.png", "train/d.png"):
        photograph(tmp_path / f"{name}.png", 100)
    image_folder(str(tmp_path), 8, **OPTIONS)
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}: 1 files beside the folders are left out: README.txt.png",
        f"{tmp_path}/train: 4 files beside the folders are left out: a.png.png, b.png.png, c.png.png, ...",
    ]


@pytest.mark.parametrize(
    ("raw", "name"),
    [(b"caf\xe9", "caf\\xe9"), ("café".encode(), "café"), (b"a\nb", "a\\x0ab"), (b"$0_$10",) * 2],
)
def test_class_names_can_always_be_printed(raw, name, tmp_path):
    write_classes(tmp_path, {os.fsdecode(raw): 5, "other": 5})
    dataset = image_folder(str(tmp_path), 8, **OPTIONS)
    name = name.decode() if isinstance(name, bytes) else name
    assert name in dataset.class_names
    assert json.loads(json.dumps(dataset.class_names, ensure_ascii=False).encode()) == dataset.class_names
    (tmp_path / os.fsdecode(raw) / os.fsdecode(b"\xff.png")).write_bytes(b"no picture")
    with pytest.raises(UserError) as refused:
        image_folder(str(tmp_path), 8, **OPTIONS)
    assert f"{name}/\\xff.png: not a picture; 1 of 11 files" in str(refused.value)
    assert str(refused.value).encode().count(b"\n") == 1


def test_doubts_about_pictures_are_counted(tmp_path, caplog):
    write_classes(tmp_path, {"cat": 5, "dog": 5})
    for i in range(4):
        Image.fromarray(np.full((8, 8), 1000 + i, np.uint16)).save(tmp_path / "cat" / f"deep {i}.png")
    image_folder(str(tmp_path), 8, **OPTIONS)
    found = [record.getMessage() for record in caplog.records if "16 bits" in record.getMessage()]
    assert len(found) == 1
    assert found[0].startswith(f"{tmp_path}/cat/deep 0.png and 3 more: 16 bits per value, none above")


# Arrays in a file


def arrays(**changes):
    rng = np.random.default_rng(0)
    kept = {
        "x_train": rng.integers(0, 256, (40, 9, 7, 3), np.uint8),
        "y_train": np.arange(40) % 4,
        "x_test": rng.integers(0, 256, (8, 9, 7, 3), np.uint8),
        "y_test": np.arange(8)[:, None] % 4,
    } | changes
    return {name: array for name, array in kept.items() if array is not None}


def test_npz(tmp_path):
    saved = arrays(class_names=np.array(["a", "b", "c", "d"]))
    np.savez_compressed(tmp_path / "data.npz", **saved)
    dataset = npz(str(tmp_path / "data.npz"), **OPTIONS)
    np.testing.assert_array_equal(dataset.train.images, saved["x_train"])
    np.testing.assert_array_equal(dataset.test.labels, np.arange(8) % 4)
    assert dataset.test.labels.dtype == np.int32
    assert dataset.class_names == ["a", "b", "c", "d"]


def test_npz_of_grey_pictures_without_a_test_set(tmp_path):
    saved = arrays(x_test=None, y_test=None)
    saved["x_train"] = saved["x_train"][..., 0]
    np.savez(tmp_path / "data.npz", **saved)
    dataset = npz(str(tmp_path / "data.npz"), test_split=0.25, **OPTIONS)
    assert dataset.image_shape == (9, 7, 1)
    assert (len(dataset.train), len(dataset.test)) == (30, 10)
    assert dataset.class_names == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y_train": None}, "no y_train; it holds x_train"),
        ({"x_train": np.zeros((40, 9, 7, 3))}, r"x_train is float64 \(40, 9, 7, 3\); expected uint8"),
        ({"y_train": np.zeros(40)}, "y_train is float64"),
        ({"y_train": np.zeros(39, int)}, r"expected integers of \(40,\)"),
        ({"y_train": np.arange(40) - 1}, "y_train holds -1 to 38"),
        ({"y_train": np.arange(40) + 2**40}, "expected 0 to 65535"),
        ({"x_test": np.zeros((8, 9, 9, 3), np.uint8)}, "differ in size"),
        ({"class_names": np.array(["a"])}, "1 class_names for labels to 3"),
        ({"y_train": np.array([print] * 40)}, "plain arrays.*pickle"),
        (
            {"x_train": np.zeros((40, 3, 16, 16), np.uint8)},
            r"(?s)looks like \(N, C, H, W\).*transpose\(0, 2, 3, 1\)",
        ),
        ({"x_train": np.zeros((40, 1, 28, 28), np.uint8)}, "looks like"),
        ({"x_train": np.zeros((40, 13, 64, 64), np.uint8)}, "looks like"),
        (
            {"y_train": 1 + np.arange(40) % 4, "y_test": 1 + np.arange(8) % 4},
            "labels are 1 to 4; .*save y - 1",
        ),
        ({"y_train": np.arange(40) % 3}, "y_test has classes that y_train has not: 3$"),
        ({"y_train": 2 * (np.arange(40) % 4)}, "y_test has classes that y_train has not: 1, 3$"),
        (
            {"y_train": 2 * (np.arange(40) % 4), "x_test": None, "y_test": None},
            "y_train has none of class 1, 3, 5;",
        ),
        ({"class_names": np.array(list("abcdef"))}, "y_train has none of class e, f;"),
        ({"y_test": None}, "no y_test"),
    ],
)
def test_npz_of_another_kind(changes, words, tmp_path):
    np.savez(tmp_path / "data.npz", **arrays(**changes))
    with pytest.raises(UserError, match=words):
        npz(str(tmp_path / "data.npz"), **OPTIONS)


@pytest.mark.parametrize("shape", [(16, 16, 3), (16, 16, 1), (5, 5, 200), (4, 4, 4), (64, 32, 13)])
def test_channels_last_are_taken_as_they_are(shape, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, *shape), np.uint8)
    np.savez(tmp_path / "data.npz", **arrays(x_train=images, x_test=images[:8]))
    np.testing.assert_array_equal(npz(str(tmp_path / "data.npz"), **OPTIONS).train.images, images)


def test_npz_with_validation_images(tmp_path, caplog):
    saved = arrays()
    given = saved | {
        "x_validation": saved["x_test"] // 2,
        "y_validation": saved["y_test"],
        "weights": np.ones(3),
    }
    np.savez(tmp_path / "data.npz", **given)
    dataset = npz(str(tmp_path / "data.npz"), **OPTIONS)
    np.testing.assert_array_equal(dataset.validation.images, saved["x_test"] // 2)
    assert "arrays that are not used: weights" in caplog.text


def svhn(path, count, seed):
    """A file as http://ufldl.stanford.edu/housenumbers has it: 10 stands for the digit 0."""
    rng = np.random.default_rng(seed)
    images, digits = rng.integers(0, 256, (count, 32, 32, 3), np.uint8), np.arange(count) % 10
    labels = np.where(digits == 0, 10, digits).astype(np.uint8)[:, None]
    scipy.io.savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": labels}, do_compression=True)
    return images, digits


def test_svhn(tmp_path, caplog):
    images, digits = svhn(tmp_path / "train_32x32.mat", 50, 0)
    alone = npz(str(tmp_path / "train_32x32.mat"), **OPTIONS)
    assert (len(alone.train), len(alone.test)) == (40, 10)
    test_images, test_digits = svhn(tmp_path / "test_32x32.mat", 30, 1)
    dataset = npz(str(tmp_path / "train_32x32.mat"), **OPTIONS)
    np.testing.assert_array_equal(dataset.train.images, images)
    np.testing.assert_array_equal(dataset.train.labels, digits)
    np.testing.assert_array_equal(dataset.test.images, test_images)
    np.testing.assert_array_equal(dataset.test.labels, test_digits)
    assert dataset.class_names == list("0123456789")


def test_a_mat_with_the_names_of_an_npz(tmp_path):
    saved = arrays()
    scipy.io.savemat(tmp_path / "data.mat", {name: saved[name].astype(np.uint8) for name in saved})
    with pytest.raises(UserError, match=r"y_train is uint8 \(1, 40\)"):  # MATLAB knows no vectors
        npz(str(tmp_path / "data.mat"), **OPTIONS)
    scipy.io.savemat(tmp_path / "data.mat", saved, oned_as="column")
    np.testing.assert_array_equal(npz(str(tmp_path / "data.mat"), **OPTIONS).train.images, saved["x_train"])


def test_files_of_other_kinds_say_what_is_expected(tmp_path):
    (tmp_path / "a.csv").write_text("label,pixel0\n1,0\n")
    photograph(tmp_path / "a.png", 100)
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"x_train": 1}))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x_train"] = np.zeros(3)
    for name in ("a.csv", "a.png", "a.npy", "a.pkl", "a.h5"):
        with pytest.raises(UserError) as refused:
            npz(str(tmp_path / name), **OPTIONS)
        assert str(refused.value) == (
            f"data.file={tmp_path / name} is not an .npz; "
            "expected an .npz with x_train and y_train, or a .mat of MATLAB"
        )
    with pytest.raises(UserError, match="is a folder; .*data=image_folder"):
        npz(str(tmp_path), **OPTIONS)


def test_a_mat_that_cannot_be_read(tmp_path):
    with h5py.File(tmp_path / "new.mat", "w", userblock_size=512) as file:
        file["X"] = np.zeros(3)
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    with (tmp_path / "new.mat").open("r+b") as file:
        file.write(header)
    with pytest.raises(UserError, match="MATLAB 7.3, which is HDF5; save it with -v7"):
        npz(str(tmp_path / "new.mat"), **OPTIONS)
    (tmp_path / "text.mat").write_bytes(b"text" * 100)
    with pytest.raises(UserError, match="text.mat: not a .mat that can be read"):
        npz(str(tmp_path / "text.mat"), **OPTIONS)
    scipy.io.savemat(tmp_path / "odd.mat", {"X": np.zeros((3, 3)), "y": np.ones(3)})
    with pytest.raises(UserError, match=r"expected X of \(H, W, C, N\)"):
        npz(str(tmp_path / "odd.mat"), **OPTIONS)


@pytest.mark.parametrize("damage", ["missing", "text", "short", "flipped", "npy"])
def test_damaged_npz(damage, tmp_path):
    path = tmp_path / "data.npz"
    np.savez_compressed(path, **arrays())
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "npy":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    else:
        middle = len(whole) // 4
        flipped = whole[:middle] + bytes(255 - b for b in whole[middle : middle + 99]) + whole[middle + 99 :]
        path.write_bytes({"text": b"text", "short": whole[:500], "flipped": flipped}[damage])
    with pytest.raises(UserError, match="data.npz"):
        npz(str(path), **OPTIONS)


# Made up


@pytest.mark.parametrize("image_size", [32, [7, 5]])
@pytest.mark.parametrize("channels", [1, 3])
def test_synthetic_can_be_learned(image_size, channels):
    make = {"image_size": image_size, "channels": channels, "classes": 7, "train_images": 300}
    dataset, again, other = (synthetic(**make, **OPTIONS | {"seed": seed}) for seed in (1, 1, 2))
    assert dataset.num_classes == 7
    assert dataset.image_shape == (*np.broadcast_to(image_size, 2), channels)
    assert np.ptp(np.bincount(dataset.train.labels)) <= 1
    np.testing.assert_array_equal(dataset.train.images, again.train.images)
    assert np.any(dataset.train.images != other.train.images)
    train, test = (split.images.reshape(len(split), -1) / 255 for split in (dataset.train, dataset.test))
    learner = NearestCentroid().fit(train, dataset.train.labels)
    assert learner.score(test, dataset.test.labels) > 0.8


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (np.zeros((4, 8, 8, 3), np.float32), np.zeros(4, np.int32), "float32 .* gives uint8"),
        (np.zeros((4, 8, 8), np.uint8), np.zeros(4, np.int32), r"uint8 \(4, 8, 8\)"),
        (np.zeros((4, 8, 8, 3), np.uint8), np.zeros((4, 1), np.int32), "one label per image"),
        (np.zeros((4, 8, 8, 3), np.uint8), np.zeros(4, np.float32), "labels are float32; .* integers"),
    ],
)
def test_a_source_gives_what_a_split_holds(images, labels, words):
    with pytest.raises(UserError, match=words):
        make_dataset(Split(images, labels), None, ["a", "b"], test_split=0.5)


@pytest.mark.parametrize("kind", [np.int64, np.uint8])
def test_labels_of_any_integers(kind):
    split = Split(np.zeros((4, 8, 8, 3), np.uint8), np.arange(8, dtype=kind)[::2] % 3)
    assert (split.labels.dtype, split.labels.tolist()) == (np.int32, [0, 2, 1, 0])
    assert split.checksum == Split(split.images, np.array([0, 2, 1, 0], np.int32)).checksum


@pytest.mark.parametrize("labels", [[1, 2, 1, 2], [0, 1, 0, -1]])
def test_labels_are_numbers_of_the_classes(labels):
    split = Split(np.arange(4 * 48, dtype=np.uint8).reshape(4, 4, 4, 3), np.array(labels))
    with pytest.raises(UserError, match="labels of training images are .*; with 2 class names"):
        make_dataset(split, None, ["a", "b"], test_split=0.5)
    normalization = measure(split, "channel")
    with pytest.raises(UserError, match="labels of train images"):
        Dataset(split, split, ["a", "b"], normalization)


def test_the_parts_of_a_dataset_are_alike_and_not_empty():
    whole = digits(validation_split=0.0)
    with pytest.raises(UserError, match="there are no test images"):
        replace(whole, test=whole.test.take(np.arange(0)))
    small = Split(whole.test.images[:, ::2, ::2], whole.test.labels)
    with pytest.raises(UserError, match=r"test images are \(16, 16, 3\), training images \(32, 32, 3\)"):
        replace(whole, test=small)


def test_some_of_the_classes_in_the_order_they_are_given():
    whole, some = digits(validation_split=0.0), digits(validation_split=0.0, classes=["8", 3])
    assert some.class_names == ["8", "3"]
    for part, all_of_it in ((some.train, whole.train), (some.test, whole.test)):
        wanted = np.isin(all_of_it.labels, [3, 8])
        np.testing.assert_array_equal(part.images, all_of_it.images[wanted])
        np.testing.assert_array_equal(part.labels, all_of_it.labels[wanted] == 3)
        assert part.labels.dtype == np.int32
    np.testing.assert_allclose(some.normalization.mean, some.train.images.mean(0) / 255, rtol=1e-5)
    assert np.bincount(
        digits(classes=["8", "3"], train_size=40, validation_split=0.0).train.labels
    ).tolist() == [20, 20]
    for classes, words in (
        (["8", "ten"], "ten is not there; the classes are 0, 1"),
        (["8", "8"], "8 stands twice"),
    ):
        with pytest.raises(UserError, match=f"data.classes: {words}"):
            digits(classes=classes)
