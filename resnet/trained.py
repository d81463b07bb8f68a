"""A network as a finished run left it."""

import json
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from PIL import Image, ImageOps

from resnet.data import Normalization
from resnet.errors import UserError


class Trained(NamedTuple):
    """A model giving logits `(N, K)` of normalised images, its normalisation and its K classes."""

    model: keras.Model
    normalization: Normalization
    class_names: list[str]

    @property
    def image_shape(self):
        return self.model.input.shape[1:]

    def check(self, dataset):
        """Raise UserError unless images and classes of `dataset` are like those of the training."""
        if self.image_shape != dataset.image_shape:
            has, needs = ("x".join(map(str, shape)) for shape in (dataset.image_shape, self.image_shape))
            raise UserError(f"data: images of {has}, but the run was trained on {needs}")
        if self.class_names != dataset.class_names:
            has, needs = (", ".join(names[:10]) for names in (dataset.class_names, self.class_names))
            raise UserError(f"data: the classes are {has}, but the run was trained on {needs}")


def load(directory):
    """The Trained of a run directory. Raises UserError for a file that is missing or broken."""
    directory = Path(directory)
    try:
        return Trained(
            keras.models.load_model(directory / "model.keras"),
            Normalization.load(directory / "normalization.npz"),
            json.loads((directory / "class_names.json").read_text()),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"{directory} holds no network that can be read: {first}") from error


def read_image(path, shape):
    """The picture at `path`, of any format that Pillow opens, as uint8 `(H, W, C)` of this `shape`.

    Turned upright, resized whatever its proportions, and on white where it is transparent. Raises
    UserError for what is not a picture.
    """
    height, width, channels = shape
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            if picture.mode.startswith("I"):  # 16 bits, of which `convert` would clip the upper half
                picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
            picture = picture.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a picture that can be read ({error})") from error
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    picture = picture.convert("RGB" if channels == 3 else "L")
    pixels = np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC))
    return pixels.reshape(height, width, -1)
