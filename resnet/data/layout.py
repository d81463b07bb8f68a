"""Which of the folders in a data set are its parts: training, validation and test pictures."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from resnet.errors import UserError
from resnet.listing import printable

WORDS = {
    "train": ("train", "training", "trn"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "tst"),
}
# Written together too: trainset, testdata.
PART_OF = {
    word + end: part
    for part, words in WORDS.items()
    for word in words
    for end in ("", "set", "data", "images")
}
FILLERS = {"set", "data", "dataset", "split", "subset", "part", "folder", "dir"}
FILLERS |= {"image", "images", "img", "imgs", "picture", "pictures", "photo", "photos"}
EXPECTED = (
    "expected train/ and test/, and perhaps validation/, which hold one folder per class; or only the latter"
)


def parts(root: Path, names: Iterable[str]) -> dict[str, str]:
    """`{"train": name, ...}` of those of the folders `names` that are parts, or {} where all are classes.

    A name is that of a part in any case, with words such as `set` or a year beside it: `Train`,
    `training_set`, `val2017`. With other words beside it, it is one only where another part has the same
    words, or where all folders are of parts: `seg_train` and `seg_test` are parts, `bullet_train` beside
    `bus` is a class. Raises UserError, which names the folder `root`, for what could mean several things.
    """
    meanings = {name: _meaning(name) for name in names}
    parts_with = defaultdict(set)
    for part, words in meanings.values():
        parts_with[words].add(part)
    kinds = {part for part, _ in meanings.values()}
    all_parts = None not in kinds and len(kinds) > 1
    found: defaultdict[str, list[str]] = defaultdict(list)
    classes: list[str] = []
    for name, (part, words) in meanings.items():
        clear = part and (not words or all_parts or len(parts_with[words] - {None}) > 1)
        (found[part] if clear else classes).append(name)
    if not found:
        return {}
    for part, same in found.items():
        if len(same) > 1:
            raise UserError(f"{root}: {_listed(same)} all mean {part}; {EXPECTED}")
    given = {part: same[0] for part, same in found.items()}
    if classes:
        raise UserError(
            f"{root}: found {_listed(given.values())} beside {_listed(classes)}; {EXPECTED}\n"
            "a class of such a name can be given another"
        )
    if "train" not in given or len(given) == 1:
        raise UserError(f"{root}: found {_listed(given.values())} alone; {EXPECTED}")
    return given


def part_of(name: str) -> str | None:
    """The part that a folder's name means by itself, or None."""
    return _meaning(name)[0]


def _meaning(name):
    """The one part that a name speaks of, or None, and the other words in it."""
    words = re.findall(r"\d+|[^\W\d_]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name))
    words = [word.lower() for word in words]
    found = {PART_OF[word] for word in words if word in PART_OF}
    rest = tuple(w for w in words if w not in PART_OF and w not in FILLERS and not w.isdigit())
    return (found.pop() if len(found) == 1 else None), rest


def _listed(names):
    shown = [f"{printable(name)}/" for name in names]
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if shown[3:] else "")
