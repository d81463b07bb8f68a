"""ConvNeXt (Liu et al. 2022), with the small ones of Wightman's timm.

Parameters for 1,000 classes, in millions: atto 3.70, femto 5.22, pico 9.05, nano 15.59; tiny 28,589,128;
small 50,223,688; base 88,591,464.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

from resnet.models import blocks, names
from resnet.models.blocks import Style
from resnet.models.layers import Scale
from resnet.options import with_options_of

SIZES = {  # blocks and filters of the stages
    "atto": ((2, 2, 6, 2), (40, 80, 160, 320)),
    "femto": ((2, 2, 6, 2), (48, 96, 192, 384)),
    "pico": ((2, 2, 6, 2), (64, 128, 256, 512)),
    "nano": ((2, 2, 8, 2), (80, 160, 320, 640)),
    "tiny": ((3, 3, 9, 3), (96, 192, 384, 768)),
    "small": ((3, 3, 27, 3), (96, 192, 384, 768)),
    "base": ((3, 3, 27, 3), (128, 256, 512, 1024)),
}
NOT_OURS = ("shortcut", "strided_conv", "residual", "alpha", "attention", "attention_reduction", "padding")


@with_options_of(Style, without=NOT_OURS, l2=0.0, norm="layer", activation="gelu", bn_epsilon=1e-6)
def convnext(
    input_shape: tuple[int, int, int],
    num_classes: int,
    size: str = "femto",
    patch: int = 4,
    scale_start: float = 1e-6,
    survival: float = 1.0,
    stage: str = "looped",
    recompute: bool = False,
    **options: Any,
) -> keras.Model:
    """Four stages of blocks of a 7x7 convolution by channel and two of 1x1 (figure 4).

    The stem takes patches of `patch` by `patch` pixels, 4 in the paper. Branches have a learned factor for
    each channel that begins at `scale_start`. Maps float images `(N, H, W, C)` to logits `(N, num_classes)`.
    `survival`, `stage` and `recompute` are those of `blocks.stages`, all others those of `Style`. Raises
    ValueError for another size.
    """
    blocks.one_of("size", size, *SIZES)
    style, (counts, widths) = Style(**options), SIZES[size]
    inputs = keras.Input(input_shape, name="images")
    x = style.normalize(_conv(inputs, widths[0], patch, patch, style=style, name="stem_conv"), "stem")
    done = 0
    for number, (count, filters) in enumerate(zip(counts, widths, strict=True), 1):
        if number > 1:
            name = f"downsample{number}"
            x = _conv(style.normalize(x, name), filters, 2, 2, style=style, name=f"{name}_conv")
        x = blocks.repeat(
            partial(_block, scale_start=scale_start, style=style),
            x,
            range(done, done + count),
            sum(counts),
            survival=survival,
            name=names.stage(number),
            stage=stage,
            recompute=recompute,
        )
        done += count
    x = style.normalize(keras.layers.GlobalAveragePooling2D(name="pool")(x), "head")
    return keras.Model(inputs, blocks.logits(x, num_classes), name=f"convnext_{size}")


def _block(x, scale_start, style, *, at):
    filters, name = x.shape[-1], at.name
    y = style.normalize(_conv(x, filters, 7, groups=filters, style=style, name=f"{name}_conv1"), name)
    y = style.activate(_conv(y, 4 * filters, 1, style=style, name=f"{name}_conv2"), name)
    y = _conv(y, filters, 1, style=style, name=f"{name}_conv3")
    return blocks.add(x, Scale(scale_start, by_channel=True, name=f"{name}_scale")(y), at)


def _conv(x, *shape, style, **options):
    return style.conv(x, *shape, initializer=keras.initializers.TruncatedNormal(stddev=0.02), **options)
