"""The entry point, as a user starts it."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import resnet  # noqa: F401  registers the layers of saved models

ROOT = Path(__file__).parent.parent
TINY = ["data=digits", "data.train_size=100", "data.test_size=50", "model.depth=8", "trainer.max_steps=3"]


def train(*overrides, cwd):
    command = [sys.executable, str(ROOT / "train.py"), *overrides]
    environment = {k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_a_run_leaves_its_directory(tmp_path):
    done = train(*TINY, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    result = json.loads((run / "result.json").read_text())
    assert result["steps"] == 3
    assert "test accuracy" in done.stdout
    assert len(list(csv.DictReader((run / "metrics.csv").open()))) == 1
    assert {p.name for p in run.iterdir()} >= {".hydra", "train.log", "checkpoints", "summary.txt"}
    keras.models.load_model(run / "model.keras")
    events = EventAccumulator(str(run / "tensorboard" / "test"))
    events.Reload()
    assert "accuracy" in events.Tags()["tensors"]


@pytest.mark.slow
def test_a_sweep_leaves_a_directory_a_job(tmp_path):
    done = train("-m", *TINY, "seed=1,2", "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / "sweep" / job / "result.json").exists() for job in "01"] == [True, True]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model=resnet_v2 model.depth=111", ["9n+2", "110", "119"]),
        ("model.dept=20", ["model.dept"]),
        ("model=vgg20", ["vgg20"]),
        ("trainer.epochs=many", ["trainer.epochs", "integer"]),
        ("trainer.batch_size=0", ["trainer.batch_size", "1"]),
        ("optimizer.learning_rate=-1", ["optimizer.learning_rate", "greater"]),
        ("seed=-1", ["seed"]),
    ],
)
def test_bad_config_is_refused_in_two_lines(override, words, tmp_path):
    done = train(*override.split(), cwd=tmp_path)
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) <= 2, done.stderr
    assert all(word in done.stderr for word in words), done.stderr


@pytest.mark.skipif("CIFAR10_DIR" not in os.environ, reason="CIFAR10_DIR does not name CIFAR-10")
def test_real_cifar10(tmp_path):
    done = train(
        f"data.dir={os.environ['CIFAR10_DIR']}", "data.test_size=500", "trainer.max_steps=20", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
