"""Batches tried one after the other, each in a process of its own, which alone is out of memory."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf

from resnet.errors import UserError
from resnet.process import available_memory, peak_memory, resident_memory

GB = 1e9
OOM_SCORE = Path("/proc/self/oom_score_adj")
WARM, TIMED = 2, 3  # steps
FINE = 16  # the largest batch is true to this part of it
LOOK = 0.02  # seconds between two looks at what a process holds


class Trial(NamedTuple):
    """What some steps with batches of `batch` images took; `images` there are to train on.

    `memory` is the most that the process held, in bytes.
    """

    batch: int
    memory: int | None
    images_per_second: float
    images: int
    replicas: int

    def __str__(self):
        held = f"{self.memory / GB:.2f} GB" if self.memory else "memory unknown"
        return f"{held}, {self.images_per_second:,.0f} images/s"


class Trials:
    """Tries batches of a training.

    Args:
        config: as train.py takes it.
        threads: TensorFlow's, or None.
        memory: GB that the training may hold at once; None for what is free now.

    Raises UserError for a `memory` where the system does not say what a process holds.
    """

    def __init__(self, config: DictConfig, threads: int | None, memory: float | None) -> None:
        if memory and resident_memory(os.getpid()) is None:
            raise UserError("only Linux says what a process holds; leave memory_gb=null")
        self.config = OmegaConf.to_yaml(config)
        self.threads = threads
        self.memory = int(memory * GB) if memory else available_memory()
        kind = "given" if memory else "free"
        self.limit = f"{self.memory / GB:.2f} GB were {kind}"

    def __call__(self, batch: int) -> Trial | None:
        """The Trial of a batch, or None where it does not fit. Raises UserError for what else went wrong."""
        arguments = [sys.executable, "-m", __name__, str(batch), str(self.threads or 0)]
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL  # how TensorFlow dies is not for the reader
        with subprocess.Popen(
            arguments, stdin=pipe, stdout=pipe, stderr=nothing, encoding="utf-8"
        ) as process:
            assert process.stdin and process.stdout
            try:
                with process.stdin as given:
                    given.write(self.config)
                while process.poll() is None:
                    if (resident_memory(process.pid) or 0) > self.memory:
                        process.kill()
                    time.sleep(LOOK)
                answer = process.stdout.read()
            finally:
                process.kill()
        if not answer and (code := process.wait()) > 0:
            raise UserError(f"a batch of {batch} ended its process with exit code {code}")
        said = json.loads(answer or "{}")  # nothing, where it was killed, here or by the system
        if "error" in said:
            raise UserError(said["error"])
        found = Trial(**said) if said else None
        if found and (found.memory or 0) > self.memory:
            found = None
        print(f"batch {batch}: {found or 'out of memory'}", flush=True)
        return found


def largest(attempt: Callable[[int], Trial | None], start: int) -> Trial:
    """The Trial of the largest batch that fits, true to a sixteenth; `start` is tried first.

    Raises UserError where not even one image for each replica fits.
    """
    best: Trial | None = None
    too_large, batch = None, start
    while True:
        found = attempt(batch)
        if found:
            best = found
        else:
            too_large = batch
        fits, step = (best.batch, best.replicas) if best else (0, 1)
        most = best.images // step * step if best else batch
        if too_large is None:
            batch = min(2 * fits, most)
            done = batch == fits
        else:
            batch = (fits + too_large) // 2 // step * step
            done = batch <= fits or best is not None and too_large - fits <= max(step, fits // FINE)
        if done:
            break
    if best is None:
        raise UserError("not even a batch of one image fits")
    return best


def _main(batch, threads):
    """Answer on standard output with the Trial of the configuration that standard input gives.

    The answer is JSON: empty where it is out of memory, with an `error` for any other.
    """
    with suppress(OSError):
        OOM_SCORE.write_text("1000", "ascii")  # proc(5): of all processes the system is to end this one
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for the summary and the log
    try:
        said = _trial(OmegaConf.create(sys.stdin.read()), threads, batch)._asdict()
    except Exception as error:
        out = isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"
        said = {} if out else {"error": str(error)}
    with answer:
        json.dump(said, answer)


def _trial(config, threads, batch):
    from resnet.cli.command import import_keras

    import_keras()
    from resnet.cli.assembly import parts_of, trainer_of
    from resnet.fitting import fit
    from resnet.run.callbacks.clock import Clock

    config.trainer.batch_size = batch
    config.trainer.max_steps = config.trainer.epochs = WARM + TIMED
    trainer = trainer_of(config, threads)
    parts, clock = parts_of(config, trainer), Clock(WARM)
    fit(**parts | {"callbacks": [clock]}, trainer=trainer)
    return Trial(
        batch,
        peak_memory(),
        batch / statistics.median(clock.seconds),
        len(parts["dataset"].train),
        trainer.strategy.num_replicas_in_sync,
    )


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]) or None)
