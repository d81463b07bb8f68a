"""Parts of a network that are not trained, for a while or throughout."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from resnet.errors import UserError
from resnet.models import names
from resnet.models.repeat import with_looped

ALL_BUT_HEAD = "all_but_head"


class Freeze:
    """Freezes parts of a network: no step, no weight decay, and batch norm as in inference.

    Args:
        parts: names of parts, `stem`, `stage1`, ..., `head` (what follows the last stage), or `all_but_head`.
        statistics: whether the moving statistics of batch norm in these parts are frozen too, so that it
            normalises by them; else by each batch's own, and they go on moving.
        epochs: after so many all is trained; None: never.
    """

    def __init__(self, parts: Sequence[str] = (), statistics: bool = True, epochs: int | None = None) -> None:
        self.parts, self.statistics, self.epochs = list(parts), statistics, epochs

    def freeze(self, model: keras.Model) -> None:
        """Freeze the parts of `model`. Raises UserError for one that it lacks, and where nothing is left."""
        for layer in self._layers(model):
            if isinstance(layer, keras.layers.BatchNormalization) and not self.statistics:
                for weight in layer.trainable_variables:
                    weight.trainable = False
            else:
                layer.trainable = False
        if not model.trainable_variables:
            raise UserError(f"freeze.parts={self.parts}: nothing is left to train; leave a part out")

    def thaw(self, model: keras.Model) -> None:
        """Undo what `freeze` did."""
        for layer in self._layers(model):
            layer.trainable = True

    def _layers(self, model):
        parts = names.parts(layer.name for layer in model.layers)
        found = dict.fromkeys(parts.values())
        known = [*found, *([ALL_BUT_HEAD] if found else [])]
        for part in self.parts:
            if part not in known:
                raise UserError(
                    f"freeze.parts: {model.name} has no {part}; it has {', '.join(known) or 'no stages'}"
                )
        wanted = set(self.parts) | (set(found) - {names.HEAD} if ALL_BUT_HEAD in self.parts else set())
        return with_looped([layer for layer in model.layers if parts.get(layer.name) in wanted])
