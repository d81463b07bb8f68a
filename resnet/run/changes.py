"""How a configuration differs from the one that a run began with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from omegaconf import OmegaConf

from resnet.run.directory import flat

TOLD = 8


def changes(before: str, after: str) -> list[str]:
    """How one configuration, as YAML, differs from the one before: one text per key."""
    old, new = ({**(yaml.safe_load(text) or {}), "changes": None} for text in (before, after))
    return differences(old, new)


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """How one tree of values differs from the one before: one text per key."""
    old, new = flat(before), flat(after)
    return [
        f"{key}={new.get(key, 'absent')}, it was {old.get(key, 'absent')}"
        for key in sorted({*old, *new})
        if old.get(key, "absent") != new.get(key, "absent")
    ]


def told(changed: list[str]) -> str:
    """Changes in a line: the first of them, and how many more there are."""
    return "; ".join(changed[:TOLD]) + (f"; and {len(changed) - TOLD} more" if changed[TOLD:] else "")


def schedule_warning(before: str, after: str) -> str | None:
    """A line about the jump of the learning rate, if a run goes on under another schedule; else None.

    `before` and `after` are configurations, YAML. A schedule with `epochs: ${trainer.epochs}` is another one
    when these change.
    """
    changed = differences(_schedule(before), _schedule(after))
    return f"the learning rate jumps to another curve: {told(changed)}" if changed else None


def _schedule(text):
    node = OmegaConf.create(text).get("schedule")
    return {"schedule": OmegaConf.to_container(node, resolve=True) if node else {}}
