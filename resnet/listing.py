"""What lies in folders: the files that someone put there, and their names as they can be printed."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)
# What systems and synchronisation leave behind, in lower case; names that begin with a dot go without saying.
SYSTEM = {
    "$recycle.bin",
    "#recycle",
    "#snapshot",
    "@__thumb",
    "@eadir",
    "@recycle",
    "@tmp",
    "__macosx",
    "__pycache__",
    "desktop.ini",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "found.000",
    "icon\r",
    "lost+found",
    "lost.dir",
    "network trash folder",
    "picasa.ini",
    "recycler",
    "system volume information",
    "temporary items",
    "thumbs.db",
}
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def is_system(name: str) -> bool:
    """Whether a file or folder is hidden, or not a person's but the system's."""
    return name.startswith(".") or name.lower() in SYSTEM


def entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Folders and other entries in `folder`, two sorted lists of paths; hidden and system ones are left out.

    A link counts as what it leads to, a link to nowhere as no folder. Raises OSError where it cannot look.
    """
    paths = sorted(path for path in folder.iterdir() if not is_system(path.name))
    return [path for path in paths if os.path.isdir(path)], [
        path for path in paths if not os.path.isdir(path)
    ]


def files(folder: Path) -> Iterator[Path]:
    """Paths of all that lies in and below `folder` and must be read, sorted folder by folder.

    Links are followed, but no folder is read twice, nor one that `folder` itself lies in: that is logged.
    Links to nowhere and folders that cannot be looked into are among the paths, for whoever reads them to
    name.
    """
    real = os.path.realpath(folder)
    above = [real]
    while (parent := os.path.dirname(above[-1])) != above[-1]:
        above.append(parent)
    return _files(folder, set(above))


def _files(folder, seen):
    try:
        folders, found = entries(folder)
    except OSError:
        return [folder]
    for inner in folders:
        real = os.path.realpath(inner)
        if real in seen:
            log.warning("%s is passed over: a link to a folder that is read already", printable(inner))
            continue
        seen.add(real)
        found += _files(inner, seen)
    return found


def printable(name: object) -> str:
    r"""A name or path as text for one line: bytes that are no UTF-8, and control characters, as \xff."""
    return UNPRINTABLE.sub(lambda found: _escaped(ord(found[0])), str(name))


def _escaped(code):
    # Python stands 0xdc80 to 0xdcff for the bytes of a name that it cannot decode (PEP 383).
    byte = code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code
    return f"\\x{byte:02x}" if byte < 0x100 else f"\\u{byte:04x}"
