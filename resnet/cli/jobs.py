"""Jobs in processes beside each other, which stop together: each saves itself, and no other begins."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra.core.hydra_config import HydraConfig

from resnet.errors import Interrupted
from resnet.run.signals import INSISTENT, Signals, to_take

asked: list[int] = []  # the signals that asked this process to stop
_between: list[Signals] = []  # of a job's process, for good: none between two jobs ends it, and all others


class Stopped(Exception):
    """Interrupted, in a job beside others: an error as any job's, after which its launcher ends no other."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message, number)  # all that comes with it from one process to another
        self.number = number


def beside_others(hydra: Any) -> bool:
    """Whether Hydra's configuration is of a launcher that has several processes; with one job it has none."""
    return hydra.launcher.get("n_jobs", 1) != 1


@contextmanager
def stoppable() -> Iterator[None]:
    """Around a job: one beside others raises Stopped when it is stopped, and so does each after it here."""
    if not beside_others(HydraConfig.get()):
        yield
        return
    if not _between:
        _between.append(Signals())
    asked.extend(filter(None, [_between[0].received]))
    if asked:
        raise Stopped("not begun: this sweep is being stopped", asked[0])
    try:
        yield
    except Interrupted as error:
        asked.append(error.number)
        raise Stopped(str(error), error.number) from error


def hand_on_signals() -> None:
    """In a sweep's own process: have what asks it to stop stop its jobs; the second time it ends them."""
    for number in to_take():
        signal.signal(number, _hand_on)


def _hand_on(number: int, _: Any) -> None:
    jobs = multiprocessing.active_children()
    if number in INSISTENT and not set(INSISTENT).isdisjoint(asked):
        for job in jobs:
            job.kill()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    asked.append(number)
    if hasattr(signal, "SIGUSR1"):  # one that may come twice: from a terminal they have the same as this one
        for pid in filter(None, (job.pid for job in jobs)):
            os.kill(pid, signal.SIGUSR1)


@contextmanager
def interrupted() -> Iterator[None]:
    """Around a sweep: Interrupted where it, or a job alone, was asked to stop, whatever its jobs ended in."""
    try:
        yield
    except Exception as error:
        stops = [*asked, *([error.number] if isinstance(error, Stopped) else [])]
        if not stops:
            raise
        raise Interrupted(stops[0], str(error)) from error
