"""A trained network, and the run that it comes from, as the pictures of `report.explain` look at it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from hydra.utils import instantiate

from resnet.data.dataset import Dataset, Split
from resnet.errors import UserError
from resnet.files import read_arrays
from resnet.models.cutting import cut
from resnet.report import verification
from resnet.run import split, trained
from resnet.run.callbacks.receipt import fingerprint
from resnet.training.distribution import single
from resnet.training.environment import circumstances, prepare
from resnet.training.losses import cross_entropy

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from resnet.models.cutting import Block
    from resnet.run.directory import RunDirectory

log = logging.getLogger(__name__)
BATCH = 250


class Subject:
    """A trained network with what belongs to it.

    Args:
        network: a `trained.Trained`.
        label: what pictures call it; None for the model's name.
        run: the RunDirectory of its run, and
        config: its configuration, a DictConfig; None for a network that comes from no run.
    """

    def __init__(
        self,
        network: trained.Trained,
        label: str | None = None,
        run: RunDirectory | None = None,
        config: DictConfig | None = None,
    ) -> None:
        self.network, self.label = network, label or network.model.name
        self._run, self.config = run, config

    @classmethod
    def of_run(cls, run: RunDirectory, config: DictConfig) -> Subject:
        return cls(trained.load(run.path), None, run, config)

    @property
    def run(self) -> RunDirectory:
        """Its RunDirectory. Raises UserError where there is none."""
        if self._run is None:
            raise UserError(f"{self.label}: this picture is of what a run has left in its directory")
        return self._run

    @property
    def model(self) -> keras.Model:
        return self.network.model

    @cached_property
    def dataset(self) -> Dataset:
        """The run's own, whole.

        Raises UserError without a run, and where it is of other classes or sizes of pictures.
        """
        if self.config is None:
            raise UserError(f"{self.label}: this picture is of the data that a run was trained on")
        dataset = instantiate(self.config.data)
        self.network.check(dataset)
        return dataset

    @cached_property
    def blocks(self) -> list[Block]:
        """Those of the trained network, see `models.cutting`."""
        return cut(self.model)

    def fresh(self) -> keras.Model:
        """The model as it was before the first step, by configuration, seed and `init`.

        Without a run it is drawn anew. Raises UserError where what it began with is not there any more, or
        has become another since.
        """
        if self.config is None:
            return keras.models.clone_model(self.model)
        trainer = self.config.trainer
        prepare(self.config.seed, None, trainer.precision, trainer.deterministic)
        shape, classes = self.network.image_shape, len(self.network.class_names)
        model = instantiate(self.config.model, input_shape=shape, num_classes=classes)
        init = instantiate(self.config.get("init"))
        if init is not None:
            try:
                init(model, self.dataset)
            except UserError as error:
                raise UserError(
                    f"{self.label}: its weights before the first step are gone: {error}"
                ) from error
        self._check_fresh(model)
        return model

    def _check_fresh(self, model):
        """Raise UserError unless these are the weights that the receipt, where there is one, has for them."""
        try:
            said = verification.read(self.run)
        except UserError:
            return
        if fingerprint(model) == said.weights_before:
            return
        there = said.circumstances.model_dump()
        differing = [name for name, value in circumstances(single()).items() if there.get(name) != value]
        text = "built anew, the weights before the first step are not those of its receipt"
        if not differing:
            raise UserError(f"{self.label}: {text}; init, or what it takes, has changed since")
        log.warning("%s: %s; here is another %s", self.label, text, ", ".join(differing))

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
        arrays = self._left(self.run.predictions, "a finished training leaves it")
        if f"{part}_logits" not in arrays:
            raise UserError(
                f"{self.run}: it held no {part} images out; give data.{part}_split=0.1 in training"
            )
        return arrays[f"{part}_logits"].astype(np.float32), arrays[f"{part}_label"]

    def outcomes(self) -> dict[str, np.ndarray]:
        """What `callbacks.Outcomes` left of each training image: arrays by name. Raises UserError without."""
        return self._left(self.run.outcomes, "train with callbacks=[default,outcomes]")

    def kept_weights(self) -> dict[int, dict[str, np.ndarray]]:
        """Weights by epoch and block, as `callbacks.Weights` left them. UserError for fewer than three."""
        kept = self.run.kept_weights()
        if len(kept) < 3:
            raise UserError(
                f"{self.run}: it kept the weights of {len(kept)} epochs, a path has three at least; "
                "train with callbacks=[default,weights]"
            )
        return {epoch: read_arrays(path) for epoch, path in kept.items()}

    def _left(self, path, by_what):
        if not path.is_file():
            raise UserError(f"{self.run}: there is no {path.name}; {by_what}")
        return read_arrays(path)


def subjects_of(runs: Sequence[RunDirectory], configs: Sequence[DictConfig]) -> list[Subject]:
    """The Subject of each RunDirectory. Raises UserError unless all take the same pictures and classes.

    They are called as their networks, and where these are equal, by their directories too.
    """
    subjects = [Subject.of_run(run, config) for run, config in zip(runs, configs, strict=True)]
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


@dataclass(frozen=True)
class Sample(Dataset):
    """A few images of a Dataset, in memory."""

    train: Split
    test: Split


def few(subjects: Sequence[Subject], images: int, seed: int) -> Sample:
    """Few training and test images, see `drawn`, those of the first run.

    That another was trained on some of its test images is logged.
    """
    first, *others = subjects
    dataset = first.dataset
    test = split.own_test(dataset, first.run.parts())
    found = drawn(replace(dataset, test=test), images, seed)
    for other in others:
        split.warn_of_trained(found.test.hashes, other.run.parts(), f"images that {other.label} is shown")
    return found


def drawn(dataset: Dataset, images: int, seed: int) -> Sample:
    """At most so many training and test images each, drawn by `seed`."""
    train, test = (_draw(part, images, seed) for part in (dataset.train, dataset.test))
    return Sample(train, test, dataset.class_names, dataset.normalization)


def _draw(part, count, seed):
    numbers = np.random.default_rng(seed).permutation(len(part))[:count]
    return Split(*part.batch(np.sort(numbers)))


def batches(*arrays: Any) -> Iterator[tuple[np.ndarray, ...]]:
    """Arrays of equal length in pieces of a size that memory holds."""
    for start in range(0, len(arrays[0]), BATCH):
        yield tuple(array[start : start + BATCH] for array in arrays)
