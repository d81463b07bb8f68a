"""Many trainings: what Hydra's launchers and sweepers do with train.py."""

import csv
import os
import re
import signal
import sqlite3
import time
from pathlib import Path

import psutil
import pytest
from hydra import compose, initialize_config_dir

from resnet.run.checkpoints import newest
from tests.entry_point import ROOT, TINY, result, start, train

STEPS = (*TINY, "trainer.batch_size=10", "trainer.max_steps=20", "trainer.deterministic=true")
BAD_AND_GOOD = ("optimizer=sgd", "optimizer.learning_rate=1e20,0.01")
STUDY = (
    "hydra/sweeper=optuna",
    "hydra.sweeper.storage=sqlite:///study.db",
    "hydra.sweeper.study_name=rate",
    "hydra.sweeper.direction=maximize",
    "hydra.sweeper.n_jobs=1",
    "hydra.sweeper.max_failure_rate=1",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "threads"),
    [
        (("joblib", "hydra.launcher.n_jobs=2"), max(1, len(os.sched_getaffinity(0)) // 2)),
        (("submitit_local", "threads=1"), 1),
    ],
)
def test_a_job_that_fails_stays_alone_and_a_finished_one_is_not_run_again(launcher, threads, tmp_path):
    name, option = launcher
    pytest.importorskip(f"hydra_plugins.hydra_{name.split('_')[0]}_launcher")
    sweep = tmp_path / "sweep"
    command = ("-m", *STEPS, *BAD_AND_GOOD, f"hydra/launcher={name}", option, f"hydra.sweep.dir={sweep}")
    done = train(*command, cwd=tmp_path)
    assert done.returncode == 1
    assert [result(sweep / job)["status"] for job in "01"] == ["failed", "finished"]
    assert "lower optimizer.learning_rate" in done.stderr
    assert result(sweep / "1")["threads"] == threads

    before = (sweep / "1" / "result.json").stat()
    assert train(*command, cwd=tmp_path).returncode == 1
    assert (sweep / "1" / "result.json").stat() == before
    assert "is finished" in (sweep / "1" / "train.log").read_text()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="processes are told to stop by signals")
@pytest.mark.parametrize(
    ("stop", "number"), [("killpg", signal.SIGINT), ("kill", signal.SIGINT), ("kill", signal.SIGTERM)]
)
def test_jobs_beside_each_other_stop_together(stop, number, tmp_path):
    """As by Ctrl-C in a terminal, or told to the sweep alone: each job saves its last step, none begins."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    endless = (*TINY, "trainer.batch_size=10", "trainer.epochs=100000", "seed=1,2,3", "hydra.sweep.dir=sweep")
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    process = start("-m", *endless, *launcher, cwd=tmp_path, start_new_session=True)
    running = [tmp_path / "sweep" / job for job in "01"]
    while not all((run / "metrics.csv").exists() for run in running):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    getattr(os, stop)(process.pid, number)
    said, _ = process.communicate()
    assert process.returncode == 128 + number, said
    with pytest.raises(ProcessLookupError):  # soon nothing of it is left
        for _ in range(600):
            os.killpg(process.pid, 0)
            time.sleep(0.1)
    assert [result(run)["status"] for run in running] == ["interrupted"] * 2
    stopped = [int(step) for step in re.findall(r"stopped by \w+ after step (\d+)", said)]
    saved = [newest(run / "checkpoints")[1]["step"] for run in running]
    assert sorted(saved) == sorted(stopped)
    assert said.count("resume=") == 2 and "Traceback" not in said
    assert not list((tmp_path / "sweep" / "2").glob("*.json"))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="processes are told to stop by signals")
def test_a_job_beside_another_that_is_stopped_alone(tmp_path):
    """The other one is trained to its end."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    steps = (*TINY, "trainer.batch_size=10", "trainer.max_steps=100000,300", "hydra.sweep.dir=sweep")
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    process = start("-m", *steps, "trainer.epochs=100000", *launcher, cwd=tmp_path)
    while not (tmp_path / "sweep" / "0" / "metrics.csv").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    pid = next(p.pid for p in psutil.Process(process.pid).children() if holds(p, tmp_path / "sweep" / "0"))
    os.kill(pid, signal.SIGTERM)
    said, _ = process.communicate()
    assert process.returncode == 143, said
    assert [result(tmp_path / "sweep" / job)["status"] for job in "01"] == ["interrupted", "finished"]
    assert "Traceback" not in said


def holds(process, run):
    return any(Path(file.path).parent == run for file in process.open_files())


def test_slurm_composes():
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    overrides = [
        "hydra/launcher=submitit_slurm",
        "hydra.launcher.partition=gpu",
        "hydra.launcher.gpus_per_node=1",
    ]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        launcher = compose("config", overrides, return_hydra_config=True).hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert launcher.partition == "gpu"


def trials(path):
    """States of the trials of the study in `path`, in their order."""
    if not path.exists():
        return []
    with sqlite3.connect(path) as database:
        try:
            return [state for (state,) in database.execute("select state from trials order by number")]
        except sqlite3.OperationalError:
            return []


@pytest.mark.slow
def test_a_study_is_stopped_and_goes_on(tmp_path):
    """Killed with its second trial under way; a third fails, which ends neither study nor sweep."""
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    database: Path = tmp_path / "study.db"
    rate = "optimizer.learning_rate=interval(0.01, 0.02)"
    process = start("-m", *STEPS, "optimizer=sgd", rate, *STUDY, cwd=tmp_path)
    while len(trials(database)) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.kill()
    process.communicate()
    assert trials(database) == ["COMPLETE", "RUNNING"]

    rate = "optimizer.learning_rate=interval(1e20, 1e21)"
    done = train("-m", *STEPS, "optimizer=sgd", rate, *STUDY, "hydra.sweeper.n_trials=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert trials(database) == ["COMPLETE", "RUNNING", "FAIL"]
    assert "Best value" in done.stdout


@pytest.mark.slow
def test_jobs_of_a_process_are_deterministic_or_not_as_they_say(tmp_path):
    """Which TensorFlow can be told, and not be told off."""
    steps = (*TINY, "trainer.max_steps=3", "trainer.deterministic=true,false,true", "hydra.sweep.dir=sweep")
    done = train("-m", *steps, cwd=tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("trainer.deterministic=false: an earlier job of this process")
    assert "hydra/launcher=submitit_local" in last
    assert {path.parent.name for path in (tmp_path / "sweep").glob("*/receipt.json")} == {"0", "2"}


@pytest.mark.slow
def test_a_study_without_a_score_is_refused_before_it_trains(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    rate = "optimizer.learning_rate=interval(0.01, 0.02)"
    options = (*TINY, rate, "data.validation_split=0", *STUDY[:-1], "hydra.sweep.dir=sweep")
    done = train("-m", *options, cwd=tmp_path)
    assert done.returncode == 1
    assert "hydra/sweeper=optuna chooses by the score of the validation images" in done.stderr
    assert result(tmp_path / "sweep" / "0")["status"] == "failed"
    assert not (tmp_path / "sweep" / "0" / "metrics.csv").exists()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ("experiment=depth", ["model.depth", "add -m", "model.depth=..."]),
        ("experiment=v1_vs_v2 model=resnet_v1", ["model.depth", "add -m"]),
        (
            "-m experiment=depth,augmentation",
            ["experiment=depth over model.depth", "experiment=augmentation over"],
        ),
        (
            "-m experiment=demo,v1_vs_v2",
            ["experiment=v1_vs_v2 over model and model.depth", "one after the other"],
        ),
        ("-m seed=1,2 experiment=depth,demo", ["experiment=depth over model.depth"]),
    ],
)
def test_sweeps_that_would_not_be_run_are_refused(overrides, words, tmp_path):
    done = train(*overrides.split(), cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) <= 2, done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_value_in_place_of_a_sweep_and_the_comparison_of_those_that_did_not_fail(tmp_path):
    """The command line goes before an experiment's sweep: one network, or other depths at two rates."""
    one = train("experiment=depth", *TINY, "trainer.max_steps=1", cwd=tmp_path)
    assert one.returncode == 0, one.stderr
    depths = ("model.depth=8,14", "optimizer.learning_rate=1e-3,1e20", "hydra.sweep.dir=sweep")
    done = train("-m", "experiment=depth", *STEPS, *depths, cwd=tmp_path)
    assert done.returncode == 1
    assert "lower optimizer.learning_rate" in done.stderr
    statuses = [result(tmp_path / "sweep" / job)["status"] for job in "0123"]
    assert statuses == ["finished", "failed", "finished", "failed"]
    with (tmp_path / "sweep" / "comparison.csv").open(encoding="utf-8", newline="") as file:
        compared = sorted(row["status"] for row in csv.DictReader(file))
    assert compared == ["failed", "failed", "finished", "finished"]
    assert (tmp_path / "sweep" / "comparison.png").exists()


@pytest.mark.slow
def test_a_study_goes_on_in_its_directory(tmp_path):
    """The same command again, and `resume=`: each trial in a directory of its own, all of them complete."""
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    study = (*STUDY, "hydra.sweeper.n_trials=2", "hydra.sweep.dir=sweep")
    steps = (*TINY, "trainer.max_steps=3", "optimizer.learning_rate=interval(0.0001, 0.01)")
    for arguments in (("-m", *steps, *study), ("-m", *steps, *study), ("resume=sweep",)):
        done = train(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert trials(tmp_path / "study.db") == ["COMPLETE"] * 6
    found = {path.parent.name for path in (tmp_path / "sweep").glob("*/result.json")}
    assert found == {"0", "1", "2-0", "2-1", "3-0", "3-1"}
