"""What an experiment says of the options that it chooses, where the command line chooses others."""

from __future__ import annotations

import logging

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from resnet.cli.check import GROUPS
from resnet.cli.command import told

log = logging.getLogger(__name__)


def leave_out_foreign(config: DictConfig) -> None:
    """Take out of `config`, and log, what its experiment says of options that it is run without.

    As `schedule.boundaries` of `experiment=demo schedule=constant`, which Hydra merges into the latter.
    """
    hydra = HydraConfig.get()
    choices, keys = hydra.runtime.choices, told()
    if not choices.get("experiment"):
        return
    places = [text for text in hydra.overrides.hydra if text.startswith("hydra.searchpath=")]
    for group, option in choices.items():
        if group.partition("/")[0] not in GROUPS or group not in keys:
            continue
        path = group.replace("/", ".")
        without = compose(hydra.job.config_name, [*places, f"{group}={option}"])
        node, own = (OmegaConf.select(of, path) for of in (config, without))
        given = {key for key in node if any(f"{k}.".startswith(f"{path}.{key}.") for k in keys)}
        foreign = [key for key in node if key not in own and key not in given]
        with open_dict(node):
            for key in foreign:
                del node[key]
        if foreign:
            names, experiment = ", ".join(map(str, foreign)), choices["experiment"]
            log.info("%s=%s has no %s: left out of experiment=%s", group, option, names, experiment)
