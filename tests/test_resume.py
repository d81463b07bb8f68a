"""A run that was cut off and started again is the same run."""

import csv
import random
import signal
import time

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from resnet.run.checkpoints import checkpoints, newest
from tests.entry_point import TINY, result, start, train

RUN = (
    *TINY,
    "callbacks=[default,outcomes]",
    "trainer.epochs=6",
    "trainer.batch_size=10",
    "trainer.deterministic=true",
    "hydra.run.dir=run",
)
OFTEN = "callbacks.checkpoints.minutes=1e-6"  # after every call of the training function


def arrays(run):
    return newest(run / "checkpoints")[0]


def scalars(run, split, tag):
    events = EventAccumulator(str(run / "tensorboard" / split))
    events.Reload()
    return [(e.step, e.tensor_proto.float_val[0]) for e in events.Tensors(tag)]


def rows(run):
    return list(csv.DictReader((run / "metrics.csv").open()))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    done = train(*RUN, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


WARNED = [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 138), (signal.SIGHUP, 129)]


def wait_for(process, condition):
    while process.poll() is None and not condition():
        time.sleep(0.0005)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["any", "in an epoch", "in a checkpoint"])
def test_killed_and_resumed_is_the_uninterrupted_run(whole, tmp_path, moment):
    """SIGKILL, twice at most, then `resume=`: weights, optimizer, metrics.csv and TensorBoard are equal."""
    run, overrides = tmp_path / "run", (*RUN, OFTEN)
    chance = random.Random(moment)
    for _ in range(2):
        process = start(*overrides, cwd=tmp_path)
        before = checkpoints(run / "checkpoints")
        if moment == "in a checkpoint":
            for _ in range(chance.randrange(1, 6)):
                wait_for(process, lambda: not any(run.glob("checkpoints/.part-*")))
                wait_for(process, lambda: any(run.glob("checkpoints/.part-*")))
        else:
            wait_for(process, lambda before=before: checkpoints(run / "checkpoints") != before)
            time.sleep(chance.random() if moment == "any" else 0.05)
        process.kill()
        process.wait()
        overrides = ("resume=run",)
    done = train("resume=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found, expected = arrays(run), arrays(whole)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    assert (run / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    for split, tag in (("train", "loss"), ("train", "rate/learning_rate"), ("validation", "accuracy")):
        assert scalars(run, split, tag) == scalars(whole, split, tag)
    assert [step for step, _ in scalars(run, "validation", "loss")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_metrics_and_another_does_not(whole, tmp_path):
    for seed in (0, 1):
        done = train(*RUN, f"seed={seed}", f"hydra.run.dir=run{seed}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    first, second = ((tmp_path / f"run{seed}" / "metrics.csv").read_bytes() for seed in (0, 1))
    assert first == (whole / "metrics.csv").read_bytes()
    assert first != second


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), WARNED)
def test_asked_to_stop_it_saves_and_tells_how_to_go_on(number, code, tmp_path):
    def as_in_a_shell():
        signal.signal(number, signal.SIG_DFL)  # nohup, under which the tests may run, ignores SIGHUP

    many = ("trainer.epochs=2000", "callbacks.checkpoints.minutes=60")
    process = start(*RUN, *many, cwd=tmp_path, preexec_fn=as_in_a_shell)
    wait_for(process, lambda: len(rows_so_far(tmp_path / "run")) > 2)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output
    assert f"resume={tmp_path / 'run'}" in output
    assert "Traceback" not in output
    assert result(tmp_path / "run")["status"] == "interrupted"
    _, notes = newest(tmp_path / "run" / "checkpoints")
    assert f"after step {notes['step']}" in output


def rows_so_far(run):
    return rows(run) if (run / "metrics.csv").exists() else []


@pytest.mark.slow
def test_a_second_interrupt_ends_at_once(tmp_path):
    """While a step of many blocks is under way, which would take long to end."""
    process = start(*TINY, "model=resnet_v2", "model.depth=2000", "trainer.batch_size=100", cwd=tmp_path)
    for line in process.stdout:
        if "parameters" in line and "trainable" in line:
            break
    time.sleep(5)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    process.communicate(timeout=5)
    assert process.returncode == 130


@pytest.mark.slow
def test_a_finished_run_says_so_and_another_configuration_is_refused(whole, tmp_path):
    done = train(f"resume={whole}", cwd=tmp_path)
    assert (done.returncode, "is finished" in done.stdout) == (0, True)
    before = {p: p.read_bytes() for p in whole.rglob("*") if p.is_file() and p.name != "train.log"}
    done = train(f"resume={whole}", "model.depth=14", "trainer.epochs=7", cwd=tmp_path)
    assert done.returncode == 1
    assert "model.depth=14, it was 8" in done.stderr
    assert "trainer.epochs=7, it was 6" in done.stderr
    assert before == {p: p.read_bytes() for p in before}


@pytest.mark.slow
def test_told_so_a_finished_run_goes_on_with_another_configuration(tmp_path):
    assert train(*RUN, "trainer.epochs=1", cwd=tmp_path).returncode == 0
    done = train("resume=run", "trainer.epochs=2", "changes=allow", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "going on after step 10" in done.stdout
    assert [row["epoch"] for row in rows(tmp_path / "run")] == ["1", "2"]


@pytest.mark.slow
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path):
    assert train(*RUN, "trainer.max_steps=30", cwd=tmp_path).returncode == 0
    run = tmp_path / "run"
    expected, last = arrays(run), checkpoints(run / "checkpoints")[-1]
    last.write_bytes(last.read_bytes()[:-5000])
    (run / "result.json").unlink()
    done = train("resume=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{last} is damaged" in done.stdout
    assert "going on after step 20" in done.stdout
    for name, array in arrays(run).items():
        np.testing.assert_array_equal(expected[name], array, err_msg=name)


@pytest.mark.slow
def test_a_job_that_fails_is_marked_and_the_others_go_on(tmp_path):
    jobs = ("optimizer=sgd", "optimizer.learning_rate=1e20,0.01", "trainer.epochs=2", "trainer.batch_size=10")
    done = train("-m", *TINY, *jobs, "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    failed, finished = result(tmp_path / "sweep" / "0"), result(tmp_path / "sweep" / "1")
    assert (failed["status"], finished["status"]) == ("failed", "finished")
    assert all(word in failed["error"] for word in ("epoch", "step", "rate"))
    done = train("resume=sweep", "optimizer.learning_rate=1e20,0.01", cwd=tmp_path)
    assert f"{tmp_path / 'sweep' / '1'} is finished" in done.stdout
