"""Recipes between two experiments: which of their nodes differ, and what a mixture of them is."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from resnet.cli.check import check
from resnet.errors import ConfigError
from resnet.files import replace_text


class Recipe(NamedTuple):
    """What an experiment comes to: the option chosen in each group, and each node with its interpolations."""

    choices: dict[str, str]
    nodes: dict[str, Any]


def recipe(conf: Path, experiment: str, overrides: list[str]) -> Recipe:
    """That of an experiment of the directory `conf`. Raises what Hydra, or the check of its values, does."""
    with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
        config = compose("config", [f"experiment={experiment}", *overrides], return_hydra_config=True)
    chosen = config.hydra.runtime.choices.items()
    choices = {
        group: name for group, name in chosen if name and not group.startswith(("hydra/", "experiment"))
    }
    own = OmegaConf.masked_copy(config, [str(name) for name in config if name != "hydra"])
    check(own)
    nodes = OmegaConf.to_container(own)
    assert isinstance(nodes, dict)
    return Recipe(choices, {str(name): node for name, node in nodes.items()})


def have_one_strategy(start: Recipe, end: Recipe) -> None:
    """Raise ConfigError where they are trained on other devices, for which one process cannot be set."""
    strategies = [side.choices["trainer/strategy"] for side in (start, end)]
    if len(set(strategies)) > 1:
        raise ConfigError(
            f"one recipe has trainer/strategy={strategies[0]}, one {strategies[1]}, and a process has one\n"
            "give both the same, as in trainer/strategy=single"
        )


def differing(start: Recipe, end: Recipe) -> list[str]:
    """Names of the nodes in which two recipes differ, in the order of the configuration."""
    return [name for name in end.nodes if start.nodes.get(name) != end.nodes[name]]


def mixture(start: Recipe, end: Recipe, changed: Collection[str]) -> Recipe:
    """`start` with the nodes `changed` of `end`."""
    kept, taken = (
        {
            group: name
            for group, name in side.choices.items()
            if (group.partition("/")[0] in changed) == is_end
        }
        for side, is_end in ((start, False), (end, True))
    )
    return Recipe(kept | taken, start.nodes | {name: end.nodes[name] for name in changed})


def write(recipe: Recipe, path: Path) -> None:
    """Write the experiment that is this recipe."""
    defaults = [{f"override /{group}": name} for group, name in recipe.choices.items()]
    text = OmegaConf.to_yaml({"defaults": [*defaults, "_self_"], **recipe.nodes})
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, f"# @package _global_\n{text}")
