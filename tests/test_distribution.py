"""One training on several devices and in several processes is the training on one."""

import csv
import signal
import time

import numpy as np
import pytest
import tensorflow as tf

from resnet.errors import UserError
from resnet.run.checkpoints import checkpoints, newest
from resnet.training.distribution import cores, meet, multi_worker
from resnet.training.trainer import Trainer
from tests import worker
from tests.cluster import environments, finish, free_ports, start
from tests.entry_point import ROOT, TINY, result, train

RUN = (
    *TINY,
    "trainer/strategy=multi_worker",
    "trainer.batch_size=10",
    "trainer.epochs=6",
    "trainer.deterministic=true",
    "callbacks=[default,histograms]",
    "hydra.run.dir=run",
)


@pytest.fixture(scope="module")
def alone():
    return worker.two_networks(None)


def assert_same(found, expected):
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "resolver"), [(2, "tf_config"), (4, "slurm")])
def test_workers_give_the_weights_of_one_process(alone, number, resolver, tmp_path):
    """After 20 steps of float32 with synchronised batch norm; each image is seen once an epoch."""
    command = ("-m", "tests.worker", resolver, tmp_path)
    codes, outputs = finish(start(command, environments(number, resolver), tmp_path))
    assert codes == [0] * number, outputs
    weights, history = alone
    found = [np.load(tmp_path / f"{place}.npz") for place in range(number)]
    for each in found:
        assert_same(each, weights)
        np.testing.assert_allclose(each["losses"], [e["test"]["loss"] for e in history], rtol=1e-5)
    share = worker.IMAGES // number
    for epoch in range(4):
        seen = np.concatenate([each["seen"][epoch * share : (epoch + 1) * share] for each in found])
        assert sorted(seen) == list(range(worker.IMAGES))


@pytest.mark.slow
def test_mirrored_devices_give_the_weights_of_one(two_replicas, alone):
    weights, _ = worker.trained(two_replicas, depth=8, stage="unrolled", steps=20)
    assert_same(weights, {name: alone[0][name] for name in weights})


def test_mirrored_devices_cannot_synchronize_looped_stages(two_replicas):
    with pytest.raises(UserError, match="model.stage=unrolled"):
        worker.trained(two_replicas, depth=14, stage="looped", steps=1)


@pytest.mark.slow
def test_a_replica_on_each_core(tmp_path):
    command = (*TINY, "trainer/strategy=cores", "threads=2", "trainer.batch_size=10", "trainer.epochs=1")
    done = train(*command, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = result(tmp_path / "run")
    assert (found["replicas"], found["threads"], found["steps"]) == (2, 1, 10)


def test_cores_of_a_process_that_runs_already():
    tf.constant(0)
    with pytest.raises(
        UserError, match="earlier job of this process.*\n.*submitit_local, which has a process"
    ):
        cores(3)


def test_a_batch_that_does_not_divide(two_replicas):
    with pytest.raises(UserError, match="20 and 22"):
        Trainer(epochs=1, batch_size=21, strategy=two_replicas)


@pytest.mark.parametrize(
    "text", [None, "{", '{"cluster": {"worker": []}, "task": {"type": "worker", "index": 0}}']
)
def test_no_cluster(text, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match="TF_CONFIG"):
        multi_worker()


def test_no_job_step():
    with pytest.raises(UserError, match="SLURM_PROCID"):
        multi_worker("slurm")


def test_workers_need_one_directory(tmp_path):
    done = train(*TINY, "trainer/strategy=multi_worker", cwd=tmp_path)
    assert done.returncode == 1
    assert "hydra.run.dir" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(("place", "missing"), [(0, 1), (1, 0)])
def test_a_worker_that_never_comes(place, missing):
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    with pytest.raises(UserError, match=workers[missing]):
        meet(workers, place, seconds=0.5)


@pytest.mark.slow
def test_killed_or_stopped_and_started_again_it_is_the_uninterrupted_training(tmp_path):
    """SIGKILL to a worker, SIGTERM to a worker, and then to the end; all that time only the chief writes."""

    def started(folder, *overrides):
        folder.mkdir(exist_ok=True)
        return start((ROOT / "train.py", *RUN, *overrides), environments(2), folder)

    def wait_for(processes, steps):
        while not checkpoints(run / "checkpoints") or newest(run / "checkpoints")[1]["step"] < steps:
            assert [p.poll() for p in processes] == [None, None], finish(processes)
            time.sleep(0.05)

    codes, outputs = finish(started(tmp_path / "whole"))
    assert codes == [0, 0], outputs
    run = tmp_path / "parts" / "run"

    chief, other = processes = started(tmp_path / "parts")
    wait_for(processes, 10)
    other.kill()
    (code, _), (output, _) = finish(processes, seconds=60)
    assert code == 1
    assert "another worker is gone" in output.splitlines()[-1]
    assert result(run)["status"] == "failed"

    chief, other = processes = started(tmp_path / "parts")
    wait_for(processes, newest(run / "checkpoints")[1]["step"] + 10)
    other.send_signal(signal.SIGTERM)
    codes, outputs = finish(processes, seconds=60)
    assert codes == [143, 143], outputs
    assert "resume=" in outputs[0]

    codes, outputs = finish(started(tmp_path / "parts"))
    assert codes == [0, 0], outputs
    assert "epoch" not in outputs[1]
    found, expected = (newest(tmp_path / part / "run" / "checkpoints")[0] for part in ("parts", "whole"))
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    rows = [list(csv.reader((tmp_path / part / "run" / "metrics.csv").open())) for part in ("parts", "whole")]
    assert rows[0] == rows[1]
    assert {p.name for p in (tmp_path / "parts").iterdir()} == {"run"}
