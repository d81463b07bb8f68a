"""Workers of one training: processes on this host that talk over the loopback."""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack

from tests.entry_point import ROOT


def environments(number, resolver="tf_config"):
    """What tells each of `number` workers of its cluster; their ports were free a moment ago."""
    ports = free_ports(number)
    workers = [f"127.0.0.1:{port}" for port in ports]
    for index in range(number):
        if resolver == "slurm":
            yield {
                "PORT": str(min(ports)),
                "SLURM_PROCID": str(index),
                "SLURM_STEP_NUM_TASKS": str(number),
                "SLURM_STEP_NODELIST": "127.0.0.1",
                "SLURM_STEP_TASKS_PER_NODE": str(number),
            }
        else:
            task = {"type": "worker", "index": index}
            yield {"TF_CONFIG": json.dumps({"cluster": {"worker": workers}, "task": task})}


def free_ports(number):
    """Ports that follow each other."""
    while True:
        with ExitStack() as stack:
            first = stack.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            ports = [first.getsockname()[1] + i for i in range(number)]
            try:
                for port in ports[1:]:
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except (OSError, OverflowError):
                continue
            return ports


def start(command, environments, cwd):
    """A process of `python command` for each environment; stderr goes with stdout."""
    return [
        subprocess.Popen(
            [sys.executable, *map(str, command)],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for environment in environments
    ]


def finish(processes, seconds=240):
    """Exit codes and outputs, once all have ended; kills what has not after `seconds`."""
    try:
        outputs = [process.communicate(timeout=seconds)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], outputs
