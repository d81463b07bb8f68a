"""Rules that several arguments must keep together, and those of a depth.

Free of TensorFlow: the functions themselves call them, and so does the check of a configuration before
TensorFlow loads. Each raises ValueError, whose text begins with the argument at fault.
"""

from __future__ import annotations

from collections.abc import Sequence


def blocks_per_stage(depth: int, layers: int, others: int = 2) -> int:
    """n of depth = layers * n + others: three stages of n blocks, which have a third of `layers`."""
    n, rest = divmod(depth - others, layers)
    if rest or n < 1:
        nearest = " and ".join(str(layers * k + others) for k in (n, n + 1) if k >= 1)
        raise ValueError(f"depth={depth}: depth is {layers}n+{others}; nearest: {nearest}")
    return n


def dense_blocks_per_stage(depth: int, bottleneck: bool) -> int:
    """n of a DenseNet's three stages: a bottleneck has two layers."""
    return blocks_per_stage(depth, 6 if bottleneck else 3, others=4)


def fold_of_folds(folds: int | None, fold: int) -> None:
    """They are counted from 0; without folds there is no other."""
    if fold and folds is None:
        raise ValueError(f"fold={fold}: of no folds; give folds, as 5, or leave it 0")
    if folds is not None and fold >= folds:
        raise ValueError(f"fold={fold}: of {folds} folds, which are 0 to {folds - 1}")


def originals_are_streamed(originals: bool, memory: str) -> None:
    """They are read from their files each time."""
    if originals and memory == "resident":
        raise ValueError("originals=true reads pictures from their files: memory is auto or streamed")


def recompute_in_loops(recompute: bool | str, stage: str) -> None:
    """What is run again in the backward pass is a loop's body."""
    if recompute and stage != "looped":
        raise ValueError("recompute=true needs stage=looped")


def adaptive_has_a_radius(sam_rho: float | None, sam_adaptive: bool) -> None:
    """ASAM is a way to measure SAM's."""
    if sam_adaptive and not sam_rho:
        raise ValueError("sam_adaptive=true needs sam_rho, such as 0.5")


def residual_needs_no_norm(residual: str, norm: str) -> None:
    """Two ways of joining a branch stand in place of norms."""
    if residual in ("fixup", "normalizer_free") and norm != "none":
        raise ValueError(f"residual={residual} needs norm=none, in whose place it stands")


def residual_of_activated_shortcuts(residual: str, shortcut: str) -> None:
    """Brock et al. 2021, figure 5: the weights are scaled for what an activation gives."""
    if residual == "normalizer_free" and shortcut not in ("projection_bn", "pooled"):
        raise ValueError("residual=normalizer_free needs shortcut=projection_bn or pooled")


def rising_boundaries(boundaries: Sequence[float], factors: Sequence[float]) -> None:
    """A factor holds from its boundary to the next."""
    if len(boundaries) != len(factors) or list(boundaries) != sorted(set(boundaries)):
        raise ValueError(
            f"boundaries={list(boundaries)}: boundaries must rise, with one of factors for each; "
            f"factors={list(factors)}"
        )


def range_rises(low: float, high: float) -> None:
    """Rates of a range test."""
    if not low < high:
        raise ValueError(f"low={low:g}: expected a rate below high={high:g}")


def profile_has_an_end(steps: Sequence[int]) -> None:
    """(first, last) step."""
    if steps[0] >= steps[1]:
        raise ValueError(f"steps={list(steps)}: expected the first step before the last")
