"""Pictures that are still to be read, one by one: a source may have more of them than memory holds."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import UnidentifiedImageError
from tqdm import tqdm

from resnet.data.labelled import Labelled
from resnet.errors import UserError
from resnet.listing import printable
from resnet.process import cores

if TYPE_CHECKING:
    from resnet.augmentation.crop import Crop

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Encoded(Labelled):
    """N pictures that are still to be read, with labels int32 `(N,)` and names `(N,)`, if they have any.

    Args:
        place: where they lie; of a folder that holds a copy of them this becomes the name.
        image_shape: `(H, W, C)`.
        read: gives picture `i` as uint8 of this shape; it is called in several threads, and calls its second
            argument with what is doubtful about the picture.
        marks: gives texts by which it is noticed that pictures, or the way they are read, have changed.
        paths: what errors call the pictures.
        skip_unreadable: leave those out for which `read` raises.
        crop: gives a rectangle of picture `i`, drawn by a generator as an `augmentation.crop.Crop` says.
        originals: whether they stay where they are, and are read from there each time, so that `crop` can cut
            from them.
    """

    place: Path
    image_shape: tuple[int, ...]
    labels: np.ndarray
    names: np.ndarray | None
    read: Callable[[int, Callable[[str], None]], np.ndarray]
    marks: Callable[[], Iterable[str]]
    paths: Sequence[Any] = ()
    skip_unreadable: bool = False
    crop: Callable[[int, Crop, np.random.Generator], np.ndarray] | None = None
    originals: bool = False

    def fingerprint(self) -> str:
        """Hexadecimal, by which these pictures, read this way, are known."""
        digest = hashlib.sha256(f"{self.image_shape}\n".encode())
        for mark in self.marks():
            digest.update(f"{mark}\n".encode())
        return digest.hexdigest()


@dataclass
class Findings:
    """What could not be read, reasons by number, and what is doubtful, numbers by text."""

    unreadable: dict[int, str] = field(default_factory=dict)
    doubts: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def add(self, other: Findings) -> None:
        self.unreadable |= other.unreadable
        for text, numbers in other.doubts.items():
            self.doubts[text] += numbers


class Reader:
    """Reads pictures in threads, with a bar on a terminal; a context manager.

    Args:
        total: how many there are.
        done: how many of them need no reading any more.
    """

    def __init__(self, total: int, done: int = 0) -> None:
        self._bar = tqdm(
            total=total,
            initial=done,
            unit=" pictures",
            desc="reading",
            delay=1,
            disable=not sys.stderr.isatty(),
        )
        self._pool = ThreadPoolExecutor(cores())

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._bar.close()

    def read(self, encoded: Encoded, numbers: range, take: Callable[[int, np.ndarray], None]) -> Findings:
        """Calls `take(place, picture)`, in several threads, for each of `numbers`, counted from 0."""
        found = Findings()

        def attempt(place):
            number = numbers[place]
            try:
                take(place, encoded.read(number, lambda text: found.doubts[text].append(number)))
            except UnidentifiedImageError:
                found.unreadable[number] = "not a picture"
            except Exception as error:  # a broken file can raise anything
                reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
                found.unreadable[number] = reason

        for _ in self._pool.map(attempt, range(len(numbers))):
            self._bar.update()
        return found


def check_classes(labels: np.ndarray, class_names: Sequence[str], place: Path) -> None:
    """Raise UserError, which names the folder `place`, for a class without pictures."""
    counts = np.bincount(labels, minlength=len(class_names))
    if empty := [printable(name) for name, count in zip(class_names, counts, strict=True) if not count]:
        raise UserError(f"{place}: no pictures of {', '.join(empty)}; expected some of every class")


def tell(findings: Sequence[tuple[Encoded, Findings]]) -> None:
    """Log what is doubtful and what cannot be read. Raises UserError for the latter, unless skipped."""
    doubts: defaultdict[str, list[str]] = defaultdict(list)
    unreadable, refused = [], 0
    for encoded, found in findings:
        for text, numbers in found.doubts.items():
            doubts[text] += [encoded.paths[number] for number in numbers]
        for number, reason in sorted(found.unreadable.items()):
            unreadable.append((encoded.paths[number], reason))
            refused += not encoded.skip_unreadable
    for text, doubted in doubts.items():
        others = f" and {len(doubted) - 1:,} more" if doubted[1:] else ""
        log.warning("%s%s: %s", printable(min(doubted)), others, text)
    for path, reason in unreadable:
        log.warning("%s cannot be read: %s", printable(path), reason)
    if refused:
        path, reason = unreadable[0]
        raise UserError(
            f"{printable(path)}: {reason}; {len(unreadable)} of "
            f"{sum(len(encoded) for encoded, _ in findings)} files cannot be read\n"
            "remove them, or leave them out with data.skip_unreadable=true"
        )
