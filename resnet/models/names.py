"""Names of layers, built and read.

`stage2_block1_conv1` is a convolution in the first block of the second stage, and `stage2_blocks2-9` the
layer that repeats the eight blocks after it; their own layers are named alike, `block_conv1`, for any of
them. What belongs to no stage begins with another word, such as `stem_conv`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

ANY_BLOCK = "block"
STEM, HEAD = "stem", "head"
PART, BLOCKS = r"(?P<part>(stage(?P<stage>\d+))?[^_]*)", r"(_blocks?(?P<first>\d+)(-(?P<last>\d+))?)?"
NAME = re.compile(rf"{PART}{BLOCKS}_?(?P<operation>.*)")


class Place(NamedTuple):
    """Where a layer stands: `part` is the first word of its name, None what the name does not say."""

    part: str
    stage: int | None
    blocks: range | None
    operation: str


def stage(number: int) -> str:
    return f"stage{number}"


def block(stage: str, number: int) -> str:
    return f"{stage}_block{number}"


def blocks(stage: str, numbers: range) -> str:
    """Of the layer that repeats the blocks of a range of numbers."""
    return f"{stage}_blocks{numbers[0]}-{numbers[-1]}"


def in_block(path: str, stage: str, number: int) -> str:
    """Of block `number`, what `path` (`block_conv1/kernel`) is of any: `stage2_block3_conv1/kernel`."""
    return block(stage, number) + path.removeprefix(ANY_BLOCK)


def place(name: str) -> Place:
    """The Place that a layer's name says."""
    found = NAME.fullmatch(name)
    assert found, f"a layer's name is one line, not {name!r}"
    number, first, last = (int(found[key]) if found[key] else None for key in ("stage", "first", "last"))
    numbers = range(first, (last or first) + 1) if first else None
    return Place(found["part"], number, numbers, found["operation"])


def parts(layers: Iterable[str]) -> dict[str, str]:
    """The part that each layer belongs to, by its name, of the names of all layers in their order.

    `stem` is what stands before the first stage, `head` what follows the last one; between stages it is the
    first word of the name. Empty where there are no stages.
    """
    places = {name: place(name) for name in layers}
    staged = [i for i, found in enumerate(places.values()) if found.stage]
    return {
        name: STEM if i < staged[0] else HEAD if i > staged[-1] else found.part
        for i, (name, found) in enumerate(places.items())
        if staged
    }
