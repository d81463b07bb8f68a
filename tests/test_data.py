import io
import os
import pickle
import tarfile

import numpy as np
import pytest

from resnet.data import archive, cifar, cifar10, digits, safe_pickle
from resnet.errors import UserError

OPTIONS = {
    "train_size": None,
    "test_size": None,
    "validation_split": 0.0,
    "normalization": "pixel_mean",
    "seed": 1,
}


def write_official_layout(folder, images=20):
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in (*cifar.TRAIN_FILES, cifar.TEST_FILE):
        batch = {
            b"data": rng.integers(0, 256, (images, 3072), np.uint8),
            b"labels": [i % 10 for i in range(images)],
        }
        (folder / name).write_bytes(pickle.dumps(batch, 2))
    names = {b"label_names": [f"class{i}".encode() for i in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(names, 2))


@pytest.fixture
def layout(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "BATCH", 20)
    write_official_layout(tmp_path / cifar.FOLDER)
    return tmp_path


def test_official_layout_by_folder_or_parent(layout):
    for path in (layout, layout / cifar.FOLDER):
        dataset = cifar10(str(path), **OPTIONS)
        assert dataset.train.images.shape == (100, 32, 32, 3)
        assert dataset.class_names[3] == "class3"


def test_pixels_are_read_as_planes(layout):
    raw = safe_pickle.load(layout / cifar.FOLDER / "data_batch_1")[b"data"][0]
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
    path = layout / cifar.FOLDER / "data_batch_2"
    batch = safe_pickle.load(path)
    if damage == "missing":
        path.unlink()
    elif damage == "short":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        batch[b"data"] = batch[b"data"][:5] if damage == "shape" else batch[b"data"]
        batch[b"labels"] = [11] * 20 if damage == "labels" else batch[b"labels"]
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
    import hashlib

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


def test_wrong_hash_names_the_file_and_the_cure(tmp_path):
    make_archive(tmp_path / cifar.ARCHIVE, "x")
    with pytest.raises(UserError, match="data=digits"):
        cifar.locate(tmp_path)


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
