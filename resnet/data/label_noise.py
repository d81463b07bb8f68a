"""Training labels made wrong on purpose, to see who finds them."""

from __future__ import annotations

import numpy as np


def with_wrong_labels(labels: np.ndarray, share: float, classes: int, seed: int) -> np.ndarray:
    """`labels` `(N,)` with a share of them, drawn by `seed`, each changed to one of the other classes.

    How many is `share * N`, rounded; each other class is as likely (symmetric noise).
    """
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(labels), round(share * len(labels)), replace=False)
    changed = labels.copy()
    changed[chosen] = (labels[chosen] + rng.integers(1, classes, len(chosen))) % classes
    return changed
