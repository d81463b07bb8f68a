"""What is known of images wherever they lie."""

from __future__ import annotations

import numpy as np


class Labelled:
    """N images with labels int32 `(N,)` and, if they have any, names `(N,)`."""

    labels: np.ndarray
    names: np.ndarray | None

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, i: int) -> str:
        """What image `i` is called, or its number."""
        return str(i) if self.names is None else self.names[i]
