"""A YAML file of conf/ with its comments, which say what its keys are for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from resnet.cli.check import HYDRAS

HIDDEN = ("defaults", "hydra", *HYDRAS)


@dataclass
class Option:
    """A key, or a node in a list.

    Args:
        path: its names, from the top of the file.
        owner: the target that it is an option of, None for those of the program.
        builds: the target of its value, None for one that builds nothing.
        value: as it stands in the file; of a list of nodes their number, "" of a node.
        comment: what stands beside it, or "".
    """

    path: tuple[str, ...]
    owner: str | None
    builds: str | None
    value: str
    comment: str


class Commented:
    """The file at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text("utf-8")
        self.root = yaml.compose(self.text)
        self.builds = _target(self.root)
        self.options = {option.path: option for option in self._options((), self.root, self.builds)}

    @cached_property
    def header(self) -> str:
        """The lines of comment above the first key that is not `defaults`, as one text."""
        first = [key.start_mark.line for key, _ in _items(self.root) if key.value != "defaults"]
        above = self.text.splitlines()[: min(first, default=None)]
        comments = [line[1:].strip() for line in above if line.startswith("#")]
        return " ".join(line for line in comments if not line.startswith("@package"))

    @cached_property
    def defaults(self) -> list[Any]:
        """What the file is composed of besides itself, as Hydra writes it."""
        found = (yaml.safe_load(self.text) or {}).get("defaults", [])
        return [entry for entry in found if entry != "_self_"]

    def comment(self, path: tuple[str, ...]) -> str:
        """What stands beside a key, here or else in the files that it comes from, or else ""."""
        if path in self.options and self.options[path].comment:
            return self.options[path].comment
        return next(filter(None, (base.comment(path) for base in self._bases)), "")

    @cached_property
    def _bases(self):
        names = [entry for entry in self.defaults if isinstance(entry, str) and "@" not in entry]
        return [Commented(self.path.with_name(f"{name}.yaml")) for name in names]

    def _options(self, path, node, owner) -> Iterator[Option]:
        for key, value in _items(node):
            if key.value in HIDDEN:
                continue
            here = (*path, key.value)
            if _is_block(value, yaml.SequenceNode):
                nodes = [member for member in value.value if _target(member)]
                members = ", ".join(" ".join(self._text(member).split()) for member in value.value)
                text = f"{len(nodes)} nodes" if nodes else f"[{members}]"
                yield Option(here, owner, None, text, self._beside(key))
                for i, member in enumerate(nodes):
                    yield Option((*here, str(i)), owner, _target(member), "", "")
                    yield from self._options((*here, str(i)), member, _target(member))
            elif _is_block(value, yaml.MappingNode):
                if _target(value):
                    yield Option(here, owner, _target(value), "", self._beside(key))
                yield from self._options(here, value, _target(value))
            else:
                yield Option(here, owner, None, self._text(value), self._beside(value))

    def _text(self, node):
        return self.text[node.start_mark.index : node.end_mark.index]

    def _beside(self, node):
        """The comment behind a node, on its line."""
        rest = self.text[node.end_mark.index :].partition("\n")[0]
        return rest.partition("# ")[2].strip()


def _items(node):
    return node.value if isinstance(node, yaml.MappingNode) else ()


def _is_block(node, kind):
    return isinstance(node, kind) and not node.flow_style


def _target(node):
    return next((value.value for key, value in _items(node) if key.value == "_target_"), None)
