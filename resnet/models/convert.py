"""Weights from PyTorch: CIFAR ResNets in the layout of akamaster/pytorch_resnet_cifar10.

The names are `conv1.weight`, `bn1.weight`, `layer1.0.conv1.weight`, ..., `linear.weight`: v1 with identity
shortcuts (option A), no convolution bias, and PyTorch's padding and BN. Files are safetensors or npz,
which hold arrays only; a PyTorch checkpoint is a pickle and is not read:

    state = torch.load("resnet20.th", weights_only=True)["state_dict"]
    safetensors.torch.save_file(state, "resnet20.safetensors")
    model = resnet.convert.from_torch("resnet20.safetensors")
    model.save("resnet20.keras")
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from resnet.errors import UserError
from resnet.models import names, resnet_v1, stack, unstack

if TYPE_CHECKING:
    import keras


PARTS = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def from_torch(path: Path, input_shape: tuple[int, int, int] = (32, 32, 3)) -> keras.Model:
    """The model whose weights lie at `path`; its depth, filters and classes are those of the arrays.

    It maps float images `(N, H, W, C)` to the logits that PyTorch gives for `(N, C, H, W)`. Raises
    UserError for a file that cannot be read, or that holds other names or shapes.
    """
    state = {name.removeprefix("module."): array for name, array in read(Path(path)).items()}
    blocks = [
        int(found[1]) for name in state if (found := re.fullmatch(r"layer1\.(\d+)\.conv1\.weight", name))
    ]
    try:
        model = resnet_v1(
            input_shape,
            num_classes=len(state["linear.bias"]),
            depth=6 * len(blocks) + 2,
            filters=[len(state[f"layer{stage}.0.conv1.weight"]) for stage in (1, 2, 3)],
            shortcut="identity",
            conv_bias=False,
            padding="symmetric",
            bn_momentum=0.9,
            bn_epsilon=1e-5,
        )
        theirs = {name: torch_name(name) for name in unstack(model)}
        stack(model, {ours: _keras_axes(state[name]) for ours, name in theirs.items()})
    except KeyError as error:
        raise UserError(f"{path}: there is no {error.args[0]}; expected a CIFAR ResNet of PyTorch") from error
    except ValueError as error:
        raise UserError(f"{path}: not the shapes of a CIFAR ResNet of PyTorch: {error}") from error
    others = {name for name in state if not name.endswith("num_batches_tracked")} - set(theirs.values())
    if others:
        raise UserError(f"{path}: {min(others)} has no place in a CIFAR ResNet with identity shortcuts")
    return model


def read(path: Path) -> dict[str, np.ndarray]:
    """Arrays by name from a .safetensors or .npz file."""
    readers = {".npz": _read_npz, ".safetensors": _read_safetensors}
    if path.suffix not in readers:
        raise UserError(f"{path}: expected .safetensors or .npz; a PyTorch checkpoint is a pickle")
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


def torch_name(name: str) -> str:
    """`stage1_block2_conv1/kernel` to `layer1.1.conv1.weight`, and so on."""
    layer, part = name.split("/")
    layer = {"stem_conv": "conv1", "stem_bn": "bn1", "logits": "linear"}.get(layer, layer)
    place = names.place(layer)
    if place.blocks:
        layer = f"layer{place.stage}.{place.blocks[0] - 1}.{place.operation}"
    return f"{layer}.{PARTS.get(part, 'bias' if part == 'bias' else 'weight')}"


def _keras_axes(array):
    """(out, in, height, width) to (height, width, in, out), and (out, in) to (in, out)."""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
