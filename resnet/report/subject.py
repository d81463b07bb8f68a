"""A finished run as the pictures of `report.explain` look at it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from hydra.utils import instantiate

from resnet.data.dataset import Dataset, Split
from resnet.errors import UserError
from resnet.models.cutting import cut
from resnet.run import split, trained
from resnet.training.environment import prepare
from resnet.training.losses import cross_entropy

if TYPE_CHECKING:
    import keras
    from omegaconf import DictConfig

    from resnet.models.cutting import Block
    from resnet.run.directory import RunDirectory


BATCH = 250


class Subject:
    """A trained network with what belongs to it.

    Args:
        run: a RunDirectory, of a finished run.
        config: its configuration, a DictConfig.
    """

    def __init__(self, run: RunDirectory, config: DictConfig):
        self.run, self.config = run, config
        self.network = trained.load(run.path)
        self.label = self.model.name  # what pictures call it

    @property
    def model(self) -> keras.Model:
        return self.network.model

    @cached_property
    def blocks(self) -> list[Block]:
        """Those of the trained network, see `models.cutting`."""
        return cut(self.model)

    def fresh(self) -> keras.Model:
        """The model as it was before the first step: the same configuration, the same seed."""
        trainer = self.config.trainer
        prepare(self.config.seed, None, trainer.precision, trainer.deterministic)
        shape, classes = self.network.image_shape, len(self.network.class_names)
        return instantiate(self.config.model, input_shape=shape, num_classes=classes)

    def inputs(self, images: np.ndarray) -> tf.Tensor:
        """What the network sees of uint8 images, float32 `(N, H, W, C)`."""
        return self.network.preprocessing.inference(images)

    def loss(self, labels: np.ndarray, logits: np.ndarray) -> tf.Tensor:
        """The cross-entropy of each image, without weight decay, smoothing or mixing: float32 `(N,)`."""
        targets = tf.one_hot(labels, len(self.network.class_names))
        return cross_entropy()(targets, tf.cast(logits, tf.float32), False)

    def logits_of(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Logits `(N, K)` and labels `(N,)` of the whole `validation` or `test` part, as the run left them.

        Raises UserError where the run has none.
        """
        path = self.run.predictions
        if not path.is_file():
            raise UserError(f"{self.run}: there is no {path.name}, which a finished training leaves")
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read: {error}") from error
        if f"{part}_logits" not in arrays:
            raise UserError(
                f"{self.run}: it held no {part} images out; give data.{part}_split=0.1 in training"
            )
        return arrays[f"{part}_logits"].astype(np.float32), arrays[f"{part}_label"]


def subjects_of(runs: Sequence[RunDirectory], configs: Sequence[DictConfig]) -> list[Subject]:
    """The Subject of each RunDirectory. Raises UserError unless all take the same pictures and classes.

    They are called as their networks, and where these are equal, by their directories too.
    """
    subjects = [Subject(run, config) for run, config in zip(runs, configs, strict=True)]
    first, *others = subjects
    for other in others:
        if other.run.path.resolve() == first.run.path.resolve():
            raise UserError(f"against={other.run}: it is the run itself; give another")
        if other.model.name == first.model.name:
            first.label, other.label = (f"{s.model.name} ({s.run})" for s in (first, other))
        if _takes(other) != _takes(first):
            raise UserError(f"against={other.run}: other classes or sizes of pictures than run={first.run}")
    return subjects


def _takes(subject):
    return subject.network.image_shape, subject.network.class_names


def few(subjects: Sequence[Subject], images: int, seed: int) -> Dataset:
    """A Dataset of at most so many training and test images each, drawn by `seed`, in memory.

    They are those of the first run. That another was trained on some of its test images is logged.
    """
    first, *others = subjects
    dataset = instantiate(first.config.data)
    first.network.check(dataset)
    test = _draw(split.own_test(dataset, split.load(first.run.split)), images, seed)
    for other in others:
        split.warn_of_trained(test.hashes, split.load(other.run.split), f"images that {other.label} is shown")
    train = _draw(dataset.train, images, seed)
    return Dataset(train, test, dataset.class_names, dataset.normalization)


def _draw(part, count, seed):
    numbers = np.random.default_rng(seed).permutation(len(part))[:count]
    return Split(*part.batch(np.sort(numbers)))


def batches(*arrays: Any) -> Iterator[tuple[np.ndarray, ...]]:
    """Arrays of equal length in pieces of a size that memory holds."""
    for start in range(0, len(arrays[0]), BATCH):
        yield tuple(array[start : start + BATCH] for array in arrays)
