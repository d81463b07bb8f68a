"""One way to put a training together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from resnet.run.callbacks import default
from resnet.run.run import Run
from resnet.training import checks
from resnet.training.callbacks import named
from resnet.training.trainer import Trainer

if TYPE_CHECKING:
    import keras

    from resnet.augmentation.transform import Transform
    from resnet.data.dataset import Dataset
    from resnet.init.run import Init
    from resnet.training.callbacks import Callbacks
    from resnet.training.freezing import Freeze
    from resnet.training.losses import AnyLoss
    from resnet.training.metrics import Metric
    from resnet.training.schedules import Schedule


def fit(
    model: keras.Model,
    dataset: Dataset,
    optimizer: keras.optimizers.Optimizer | None = None,
    *,
    schedule: Schedule | None = None,
    augmentation: Transform | None = None,
    loss: AnyLoss | None = None,
    metrics: Mapping[str, Metric] | None = None,
    init: Init | None = None,
    freeze: Freeze | None = None,
    callbacks: Callbacks | None = None,
    trainer: Trainer | None = None,
    run: Run | None = None,
    **options: Any,
) -> Trainer:
    """Train `model` on `dataset`; returns the Trainer, with its `history` and, of a run, its `run.result`.

    Args:
        model: a `keras.Model` giving logits `(B, K)` of images `(B, H, W, C)`.
        dataset: a `data.Dataset`.
        optimizer: of Keras; None for Adam at 0.001.
        schedule: one of `training.schedules`; None for the optimizer's own rate.
        augmentation: a Transform of `resnet.augmentation`; None for none.
        loss: one of `training.losses`, or of Keras; None for cross-entropy.
        metrics: by name, as in `training.metrics`; None for the accuracy.
        init: one of `resnet.init`, which gives the model its weights, and the normalization that they are
            for; None for those it has. A run that goes on has both already.
        freeze: a `training.freezing.Freeze`; None to train all.
        callbacks: of Keras, by name or in a list; None for those of `run.callbacks.default`, which without
            a run is the progress alone.
        trainer: a Trainer; None for one of `options`, which are a Trainer's arguments.
        run: an entered `run.Run`, which goes on with what its directory holds and records the training
            there; None leaves nothing behind.

    With a strategy, model, optimizer and metrics are made in `trainer.scope()`. Raises what `Trainer.compile`
    and `Trainer.fit` do, and TypeError for options beside a trainer.
    """
    from resnet.training.optimizers import Adam

    if trainer and options:
        raise TypeError(f"fit: {', '.join(options)} belong to the trainer that is given")
    checks.kind("run", run, Run | None, "resnet.Run; enter one: with resnet.Run(directory) as run")
    trainer = trainer or Trainer(**{"precision": "auto"} | options)  # whichever was prepared
    with trainer.scope():
        optimizer = optimizer or Adam(1e-3)
    if init is not None:
        normalization = run.normalization() if run and run.goes_on else init(model, dataset)
        dataset = replace(dataset, normalization=normalization)
    trainer.compile(
        model,
        optimizer,
        dataset,
        schedule=schedule,
        augmentation=augmentation,
        loss=loss,
        metrics=metrics,
        freeze=freeze,
    )
    callbacks = default(recorded=run is not None) if callbacks is None else callbacks
    if run is None:
        trainer.fit(callbacks)
        return trainer
    run.resume(trainer)
    run.describe(trainer)
    trainer.fit(run.attach(named(callbacks)), run.launched)
    run.finish(trainer)
    return trainer
