"""Which weights an optimizer treats alike, by their paths.

A looped stage holds the weights of its blocks stacked, `stage1_blocks2-3/block_bn1_gamma`: rules by name
and rules of one block's weight hold for them as for `stage1_block2_bn1/gamma`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from resnet.errors import UserError
from resnet.models import names

if TYPE_CHECKING:
    import keras


STACKED = re.compile(r"_blocks\d+-\d+/")
NORM_OR_BIAS = re.compile(r"(^|[/_])(bias|gamma|beta)$")


class Groups:
    """What is told of groups of weights, see `Shared`. Raises ValueError for what cannot be."""

    def __init__(self, groups: Sequence[Mapping[str, Any]]):
        self.given = [dict(group) for group in groups]
        for group in self.given:
            if "match" not in group or not group.keys() <= {"match", "rate_factor", "weight_decay"}:
                raise ValueError(f"groups: {group}: expected match, with rate_factor or weight_decay")
            try:
                re.compile(group["match"])
            except re.error as error:
                raise ValueError(f"groups: match={group['match']}: {error}") from error

    def of(self, path: str) -> Mapping[str, Any]:
        """The first group that `path` belongs to, or an empty one."""
        return next((group for group in self.given if re.search(group["match"], path)), {})

    def check(self, paths: Iterable[str]) -> None:
        """Raise UserError for a group that none of `paths` belongs to."""
        paths = list(paths)
        for group in self.given:
            if not any(self.of(path) is group for path in paths):
                raise UserError(
                    f"optimizer.groups: no weight is left for match={group['match']}\n"
                    f"weights are called {', '.join(paths[:5])}, ...; a looped stage's blocks go together"
                )


def part_factors(paths: Sequence[str], decay: float) -> dict[str, float]:
    """What the rate of each of these weights is multiplied by, see `Shared.layer_decay`."""
    if decay == 1:
        return dict.fromkeys(paths, 1.0)
    parts = names.parts(path.split("/")[0] for path in paths)
    if not parts:
        raise UserError(f"optimizer.layer_decay: the network has no stages; its weights are {paths[0]}, ...")
    order = list(dict.fromkeys(parts.values()))
    powers = {part: len(order) - 1 - i for i, part in enumerate(order)}
    return {path: decay ** powers[parts[path.split("/")[0]]] for path in paths}


def is_kernel(variable: keras.Variable) -> bool:
    """Whether it is a convolution's kernel, or a stack of them."""
    return len(variable.shape) >= 4


def is_norm_or_bias(variable: keras.Variable) -> bool:
    """Whether it is a bias, or a scale or offset of a norm, or a stack of them."""
    return bool(NORM_OR_BIAS.search(variable.path))


def inner_axes(variable: keras.Variable) -> list[int] | None:
    """The axes of one block's weight, of a stack or by itself: None for all."""
    return list(range(1, len(variable.shape))) if STACKED.search(variable.path) else None
