"""train.py and its sisters as a user starts them."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TINY = (
    "data=digits",
    "data.train_size=125",
    "data.validation_split=0.2",
    "data.test_size=50",
    "model.depth=8",
)


def start(*overrides, cwd, script="train.py", **options):
    """The running process; its outputs are text, its errors go with its output unless `stderr` is given."""
    command = [sys.executable, str(ROOT / script), *overrides]
    environment = {k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} | options
    return subprocess.Popen(command, cwd=cwd, env=environment, **options)


def run(script, *arguments, cwd, **options):
    """The finished process with its stdout and stderr."""
    process = start(*arguments, cwd=cwd, script=script, stderr=subprocess.PIPE, **options)
    stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def train(*overrides, cwd, **options):
    return run("train.py", *overrides, cwd=cwd, **options)


def result(run):
    return json.loads((run / "result.json").read_text())
