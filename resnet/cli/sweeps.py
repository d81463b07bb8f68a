"""What Hydra would do wrong in silence when experiments bring sweeps, or a study comes back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from resnet.cli import jobs
from resnet.errors import ConfigError


class Check(Callback):
    """Ends a program whose sweep, or lack of one, is not what its experiments are for.

    A sweeper that chooses values, as Optuna's, gets a record to resume from, and directories that are free.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        if left := _left(config, config.hydra.overrides.task):
            sys.exit(
                f"the configuration brings a sweep over {' and '.join(left)}: add -m to train all of it, "
                f"or give {' '.join(f'{key}=...' for key in left)} to train one network"
            )

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        if found := _choices_with_sweeps(config):
            several = [f"{choice} over {' and '.join(left)}" for choice, left in found.items()]
            sys.exit(
                f"choices with sweeps of their own, which a sweep over the choices would leave out: "
                f"{', '.join(several)}\nrun them one after the other, each with -m"
            )
        if _chooses(config.hydra.sweeper):
            _prepare_study(config)
        if jobs.beside_others(config.hydra):
            jobs.hand_on_signals()


def check_objective(watched: str, has_validation: bool) -> None:
    """Raise ConfigError in a job of a sweeper that chooses by a score which will not be there."""
    hydra = HydraConfig.get()
    chooses = hydra.mode == RunMode.MULTIRUN and _chooses(hydra.sweeper)
    if chooses and watched == "validation" and not has_validation:
        sweeper = hydra.runtime.choices["hydra/sweeper"]
        raise ConfigError(
            f"hydra/sweeper={sweeper} chooses by the score of the validation images, and there are none\n"
            "give data.validation_split=0.1"
        )


def _chooses(sweeper):
    return not sweeper._target_.endswith(".BasicSweeper")


def _left(config, overrides):
    """Keys that the sweeper of `config` is to vary, but for those that `overrides` set."""
    given = {override.key_or_group for override in OverridesParser.create().parse_overrides(list(overrides))}
    return [key for key in config.hydra.sweeper.get("params") or {} if key not in given]


def _choices_with_sweeps(config):
    """The choices of a sweep over a group that bring sweeps of their own, with the keys that those vary."""
    found = {}
    loader, task = GlobalHydra.instance().config_loader(), config.hydra.overrides.task
    for override in OverridesParser.create(loader).parse_overrides(list(task)):
        if not (override.is_discrete_sweep() and loader.get_group_options(override.key_or_group)):
            continue
        for value in override.sweep_string_iterator():
            choice = f"{override.get_key_element()}={value}"
            try:
                job = loader.load_sweep_config(config, [choice])
            except HydraException:  # it needs more than this choice; as a job it composes, or says why not
                continue
            swept = config.hydra.sweeper.get("params") or {}
            if left := [key for key in _left(job, task) if key not in swept]:
                found[choice] = left
    return found


def _prepare_study(config):
    """Write multirun.yaml, as Hydra's own sweeper does; the jobs of a second round are `2-0`, `2-1`, ...

    Such a sweeper counts its jobs from 0 each time, and would give new values to what lies there.
    """
    directory = Path(config.hydra.sweep.dir)
    used = any(directory.glob("*/.hydra"))
    directory.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, directory / "multirun.yaml")
    sweep: Any = OmegaConf.to_container(config.hydra.sweep, resolve=False)
    subdir = sweep["subdir"]
    if used and subdir == "${hydra.job.num}":
        number = next(n for n in range(2, 10**9) if not any(directory.glob(f"{n}-*")))
        with open_dict(config):
            config.hydra.overrides.hydra.append(f"hydra.sweep.subdir='{number}-{subdir}'")
