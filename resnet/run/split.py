"""Which pictures a run trained, validated and tested on, known by their pixels."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from resnet.data.dataset import AnySplit, Dataset
from resnet.errors import UserError

log = logging.getLogger(__name__)


def parts_of(dataset: Dataset) -> dict[str, np.ndarray]:
    """The hashes of a Dataset's pictures, uint64 `(N,)` by the name of their part."""
    return {name: split.hashes for name, split in dataset.parts.items()}


def gone_on_with(parts: dict[str, np.ndarray], before: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The parts of a run that goes on: what it trained on `before` stays trained on, and is told of.

    The training pictures of now come first, in their order.
    """
    for name in parts.keys() - {"train"}:
        warn_of_trained(parts[name], before, f"{name} images")
    gone = np.setdiff1d(before["train"], parts["train"])
    return parts | {"train": np.concatenate([parts["train"], gone])}


def own_test(dataset: Dataset, parts: Mapping[str, np.ndarray], as_read: Dataset | None = None) -> AnySplit:
    """The test images of the run whose `parts` these are, found among all pictures of `dataset`.

    Each as often as the run tested on it, and first those that are for testing there. What the run has
    not seen is left out; that, and what is missing, is logged. Where `dataset` does not read its pictures as
    the run did, `as_read` are the same, read so: by these they are found. Raises UserError where none of them
    is left, or the two are not the same.
    """
    as_read = as_read or dataset
    _check_same(dataset, as_read)
    if np.array_equal(as_read.test.hashes, parts["test"]):
        return dataset.test
    splits, known = _test_first(_with_true_labels(dataset)), np.concatenate(list(parts.values()))
    hashes = np.concatenate([split.hashes for split in _test_first(as_read)])
    chosen = _as_often(hashes, parts["test"])
    if not chosen.any():
        raise UserError(
            "data: none of the run's own test images is left there\n"
            "give the data that it trained on, or others as a whole: data=image_folder data.dir=..."
        )
    missing, new = len(parts["test"]) - chosen.sum(), np.sum(~np.isin(hashes, known))
    if missing or new:
        log.warning(
            "these are not just the run's data: of its %s test images %s are missing; %s pictures are new, "
            "and left out",
            *(f"{count:,}" for count in (len(parts["test"]), missing, new)),
        )
    kind: Any = type(dataset.test)
    ends = np.cumsum([len(split) for split in splits])[:-1]
    return kind.joined([s.take(of) for s, of in zip(splits, np.split(chosen, ends), strict=True)])


def _check_same(dataset, as_read):
    """Raise UserError unless both have the same pictures, by name and label, in the same order."""
    for one, other in zip(_test_first(dataset), _test_first(as_read), strict=True):
        names = [None if split.names is None else list(split.names) for split in (one, other)]
        if not (np.array_equal(one.labels, other.labels) and names[0] == names[1]):
            raise UserError(
                "data: read in this way they are not the pictures that the run read, so which of them it was "
                "trained on cannot be told\ngive data as a whole: data=image_folder data.dir=..."
            )


def _with_true_labels(dataset):
    """Images of the test may lie among those of the training, whose labels were made wrong."""
    if dataset.true_labels is None:
        return dataset
    return replace(dataset, train=replace(dataset.train, labels=dataset.true_labels))


def _test_first(dataset):
    """The parts of a Dataset, each once: where nothing is cut off, all are test images."""
    others = (dataset.train, dataset.validation)
    return [dataset.test, *(part for part in others if part is not None and part is not dataset.test)]


def _as_often(hashes, wanted):
    """A bool for each of the `hashes`: of equal ones the first, as many as there are in `wanted`."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    before = np.arange(len(hashes)) - np.searchsorted(ordered, ordered)  # equal ones
    wanted = np.sort(wanted)
    count = np.searchsorted(wanted, ordered, "right") - np.searchsorted(wanted, ordered)
    chosen = np.empty(len(hashes), bool)
    chosen[order] = before < count
    return chosen


def warn_of_trained(hashes: np.ndarray, parts: Mapping[str, np.ndarray], what: str) -> None:
    """Log how many of these pictures, by their hashes, are among those that a run trained on."""
    count = np.isin(hashes, parts["train"]).sum()
    if count:
        log.warning("%s of the %s %s were trained on by this run", f"{count:,}", f"{len(hashes):,}", what)
