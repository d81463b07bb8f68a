"""Weights of keras.applications, in the networks here that compute the same.

Its v1 has the strides of a bottleneck in the first 1x1 convolution, its v2 in the last block of a stage; both
have biases. Its v1 and VGG take pictures from blue to red; here the first kernel is turned round instead, so
that pictures stay from red to blue.
"""

import os
import re
from pathlib import Path

import h5py
import keras
import numpy as np

from resnet.errors import UserError, first_line
from resnet.models.imagenet import resnet_imagenet
from resnet.models.stacking import stack, unstack
from resnet.models.vgg import vgg

CLASSES = 1000
COMMON = {"conv_bias": True, "bn_epsilon": 1.001e-5}
V1 = COMMON | {"strided_conv": "1x1"}
V2 = COMMON | {"version": 2, "strided_block": "last"}
CAFFE = tuple(level / 255 for level in (123.68, 116.779, 103.939)), (1 / 255,) * 3  # red, green, blue
SYMMETRIC = (0.5,) * 3, (0.5,) * 3  # to -1 … 1
OUR_NAMES = [
    (r"conv1_(conv|bn)", "stem_{0}"),
    (r"conv(\d)_block(\d+)_0_conv", "stage{0}_block{1}_shortcut"),
    (r"conv(\d)_block(\d+)_0_bn", "stage{0}_block{1}_shortcut_bn"),
    (r"conv(\d)_block(\d+)_preact_bn", "stage{0}_block{1}_bn1"),
    (r"conv(\d)_block(\d+)_(\d)_(conv|bn)", "stage{0}_block{1}_{3}{2}"),
    (r"post_bn", "final_bn"),
    (r"block(\d)_conv(\d)", "stage{0}_conv{1}"),
    (r"fc(\d)", "dense{0}"),
    (r"predictions", "logits"),
]


def load(
    model: keras.Model, name: str, file: str | None = None, whole: bool = True
) -> tuple[keras.Model, bool]:
    """A network in the form of `model` with weights of keras.applications; whether its classifier is theirs.

    `file` is one in their layout, in the place of the published one; `name` is what messages call it; `whole`
    asks for the classifier, which VGG has above its dense layers only. Raises UserError where
    keras.applications has no such network, and for a file that cannot be had or read.
    """
    kind, depth = _kind(model, name)
    if model.input_shape[-1] != 3:
        raise UserError(f"{name}: it takes pictures of 3 channels, and these have {model.input_shape[-1]}")
    dense = any(layer.name.startswith("dense") for layer in model.layers)
    whole = whole and (dense or kind.startswith("ResNet"))
    top = whole or dense if file is None else _has_top(file)
    if (whole or dense) and not top:
        raise UserError(f"{name} has no classifier; give init.classifier=new, and of VGG model.head=cifar")
    build = getattr(keras.applications, kind)
    try:
        theirs = build(weights=file or "imagenet", include_top=top, classifier_activation=None)
    except Exception as error:  # a download raises bare ones, and a file in another layout any
        raise UserError(_unavailable(name, file, error)) from error
    shape = theirs.input_shape[1:] if dense else model.input_shape[1:]
    head = {"head": "imagenet" if dense else "cifar"}
    ours = (
        vgg(shape, CLASSES, depth, norm="none", **head)
        if kind.startswith("VGG")
        else resnet_imagenet(shape, CLASSES, depth, **(V2 if kind.endswith("V2") else V1))
    )
    taken = {k: v for k, v in weights_of(theirs).items() if whole or not k.startswith("logits/")}
    stack(ours, _zero_biases(ours) | taken)
    if not kind.endswith("V2"):
        first = next(layer for layer in ours.layers if isinstance(layer, keras.layers.Conv2D))
        first.kernel.assign(np.array(first.kernel)[:, :, ::-1])
    return ours, whole


def normalization(model: keras.Model) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the channels, red first, by which keras.applications takes pictures."""
    return SYMMETRIC if "_v2_" in model.name else CAFFE


def weights_of(theirs: keras.Model) -> dict[str, np.ndarray]:
    """Weights of a network of keras.applications by the names that `stacking.unstack` gives ours."""
    version = 2 if any(layer.name == "post_bn" for layer in theirs.layers) else 1
    return {
        f"{our_name(layer.name, version)}/{variable.name}": np.array(variable)
        for layer in theirs.layers
        for variable in layer.weights
    }


def our_name(layer: str, version: int) -> str:
    """`conv2_block1_1_conv` to `stage1_block1_conv1`, and so on."""
    found, name = next((m, ours) for p, ours in OUR_NAMES if (m := re.fullmatch(p, layer)))
    parts = list(found.groups())
    if "block{1}" in name:
        parts[0] = int(parts[0]) - 1  # their conv2 is the first stage
    if version == 2 and parts[-1:] == ["bn"] and len(parts) == 4:
        parts[2] = int(parts[2]) + 1  # and their first BN of a block is not counted
    return name.format(*parts)


def _kind(model, name):
    """What keras.applications calls the network, and its depth."""
    found = re.fullmatch(r"(resnet_v[12]_imagenet|vgg)_(50|101|152|16|19)", model.name)
    if not found:
        raise UserError(
            f"{name}: keras.applications has no {model.name}\n"
            "it has model=resnet_keras_v1 and resnet_keras_v2 of depth 50, 101 and 152, "
            "and model=vgg model.norm=none of depth 16 and 19"
        )
    kind, depth = found.groups()
    ending = "V2" if "v2" in kind else ""
    return f"{'VGG' if kind == 'vgg' else 'ResNet'}{depth}{ending}", int(depth)


def _zero_biases(ours):
    """Ours, in which those that they have none of, as before a norm in v2, are 0."""
    return {name: a * 0 if name.endswith("/bias") else a for name, a in unstack(ours).items()}


def _has_top(file):
    """Whether a file holds a classifier. Raises UserError where it is none in the layout of Keras' .h5."""
    try:
        with h5py.File(file) as arrays:
            layers = [n.decode() if isinstance(n, bytes) else n for n in arrays.attrs["layer_names"]]
    except (OSError, KeyError) as error:
        raise UserError(f"init.file={file} is no .h5 of Keras' weights that can be read: {error}") from error
    return "predictions" in layers


def _unavailable(name, file, error):
    reason = first_line(error)
    url = re.search(r"https?://\S+/([\w.]+\.h5)", reason)
    if file is not None or not url:
        return f"{name} cannot be read: {reason}"
    place = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models" / url[1]
    there = "the file there is not the published one, and " if place.exists() else ""
    return f"{name}: {there}{url[0]} cannot be downloaded; lay it at {place}"
