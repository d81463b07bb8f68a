"""What `--help` and `--version` print."""

from __future__ import annotations

from textwrap import fill

from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from omegaconf import OmegaConf

from resnet import __version__
from resnet.process import versions

WIDTH = 110


def prepare(arguments: list[str]) -> None:
    """Make `${groups:}` stand for `groups` in a text of help; where none is asked for, for nothing.

    Hydra looks at the text whenever it starts, and reading all options takes a second.
    """
    asked = {"--help", "-h"}.intersection(arguments)
    OmegaConf.register_new_resolver("groups", groups if asked else lambda *_: "", replace=True)


def groups(*others: str) -> str:
    """The groups of the configuration and their options, those of `--config-dir` among them.

    `others` are groups that another program reads. A name that begins with an underscore is no option: it is
    what several of a group have in common.
    """
    lines = [
        f"{group}: {', '.join(options)}"
        for group, options in sorted(_found("").items())
        if group not in others
    ]
    return "\n".join(fill(line, WIDTH, subsequent_indent="    ") for line in lines)


def version() -> str:
    """Of this program, and of what decides what a run does."""
    others = ", ".join(f"{name} {number}" for name, number in versions().items())
    return f"resnet {__version__} ({others})"


def _found(parent):
    loader = GlobalHydra.instance().config_loader()
    found = {}
    for name in loader.list_groups(parent):
        group = f"{parent}/{name}" if parent else name
        if group == "hydra":
            continue
        options = loader.get_group_options(group, ObjectType.CONFIG)
        if public := [option for option in options if not option.startswith("_")]:
            found[group] = public
        found |= _found(group)
    return found
