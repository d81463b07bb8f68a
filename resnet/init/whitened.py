"""A first convolution that whitens its patches."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import keras
import numpy as np

from resnet.errors import UserError
from resnet.init.run import Init
from resnet.training.optimizers.groups import is_kernel

if TYPE_CHECKING:
    from resnet.data.dataset import Dataset
    from resnet.data.normalization import Normalization

IMAGES = 5000


def whitened(epsilon: float = 5e-4, identity: bool = False) -> Init:
    """Principal components of the training images' patches, scaled to one variance, as the first kernel.

    Of the first convolution the filters are these components, the widest first, and then their negatives, so
    that both signs pass a ReLU (D. Page 2018, part 8; Jordan 2024, section 3.2): for patches of 2 x 2 pixels
    of three channels 24 filters. With `freeze.parts=[stem]` they stay.

    Args:
        epsilon: added to the variances, which bounds how much the least of them is scaled up.
        identity: whether of each other convolution the first filters, as many as it has channels before it,
            begin as the identity: it passes on what it sees, and its other filters are random (Jordan 2024,
            section 3.3).
    """
    return partial(_whiten, epsilon, identity)


def _whiten(epsilon: float, identity: bool, model: keras.Model, dataset: Dataset) -> Normalization:
    first = next((layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)), None)
    if first is None:
        raise UserError(f"init=whitened: {model.name} has no convolution among its own layers")
    height, width, channels, filters = first.kernel.shape
    size = height * width * channels
    if filters > 2 * size:
        raise UserError(
            f"init=whitened: {first.name} has {filters} filters, and patches of {height} x {width} pixels in "
            f"{channels} channels have {size} components\ngive at most {2 * size} filters"
        )
    images, _ = dataset.train.batch(np.arange(min(IMAGES, len(dataset.train))))
    pixels = np.asarray(dataset.normalization(images.astype(np.float32)))
    kernel = components(pixels, (height, width), epsilon)[..., : -(-filters // 2)]
    first.kernel.assign(np.concatenate([kernel, -kernel], -1)[..., :filters])
    for variable in model.weights if identity else ():
        if is_kernel(variable) and variable is not first.kernel:
            variable.assign(_passing_on(np.array(variable)))
    return dataset.normalization


def components(images: np.ndarray, size: tuple[int, int], epsilon: float) -> np.ndarray:
    """Of the patches of float images `(N, H, W, C)`: float32 `(*size, C, size * C)`, the widest first.

    The products of a patch with these have the second moments of the identity matrix, but for `epsilon`.
    """
    patches = np.lib.stride_tricks.sliding_window_view(images, size, (1, 2))  # (N, H', W', C, *size)
    patches = np.moveaxis(patches, 3, -1).reshape(-1, int(np.prod(size)) * images.shape[-1])
    variances, vectors = np.linalg.eigh((patches.T @ patches).astype(np.float64) / len(patches))
    scaled = (vectors / np.sqrt(variances + epsilon))[:, ::-1]
    return scaled.reshape(*size, images.shape[-1], -1).astype(np.float32)


def _passing_on(kernel):
    """`kernel`, or each of a stack, whose first filters give the channels before it."""
    height, width, channels, filters = kernel.shape[-4:]
    count = min(channels, filters)
    kernel[..., :count] = 0
    kernel[..., height // 2, width // 2, range(count), range(count)] = 1
    return kernel
