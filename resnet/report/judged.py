"""Whether two groups of runs were judged by the same pictures: else their difference is also that of these.

A configuration says what the pictures are drawn from, and how. All of its data must be equal but

- what does not decide which pictures are scored (`ASIDE`): how images are kept and read, what a training
  makes of them, and how a picture is shown to the network;
- what cuts only pictures that are not judged (`OF_OTHERS`). Validation images are cut from those of training:
  a `train_size` leaves less to cut from, and others of the same kind, of whose draw the spread over seeds
  tells; so it is left aside where `data.seed` follows the seed;
- where the pictures lie (`PLACES`), if the runs' own records show that they are the same.

What these records, the hashes in split.npz, show goes before what is configured: a folder may have changed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from resnet.report.runs import Group
from resnet.report.statistics import NoVerdict

SHOWN = {"image_size", "channels", "resize", "test_crop", "originals"}  # the pixels of a picture
ASIDE = SHOWN | {"memory", "shards", "skip_unreadable", "balance", "label_noise", "normalization"}
OF_OTHERS = {
    "test": {"train_size", "validation_split", "folds", "extra"},
    "validation": {"train_size", "test_size"},
}
PLACES = {"dir", "file"}
FOLLOWS = "${seed}"


def require_same_pictures(first: Group, second: Group, split: str) -> None:
    """Raise NoVerdict, which says why, unless both have the same pictures of `split`, or draws."""
    data, other = _options(first), _options(second)
    differing = [name for name in data | other if data.get(name) != other.get(name)]
    if "" in differing:
        raise NoVerdict("their data differ")
    aside = ASIDE | OF_OTHERS[split]
    if split == "validation" and data.get("seed") != FOLLOWS:
        aside -= {"train_size"}
    decisive = [name for name in differing if name not in aside]
    redrawn = {"train_size"} if split == "validation" else set()
    same = None if (SHOWN | redrawn).intersection(differing) else _same(first, second, split)
    if decisive and not (same and PLACES.issuperset(decisive)):
        raise NoVerdict(f"their {' and '.join(f'data.{name}' for name in decisive)} differ")
    if same is False:
        raise NoVerdict(f"their {split} images differ, as split.npz shows")


def _options(group) -> dict[str, Any]:
    """Those of its data by name; the source is called ""."""
    config = group.runs[0].config
    return {key[len("data.") :]: value for key, value in config.items() if f"{key}.".startswith("data.")}


def _same(first, second, split):
    """Whether all their runs of the same seed have the same pictures; None where that is not known."""
    pairs = [(run, other) for run in first.finished for other in second.finished if run.seed == other.seed]
    pictures = [(run.pictures.get(split), other.pictures.get(split)) for run, other in pairs]
    known = [np.array_equal(np.sort(a), np.sort(b)) for a, b in pictures if a is not None and b is not None]
    return all(known) if known else None
