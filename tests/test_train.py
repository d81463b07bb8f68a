"""The entry point, as a user starts it."""

import csv
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from filelock import FileLock
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import resnet.models  # noqa: F401  registers the layers of saved models
from resnet.data import Normalization, synthetic
from resnet.data.picture import read_picture
from tests.entry_point import DRAWN, TINY, result, run, train

STEPS = "trainer.max_steps=3"
WHOLE = {"train_size": None, "test_size": None, "validation_split": 0.0, "normalization": "channel"}


def test_a_run_leaves_its_directory(tmp_path):
    done = train(*DRAWN, STEPS, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    assert result(run)["steps"] == 3
    assert re.search(r"test loss .* accuracy .*%", done.stdout)
    assert len(list(csv.DictReader((run / "metrics.csv").open()))) == 1
    assert {p.name for p in run.iterdir()} >= {".hydra", "train.log", "checkpoints", "summary.txt"}
    assert {"samples.png", "curves.png", "mistakes.png"} <= {p.name for p in run.iterdir()}
    keras.models.load_model(run / "model.keras")
    events = EventAccumulator(str(run / "tensorboard" / "test"))
    events.Reload()
    assert "accuracy" in events.Tags()["tensors"]


@pytest.mark.slow
def test_pictures_of_your_own(tmp_path):
    """From photographs in folders to a network, and to what it takes one of them for."""
    pictures = synthetic(40, classes=3, train_images=90, test_images=1, seed=1, **WHOLE).train
    for i, (image, label) in enumerate(zip(pictures.images, pictures.labels, strict=True)):
        (tmp_path / "photos" / f"kind{label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).resize((50 + i, 150 - i)).save(tmp_path / f"photos/kind{label}/{i}.jpg")
    own = ["experiment=pictures", "data.dir=photos", "model.depth=8", "trainer.precision=float32"]
    standard = ["augmentation=keras", "augmentation.featurewise_std_normalization=true"]
    done = train(*own, *standard, STEPS, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    model = keras.models.load_model(tmp_path / "run" / "model.keras")
    assert model.output_shape == (None, 3)
    normalization = Normalization.load(tmp_path / "run" / "normalization.npz")
    folder = tmp_path / "photos" / "kind0"
    seen = normalization(np.stack([read_picture(path, 32, 3, "crop") for path in folder.iterdir()]))
    assert 0.5 < float(tf.math.reduce_std(seen)) < 1.5
    assert np.all(np.isfinite(model(seen)))
    path = next(folder.iterdir())
    said = run("predict.py", "run=run", f"images=[{path}]", cwd=tmp_path)
    assert said.stdout.split()[0] == str(path)
    assert said.stdout.split()[1].startswith("kind")


@pytest.mark.slow
def test_a_sweep_leaves_a_directory_a_job(tmp_path):
    """An experiment can hold the sweep: this one has three augmentations, and compares them."""
    started = time.monotonic()
    done = train("-m", "experiment=augmentation", *TINY, STEPS, "hydra.sweep.dir=sweep", cwd=tmp_path)
    elapsed = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    jobs = [result(tmp_path / "sweep" / job) for job in "012"]
    assert [job["steps"] for job in jobs] == [3, 3, 3]
    assert sum(job["elapsed_seconds"] for job in jobs) < elapsed  # a job's own time, not the sweep's
    assert (tmp_path / "sweep" / "comparison.png").exists()
    compared = [line.split()[1:3] for line in done.stdout.splitlines() if line[1:].startswith("  sweep/")]
    assert sorted(compared) == [["sweep/0", "none"], ["sweep/1", "shift_flip"], ["sweep/2", "crop_flip"]]


@pytest.mark.slow
def test_tensorboard_serves_the_scalars(tmp_path):
    assert train(*TINY, STEPS, cwd=tmp_path).returncode == 0
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", "outputs", "--port", "0", "--bind_all"]
    server = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        port = next(m[1] for line in server.stderr if (m := re.search(r"http://\S*?:(\d+)", line)))
        deadline = time.time() + 60
        while not (tags := served(port)) and time.time() < deadline:
            time.sleep(0.5)
    finally:
        server.kill()
    runs = {Path(run).name: set(names) for run, names in tags.items()}
    assert runs["validation"] == {"loss", "accuracy"}
    rates = {f"rate/{name}" for name in ("learning_rate", "schedule_factor", "plateau_factor")}
    assert runs["train"] >= {"loss", "accuracy", *rates}


def served(port):
    with urllib.request.urlopen(f"http://localhost:{port}/data/plugin/scalars/tags") as reply:
        return json.load(reply)


@pytest.mark.slow
def test_two_runs_never_share_a_directory(tmp_path):
    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run" / ".lock"):
        done = train(*TINY, STEPS, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 1
    assert "in use" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model=resnet_v2 model.depth=111", ["9n+2", "110", "119"]),
        ("model=resnet_imagenet model.depth=20", ["model.depth=20", "18, 34, 50, 101, 152 or 200"]),
        ("model.dept=20", ["model.dept", "did you mean depth?"]),
        ("modl.depth=20", ["modl", "did you mean model?"]),
        ("model=resnet_v3", ["resnet_v3", "resnet_v1", "resnet_v2"]),
        ("+model.dept=20", ["model.dept"]),
        ("~model.depth", ["model.depth", "required"]),
        ("trainer.epochs=many", ["trainer.epochs", "integer"]),
        ("trainer.batch_size=0", ["trainer.batch_size", "1"]),
        ("optimizer.learning_rate=-1", ["optimizer.learning_rate", "greater"]),
        ("seed=-1", ["seed"]),
        (
            "callbacks=profile callbacks.profile.steps=[5,3]",
            ["callbacks.profile.steps", "first step before the last"],
        ),
    ],
)
def test_bad_config_is_refused_in_two_lines(override, words, tmp_path):
    done = train(*override.split(), cwd=tmp_path)
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) <= 2, done.stderr
    assert all(word in done.stderr for word in words), done.stderr


@pytest.mark.slow
@pytest.mark.skipif("CIFAR10_DIR" not in os.environ, reason="CIFAR10_DIR does not name CIFAR-10")
def test_real_cifar10(tmp_path):
    done = train(
        f"data.dir={os.environ['CIFAR10_DIR']}", "data.test_size=500", "trainer.max_steps=20", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
