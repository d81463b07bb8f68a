"""Weights from PyTorch, in two layouts of `conv1.weight`, `bn1.weight`, `layer1.0.conv1.weight`, and so on.

With `linear.weight` at the end it is a CIFAR ResNet of akamaster/pytorch_resnet_cifar10: v1 with identity
shortcuts (option A). With `fc.weight`, and projections `layer2.0.downsample.0.weight`, it is a ResNet of
torchvision or timm (`resnet18`, `resnet34`, `resnet50` and their like), ResNeXt among them. Both have no
convolution bias, and PyTorch's padding and BN. Files are safetensors or npz, which hold arrays only; a
PyTorch checkpoint is a pickle and is not read:

    state = torch.load("resnet20.th", weights_only=True)["state_dict"]
    safetensors.torch.save_file(state, "resnet20.safetensors")
    model = resnet.models.convert.from_torch("resnet20.safetensors")
    model.save("resnet20.keras")
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from resnet.errors import UserError
from resnet.models import names, resnet_v1, stack, unstack
from resnet.models.imagenet import BASIC, BOTTLENECK, resnet_imagenet

if TYPE_CHECKING:
    import keras


PARTS = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
DOWNSAMPLE = {"shortcut": "downsample.0", "shortcut_bn": "downsample.1"}


def from_torch(path: str | Path, input_shape: tuple[int, int, int] | None = None) -> keras.Model:
    """The model whose weights lie at `path`; its depth, filters and classes are those of the arrays.

    It maps float images `(N, H, W, C)` to the logits that PyTorch gives for `(N, C, H, W)`. The default
    shape is 32x32x3, and 224x224x3 for torchvision's. Raises UserError for a file that cannot be read, or
    that holds other names or shapes.
    """
    state = {name.removeprefix("module."): array for name, array in read(Path(path)).items()}
    if "fc.weight" in state:
        kind, build, last, shape = "a ResNet of torchvision or timm", _imagenet, "fc", (224, 224, 3)
    else:
        kind, build, last, shape = "a CIFAR ResNet of PyTorch", _cifar, "linear", (32, 32, 3)
    try:
        model = build(input_shape or shape, len(state[f"{last}.bias"]), state)
        theirs = {name: torch_name(name, last) for name in unstack(model)}
        stack(model, {ours: _keras_axes(state[name]) for ours, name in theirs.items()})
    except KeyError as error:
        raise UserError(f"{path}: there is no {error.args[0]}; expected {kind}") from error
    except ValueError as error:
        raise UserError(f"{path}: not the shapes of {kind}: {error}") from error
    others = {name for name in state if not name.endswith("num_batches_tracked")} - set(theirs.values())
    if others:
        raise UserError(f"{path}: {min(others)} has no place in {kind} of that depth")
    return model


def _cifar(input_shape, num_classes, state):
    return resnet_v1(
        input_shape,
        num_classes,
        depth=6 * _blocks(state, 1) + 2,
        filters=[len(state[f"layer{stage}.0.conv1.weight"]) for stage in (1, 2, 3)],
        shortcut="identity",
        conv_bias=False,
        padding="symmetric",
        bn_momentum=0.9,
        bn_epsilon=1e-5,
    )


def _imagenet(input_shape, num_classes, state):
    counts = tuple(_blocks(state, stage) for stage in (1, 2, 3, 4))
    bottleneck = "layer1.0.conv3.weight" in state
    depths = {count: depth for depth, count in (BOTTLENECK if bottleneck else BASIC).items()}
    if counts not in depths:
        raise ValueError(f"{counts} blocks in the stages; there are {', '.join(map(str, depths))}")
    options = {}
    if bottleneck:
        width, inputs = state["layer1.0.conv2.weight"].shape[:2]
        options = {"cardinality": width // inputs, "group_width": inputs}
    return resnet_imagenet(input_shape, num_classes, depths[counts], bn_momentum=0.9, **options)


def _blocks(state, stage):
    return len([name for name in state if re.fullmatch(rf"layer{stage}\.\d+\.conv1\.weight", name)])


def read(path: Path) -> dict[str, np.ndarray]:
    """Arrays by name from a .safetensors or .npz file."""
    readers = {".npz": _read_npz, ".safetensors": _read_safetensors}
    if path.suffix not in readers:
        raise UserError(
            f"{path}: expected .safetensors or .npz; a PyTorch checkpoint is a pickle\n"
            "where PyTorch is: safetensors.torch.save_file(torch.load(path, weights_only=True), "
            "'weights.safetensors')"
        )
    try:
        return readers[path.suffix](path)
    except ImportError as error:
        raise UserError(f"{path}: needs another package: pip install safetensors") from error
    except Exception as error:  # each format has errors of its own
        raise UserError(f"{path} cannot be read: {error}") from error


def _read_npz(path):
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _read_safetensors(path):
    from safetensors.numpy import load_file

    return load_file(path)


def torch_name(name: str, last: str) -> str:
    """`stage1_block2_conv1/kernel` to `layer1.1.conv1.weight`, and so on; `last` is the classifier's."""
    layer, part = name.split("/")
    layer = {"stem_conv": "conv1", "stem_bn": "bn1", "logits": last}.get(layer, layer)
    place = names.place(layer)
    if place.blocks:
        operation = DOWNSAMPLE.get(place.operation, place.operation)
        layer = f"layer{place.stage}.{place.blocks[0] - 1}.{operation}"
    return f"{layer}.{PARTS.get(part, 'bias' if part == 'bias' else 'weight')}"


def _keras_axes(array):
    """(out, in, height, width) to (height, width, in, out), and (out, in) to (in, out)."""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
