"""Weights of a finished run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from resnet.errors import UserError
from resnet.models.transfer import transfer
from resnet.run import trained
from resnet.run.checkpoints import newest
from resnet.run.directory import RunDirectory

if TYPE_CHECKING:
    import keras

    from resnet.data.dataset import Dataset
    from resnet.data.normalization import Normalization

log = logging.getLogger(__name__)
Init = Callable[["keras.Model", "Dataset"], "Normalization"]


def run(run: str, weights: str = "final", classifier: str = "fitting") -> Init:
    """The weights that a finished run left, and its normalization.

    Another depth takes the blocks that are there, and logs the others. So is told of pictures that it was
    trained on and that are for testing here.

    Args:
        run: its directory.
        weights: `final`, those that it ended with; `last`, those after its last step; or, of a run that ended
            with them by `trainer.final_weights`, the `best`, the `average` or the `ema`.
        classifier: `fitting`, taken over where the classes are the same; or `new`.
    """
    return partial(_begin, run, weights, classifier)


def _begin(run, weights, classifier, model, dataset):
    name = f"init.run={run}"
    try:
        directory = RunDirectory.finished(run)
    except UserError as error:
        raise UserError(f"init.{error}") from error
    network = trained.load(directory.path)
    if weights == "last":
        _take_last(network.model, directory, name)
    elif weights not in ("final", ended := directory.result().get("final_weights")):
        rule = ended if "." in str(ended) else f"trainer.final_weights={ended}"  # or a callback's
        raise UserError(
            f"init.weights={weights}: {run} did not keep them, for it was trained with {rule}; "
            "give final or last"
        )
    normalization = network.preprocessing.normalization
    _check_pictures(name, normalization, model.input_shape[1:])
    same = network.class_names == dataset.class_names
    transfer(model, network.model, name, classifier=same and classifier == "fitting", other_depth=True)
    _warn_of_trained(name, directory.parts()["train"], dataset)
    return taken(name, normalization, dataset)


def taken(name: str, normalization: Normalization, dataset: Dataset) -> Normalization:
    """`normalization`, that of the weights; it is logged where the data's own is another."""
    own = dataset.normalization
    pairs = ((normalization.mean, own.mean), (normalization.std, own.std))
    if not all(np.array_equal(*pair) for pair in pairs):
        kinds = ("channel" if n.mean.ndim == 1 else "pixel_mean" for n in (normalization, own))
        log.info("%s: its normalization (%s) is taken, not that of the data here (%s)", name, *kinds)
    return normalization


def _warn_of_trained(name, hashes, dataset):
    for part, images in dataset.parts.items():
        count = np.isin(images.hashes, hashes).sum()
        if count and part != "train":
            log.warning(
                "%s was trained on %s of the %s %s images here: what they say is too good",
                *(name, f"{count:,}", f"{len(images):,}", part),
            )


def _take_last(model, directory, name):
    """Give `model` the weights of the newest checkpoint of its run."""
    found = newest(directory.checkpoints)
    if found is None:
        raise UserError(f"{name} has no checkpoint, which holds its last weights; give init.weights=final")
    arrays = found[0]
    try:
        model.set_weights([arrays[f"model/{i}/{v.path}"] for i, v in enumerate(model.variables)])
    except (KeyError, ValueError) as error:
        raise UserError(f"{name}: its newest checkpoint is not of its network: {error}") from error


def _check_pictures(name, normalization, shape):
    """Raise UserError unless a normalization is of pictures of this shape."""
    try:
        np.broadcast_shapes(normalization.mean.shape, normalization.std.shape, shape)
        fits = True
    except ValueError:
        fits = False
    if not fits:
        there, here = ("x".join(map(str, s)) for s in (normalization.mean.shape, shape))
        raise UserError(
            f"{name}: it subtracts a mean picture of {there}, and pictures here are {here}\n"
            "give pictures of that size, or train the former with data.normalization=channel"
        )
