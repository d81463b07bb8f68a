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


def own_test(dataset: Dataset, parts: Mapping[str, np.ndarray]) -> AnySplit:
    """The test images of the run whose `parts` these are, found among all pictures of `dataset`.

    What has been added since is left out; that, and what is missing, is logged. Raises UserError where none
    of them is left.
    """
    if np.array_equal(dataset.test.hashes, parts["test"]):
        return dataset.test
    if dataset.true_labels is not None:  # images of the test may now lie among those of the training
        dataset = replace(dataset, train=replace(dataset.train, labels=dataset.true_labels))
    splits = list(dataset.parts.values())
    hashes = np.concatenate([split.hashes for split in splits])
    chosen = [split.take(np.isin(split.hashes, parts["test"])) for split in splits]
    known = np.isin(hashes, np.concatenate(list(parts.values())))
    if not any(map(len, chosen)):
        raise UserError(
            "data: none of the run's own test images is left there\n"
            "give the data that it trained on, or others as a whole: data=image_folder data.dir=..."
        )
    missing, new = np.sum(~np.isin(parts["test"], hashes)), np.sum(~known)
    if missing or new:
        log.warning(
            "the data have changed since the run: of its %s test images %s are missing; %s pictures are new, "
            "and left out",
            *(f"{count:,}" for count in (len(parts["test"]), missing, new)),
        )
    kind: Any = type(dataset.test)
    return kind.joined(chosen)


def warn_of_trained(hashes: np.ndarray, parts: Mapping[str, np.ndarray], what: str) -> None:
    """Log how many of these pictures, by their hashes, are among those that a run trained on."""
    count = np.isin(hashes, parts["train"]).sum()
    if count:
        log.warning("%s of the %s %s were trained on by this run", f"{count:,}", f"{len(hashes):,}", what)
