"""Every fault ends in one clear line, and what was there before is still there."""

import dataclasses
import os
import pickle
import resource
import shutil
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from filelock import FileLock
from tensorboard.compat.proto.event_pb2 import Event

import resnet
from resnet.data import cifar
from resnet.errors import UserError
from resnet.models import resnet_v1
from resnet.run.callbacks import Checkpoints, MetricsCsv
from resnet.run.checkpoints import checkpoints, newest
from resnet.run.directory import RunDirectory
from resnet.run.events import EventFile
from resnet.run.run import Run
from tests.entry_point import TINY, result, train
from tests.entry_point import run as started
from tests.test_data import CIFAR10_LABELS, OPTIONS, write_official_layout
from tests.test_trainer import small_digits

EPOCHS = (*TINY, "trainer.batch_size=50", "hydra.run.dir=run")
FULL = Path("/dev/full")  # every write to it finds the disk full


def clear(done, *words):
    """Whether it ended in a clear line that holds these words."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    assert "Exception" not in done.stdout + done.stderr, done.stderr
    assert all(str(word) in done.stderr.splitlines()[-1] for word in words), done.stderr
    return True


def contents(run):
    """What may not be lost, by path: all but the log and result of the run at hand."""
    names = ("train.log", "result.json", ".lock")
    return {p: p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name not in names}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of one epoch."""
    folder = tmp_path_factory.mktemp("finished")
    done = train(*EPOCHS, "trainer.epochs=1", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture
def run(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def limit(kind, size):
    """For `preexec_fn`: the process may not have more than so many bytes."""
    return lambda: resource.setrlimit(kind, (size, size))


@pytest.mark.slow
@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")
def test_a_full_disk_loses_nothing_and_the_run_goes_on_later(run, tmp_path):
    """Full when a checkpoint, train.log and model.keras are written, one after the other."""
    before, second = contents(run), ("resume=run", "trainer.epochs=2", "changes=allow")

    small = limit(resource.RLIMIT_FSIZE, 500_000)
    done = train(*second, cwd=tmp_path, preexec_fn=small)
    assert clear(done, run / "checkpoints" / "step_000000004.npz", "cannot be written")
    assert "step_000000004.npz" in result(run)["error"]
    assert newest(run / "checkpoints")[1]["step"] == 2

    (run / "train.log").rename(run / "log")
    (run / "train.log").symlink_to(FULL)
    assert clear(train("resume=run", cwd=tmp_path), run / "train.log", "No space left")
    (run / "log").rename(run / "train.log")

    kept = [
        path
        for path in before
        if path.parent == run / "checkpoints" or path.name in ("metrics.csv", "model.keras")
    ]
    assert len(kept) == 3
    assert all(path.read_bytes() == before[path] for path in kept)

    (run / ".part-model.keras").symlink_to(FULL)
    assert clear(train("resume=run", cwd=tmp_path), run / "model.keras", "No space left")
    assert (run / "model.keras").read_bytes() == before[run / "model.keras"]
    assert result(run)["status"] == "failed"

    done = train("resume=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "going on after step 4" in done.stdout
    assert result(run)["status"] == "finished"
    assert not list(run.rglob(".part-*"))
    model = keras.models.load_model(run / "model.keras", safe_mode=True)
    arrays, _ = newest(run / "checkpoints")
    saved = [arrays[name] for name in arrays if name.startswith("model/")]
    for variable, array in zip(model.variables, saved, strict=True):
        np.testing.assert_array_equal(variable, array)


def flipped(data):
    """With another byte, in the first of its members: checksums tell."""
    place = len(data) // 4
    return data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :]


DAMAGED = [
    ("result.json", lambda data: data[:-20], ("train.py resume=run", "evaluate.py run=run")),
    (".hydra/hydra.yaml", lambda data: b"", ("train.py resume=run",)),
    (".hydra/config.yaml", lambda data: data + b"  ]: [", ("train.py resume=run", "evaluate.py run=run")),
    (".hydra/config.yaml", lambda data: b"\xff" + data, ("evaluate.py run=run", "verify.py run=run")),
    ("normalization.npz", lambda data: data[:100], ("evaluate.py run=run",)),
    ("normalization.npz", lambda data: b"", ("evaluate.py run=run",)),
    ("model.keras", flipped, ("evaluate.py run=run",)),
    ("class_names.json", lambda data: b"[", ("evaluate.py run=run",)),
    ("split.npz", flipped, ("evaluate.py run=run",)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "damage", "commands"), DAMAGED)
def test_a_damaged_file_of_a_run_is_named_with_the_cure(name, damage, commands, run, tmp_path):
    path = run / name
    path.write_bytes(damage(path.read_bytes()))
    for command in commands:
        done = started(*command.split(), cwd=tmp_path)
        assert done.returncode == 1, done.stderr
        said = done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr and f"{name} cannot be read" in said, done.stderr
        assert ("hydra.run.dir=" if name.endswith("hydra.yaml") else "move it away; train.py resume=") in said


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.keras", "result.json", "normalization.npz", ".hydra/config.yaml"])
def test_a_lost_file_of_a_finished_run_is_written_again(name, run, tmp_path):
    before, figures = contents(run), result(run)
    (run / name).unlink()
    if name == "model.keras":
        done = started("evaluate.py", "run=run", cwd=tmp_path)
        assert clear(done, "finished, but", "model.keras is gone", "train.py resume=")
    done = train("resume=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert result(run)["test"] == figures["test"]
    assert {p for p in before if p.parent in (run, run / ".hydra")} <= contents(run).keys()
    done = started("evaluate.py", "run=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_without_a_checkpoint_nothing_is_moved_away(tmp_path):
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(UserError, match=r"result.json cannot be read: .*\nput a copy in its place"):
        RunDirectory(tmp_path).result()


def test_a_finished_run_without_model_and_checkpoints_is_not_trained_anew(tmp_path):
    (tmp_path / "result.json").write_text('{"status": "finished", "test": {"accuracy": 0.5}}')
    with pytest.raises(UserError, match=r"model.keras.* are gone\ngive another"), new_run(tmp_path):
        pass


@contextmanager
def tmpfs(folder, size):
    """A file system of its own, which only root may have."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this user cannot mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_disk_that_is_really_full(tmp_path):
    disk = tmp_path / "disk"
    with tmpfs(disk, "6m"):
        many = ("trainer.epochs=30", "callbacks.checkpoints.keep=30", "hydra.run.dir=disk/run")
        done = train(*EPOCHS, *many, cwd=tmp_path)
        assert clear(done, disk / "run", "No space left on device")
        _, notes = newest(disk / "run" / "checkpoints")
        subprocess.run(["mount", "-o", "remount,size=60m", str(disk)], check=True)
        done = train("resume=disk/run", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"going on after step {notes['step']}" in done.stdout
        assert result(disk / "run")["steps"] == 60


def test_a_full_disk_is_told_where_a_callback_writes(tmp_path):
    events = EventFile(tmp_path / "train")
    metrics = MetricsCsv()
    metrics.run = SimpleNamespace(directory=RunDirectory(tmp_path))
    metrics.trainer = SimpleNamespace(history=[{"epoch": 1, "step": 1, "train": {"loss": 1.0}}])
    metrics.on_train_begin()
    before = (tmp_path / "metrics.csv").read_bytes()
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, old[1]))
    try:
        with pytest.raises(UserError, match=r"tfevents\S* cannot be written"):
            events.add_event(Event(step=1))
        with pytest.raises(UserError, match=r"metrics.csv cannot be written"):
            metrics.on_epoch_end(0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert (tmp_path / "metrics.csv").read_bytes() == before


@contextmanager
def read_only(folder):
    """`folder` cannot be written to: by its permissions, which root does not heed, or by its mount."""
    if os.geteuid():
        folder.chmod(0o555)
        yield
        folder.chmod(0o755)
        return
    bind = ["mount", "--bind", str(folder), str(folder)]
    if shutil.which("mount") is None or subprocess.run(bind, capture_output=True).returncode:
        pytest.skip("root cannot mount here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_read_only_directory_is_named_and_left_alone(run, tmp_path):
    before = contents(run)
    with read_only(run):
        done = train("resume=run", "trainer.epochs=2", "changes=allow", cwd=tmp_path)
    assert clear(done, run)
    assert contents(run) == before
    assert result(run)["status"] == "finished"


@pytest.mark.slow
def test_out_of_memory_is_told_with_a_cure(run, tmp_path):
    """A network whose weights no machine holds, in the directory of one that is trained."""
    before = contents(run)
    huge = ("trainer.epochs=2", "changes=allow", "model.depth=60000002")
    done = train("resume=run", *huge, cwd=tmp_path, preexec_fn=limit(resource.RLIMIT_AS, 2**35))
    assert clear(done, "out of memory", "batch_size")
    assert contents(run) == before
    assert result(run)["status"] == "finished"


@pytest.mark.slow
def test_a_network_too_deep_to_unroll_is_told_with_a_cure(tmp_path):
    done = train("data=synthetic", "model.depth=1202", "model.stage=unrolled", cwd=tmp_path)
    assert clear(done, "model.stage=looped")


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["a corrupt archive", "a batch cut short"])
def test_data_that_cannot_be_read_is_named(fault, tmp_path, monkeypatch):
    if fault == "a corrupt archive":
        path = tmp_path / cifar.CIFAR10.archive
        path.write_bytes(b"not an archive")
    else:
        path = tmp_path / cifar.CIFAR10.folder / "data_batch_1"
        write_official_layout(tmp_path / cifar.CIFAR10.folder, cifar.CIFAR10, CIFAR10_LABELS, monkeypatch)
        path.write_bytes(path.read_bytes()[:-1000])
    before = contents(tmp_path)
    done = train("data.dir=.", "hydra.run.dir=run", cwd=tmp_path)
    assert clear(done, path.name, "again")
    assert before.items() <= contents(tmp_path).items()
    assert result(tmp_path / "run")["status"] == "failed"
    assert "Error in call" not in (error := result(tmp_path / "run")["error"])
    assert error.splitlines()[0] in done.stderr


def test_a_batch_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    write_official_layout(tmp_path / cifar.CIFAR10.folder, cifar.CIFAR10, CIFAR10_LABELS, monkeypatch)
    path = tmp_path / cifar.CIFAR10.folder / "data_batch_1"
    path.unlink()
    path.mkdir()  # what root cannot read either
    with pytest.raises(UserError, match="data_batch_1"):
        cifar.cifar10(str(tmp_path), **OPTIONS)


def new_run(directory, config="seed: 1\n", **options):
    record = {"config.yaml": config, "overrides.yaml": "[]\n"}
    return Run(directory, record, **options)


def test_one_process_holds_a_directory(tmp_path):
    with new_run(tmp_path), pytest.raises(UserError, match="in use"), new_run(tmp_path):
        pass
    with FileLock(tmp_path / ".lock"), pytest.raises(UserError, match="in use"), new_run(tmp_path):
        pass
    with new_run(tmp_path):
        assert result(tmp_path) == {"status": "running"}


def test_a_result_belongs_to_its_configuration(tmp_path):
    finish = '{"status": "finished", "test": {"accuracy": 0.5}}'
    with new_run(tmp_path):
        (tmp_path / "result.json").write_text(finish)
        for name in ("model.keras", "normalization.npz", "class_names.json", "split.npz"):
            (tmp_path / name).touch()
    with new_run(tmp_path) as again:
        assert again.result["test"]["accuracy"] == 0.5
    with pytest.raises(UserError, match="seed=2, it was 1"), new_run(tmp_path, "seed: 2\n"):
        pass
    assert (tmp_path / "result.json").read_text() == finish
    with pytest.raises(ZeroDivisionError), new_run(tmp_path, "seed: 2\n", changes_allowed=True) as other:
        assert other.result is None
        raise ZeroDivisionError("before a step")
    assert (tmp_path / "result.json").read_text() == finish
    with new_run(tmp_path) as again:
        assert again.result["test"]["accuracy"] == 0.5


def test_a_run_that_fails_is_marked(tmp_path):
    with pytest.raises(ZeroDivisionError), new_run(tmp_path):
        raise ZeroDivisionError("told")
    assert result(tmp_path) == {"status": "failed", "error": "told"}
    with new_run(tmp_path, "seed: 2\n") as again:
        assert again.result is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("model.depth=14", "another network"),
        ("data.train_size=100000", "train_size"),
    ],
)
def test_a_run_that_cannot_go_on_stays_as_it_is(run, change, words, tmp_path):
    before, figures = contents(run), (run / "result.json").read_bytes()
    done = train("resume=run", "changes=allow", "trainer.epochs=2", change, cwd=tmp_path)
    assert clear(done, words)
    assert contents(run) == before
    assert (run / "result.json").read_bytes() == figures
    done = train("resume=run", cwd=tmp_path)
    assert (done.returncode, "is finished" in done.stdout) == (0, True), done.stderr


def test_a_callback_that_refuses_to_begin_leaves_what_was_there(tmp_path):
    class Refuses(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            raise UserError("no answer")

    digits_fit(tmp_path, epochs=1)
    before, figures = contents(tmp_path), (tmp_path / "result.json").read_bytes()
    with pytest.raises(UserError, match="no answer"), resnet.Run(tmp_path, changes_allowed=True) as again:
        dataset = small_digits(0.2)  # which has another mean picture
        model = resnet_v1(dataset.image_shape, 10, depth=8)
        resnet.fit(model, dataset, callbacks=[Refuses()], run=again, epochs=2, batch_size=20)
    assert contents(tmp_path) == before
    assert (tmp_path / "result.json").read_bytes() == figures


@pytest.mark.slow
def test_a_run_that_was_cut_off_keeps_its_configuration_until_it_goes_on(run, tmp_path):
    (run / "result.json").write_text('{"status": "interrupted"}')
    before = contents(run)
    assert clear(train("resume=run", "changes=allow", "model.depth=14", cwd=tmp_path), "another network")
    assert contents(run) == before
    assert result(run)["status"] == "failed"
    done = train("resume=run", "changes=allow", "trainer.epochs=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "epochs: 2" in (run / ".hydra" / "config.yaml").read_text()
    assert result(run)["status"] == "finished"


class Breaks:
    """A schedule whose rate is more than float32 holds from `epoch` on."""

    def __init__(self, epoch):
        self.epoch = epoch

    def __call__(self, epoch):
        return 1.0 if epoch < self.epoch else 1e300


def digits_fit(directory, epoch=100, dataset=None, minutes=60.0, keep=3, epochs=3, **options):
    """A training in `directory` whose rate is more than float32 holds from `epoch` on."""
    keras.utils.set_random_seed(3)
    dataset = dataset or small_digits()
    model = resnet_v1(dataset.image_shape, 10, depth=8)
    with resnet.Run(directory, **options) as run:
        return resnet.fit(
            model,
            dataset,
            schedule=Breaks(epoch),
            callbacks={"checkpoints": Checkpoints(minutes, keep)},
            run=run,
            epochs=epochs,
            batch_size=20,
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps_per_call", "what", "step", "saved_step"),
    [(1, r"model/\S+ is not finite", 15, 14), (16, "the loss is nan", 16, 10)],
)
def test_what_is_not_a_number_is_never_saved(steps_per_call, what, step, saved_step, tmp_path, monkeypatch):
    """The weights break in step 15, of ten an epoch: seen in them or, inside a call, in the next loss."""
    monkeypatch.setattr("resnet.training.trainer.STEPS_PER_CALL", steps_per_call)
    monkeypatch.setattr("resnet.training.trainer.SECONDS_PER_CALL", 1000.0)
    with pytest.raises(UserError, match=rf"{what} in epoch 2, step {step}, at learning rate 1e\+297"):
        digits_fit(tmp_path, epoch=1.35, minutes=1e-9)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    arrays, notes = newest(tmp_path / "checkpoints")
    assert notes["step"] == saved_step
    assert all(np.all(np.isfinite(array)) for array in arrays.values())
    again = digits_fit(tmp_path, changes_allowed=True)  # under a schedule that does not break it
    assert (again.step, len(again.history)) == (30, 3)


@pytest.mark.slow
def test_a_run_does_not_go_on_with_other_images(tmp_path):
    dataset = digits_fit(tmp_path, epochs=1).dataset
    (tmp_path / "result.json").unlink()
    turned = dataset.train.take(np.arange(len(dataset.train))[::-1])
    other = dataclasses.replace(dataset, train=turned)
    with pytest.raises(UserError, match="images are not those"):
        digits_fit(tmp_path, dataset=other, epochs=2)
    assert digits_fit(tmp_path, dataset=other, epochs=2, changes_allowed=True).step == 20


def test_damaged_checkpoints_step_aside_for_new_ones(tmp_path, caplog):
    saved = tmp_path / "checkpoints"
    saved.mkdir()
    (saved / ".part-step_000000003.npz").write_bytes(b"left by a kill")
    for step in (40, 50, 60):
        (saved / f"step_{step:09}.npz").write_bytes(pickle.dumps(os.system))
    assert newest(saved) is None
    assert len(caplog.records) == 3
    digits_fit(tmp_path, epochs=2, keep=1)
    assert [path.name for path in checkpoints(saved)] == ["step_000000020.npz"]
    assert newest(saved)[1]["step"] == 20
    assert len(list(saved.iterdir())) == 4


@pytest.mark.slow
def test_chance_and_bfloat16_are_resumed_too_in_both_forms(tmp_path):
    """Augmentation, stochastic depth, bfloat16, looped and unrolled: an epoch and an epoch are two."""
    jobs = (*TINY, "trainer.batch_size=20", "trainer.deterministic=true", "model.survival=0.8")
    jobs += ("trainer.precision=bfloat16", "model.depth=14")
    for epochs, forms, sweep in (2, "unrolled,looped", "whole"), (1, "looped,unrolled", "halves"):
        own = (f"model.stage={forms}", f"trainer.epochs={epochs}", f"hydra.sweep.dir={sweep}")
        done = train("-m", *jobs, *own, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    done = train("resume=halves", "trainer.epochs=2", "changes=allow", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "halves").iterdir()) == ["0", "1", "multirun.yaml"]
    for job, other in "01", "10":
        whole, halves = tmp_path / "whole" / job, tmp_path / "halves" / other
        assert (whole / "metrics.csv").read_bytes() == (halves / "metrics.csv").read_bytes()
        expected, _ = newest(whole / "checkpoints")
        found, _ = newest(halves / "checkpoints")
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)
