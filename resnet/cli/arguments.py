"""What a shell hands over, in Hydra's words: flags first, and paths as they are called."""

import os
import re
from argparse import Namespace

from hydra._internal.utils import get_args_parser  # Hydra's flags have no public list
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

# Keys whose values are paths, and of them the one that holds a list.
PATH = re.compile(
    r"(\+{0,2}(?:(?:init\.)?run|loss\.teacher|against|images|output|resume"
    r"|(?:[\w.]+\.)?(?:dir|file|path|shards)))=(.*)",
    re.DOTALL,
)
LIST = "images"
QUOTED = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
ITEM = re.compile(rf"\s*({QUOTED})\s*(?=,|$)|((?:\$\{{[^}}]*\}}|[^,])*)", re.DOTALL)


def parse(arguments: list[str]) -> Namespace:
    """Hydra's flags by name, and the `overrides`, wherever they stand. Exits as argparse does for others."""
    return get_args_parser().parse_intermixed_args(arguments)


def unparse(options: Namespace) -> list[str]:
    """The arguments that `parse` reads as `options`, the flags first: Hydra takes no others."""
    flags = {f"--{name.replace('_', '-')}": value for name, value in vars(options).items()}
    overrides = flags.pop("--overrides")
    given = {flag: value for flag, value in flags.items() if value not in (None, False)}
    return [*(flag if value is True else f"{flag}={value}" for flag, value in given.items()), *overrides]


def is_multirun(options: Namespace) -> bool:
    return options.multirun or "hydra.mode=MULTIRUN" in options.overrides


def with_names(override: str, multirun: bool = False, base: str = "") -> str:
    """`override` with the paths in its value quoted for Hydra; what is no path is left alone.

    The value of a key like `data.dir`, `data.file`, `data.shards`, `hydra.run.dir`, `loss.teacher`, `run`,
    `images` and `output` is the name of a file as it stands, be it `my photos`, `é=1`, `a,b`, `[1]`, `1e3` or
    `null`. A leading `~` is a home directory, a relative name is one in `base`, and `${...}` stays an
    interpolation. Hydra's syntax are

    * a value that is wholly in quotes, which is left as it is;
    * `images=[...]`: a list, of names between commas or in quotes;
    * with `multirun`, and but for Hydra's own keys: names between commas or in quotes, for a job each, and
      what Hydra reads as a sweep by a function, like `choice(a,b)`.
    """
    found = PATH.fullmatch(override)
    if not found or not found[2]:
        return override
    key, value = found.groups()
    name = key.lstrip("+")
    if multirun and _is_function_sweep(override):
        return override
    if name == LIST and (items := _list_items(value)) is not None:
        return f"{key}=[{','.join(_quoted_item(item, base) for item in items)}]"
    if multirun and not name.startswith("hydra.") and name != "resume":
        return f"{key}={','.join(_quoted_item(item, base) for item in _items(value))}"
    whole = re.fullmatch(QUOTED, value, re.DOTALL)
    return override if whole else f"{key}={quoted(_path(value, base))}"


def name_in(override: str) -> str:
    """The path that is the value of `override`, before `with_names` or after."""
    value = override.partition("=")[2]
    if re.fullmatch(QUOTED, value, re.DOTALL):
        return str(OverridesParser.create().parse_override(override).value())
    return os.path.expanduser(value)


def quoted(text: str) -> str:
    """`text` as a value in Hydra's grammar, where a backslash counts before a quote only."""
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + found[2].replace("'", r"\'"), text)
    return f"'{escaped}'"


def without_interpolation(text: str) -> str:
    """What OmegaConf resolves to `text`."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def _path(name, base):
    if name == "???":  # which to OmegaConf is a value that is missing, in quotes too
        return os.path.join(base or ".", name)
    if not _interpolates(name):
        name = without_interpolation(name)
    return name if name.startswith("${") else os.path.join(base, os.path.expanduser(name))


def _interpolates(name):
    try:
        OmegaConf.create([name])
    except OmegaConfBaseException:  # it only looks so
        return False
    return re.search(r"(?<!\\)(\\\\)*\$\{", name) is not None


def _quoted_item(item, base):
    return item[1] or quoted(_path(item[2].strip(), base))


def _items(text):
    """Matches of ITEM, but for blank ones."""
    return [item for item in ITEM.finditer(text) if item[0].strip()]


def _list_items(value):
    """The items of what is in the brackets, or None if `value` is no list, as `[ab]*[cd]`."""
    if not (value.startswith("[") and value.endswith("]")):
        return None
    items = _items(value[1:-1])
    outside = [re.sub(r"\[[^][]*\]", "", item[2] or "") for item in items]
    return None if any("]" in text for text in outside) else items


def _is_function_sweep(override):
    if not re.search(r"=\w+\(.*\)$", override, re.DOTALL):
        return False
    try:
        return OverridesParser.create().parse_override(override).is_sweep_override()
    except HydraException:
        return False
