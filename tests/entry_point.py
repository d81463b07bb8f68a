"""train.py and its sisters as a user starts them."""

import atexit
import json
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).parent.parent
DRAWN = (
    "data=digits",
    "data.train_size=125",
    "data.validation_split=0.2",
    "data.test_size=50",
    "model.depth=8",
)
TINY = (*DRAWN, "~callbacks.pictures")  # they are 1.3 of its 3.5 seconds


def start(*overrides, cwd, script="train.py", **options):
    """The running process; its outputs are text, its errors go with its output unless `stderr` is given."""
    command = [sys.executable, str(ROOT / script), *overrides]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} | options
    return subprocess.Popen(command, cwd=cwd, env=_environment(), **options)


def run(script, *arguments, cwd, **options):
    """The finished process with its stdout and stderr."""
    if not options and _environment() == USUAL:
        return _fork(script, *arguments, cwd=cwd)
    process = start(*arguments, cwd=cwd, script=script, stderr=subprocess.PIPE, **options)
    stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def _environment():
    others = ("PYTEST_", "HYDRA_FULL_ERROR")
    return {name: value for name, value in os.environ.items() if not name.startswith(others)}


USUAL = _environment()
forks = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
forks.set_forkserver_preload(["tests.preloaded"])  # a third of a short program's time


def _fork(script, *arguments, cwd):
    """`run`, in a process that has imported TensorFlow already."""
    with tempfile.TemporaryDirectory() as streams:
        out, error = Path(streams) / "out", Path(streams) / "error"
        command = [str(ROOT / script), *arguments]
        process = forks.Process(target=_main, args=(command, cwd, _environment(), out, error))
        process.start()
        process.join()
        printed = (path.read_text("utf-8") if path.exists() else "" for path in (out, error))
        return subprocess.CompletedProcess(command, process.exitcode, *printed)


def _main(command, cwd, environment, out, error):
    """The program `command` as Python runs it."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, name, path in ((1, "stdout", out), (2, "stderr", error)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
        setattr(sys, name, open(descriptor, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    sys.argv, sys.path[0] = command, str(ROOT)
    try:
        runpy.run_path(command[0], run_name="__main__")
    finally:  # in Python's order: joblib ends its workers with the threads; what follows waits for them
        threading._shutdown()
        atexit._run_exitfuncs()


def train(*overrides, cwd, **options):
    return run("train.py", *overrides, cwd=cwd, **options)


def result(run):
    return json.loads((run / "result.json").read_text())
