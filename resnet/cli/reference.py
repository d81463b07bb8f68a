"""Every key of the configuration on one page: `python -m resnet.cli.reference conf > configuration.md`.

Nothing is said here that is not said elsewhere already: default and description stand in the YAML, the type
in the signature of what the node builds, the range in `ranges`.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import yaml
from hydra.utils import get_object
from pydantic import TypeAdapter

from resnet.cli.check import BY_NAME, GROUPS, ranges_of
from resnet.cli.commented import Commented
from resnet.cli.ranges import RANGES

COMMANDS = ("evaluate", "predict", "verify", "explain")
INTRODUCTION = """# Configuration

`python train.py model=resnet_v2 model.depth=110` chooses an option of the group `model` and sets one of its
keys. Every key is here; what several options share is under a name that begins with an underscore. The page
is made from the files under `conf/`, which hold the defaults and say what they are for, from the signatures
of what they build (types) and from `resnet/cli/ranges.py` (ranges)."""
LIMITS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
NUMBERS = {"integer": "whole numbers", "number": "numbers"}
TYPES = {
    "array": "list",
    "boolean": "bool",
    "integer": "int",
    "null": "None",
    "number": "float",
    "object": "dict",
    "string": "str",
}


@dataclass
class Row:
    """What the page says of a key; `key` is its dotted name in its file."""

    key: str
    description: str
    default: str
    type: str
    range: str


def page(conf: Path) -> str:
    """The page, Markdown, of the directory `conf`. It imports what the nodes build, and so TensorFlow."""
    groups = {group: sorted((conf / group).rglob("*.yaml")) for group in (*GROUPS, *BY_NAME)}
    files = {path: Commented(path) for paths in groups.values() for path in paths}
    said = comments(files.values())
    parts = [INTRODUCTION, "## The whole run", *_table(rows(Commented(conf / "config.yaml"), said))]
    for group, paths in groups.items():
        parts.append(f"## {group}")
        for path in paths:
            parts += _section(files[path], path.parent.relative_to(conf).as_posix(), said)
    parts += ["## experiment", *_recipes(conf / "experiment")]
    for command in COMMANDS:
        parts += [f"## {command}.py", *_table(rows(Commented(conf / f"{command}.yaml"), said))]
    return "\n\n".join(filter(None, parts)) + "\n"


def comments(files: Iterable[Commented]) -> dict[tuple[str | None, str], str]:
    """What is said of a target's option, by both their names; before all, in a file about this target."""
    options = [option for file in files for option in file.options.values() if option.comment]
    options.sort(key=lambda option: -len(option.path))  # so that the shorter path is the one that stays
    return {(option.owner, option.path[-1]): option.comment for option in options}


def rows(file: Commented, elsewhere: dict[tuple[str | None, str], str]) -> Iterator[Row]:
    """The keys of a file; what it does not say of one is perhaps said `elsewhere`, see `comments`."""
    for path, option in file.options.items():
        name, key = path[-1], ".".join(path)
        said = file.comment(path) or elsewhere.get((option.owner, name), "")
        if option.builds:
            yield Row(key, said or _docstring(option.builds), option.builds, "node", "")
            continue
        if not said and (setting := re.fullmatch(r"\$\{(\w+)\}", option.value)):
            said = f"as `{setting[1]}`"
        ranges = ranges_of(option.owner) if option.owner else RANGES
        schema = TypeAdapter(ranges[name]).json_schema() if name in ranges else {}
        yield Row(key, said, option.value, _type(option, schema), _limits(schema))


def _section(file, group, said):
    name = file.path.stem
    yield f"### `{group}{': ' if name.startswith('_') else '='}{name}` {{ #{_anchor(group, name)} }}"
    yield file.header or (_docstring(file.builds) if file.builds else "")
    taken = [_link(entry, group) for entry in file.defaults]
    builds = f"Builds `{file.builds}`, in" if file.builds else "In"
    yield f"{builds} `conf/{group}/{file.path.name}`" + (f", with {' and '.join(taken)}." if taken else ".")
    yield from _table(rows(file, said))


def _anchor(*names):
    return "-".join(names).replace("/", "-")


def _link(entry, group):
    """A link to what a file is composed of."""
    if isinstance(entry, dict):
        ((key, name),) = entry.items()
        group = f"{group}/{key}"
    else:
        name, _, key = entry.partition("@")
    return f"[`{name}`](#{_anchor(group, name)})" + (f" as `{key}`" if key else "")


def _recipes(folder):
    lines = [f"| `{path.stem}` | {_cell(Commented(path).header)} |" for path in sorted(folder.glob("*.yaml"))]
    yield "\n".join(["| | what it is |", "|---|---|", *lines])


def _table(found):
    lines = [
        f"| `{row.key}` | {_cell(row.description)} | {_code(row.default)} | {_code(row.type)} | {row.range} |"
        for row in found
    ]
    if lines:
        yield "\n".join(["| key | what it is | default | type | range |", "|---|---|---|---|---|", *lines])


def _cell(text):
    return text.replace("|", "\\|")


def _code(text):
    """As code; a bar in backticks would end the cell, or show its backslash."""
    return f"<code>{escape(str(text), quote=False).replace('|', '&#124;')}</code>"


def _docstring(target):
    """The first sentence or paragraph."""
    return " ".join((inspect.getdoc(get_object(target)) or "").partition("\n\n")[0].split())


def _type(option, schema):
    """As the signature has it, or else the range, or else the default."""
    parameters: Any = inspect.signature(get_object(option.owner)).parameters if option.owner else {}
    parameter = parameters.get(option.path[-1])
    if parameter and parameter.annotation is not parameter.empty:
        return getattr(parameter.annotation, "__name__", str(parameter.annotation))
    kinds = [part["type"] for part in schema.get("anyOf", [schema]) if "type" in part]
    return " | ".join(TYPES[kind] for kind in kinds) or type(yaml.safe_load(option.value)).__name__


def _limits(schema, definitions=None):
    """A JSON schema in words."""
    definitions = schema.get("$defs", definitions)
    if "$ref" in schema:
        return _limits(definitions[schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return "; or ".join(_limits(part, definitions) for part in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(_code(value) for value in schema["enum"])
    match schema.get("type"):
        case "integer" | "number" as kind:
            return " ".join([NUMBERS[kind], *_bounds(schema)])
        case "array":
            least, most = schema.get("minItems"), schema.get("maxItems")
            count = f"{least} " if least and least == most else ""
            return f"list of {count}{_limits(schema['items'], definitions)}"
        case "object":
            return ", ".join(_code(name) for name in schema.get("properties", ())) or "nodes"
        case kind:
            return {"boolean": "`true`, `false`", "string": "text", "null": "`null`", None: ""}[kind]


def _bounds(schema):
    """Those in words that are not an int32's or a float32's own."""
    for name, word in LIMITS.items():
        bound = schema.get(name)
        if bound is not None and abs(bound) < 1e9:
            yield "above 0" if 0 < bound < 1e-37 else f"{word} {bound:g}"


if __name__ == "__main__":
    from resnet.cli.command import import_keras

    import_keras()
    sys.stdout.write(page(Path(sys.argv[1])))
