"""Published weights: those of keras.applications, and files of PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from resnet.data.normalization import Normalization
from resnet.errors import UserError
from resnet.init.run import Init, taken
from resnet.models import applications, convert
from resnet.models.transfer import transfer

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pictures, as torchvision takes them


def imagenet(file: str | None = None, classifier: str = "fitting") -> Init:
    """The weights that keras.applications publishes for ImageNet, with their normalization.

    For `resnet_imagenet` in its form (`conf/model/resnet_keras_v1.yaml`, `resnet_keras_v2.yaml`) of depth 50,
    101 and 152, and VGG without norms of depth 16 and 19. They are downloaded into Keras' cache, and known by
    their published hash.

    Args:
        file: in their place weights of the same layout, `.h5`.
        classifier: `fitting`, taken over where there are 1,000 classes; or `new`.
    """
    return partial(_from_keras, file, classifier)


def _from_keras(file, classifier, model, dataset):
    name = "init=imagenet" if file is None else f"init.file={file}"
    wanted = classifier == "fitting" and dataset.num_classes == applications.CLASSES
    source, whole = applications.load(model, name, file, wanted)
    transfer(model, source, name, classifier=whole)
    return _normalization(name, *applications.normalization(model), dataset)


def torch(
    file: str, classifier: str = "fitting", mean: Sequence[float] = MEAN, std: Sequence[float] = STD
) -> Init:
    """The weights in a file of PyTorch, see `models.convert`.

    Args:
        file: `.safetensors` or `.npz`.
        classifier: `fitting`, taken over where the classes are as many; or `new`.
        mean, std: of the channels, by which the pictures of that training were normalised, from 0 to 1.
    """
    return partial(_from_torch, file, classifier, mean, std)


def _from_torch(file, classifier, mean, std, model, dataset):
    name = f"init.file={file}"
    shape = model.input_shape[1:]
    if shape[-1] != len(mean) or shape[-1] != len(std):
        raise UserError(f"{name}: mean and std are of {len(mean)} channels, and these have {shape[-1]}")
    source = convert.from_torch(file, shape)
    same = source.output_shape[-1] == dataset.num_classes
    transfer(model, source, name, classifier=same and classifier == "fitting")
    return _normalization(name, mean, std, dataset)


def _normalization(name, mean, std, dataset):
    return taken(name, Normalization(np.array(mean, np.float32), np.array(std, np.float32)), dataset)
