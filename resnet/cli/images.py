"""The files that `images=` names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from resnet.errors import ConfigError


def find(given: str | Sequence[str]) -> list[Path]:
    """The files that names, folders and globs, one or a list, stand for, in order and each once: paths.

    A folder, named or met by a glob, stands for what lies in and below it; hidden and system files are left
    out of it. Raises ConfigError for a name that stands for none.
    """
    paths = []
    for name in [given] if isinstance(given, str) else map(str, given):
        found = [path for start in _named(name) for path in _files(start)]
        if not found:
            raise ConfigError(f"images={name}: there is no such file, nor a folder or glob that holds one")
        paths += found
    return list(dict.fromkeys(paths))


def _named(name):
    """The paths that a name or glob stands for; `**` does not go through links, which may lead in circles."""
    path = Path(name)
    if os.path.lexists(path):
        return [path]
    from resnet.listing import is_system

    try:
        found = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    except ValueError as error:
        raise ConfigError(f"images={name}: {error}") from error
    return [p for p in found if not any(is_system(part) and part not in path.parts for part in p.parts)]


def _files(path):
    if not path.is_dir():
        return [path]
    from resnet.listing import files

    return files(path)
