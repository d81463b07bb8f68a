"""evaluate.py and predict.py on a finished run, as a user starts them."""

import json

import numpy as np
import pytest
from PIL import Image

import resnet
from resnet.data import digits
from resnet.errors import UserError
from resnet.run.callbacks import Checkpoints, MetricsCsv
from resnet.run.trained import read_image
from tests.entry_point import TINY, result, run, train

CLASSES = [str(i) for i in range(10)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("finished")
    options = "trainer.epochs=3", "data.normalization=channel"
    done = train(*TINY, *options, "hydra.run.dir=run", cwd=directory)
    assert done.returncode == 0, done.stderr
    return directory


@pytest.mark.slow
def test_evaluation_says_what_the_run_said(finished):
    done = run("evaluate.py", "run=run", cwd=finished)
    assert done.returncode == 0, done.stderr
    (output,) = (finished / "run" / "evaluations").iterdir()
    report = json.loads((output / "evaluation.json").read_text())
    assert report["loss"] == pytest.approx(result(finished / "run")["test"]["loss"], rel=1e-4)
    assert report["accuracy"] == pytest.approx(result(finished / "run")["test"]["accuracy"])
    assert report["images"] == 50
    assert f"accuracy {report['accuracy']:.2%}" in done.stdout
    assert {path.name for path in output.iterdir()} == {"evaluation.json", "confusion.png", "mistakes.png"}


@pytest.mark.slow
def test_evaluation_on_changed_data_with_flips(finished):
    changes = "+data.test_size=null", "+data.train_size=500", "views=2", "output=elsewhere"
    done = run("evaluate.py", "run=run", *changes, cwd=finished)
    assert done.returncode == 0, done.stderr
    report = json.loads((finished / "elsewhere" / "evaluation.json").read_text())
    assert (report["images"], report["views"], report["data"]["train_size"]) == (360, 2, 500)


@pytest.mark.slow
def test_predictions_of_any_format_and_one_line_for_what_is_no_picture(finished):
    pictures = finished / "pictures"
    pictures.mkdir()
    image = digits(
        train_size=None, test_size=None, validation_split=0.0, normalization="channel", seed=1
    ).test.images[0]
    Image.fromarray(image).save(pictures / "a.png")
    Image.fromarray(image).resize((300, 200)).save(pictures / "b.jpg")
    Image.fromarray(image).convert("P").save(pictures / "c.gif")
    (pictures / "notes.txt").write_text("not a picture")
    done = run("predict.py", "run=run", "images=[pictures,pictures/*.png]", cwd=finished)
    assert done.returncode == 1
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0].rpartition("/")[2] for row in rows] == ["a.png", "b.jpg", "c.gif"]
    assert all(row[1] in CLASSES and row[2].endswith("%") for row in rows)
    complaints = [line for line in done.stderr.splitlines() if "notes.txt" in line]
    assert len(complaints) == 1
    assert "not a picture" in complaints[0]


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        ("evaluate.py", [], ["run is missing", "run=DIR"]),
        ("evaluate.py", ["run=nowhere"], ["run=nowhere", "there is no run"]),
        ("evaluate.py", ["run=begun"], ["run=begun", "not finished"]),
        ("evaluate.py", ["run=begun", "view=2"], ["did you mean views?"]),
        ("predict.py", ["run=nowhere", "images=a.png"], ["run=nowhere"]),
    ],
)
def test_bad_arguments_end_in_two_lines(script, arguments, words, tmp_path):
    (tmp_path / "begun" / ".hydra").mkdir(parents=True)
    (tmp_path / "begun" / ".hydra" / "config.yaml").write_text("seed: 1\n")
    done = run(script, *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) <= 2, done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["begun"]


COLOURS = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)


def read(image, tmp_path, shape=(8, 8, 3), name="a.png", **options):
    image.save(tmp_path / name, **options)
    return read_image(tmp_path / name, shape, {})


def test_a_picture_of_the_right_size_stays_as_it_is(tmp_path):
    np.testing.assert_array_equal(read(Image.fromarray(COLOURS), tmp_path), COLOURS)


def test_16_bits_keep_their_upper_byte(tmp_path):
    deep = COLOURS[..., :1].astype(np.uint16) * 257
    np.testing.assert_array_equal(read(Image.fromarray(deep[..., 0]), tmp_path, (8, 8, 1)), COLOURS[..., :1])


def test_transparency_is_white(tmp_path):
    clear = np.concatenate([COLOURS, np.zeros((8, 8, 1), np.uint8)], -1)
    assert (read(Image.fromarray(clear), tmp_path) == 255).all()


def test_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3  # stored upside down
    found = read(Image.fromarray(COLOURS), tmp_path, exif=exif)
    np.testing.assert_array_equal(found, COLOURS[::-1, ::-1])


@pytest.mark.parametrize("shape", [(5, 9, 3), (16, 16, 1)])
def test_resized_to_what_the_network_takes(shape, tmp_path):
    assert read(Image.new("CMYK", (40, 30)), tmp_path, shape, "a.jpg").shape == shape


def test_the_middle_is_seen_as_in_the_runs_test_pictures(tmp_path):
    pixels = np.full((32, 48, 3), 255, np.uint8)
    pixels[8:24, 16:32] = 7
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", (16, 16, 3), {"test_crop": 0.5}), 7)


def test_truncated_picture(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:2000])
    with pytest.raises(UserError, match=r"a\.png: not a picture"):
        read_image(tmp_path / "a.png", (8, 8, 3), {})


@pytest.mark.slow
def test_a_run_from_python_is_scored_on_data_that_are_given_and_compared(tmp_path):
    dataset = digits(train_size=60, test_size=20)
    with resnet.Run(tmp_path / "run") as training:
        model = resnet.models.resnet_v1(dataset.image_shape, 10, depth=8)
        kept = [MetricsCsv(), Checkpoints()]
        resnet.fit(model, dataset, epochs=1, callbacks=kept, run=training, seed=7)
    done = run("evaluate.py", "run=run", cwd=tmp_path)
    assert done.returncode == 1
    assert "run=run: trained from Python, it does not say on which data; give them whole" in done.stderr
    done = run("evaluate.py", "run=run", "data=digits", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "test images: accuracy" in done.stdout
    done = run("compare.py", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "finished" in done.stdout


@pytest.mark.slow
def test_a_network_is_scored_at_another_size_where_that_is_asked_for(tmp_path):
    data = ["data=synthetic", "data.image_size=12", "data.train_images=40", "data.test_images=20"]
    data += ["data.normalization=channel", "data.validation_split=0", "trainer.plateau=null"]
    done = train(*data, "model.depth=8", "trainer.epochs=1", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run("evaluate.py", "run=run", "+data.image_size=16", cwd=tmp_path)
    assert done.returncode == 1  # they are drawn anew
    assert "not the pictures that the run read" in done.stderr
    larger = (*data[:-1], "data.image_size=16")
    done = run("evaluate.py", "run=run", *larger, "output=larger", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "larger" / "evaluation.json").read_text())["data"]["image_size"] == 16
