"""How a Split is cut in two, class by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resnet.errors import UserError

if TYPE_CHECKING:
    from resnet.data.dataset import AnySplit


def subset(split: AnySplit, size: int | None, seed: int, name: str, class_names: Sequence[str]) -> AnySplit:
    """`size` images with the classes in the same proportion, in their old order; None takes all.

    What is left out is not used, so equal pictures may be among it.
    """
    if size is None or size == len(split):
        return split
    return _cut(split, size, np.arange(len(split)), seed, name, class_names)[0]


def split_off(
    split: AnySplit, fraction: float, seed: int, name: str, class_names: Sequence[str]
) -> tuple[AnySplit, AnySplit]:
    """What is left of `split`, and the `fraction` of it that is split off, class by class.

    Each class is in both, of few images in more than its share, and equal pictures of a class are on one
    side. Raises UserError, with the option `name`, for a class of which this cannot be.
    """
    _, pictures = np.unique(split.hashes, return_inverse=True)
    classes = len(np.unique(split.labels))
    size = max(classes, min(round(fraction * len(split)), len(split) - classes))
    part, rest = _cut(split, size, pictures, seed, name, class_names)
    return rest, part


def fold_off(
    split: AnySplit, folds: int, fold: int, seed: int, class_names: Sequence[str]
) -> tuple[AnySplit, AnySplit]:
    """What is left of `split` without part `fold` of `folds` of about one size, and that part.

    Each class is in all parts, equal pictures of a class are in one. Raises UserError for a class of too few.
    """
    for label in np.unique(split.labels):
        if (pictures := len(np.unique(split.hashes[split.labels == label]))) < folds:
            raise UserError(
                f"data.folds={folds}: class {class_names[label]} has {pictures} different images; "
                "give more of them, or fewer folds"
            )
    rest: Any
    part: Any
    rest, part = _Numbered(np.arange(len(split)), split.labels, split.hashes), None
    for left in range(folds, folds - fold - 1, -1):
        if left == 1:
            part = rest
        else:
            rest, part = split_off(rest, 1 / left, seed, "folds", class_names)
    return split.take(np.delete(np.arange(len(split)), part.numbers)), split.take(part.numbers)


@dataclass
class _Numbered:
    """What a cut needs of a split, and the numbers that its images had."""

    numbers: np.ndarray
    labels: np.ndarray
    hashes: np.ndarray

    def __len__(self):
        return len(self.numbers)

    def take(self, index):
        return _Numbered(self.numbers[index], self.labels[index], self.hashes[index])


def _cut(split, size, pictures, seed, name, class_names):
    """Two Splits, the first of about `size`; images of a class with one number in `pictures` are in one."""
    counts = np.bincount(split.labels)
    classes = np.flatnonzero(counts)
    for label in classes[counts[classes] == 1]:
        cure = "; give more, or data.validation_split=0" if name == "validation_split" else ""
        raise UserError(f"data.{name}: class {class_names[label]} has one image, a cut needs two{cure}")
    if not len(classes) <= size <= len(split) - len(classes):
        raise UserError(
            f"data.{name}: {size} of {len(split)} images cannot be drawn from each of {len(classes)} "
            f"classes; {len(classes)} to {len(split) - len(classes)} can"
        )
    drawn = draw(split.labels, size, seed)
    inside = np.zeros(len(split), bool)
    inside[drawn] = True
    wanted = _of_each(np.bincount(split.labels[drawn], minlength=len(counts)), counts)
    rng = np.random.default_rng(seed)
    for label in classes:
        members = np.flatnonzero(split.labels == label)
        kept = _undivided(inside[members], pictures[members], wanted[label], rng)
        if kept is None:
            raise UserError(
                f"data.{name}: class {class_names[label]} has one image in {len(members)} copies; "
                "a cut needs two"
            )
        inside[members] = kept
    return split.take(np.flatnonzero(inside)), split.take(np.flatnonzero(~inside))


def draw(labels: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Indices of `size` of the images with these labels `(N,)`, the classes in the same proportion.

    They are those of scikit-learn's `train_test_split(train_size=size, stratify=labels)`, whose import would
    take a seventh of the time to a run's first step.
    """
    random = np.random.RandomState(seed)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    counts = np.array([len(of_class) for of_class in members])
    sizes = _shares(counts, size, random)
    _shares(counts - sizes, len(labels) - size, random)  # of the rest, which moves the draws on
    orders = [random.permutation(count) for count in counts]
    return np.concatenate([m[order[:n]] for m, order, n in zip(members, orders, sizes, strict=True)])


def _shares(counts, total, random):
    """`total` parted in proportion to `counts` `(K,)`, whole numbers; of equal remainders some are drawn."""
    exact = counts / counts.sum() * total
    shares = np.floor(exact)
    rests = exact - shares
    missing = int(total - shares.sum())
    for rest in np.unique(rests)[::-1]:
        if missing <= 0:
            break
        equal = np.flatnonzero(rests == rest)
        chosen = random.choice(equal, size=min(len(equal), missing), replace=False)
        shares[chosen] += 1
        missing -= len(chosen)
    return shares.astype(int)


def _of_each(drawn, counts):
    """`drawn` `(K,)` of `counts`, changed so that a class has one drawn and one left; the sum stays."""
    drawn = drawn.copy()
    for label in np.flatnonzero(counts):
        if drawn[label] == 0:
            drawn[label] += 1
            drawn[drawn.argmax()] -= 1
        elif drawn[label] == counts[label]:
            drawn[label] -= 1
            drawn[(counts - drawn).argmax()] += 1
    return drawn


def _undivided(inside, pictures, wanted, rng):
    """`inside` bool `(N,)`, changed as little as need be so that no picture is on both sides.

    About `wanted` of the N are inside, at least one picture, and not all. None where there is one only.
    """
    _, of, copies = np.unique(pictures, return_inverse=True, return_counts=True)
    share = np.bincount(of, inside) / copies
    if inside.sum() == wanted and not np.any((share > 0) & (share < 1)):
        return inside
    if len(copies) == 1:
        return None
    chosen, count = np.zeros(len(copies), bool), 0
    for picture in np.lexsort((rng.permutation(len(copies)), -share)):
        if abs(count + copies[picture] - wanted) < abs(count - wanted):
            chosen[picture] = True
            count += copies[picture]
    if chosen.all() or not chosen.any():
        fewest = copies.argmin()
        chosen[fewest] = not chosen[fewest]
    return chosen[of]
