"""A network as a finished run left it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import keras
import numpy as np

import resnet.models  # noqa: F401  registers the layers of saved models
from resnet.data import Preprocessing
from resnet.data.dataset import Dataset
from resnet.data.picture import MODES, read_picture
from resnet.errors import UserError
from resnet.files import reading
from resnet.models.transfer import transfer
from resnet.run.directory import RunDirectory, flat


class Trained(NamedTuple):
    """A model giving logits `(N, K)` of preprocessed images, its preprocessing and its K classes."""

    model: keras.Model
    preprocessing: Preprocessing
    class_names: list[str]

    @property
    def image_shape(self) -> tuple[int, ...]:
        return self.model.input_shape[1:]

    def at(self, model: keras.Model, name: str) -> Trained:
        """The same with its weights in `model`, for pictures of another size; `name` is for messages.

        Raises UserError where the size is part of the weights, or of the normalization.
        """
        if self.preprocessing.normalization.mean.ndim > 1:
            raise UserError(f"{name}: the run was not trained with data.normalization=channel")
        transfer(model, self.model, name, classifier=True)
        return self._replace(model=model)

    def check(self, dataset: Dataset, views: int = 1) -> None:
        """Raise UserError unless images and classes of `dataset` are like those of the training.

        With 10 `views`, which are crops, the images are larger, and those of the training were normalised
        alike in all places.
        """
        if views == 10:
            sides = zip(dataset.image_shape, self.image_shape, strict=True)
            if not all(has > needs for has, needs in list(sides)[:2]):
                has, needs = ("x".join(map(str, shape)) for shape in (dataset.image_shape, self.image_shape))
                raise UserError(
                    f"views=10: images of {has}, and the network takes {needs}; give larger ones, as "
                    "+data.image_size=256"
                )
            if self.preprocessing.normalization.mean.ndim > 1:
                raise UserError("views=10: the run was not trained with data.normalization=channel")
        elif self.image_shape != dataset.image_shape:
            has, needs = ("x".join(map(str, shape)) for shape in (dataset.image_shape, self.image_shape))
            raise UserError(f"data: images of {has}, but the run was trained on {needs}")
        if self.class_names != dataset.class_names:
            has, needs = (", ".join(names[:10]) for names in (dataset.class_names, self.class_names))
            raise UserError(f"data: the classes are {has}, but the run was trained on {needs}")


def load(directory: str | Path) -> Trained:
    """The Trained of a run directory. Raises UserError for a file that is missing or broken."""
    run = RunDirectory(directory)
    import_targets(run.config())
    with reading(run.model, run.cure):
        model = keras.models.load_model(run.model)
    with reading(run.normalization, run.cure):
        preprocessing = Preprocessing.load(run.normalization)
    return Trained(model, preprocessing, run.class_names())


def import_targets(config: Mapping[str, Any]) -> None:
    """Import what a configuration builds, so that layers of the user's own are known when they are loaded."""
    targets = {value for key, value in flat(config).items() if key.endswith("._target_")}
    for target in sorted(targets):
        module = target.rpartition(".")[0]
        try:
            import_module(module)
        except ImportError as error:
            raise UserError(
                f"{target}: it was trained with this, which cannot be imported: {error}"
            ) from error


def read_image(
    path: str | Path, shape: Sequence[int], data: Mapping[str, Any] = MappingProxyType({})
) -> np.ndarray:
    """The picture at `path` as uint8 `(H, W, C)` of `shape`, read as test pictures by a run's node `data`.

    Without one it is cropped to its middle.

    Raises UserError for what is not a picture.
    """
    *size, channels = shape
    if channels not in MODES:
        raise UserError(f"{path}: the network takes {channels} channels, a picture has 1 or 3")
    try:
        share = data.get("test_crop", 1.0)
        return read_picture(path, size, channels, data.get("resize", "crop"), share=share)
    except Exception as error:  # a broken file can raise anything
        raise UserError(f"{path}: not a picture that can be read ({error})") from error
