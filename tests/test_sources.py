"""Data sets that others publish, read from files in their layouts."""

import gzip
import hashlib
import json
import stat
import sys
import zipfile

import numpy as np
import pytest

import resnet
from resnet import data
from resnet.cli.assembly import parts_of, trainer_of
from resnet.data import archive, cinic10, imagenet, mnist, stl10, svhn, tfds, tiny_imagenet
from resnet.data.cifar10_c import CORRUPTIONS, errors
from resnet.data.cinic10 import CLASSES
from resnet.errors import UserError
from tests import sources
from tests.entry_point import run, train
from tests.test_conf import composed

OPTIONS = {"validation_split": 0.0, "seed": 1, "memory": "resident"}


def assert_read(found, made, tolerance=0):
    """The made pictures of each class, in whatever order, to the last bit; or their mean, nearly."""
    for part in ("train", "test"):
        for label in range(10):
            one, other = (
                split.images[split.labels == label] for split in (getattr(found, part), getattr(made, part))
            )
            assert one.dtype == np.uint8 and one.shape == other.shape
            if tolerance:
                assert abs(one.mean(0) - other.mean(0)).max() < tolerance
            else:
                assert sorted(image.tobytes() for image in one) == sorted(image.tobytes() for image in other)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "svhn", "stl10", "cinic10"])
def test_read_to_the_last_bit(name, tmp_path):
    made = sources.MAKERS[name](tmp_path)
    found = getattr(data, name)(str(tmp_path), **OPTIONS)
    assert_read(found, made)
    assert found.num_classes == 10
    if name == "cinic10":
        assert len(found.validation) == sources.TEST
        assert found.class_names == CLASSES
        assert found.test.name(0) == "test/airplane/" + min(
            path.name for path in (tmp_path / "CINIC-10" / "test" / "airplane").iterdir()
        )
    else:
        assert not found.original()


def test_extra_digits_of_svhn(tmp_path):
    sources.svhn(tmp_path)
    assert len(svhn(str(tmp_path), extra=True, **OPTIONS).train) == sources.TRAIN + sources.TEST


def test_tiny_imagenet(tmp_path):
    made = sources.tiny_imagenet(tmp_path)
    found = tiny_imagenet(str(tmp_path), **OPTIONS)
    assert_read(found, made, tolerance=8)  # of JPEG
    assert found.class_names == sources.NAMES
    (tmp_path / "tiny-imagenet-200" / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn1\t0\n")
    with pytest.raises(UserError, match="val_0.JPEG is of n1, which wnids.txt does not name"):
        tiny_imagenet(str(tmp_path), **OPTIONS)


@pytest.mark.parametrize("kind", ["folders", "kaggle", "devkit"])
def test_imagenet(kind, tmp_path):
    made = sources.imagenet(tmp_path, kind)
    found = imagenet(str(tmp_path), image_size=40, **OPTIONS)
    assert_read(found, made, tolerance=8)
    assert found.class_names == (sources.WNIDS if kind == "folders" else sources.NAMES)
    if kind == "kaggle":
        again = imagenet(str(tmp_path / "ILSVRC"), image_size=40, **OPTIONS)
        assert (again.test.checksum, again.class_names) == (found.test.checksum, sources.NAMES)
        (tmp_path / "LOC_val_solution.csv").unlink()
        with pytest.raises(UserError, match="have no labels; expected train/ .* ILSVRC2012_devkit_t12"):
            imagenet(str(tmp_path), image_size=40, **OPTIONS)
    if kind == "devkit":
        (tmp_path / "val" / "ILSVRC2012_val_00000000.JPEG").unlink()
        with pytest.raises(UserError, match="110 labels, and val/ has 109 pictures"):
            imagenet(str(tmp_path), image_size=40, **OPTIONS)


def test_no_imagenet(tmp_path):
    with pytest.raises(UserError, match=f"data.dir={tmp_path}: there is no train/"):
        imagenet(str(tmp_path), **OPTIONS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip", "cannot be read"),
        (gzip.compress(bytes([0, 0, 8, 3, 0])), "not a file of bytes in 3 dimensions"),
        (gzip.compress(bytes([0, 0, 13, 3]) + bytes(12)), "not a file of bytes in 3 dimensions"),
        (gzip.compress(bytes([0, 0, 8, 3]) + bytes(12)), "0 images, and .* has 300 labels"),
    ],
)
def test_damaged_files_of_mnist(content, message, tmp_path):
    sources.mnist(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(UserError, match=f"train-images-idx3-ubyte.gz.*{message}"):
        mnist(str(tmp_path), **OPTIONS)


def test_damaged_files_of_stl10(tmp_path):
    sources.stl10(tmp_path)
    path = tmp_path / "stl10_binary" / "test_X.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"test_X.bin and test_y.bin do not match"):
        stl10(str(tmp_path), **OPTIONS)
    path.unlink()
    with pytest.raises(UserError, match=r"test_X.bin cannot be read"):
        stl10(str(tmp_path), **OPTIONS)


@pytest.mark.parametrize(
    "name", ["tiny-imagenet-200.zip", "CINIC-10.tar.gz", "stl10_binary.tar.gz", "CIFAR-10-C.tar"]
)
def test_another_archive_is_refused(name, tmp_path):
    of = {"t": tiny_imagenet, "C": cinic10, "s": stl10, "CI": data.cifar10_c}
    (tmp_path / name).write_bytes(b"another")
    with pytest.raises(UserError, match=rf"(?s){name} \(7 bytes\) is damaged: (MD5|SHA-256) .*expected"):
        of["CI" if name.startswith("CIFAR") else name[0]](str(tmp_path), **OPTIONS)


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as file:
        for name, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            file.writestr(info, "text")
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def test_folders_in_a_zip_are_unpacked(tmp_path):
    members = [("x/inner/", stat.S_IFDIR), ("x/inner/file", stat.S_IFREG), ("x/other", stat.S_IFREG)]
    md5 = zipped(tmp_path / "a.zip", [(n, m) for n, m in members if not n.endswith("/")])
    archive.unpack(tmp_path / "a.zip", "x", tmp_path / "out", md5)
    assert (tmp_path / "out" / "x" / "inner" / "file").read_text() == "text"
    archive.unpack(tmp_path / "a.zip", "y", tmp_path / "out", md5, bare=True)
    assert (tmp_path / "out" / "y" / "x" / "other").read_text() == "text"


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("../climbed", stat.S_IFREG),
        ("x/../../climbed", stat.S_IFREG),
        ("/climbed", stat.S_IFREG),
        ("x\\..\\..\\climbed", stat.S_IFREG),
        ("x/climbed", stat.S_IFLNK),
    ],
)
@pytest.mark.parametrize("bare", [False, True])
def test_a_zip_that_climbs_out_is_refused(name, mode, bare, tmp_path):
    md5 = zipped(tmp_path / "a.zip", [(name, mode)])
    with pytest.raises(UserError, match="is not a file in x"):
        archive.unpack(tmp_path / "a.zip", "x", tmp_path / "out", md5, bare)
    assert not list(tmp_path.rglob("climbed"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A set of TensorFlow Datasets, of made pictures of several sizes."""
    tensorflow_datasets = pytest.importorskip("tensorflow_datasets")

    class MadeBlobs(tensorflow_datasets.core.GeneratorBasedBuilder):
        VERSION = tensorflow_datasets.core.Version("1.0.0")

        def _info(self):
            kinds = tensorflow_datasets.features
            features = {"image": kinds.Image(), "label": kinds.ClassLabel(names=["dark", "bright"])}
            return self.dataset_info_from_configs(features=kinds.FeaturesDict(features))

        def _split_generators(self, manager):
            return {"train": self._generate_examples(60), "validation": self._generate_examples(20)}

        def _generate_examples(self, count):
            for i in range(count):
                pixels = np.full((20 + i, 30, 3), 40 + 150 * (i % 2) + i % 20, np.uint8)
                yield i, {"image": pixels, "label": i % 2}

    return tmp_path_factory.mktemp("prepared")


def test_a_set_of_tensorflow_datasets(prepared):
    found = tfds("made_blobs", str(prepared), image_size=12, **OPTIONS)
    assert found.class_names == ["dark", "bright"]
    assert (len(found.train), len(found.test), found.image_shape) == (60, 20, (12, 12, 3))
    for split in (found.train, found.test):
        levels = split.images.mean((1, 2, 3))
        np.testing.assert_array_equal(levels > 100, split.labels == 1)
        assert len(np.unique(levels)) == 20
    streamed = tfds(
        "made_blobs",
        str(prepared),
        image_size=12,
        **OPTIONS | {"memory": "streamed", "shards": str(prepared)},
    )
    assert streamed.train.checksum == found.train.checksum


def test_no_such_set_of_tensorflow_datasets(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(UserError, match="data.name=no_such_set: TensorFlow Datasets: "):
        tfds("no_such_set", str(tmp_path), **OPTIONS)


def test_tensorflow_datasets_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(UserError, match="pip install"):
        tfds("beans", **OPTIONS)


def corrupted(root, names, each=4):
    """CIFAR-10-C's layout with `each` pictures a severity; those of severity s are of level 50 s."""
    folder = root / "CIFAR-10-C"
    folder.mkdir()
    labels = np.tile(np.arange(each), 5)
    np.save(folder / "labels.npy", labels.astype(np.uint8))
    for i, name in enumerate(names):
        images = np.repeat(50 * np.arange(1, 6), each)[:, None, None, None] + labels[:, None, None, None] + i
        np.save(folder / f"{name}.npy", np.broadcast_to(images, (5 * each, 32, 32, 3)).astype(np.uint8))
    return folder


def test_corrupted_pictures(tmp_path):
    folder = corrupted(tmp_path, CORRUPTIONS[:2])
    dataset = data.cifar10_c(str(tmp_path), CORRUPTIONS[:2], **OPTIONS)
    assert len(dataset.test) == 40
    assert dataset.test.labels.tolist() == [0, 1, 2, 3] * 10
    assert dataset.test.images[[0, 39], 5, 5, 0].tolist() == [50, 250 + 3 + 1]
    assert dataset.test.name(25) == "shot_noise 2 1"
    assert dataset.condition("shot_noise 2 1") == ("shot_noise", 2)
    np.save(folder / "shot_noise.npy", np.zeros((3, 32, 32, 3), np.uint8))
    with pytest.raises(UserError, match=r"shot_noise.npy: uint8 \(3, 32, 32, 3\); expected uint8 \(20, "):
        data.cifar10_c(str(tmp_path), CORRUPTIONS[:2], **OPTIONS)


def test_the_mean_corruption_error():
    """Of a: 1/2 and 1, of b: 0; their mean is (3/4 + 0) / 2."""
    conditions = [("a", 1), ("a", 1), ("a", 2), ("b", 1)]
    found = errors(np.array([True, False, False, True]), conditions)
    assert found["mean_corruption_error"] == 0.375
    assert found["corruptions"] == {"a": {"1": 0.5, "2": 1.0}, "b": {"1": 0.0}}


@pytest.mark.slow
def test_a_run_is_scored_under_corruptions(tmp_path):
    sources.cinic(tmp_path)
    of = ("data=cinic10", f"data.dir={tmp_path}", "data.train_size=100", "data.test_size=50", "model.depth=8")
    done = train(*of, "trainer.max_steps=1", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    corrupted(tmp_path, CORRUPTIONS)
    options = ("run=run", "data=cifar10_c", f"data.dir={tmp_path}", "output=out")
    done = run("evaluate.py", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert report["images"] == 15 * 20
    assert list(report["corruptions"]) == list(CORRUPTIONS)
    # As many pictures in each severity: the mean of their errors is that of all.
    assert report["mean_corruption_error"] == pytest.approx(1 - report["accuracy"])
    assert f"mean corruption error {report['mean_corruption_error']:.2%}" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["paper_imagenet", "imagenet_a3"])
def test_recipes_of_imagenet_run(experiment, tmp_path):
    sources.imagenet(tmp_path, "devkit", size=48)
    of = (
        f"data.dir={tmp_path}",
        f"data.shards={tmp_path}",
        "data.image_size=40",
        "data.validation_split=0.1",
    )
    fewer = ("model.depth=18", "trainer.batch_size=20", "trainer.max_steps=3", "trainer.precision=float32")
    config = composed(f"experiment={experiment}", *of, *fewer)
    trainer = trainer_of(config, None)
    parts = parts_of(config, trainer) | {"callbacks": {}}
    assert parts["dataset"].train.originals
    (record,) = resnet.fit(**parts, trainer=trainer).history
    assert record["step"] == 3
    assert np.isfinite(record["train"]["loss"])
