"""What an experiment says of the options that it chooses, where the command line chooses others."""

from __future__ import annotations

import logging

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from resnet.cli.check import GROUPS
from resnet.cli.command import told

log = logging.getLogger(__name__)
OF_ANY = ("data", "trainer")  # what an experiment says of these, as of folds, it says of any option


def leave_out_foreign(config: DictConfig) -> None:
    """Take out of `config`, and log, what its experiment says of options that it is run without.

    As `schedule.boundaries` of `experiment=demo schedule=paper`, which Hydra merges into the latter. Of an
    option that the experiment chose itself, that is all that it says; of a usual one, that in which the two
    options differ, so that `augmentation.flip` of `experiment=demo augmentation=crop_flip` stays. A value
    that the command line gives stays, too.
    """
    hydra = HydraConfig.get()
    choices, keys = hydra.runtime.choices, told()
    chosen = [group for group in choices if group.partition("/")[0] in GROUPS and group in keys]
    if not chosen or not choices.get("experiment"):
        return
    whose = [text for text in hydra.overrides.task if text.startswith(("experiment=", "paper="))]
    usual, experiments = _composed("~experiment"), _composed(*whose)
    new = _composed("~experiment", *(f"{group}={choices[group]}" for group in chosen))
    for group in chosen:
        before, said_of, now = (of.hydra.runtime.choices.get(group) for of in (usual, experiments, new))
        if now == said_of:
            continue
        path = group.replace("/", ".")
        node = OmegaConf.select(config, path)
        said, default, own = (_plain(OmegaConf.select(of, path)) for of in (config, usual, new))
        given = {key for key in node if any(f"{k}.".startswith(f"{path}.{key}.") for k in keys)}
        lacking = [key for key in said if key not in own and key not in given]
        differing = [
            key
            for key in said
            if key in own and key not in given and group not in OF_ANY and said[key] != own[key]
            if said_of != before or own[key] != default.get(key)
        ]
        with open_dict(node):
            for key in lacking:
                del node[key]
            for key in differing:
                node[key] = own[key]
        for has, names in (("has no", lacking), ("has its own", differing)):
            if names:
                listed, experiment = ", ".join(map(str, names)), choices["experiment"]
                log.info("%s=%s %s %s: left out of experiment=%s", group, now, has, listed, experiment)


def _composed(*overrides):
    """The configuration with these overrides alone, where the program finds it."""
    hydra = HydraConfig.get()
    places = [text for text in hydra.overrides.hydra if text.startswith("hydra.searchpath=")]
    return compose(hydra.job.config_name, [*places, *overrides], return_hydra_config=True)


def _plain(node):
    return OmegaConf.to_container(node, resolve=False)
