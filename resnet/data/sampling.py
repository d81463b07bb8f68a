"""Which training images an epoch shows, and how often."""

from __future__ import annotations

import numpy as np


def balanced(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Numbers `(N,)` of images with these labels `(N,)`, as many of each class, in a random order.

    Where N does not divide by the classes, some have one more. No image of a class comes again before all
    of them have come as often.
    """
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    shares = np.full(len(members), len(labels) // len(members))
    shares[random.permutation(len(members))[: len(labels) % len(members)]] += 1
    chosen = []
    for of_class, share in zip(members, shares, strict=True):
        rounds = -(-share // len(of_class))
        chosen.append(np.concatenate([random.permutation(of_class) for _ in range(rounds)])[:share])
    return random.permutation(np.concatenate(chosen))
