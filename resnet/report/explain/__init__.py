"""Pictures of why a network works: a module each, found by its name.

A module has a function `explain(networks, dataset, **options)`, which gives an Explanation:

    networks    the `subject.Subject`s that are looked at: a run, or two of them side by side
    dataset     the few images of a `data.Dataset` that are looked at, the same for both
    options     keywords only, with defaults; `conf/explain.yaml` has them under the module's name

It raises UserError where a run has not what the picture needs. The first line of the module's docstring is
what help says of it. This imports no TensorFlow; the modules do.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Any, NamedTuple

from resnet.errors import ConfigError
from resnet.files import csv_text


class Explanation(NamedTuple):
    """A matplotlib Figure, its numbers as equal dicts, one a row, and a sentence that says what is seen.

    `files` are what a plugin of TensorBoard reads beside the events: bytes by name.
    """

    figure: Any
    rows: list[dict]
    sentence: str
    files: Mapping[str, bytes] = MappingProxyType({})

    def csv(self) -> str:
        """The rows as the text of a CSV file, their names first."""
        return csv_text(self.rows)


def names() -> list[str]:
    """Of all pictures there are."""
    return [module.name for module in iter_modules(__path__)]


def described() -> str:
    """All pictures, a line each, as help shows them."""
    of = {name: ast.get_docstring(ast.parse(_source(name))) or "" for name in names()}
    width = max(map(len, of))
    return "\n".join(f"  {name:{width}}  {text.partition(chr(10))[0]}" for name, text in of.items())


def _source(name):
    return Path(__file__).with_name(f"{name}.py").read_text("utf-8")


def check(wanted: Sequence[str]) -> None:
    """Raise ConfigError for the first name that is none of a picture."""
    for name in wanted:
        if name not in (known := names()):
            likely = get_close_matches(str(name), known, n=1)
            hint = f"did you mean {likely[0]}?" if likely else f"there are {', '.join(known)}"
            raise ConfigError(f"what={name}: there is no such picture; {hint}")


def find(name: str) -> Callable[..., Explanation]:
    """The function of the picture of this name."""
    return import_module(f"{__name__}.{name}").explain
