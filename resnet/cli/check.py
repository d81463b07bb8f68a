"""A configuration checked before TensorFlow is imported: what is refused here costs a second, not a start."""

import inspect
import logging
from difflib import get_close_matches
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from resnet import rules
from resnet.cli.ranges import ELSEWHERE, PLACES, PLAIN, RANGES
from resnet.errors import ConfigError

log = logging.getLogger(__name__)
GROUPS = ("data", "model", "optimizer", "augmentation", "schedule", "loss", "init", "freeze", "trainer")
BY_NAME = ("metrics", "callbacks")  # groups of any number of nodes
SETTINGS = {name: RANGES[name] for name in ("seed", "threads", "changes")}
SETTINGS |= dict.fromkeys((*GROUPS, *BY_NAME), dict)
OURS = "resnet."
HYDRAS = ("_target_", "_partial_", "_args_", "_convert_", "_recursive_")
DEPTHS = {  # layers of n blocks in each of three stages, and others
    "resnet.models.plain": (6, 2),
    "resnet.models.resnet_v1": (6, 2),
    "resnet.models.resnet_v2": (9, 2),
    "resnet.models.resnext": (9, 2),
    "resnet.models.revnet": (12, 2),
    "resnet.models.wide_resnet": (6, 4),
}
RULES = (
    rules.fold_of_folds,
    rules.originals_are_streamed,
    rules.recompute_in_loops,
    rules.dense_blocks_per_stage,
    rules.adaptive_has_a_radius,
    rules.residual_needs_no_norm,
    rules.residual_of_activated_shortcuts,
    rules.rising_boundaries,
    rules.profile_has_an_end,
    rules.range_rises,
)


def check(config: DictConfig) -> None:
    """Raise ConfigError for the first key or value that cannot be; log where a thaw comes after the end.

    Only names and values of this project's targets, and those of Keras' optimizers that RANGES knows, are
    checked: what the names of the user's own mean is for their functions to say. Whether a target takes a
    name that RANGES knows, its signature says when it is built.
    """
    tree = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(tree, dict)
    _validate("", SETTINGS, tree)
    for group in GROUPS:
        check_node(group, tree[group])
    for group in BY_NAME:
        for name, node in tree[group].items():
            if not isinstance(node, dict):
                raise ConfigError(
                    f"{group}.{name}={node}: expected what builds it; ~{group}.{name} leaves it out"
                )
            check_node(f"{group}.{name}", node)
    if "loss" in tree["metrics"]:
        raise ConfigError("metrics.loss: the loss is measured by this name; give the metric another")
    _tell_never_thawed(tree["freeze"], tree["trainer"])


def check_node(path: str, node: dict) -> None:
    """Raise ConfigError for the first key or value of the node at `path`, or of one in it, that cannot be."""
    target = node.get("_target_")
    if not isinstance(target, str):
        raise ConfigError(f"{path}._target_: it says what to build, and is missing")
    values = {name: value for name, value in node.items() if name not in HYDRAS}
    ours = target.startswith(OURS)
    if ranges := ranges_of(target):
        _check_place(path, target)
        if ours:
            _check_names(path, target, values)
        known = {name: value for name, value in values.items() if name in ranges}
        _validate(f"{path}.", {name: ranges[name] for name in known}, known)
    if ours:
        _check_rules(path, target, values)
    for name, value in values.items():
        for place, part in _parts(f"{path}.{name}", value):
            if (ours and name not in PLAIN) or "_target_" in part:
                check_node(place, part)


def ranges_of(target: str) -> dict[str, Any]:
    """What the options of a target may be, by name; empty for one whose options are its own matter."""
    known = target.startswith((OURS, "keras.optimizers."))
    return RANGES | ELSEWHERE.get(target, {}) if known else {}


def check_values(path: str, values: dict) -> None:
    """Raise ConfigError for the first of the options at `path` that is out of its range."""
    _validate(f"{path}." if path else "", {name: RANGES[name] for name in values}, values)


def _check_place(path, target):
    name = [part for part in path.split(".") if not part.isdigit()][-1]
    if not target.startswith(places := PLACES.get(name, ("",))):
        raise ConfigError(f"{path}._target_={target}: expected {' or '.join(places)}...")


def _check_names(path, target, values):
    known = [name for name in values if name in RANGES]
    for name in values:
        if name not in RANGES:
            likely = get_close_matches(name, known, n=1) or get_close_matches(name, RANGES, n=1)
            hint = f"did you mean {likely[0]}?" if likely else f"there are {', '.join(known) or 'none'}"
            # Whether the target takes it cannot be seen without loading TensorFlow.
            new = "an option of a new name gets its range in resnet/cli/ranges.py"
            raise ConfigError(f"{path}.{name}: there is no option {name}; {hint}\n{new}")


def _check_rules(path, target, values):
    if target in DEPTHS and "depth" not in values:
        raise ConfigError(f"{path}.depth: field required")
    try:
        if target in DEPTHS:
            rules.blocks_per_stage(values["depth"], *DEPTHS[target])
        for rule in RULES:
            names = inspect.signature(rule).parameters
            if names.keys() <= values.keys():
                rule(**{name: values[name] for name in names})
    except ValueError as error:
        raise ConfigError(f"{path}.{error}") from error


def _tell_never_thawed(freeze, trainer):
    until, epochs = freeze.get("epochs"), trainer.get("epochs")
    if freeze.get("parts") and until and epochs and until >= epochs and trainer.get("minutes") is None:
        log.warning(
            "freeze.epochs=%s: what is frozen is never trained in trainer.epochs=%s; give fewer, or null if "
            "that is meant",
            until,
            epochs,
        )


def _validate(prefix, ranges, values):
    """Raise ConfigError for the first key at fault: what it is given as, and any kind it could be."""
    try:
        _schema(tuple(ranges.items())).model_validate(values)
    except ValidationError as error:
        faults = error.errors()
        first = faults[0]
        key = first["loc"][0]
        wishes = dict.fromkeys(fault["msg"].lower() for fault in faults if fault["loc"][0] == key)
        inside = first["type"] in ("missing", "extra_forbidden")  # the others name kinds on their way, too
        place = ".".join(map(str, first["loc"])) if inside else key
        given = "" if first["type"] == "missing" else f"={first['input'] if inside else values[key]}"
        raise ConfigError(f"{prefix}{place}{given}: {', or '.join(wishes)}") from error


@cache
def _schema(ranges: tuple[tuple[str, Any], ...]) -> type[BaseModel]:
    """These keys, in these ranges, and no others."""
    required: dict[str, Any] = {name: (kind, ...) for name, kind in ranges}
    return create_model(
        "Node", __config__=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False), **required
    )


def _parts(path, value):
    """The nodes in a value, itself or the members of a list, with their paths."""
    members = enumerate(value) if isinstance(value, list) else []
    named = [(path, value), *((f"{path}.{i}", member) for i, member in members)]
    return [(name, part) for name, part in named if isinstance(part, dict)]
