"""A finished network as files of other programs: they are compared as a user would, in their own runtimes."""

import json
import re
import shutil
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import yaml
from PIL import Image

import resnet
from resnet.data import digits
from resnet.errors import ConfigError, UserError
from resnet.export import FORMATS, check, export, formats
from resnet.export.card import code
from resnet.models import repeat, resnet_v1, resnet_v2, unstack
from resnet.models.stacking import written_out
from resnet.report import evaluation
from resnet.run.directory import RunDirectory
from tests.entry_point import run as start

SCALES = {"train_size": 200, "test_size": 100, "seed": 1}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Looped stages with gates and attention, whose loops are real ones; and its data."""
    folder, data = tmp_path_factory.mktemp("export") / "run", digits(**SCALES)
    keras.utils.set_random_seed(1)
    few, repeat.FEW_BLOCKS = repeat.FEW_BLOCKS, 0
    try:
        model = resnet_v1(
            data.image_shape, 10, depth=14, bn_momentum=0.8, attention="se", survival=0.8, shortcut="identity"
        )
        with resnet.Run(folder) as run:
            resnet.fit(model, data, callbacks={}, run=run, epochs=4, batch_size=20)
    finally:
        repeat.FEW_BLOCKS = few
    return RunDirectory(folder), data


def exported(finished, output, *names):
    run, data = finished
    return export(run, resnet.load(run.path), names, data.train, data.test, output)


@pytest.mark.parametrize("build", [resnet_v1, resnet_v2])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_written_out_it_is_the_same_network_in_float32(build, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = build((16, 16, 3), 5, depth=29 if build is resnet_v2 else 20)
    finally:
        keras.config.set_dtype_policy(before)
    copy = written_out(model)
    assert not any(isinstance(layer, repeat.Repeat) for layer in copy.layers)
    assert {layer.compute_dtype for layer in copy.layers} == {"float32"}
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    expected = model(images).numpy()
    tolerance = 1e-5 if policy == "float32" else 0.05
    np.testing.assert_allclose(copy(images), expected, atol=tolerance * np.abs(expected).max())
    assert unstack(copy).keys() == unstack(model).keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_a_stranger_runs_the_file_by_the_script_of_its_card(name, finished, tmp_path):
    """In a process that knows nothing of this package."""
    for package in FORMATS[name].packages:
        pytest.importorskip(package)
    run, data = finished
    (shipped,) = exported(finished, tmp_path / "out", name)
    network = resnet.load(run.path)
    expected = evaluation.predict(network.model, data.test.images, network.preprocessing)
    assert shipped.accuracy == pytest.approx((expected.argmax(1) == data.test.labels).mean(), abs=0.1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        ["README.md", FORMATS[name].file]
    )
    text = (tmp_path / "out" / "README.md").read_text()
    assert f"{shipped.accuracy:.2%}" in text and "95% interval" in text and FORMATS[name].file in text
    if name == "litert_int8":
        assert shipped.bytes < 300_000 < 4 * sum(w.size for w in unstack(network.model).values())
        return
    assert shipped.apart < 1e-4
    Image.fromarray(data.test.images[0]).save(tmp_path / "out" / "picture.png")
    script = code(name, network.image_shape)
    assert script in text
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], cwd=tmp_path / "out", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    said, probability = done.stdout.split()[-2:]
    assert said == data.class_names[expected[0].argmax()]
    assert float(probability) == pytest.approx(expected[0].max(), abs=1e-4)


WIDE = np.kron(np.random.default_rng(0).integers(0, 256, (4, 20, 4)), np.ones((10, 10, 1))).astype(np.uint8)
TURNED = Image.Exif()
TURNED[0x0112] = 6  # Orientation: to be turned by 90 degrees
PICTURES = {
    "wide.png": (WIDE[..., :3], {"format": "PNG"}),
    "turned.jpg": (np.kron(WIDE[..., :3], np.ones((2, 2, 1), np.uint8)), {"format": "JPEG", "exif": TURNED}),
    "transparent.png": (WIDE, {"format": "PNG"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("data", [{}, {"resize": "stretch"}, {"test_crop": 0.6}])
def test_the_script_of_a_card_reads_a_picture_as_predict_does(data, finished, tmp_path, monkeypatch, capsys):
    """Of another shape, lying on its side, transparent; by the options of the run's data."""
    pytest.importorskip("tf2onnx")
    shutil.copytree(finished[0].path, tmp_path / "run")
    (tmp_path / "run" / ".hydra" / "config.yaml").write_text(yaml.safe_dump({"data": data}))
    exported((RunDirectory(tmp_path / "run"), finished[1]), tmp_path / "out", "onnx")
    (script,) = re.findall(r"```python\n(.*?)```", (tmp_path / "out" / "README.md").read_text(), re.DOTALL)
    for name, (pixels, options) in PICTURES.items():
        Image.fromarray(pixels).save(tmp_path / name, **options)
    predicted = start("predict.py", "run=run", f"images=[{','.join(PICTURES)}]", cwd=tmp_path)
    assert predicted.returncode == 0, predicted.stderr
    monkeypatch.chdir(tmp_path / "out")
    for name, line in zip(PICTURES, predicted.stdout.splitlines(), strict=True):
        shutil.copy(tmp_path / name, "picture.png")
        exec(script, {})
        said, probability = capsys.readouterr().out.split()
        assert line.split() == [name, said, f"{float(probability):.2%}"]


@pytest.mark.slow
def test_what_is_another_network_leaves_nothing(finished, tmp_path, monkeypatch):
    def forged(serving, path, calibration):
        import tensorflow as tf

        module = tf.Module()
        other = resnet_v1(serving.image_shape, 10, depth=8)

        @tf.function(input_signature=serving.function.input_signature)
        def serve(images):
            logits = other(serving.preprocessing.inference(images), training=False)
            return {"class_names": tf.constant(serving.class_names), "probabilities": tf.nn.softmax(logits)}

        module.serve, module.other = serve, other
        tf.saved_model.save(module, str(path), signatures=serve)

    monkeypatch.setitem(formats.FORMATS, "saved_model", FORMATS["saved_model"]._replace(write=forged))
    with pytest.raises(UserError, match="format=saved_model: what was written is another network"):
        exported(finished, tmp_path / "out", "saved_model")
    assert not list(tmp_path.iterdir())
    broken = FORMATS["saved_model"]._replace(write=lambda serving, path, calibration: path.mkdir())
    monkeypatch.setitem(formats.FORMATS, "saved_model", broken)
    with pytest.raises(UserError, match="format=saved_model: what was written does not run"):
        exported(finished, tmp_path / "out", "saved_model")
    assert not list(tmp_path.iterdir())


def test_names_lie_in_the_file_of_litert(finished, tmp_path):
    pytest.importorskip("ai_edge_litert")
    exported(finished, tmp_path / "out", "litert")
    with zipfile.ZipFile(tmp_path / "out" / "model.tflite") as archive:
        assert archive.read("labels.txt").decode().split() == [str(i) for i in range(10)]


def test_a_format_that_cannot_be_is_named(monkeypatch):
    with pytest.raises(ConfigError, match="format=pickle: expected some of saved_model, onnx, litert"):
        check(["pickle"])
    with pytest.raises(ConfigError, match=r"format=\[\]: expected some of saved_model, onnx, litert"):
        check([])
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"format=onnx needs onnx, tf2onnx, onnxruntime: pip install"):
        check(["saved_model", "onnx"])


@pytest.mark.slow
def test_the_command_writes_what_it_prints(tmp_path):
    small = ("data=digits", "data.train_size=125", "data.test_size=50", "data.classes=[3,8]", "model.depth=8")
    done = start("train.py", *small, "trainer.epochs=1", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = start("export.py", "run=run", "format=saved_model", "output=out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "README.md, saved_model" in done.stdout and "| `saved_model` |" in done.stdout
    assert json.loads((tmp_path / "run" / "class_names.json").read_text()) == ["3", "8"]
    done = start("export.py", "run=run", "format=saved_model", "output=out", cwd=tmp_path)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        "output=out: it is there already; give another",
    )
