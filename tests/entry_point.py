"""train.py as a user starts it."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TINY = ("data=digits", "data.train_size=100", "data.test_size=50", "model.depth=8")


def start(*overrides, cwd, **options):
    """The running process; its outputs are text, its errors go with its output unless `stderr` is given."""
    command = [sys.executable, str(ROOT / "train.py"), *overrides]
    environment = {k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} | options
    return subprocess.Popen(command, cwd=cwd, env=environment, **options)


def train(*overrides, cwd, **options):
    """The finished process with its stdout and stderr."""
    process = start(*overrides, cwd=cwd, stderr=subprocess.PIPE, **options)
    stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def result(run):
    return json.loads((run / "result.json").read_text())
