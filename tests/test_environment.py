"""The programs where the environment is not the usual one: Keras' settings, streams, locales, systems."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from resnet import process
from resnet.run.checkpoints import newest
from resnet.run.signals import Signals
from tests.entry_point import DRAWN, ROOT, result, run, train

STEPS = (*DRAWN, "trainer.max_steps=3", "hydra.run.dir=run")
HOSTILE = '{"backend": "torch", "image_data_format": "channels_first", "floatx": "float16", "epsilon": 0.1}'


def python(code, cwd=ROOT, **variables):
    """The finished process of `code`, which imports this project."""
    options = {"cwd": cwd, "env": {**os.environ, "PYTHONPATH": str(ROOT), **variables}}
    return subprocess.run([sys.executable, "-c", code], **options, capture_output=True, text=True)


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """What Keras obeys says something else than this project is made for."""
    (tmp_path / "keras").mkdir()
    (tmp_path / "keras" / "keras.json").write_text(HOSTILE, "utf-8")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("KERAS_BACKEND", "jax")


@pytest.mark.slow
def test_keras_own_settings_change_nothing(tmp_path, hostile, monkeypatch):
    assert train(*STEPS, cwd=tmp_path).returncode == 0
    assert result(tmp_path / "run")["parameters"] == 78_666
    hostile_metrics = (tmp_path / "run" / "metrics.csv").read_bytes()
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.delenv("KERAS_BACKEND")
    assert train(*STEPS, "hydra.run.dir=usual", cwd=tmp_path).returncode == 0
    assert (tmp_path / "usual" / "metrics.csv").read_bytes() == hostile_metrics


@pytest.mark.slow
def test_nor_where_the_parts_are_used_without_a_program(hostile):
    code = """
from resnet.models import resnet_v1
import keras
model = resnet_v1((32, 32, 3), 10, depth=8)
print(model.count_params(), model.output.dtype, keras.config.backend(), keras.config.epsilon())
"""
    assert python(code).stdout.splitlines()[-1] == "78666 float32 tensorflow 1e-07"


@pytest.mark.slow
def test_a_keras_that_cannot_be_had_is_refused_in_a_line(tmp_path, hostile):
    late = "import tensorflow\ntry: import resnet.models\nexcept Exception as error: print(repr(error))"
    said = python(late).stdout
    assert said.startswith("UserError('Keras was imported for jax")
    assert len(said.splitlines()) == 1
    (tmp_path / "keras" / "keras.json").write_text('{"floatx": "int8"}', "utf-8")
    done = train(*STEPS, cwd=tmp_path)
    assert done.returncode == 1
    assert str(tmp_path / "keras" / "keras.json") in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_first_line_is_the_runs_own(tmp_path):
    done = train(*STEPS, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("resnet_v1_8\n")


NOISY = """
import os
from resnet.cli import streams
try:
    with streams.held_back() as let_through:
        os.write(2, b"noise" * 40_000 + b"\\n")
        {}
except {} as error:
    print("raised", error, flush=True)
os.write(2, b"after")
"""


@pytest.mark.parametrize(
    ("then", "noise", "after"),
    [
        ("pass", False, True),
        ("let_through()", True, True),
        ("raise ImportError('broken')", True, True),
        ("os.abort()", True, False),
    ],
)
def test_what_is_held_back_is_lost_only_where_all_went_well(then, noise, after):
    """Long enough to fill a pipe, from below Python, where an abort ends the process too."""
    done = python(NOISY.format(then, "ImportError"))
    assert done.stderr.count("noise") == 40_000 * noise
    assert done.stderr.endswith("after") == after
    assert (done.stdout == "raised broken\n") == ("raise" in then)
    assert (done.returncode == 0) == after


def shell(command, cwd, **variables):
    """The finished process of a shell's `command`, in which $PYTHON and $TRAIN stand for what they say."""
    variables = {"PYTHON": sys.executable, "TRAIN": str(ROOT / "train.py"), **variables}
    environment = {**os.environ, **variables}
    options = {"cwd": cwd, "env": environment, "capture_output": True, "encoding": "utf-8"}
    return subprocess.run(["bash", "-o", "pipefail", "-c", command], **options)


@pytest.mark.slow
@pytest.mark.parametrize("streams", ["| head -1", "2>&-", ">&- 2>&-", "<&- | true"])
def test_a_run_does_not_need_its_streams(streams, tmp_path):
    done = shell(f'"$PYTHON" "$TRAIN" {" ".join(STEPS)} {streams}', tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert result(tmp_path / "run")["status"] == "finished"
    assert "elapsed" in (tmp_path / "run" / "train.log").read_text("utf-8")
    assert len(newest(tmp_path / "run" / "checkpoints")[0]) > 10  # no line of a log is in it


@pytest.mark.slow
def test_help_for_a_reader_that_leaves(tmp_path):
    done = shell('"$PYTHON" "$TRAIN" --help | head -1', tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


ASCII = {"PYTHONIOENCODING": "ascii"}
C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.slow
@pytest.mark.parametrize("variables", [ASCII, C])
def test_a_run_in_a_locale_without_its_letters(variables, tmp_path):
    """It lies where it would in any other, and goes on in any other."""
    arguments = f"{' '.join(STEPS[:-1])} hydra.run.dir=öut/rün±"
    done = shell(f'"$PYTHON" "$TRAIN" {arguments}', tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    assert "r\\xfcn\\xb1" in done.stdout
    assert "Traceback" not in done.stderr
    directory = tmp_path / "öut" / "rün±"
    assert "rün±" in (directory / "train.log").read_text("utf-8")
    more = f"resume={directory} trainer.max_steps=5 changes=allow"
    for other in ({}, variables):
        done = shell(f'"$PYTHON" "$TRAIN" {more}', tmp_path, **other)
        assert done.returncode == 0, done.stderr
    assert result(directory)["steps"] == 5
    compared = shell(f'"$PYTHON" "{ROOT / "compare.py"}" .', tmp_path, **variables)
    assert compared.returncode == 0, compared.stderr


OTHER_SYSTEM = """
import os, signal, sys
for name in ("resource", "pwd", "grp"):
    sys.modules[name] = None
for module, name in (os, "sched_getaffinity"), (os, "fork"), (signal, "SIGUSR1"), (signal, "SIGHUP"):
    delattr(module, name)
"""


@pytest.fixture
def other_system(tmp_path, monkeypatch):
    """A Python without what only Unix, or only Linux, has; it warns of text in the locale's encoding."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(OTHER_SYSTEM, "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("PYTHONWARNDEFAULTENCODING", "1")


def clean(done):
    """Whether it ended well and said nothing of this project's files (an environment may lie among them)."""
    ours = [line for line in done.stderr.splitlines() if str(ROOT) in line and "site-packages" not in line]
    return done.returncode == 0 and "Traceback" not in done.stderr and not ours


@pytest.mark.slow
def test_the_programs_run_on_other_systems(tmp_path, other_system):
    assert "resource" in python("import resource", PYTHONPATH=os.environ["PYTHONPATH"]).stderr
    done = train(*STEPS, "trainer/strategy=cores", cwd=tmp_path)
    assert clean(done), done.stderr
    assert result(tmp_path / "run")["replicas"] == os.cpu_count()
    for done in (
        train("resume=run", "trainer.max_steps=5", "changes=allow", cwd=tmp_path),
        run("evaluate.py", "run=run", cwd=tmp_path),
        run("predict.py", "run=run", "images=run/samples.png", cwd=tmp_path),
        run("compare.py", ".", cwd=tmp_path),
    ):
        assert clean(done), done.stderr


def test_the_peak_of_memory_is_that_since_it_was_forgotten():
    """A job's, not the process's: 200 MB that are there, 200 that were and are no more."""
    size = 200 * 2**20
    process.forget_peak_memory()
    before = process.peak_memory()
    np.ones(size, np.uint8)
    high = process.peak_memory()
    assert 0.9 * size < high - before < 1.2 * size
    process.forget_peak_memory()
    assert process.peak_memory() < high - 0.8 * size


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no getrusage")
def test_the_peak_of_memory_where_no_proc_tells_it(monkeypatch):
    known = process.peak_memory()
    monkeypatch.setattr(process, "STATUS", Path("/nowhere"))
    assert 0.9 * known < process.peak_memory() < 100 * known


def test_usable_cores(monkeypatch):
    assert process.cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert process.cores() == os.cpu_count()


def test_the_commit_is_the_checkouts_or_none(tmp_path, monkeypatch):
    git = ("git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@y.z")
    assert process.git_commit(tmp_path) is None
    subprocess.run([*git, "init", "-q"], check=True)
    assert process.git_commit(tmp_path) is None
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    commit = process.git_commit(tmp_path)
    assert len(commit) == 40
    monkeypatch.setenv("GIT_DIR", str(ROOT / ".git"))
    assert process.git_commit(tmp_path) == commit
    assert process.git_commit(tmp_path / "of.py") == commit
    assert process.git_commit(tmp_path / "no" / "where") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert process.git_commit(tmp_path) is None
    (tmp_path / "git").write_text("no program", "ascii")
    (tmp_path / "git").chmod(0o755)
    assert process.git_commit(tmp_path) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "00:00:00"), (59.99, "00:00:59"), (3661, "01:01:01"), (97_385, "27:03:05"), (360_000, "100:00:00")],
)
def test_hours_do_not_wrap(seconds, text):
    assert process.hours(seconds) == text


def received(signals):
    for _ in range(1000):
        if signals.received:
            return signals.received
        time.sleep(0.01)
    return None


@pytest.fixture
def hangups():
    """SIGHUP as it is without nohup, under which the tests may run."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_signals_are_remembered_and_given_back(number, hangups):
    before = signal.getsignal(number)
    signals = Signals()
    try:
        os.kill(os.getpid(), number)
        assert received(signals) == number
    finally:
        signals.close()
    assert signal.getsignal(number) == before


def test_warnings_may_come_twice_and_before_a_signal_that_insists(hangups):
    signals = Signals()
    try:
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGUSR1, signal.SIGHUP):
            os.kill(os.getpid(), number)
            assert received(signals) == signal.SIGHUP
        os.kill(os.getpid(), signal.SIGTERM)
        while signals.received == signal.SIGHUP:
            time.sleep(0.01)
        assert signals.received == signal.SIGTERM
    finally:
        signals.close()


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None])
def test_a_warning_that_someone_else_takes_stays_theirs(handler):
    before = signal.signal(signal.SIGHUP, handler)
    try:
        signals = Signals()
        try:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            assert received(signals) == signal.SIGTERM
            assert signal.getsignal(signal.SIGHUP) == handler
        finally:
            signals.close()
    finally:
        signal.signal(signal.SIGHUP, before)


def make(*arguments, cwd):
    command = ["make", "--file", str(ROOT / "Makefile"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize("version", ["2.7", "3.9", "3.14"])
def test_a_python_that_the_lock_is_not_for_is_told_in_a_line(version, tmp_path):
    """A program that says which version it is stands for one that may not be installed here."""
    old = tmp_path / "old"
    old.write_text(f"#!/bin/sh\necho {version}\n", "ascii")
    old.chmod(0o755)
    (tmp_path / "requirements.lock").touch()
    for python, what in (str(old), f"is Python {version}"), (str(tmp_path / "none"), "is not there"):
        done = make("setup", f"PYTHON={python}", cwd=tmp_path)
        assert done.returncode != 0
        assert len(done.stderr.splitlines()) == 1
        assert f"{python} {what}" in done.stderr
        assert "3.10 3.11 3.12 3.13" in done.stderr
        assert "PYTHON=python3.12" in done.stderr
        assert not (tmp_path / ".venv").exists()
