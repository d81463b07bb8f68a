import hashlib
import inspect
import io
import logging
import os
import pickle
import tarfile

import numpy as np
import pytest
from hydra.utils import instantiate
from keras.src.datasets import cifar10 as keras_cifar10
from keras.src.datasets import cifar100 as keras_cifar100
from PIL import Image
from sklearn.neighbors import NearestCentroid

from resnet.cli.command import command
from resnet.data import archive, cifar, cifar10, cifar100, digits, image_folder, npz, safe_pickle, synthetic
from resnet.data.image_folder import read_picture
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
    """As the official archive, but for 100 images a training file and 100 test images."""
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


def test_impossible_size():
    with pytest.raises(UserError, match="data.train_size"):
        digits(**OPTIONS | {"train_size": 10_000})


# A folder a class


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


def test_pictures_lie_as_their_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    photograph(tmp_path / "turned.jpg", 100, (64, 64), exif=exif)
    image = read_picture(tmp_path / "turned.jpg", 16, 1, "crop").astype(int)
    assert image[-1].mean() - image[0].mean() > 10
    assert np.ptp(image[8]) < 5


def test_sixteen_bits_become_eight(tmp_path):
    Image.fromarray(np.full((8, 8), 30_000, np.uint16)).save(tmp_path / "deep.png")
    image = read_picture(tmp_path / "deep.png", 8, 3, "crop")
    np.testing.assert_array_equal(image, 30_000 // 257)


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
        (train_alone, "train/ alone"),
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
    node = {"_target_": "resnet.data.image_folder", "dir": str(tmp_path / "none"), **OPTIONS}
    with pytest.raises(SystemExit):
        command(lambda: instantiate(node))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"data.dir={tmp_path / 'none'} is not there; expected a folder that holds a folder for each class"
    ]


def test_too_few_pictures_to_split(tmp_path):
    photograph(tmp_path / "a" / "0.png", 10)
    for i in range(9):
        photograph(tmp_path / "b" / f"{i}.png", 200)
    with pytest.raises(UserError, match="class 0 has one image"):
        image_folder(str(tmp_path), **OPTIONS)
    with pytest.raises(UserError, match="data.test_split: 1 of 10 .* 2 to 8 can"):
        image_folder(str(tmp_path), test_split=0.1, **OPTIONS)


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
    ],
)
def test_npz_of_another_kind(changes, words, tmp_path):
    np.savez(tmp_path / "data.npz", **arrays(**changes))
    with pytest.raises(UserError, match=words):
        npz(str(tmp_path / "data.npz"), **OPTIONS)


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
