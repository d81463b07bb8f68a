"""A training as a configuration describes it. This imports TensorFlow: call `command.import_keras` first."""

from __future__ import annotations

from typing import Any

import keras
from hydra.utils import instantiate
from omegaconf import DictConfig

from resnet.errors import ConfigError, UserError
from resnet.training.environment import prepare
from resnet.training.trainer import Trainer

before: set[bool] = set()  # whether the trainings of this process until now were deterministic


def trainer_of(config: DictConfig, threads: int | None) -> Trainer:
    """The trainer, which connects the workers if there are several; first the process is set for it.

    Raises UserError where an earlier job has set it otherwise.
    """
    deterministic = config.trainer.deterministic
    if True in before and not deterministic:  # which TensorFlow stays
        raise UserError(
            "trainer.deterministic=false: an earlier job of this process is deterministic\n"
            "give all jobs the same, or hydra/launcher=submitit_local, which has a process for each"
        )
    before.add(deterministic)
    prepare(config.seed, threads, config.trainer.precision, deterministic)
    return instantiate(config.trainer)


def parts_of(config: DictConfig, trainer: Trainer) -> dict[str, Any]:
    """What `resnet.fit` trains with this trainer: its arguments by name.

    Raises ConfigError for a callback that is none.
    """
    callbacks = instantiate(config.callbacks, _convert_="all")
    for name, callback in callbacks.items():
        if not isinstance(callback, keras.callbacks.Callback):
            target = config.callbacks[name]._target_
            raise ConfigError(f"callbacks.{name}._target_={target}: it is no keras.callbacks.Callback")
    dataset = instantiate(config.data)
    with trainer.scope():
        shapes = {"input_shape": dataset.image_shape, "num_classes": dataset.num_classes}
        model = instantiate(config.model, **shapes)
        optimizer = instantiate(config.optimizer)
        metrics = instantiate(config.metrics, _convert_="all")
    return {
        "model": model,
        "dataset": dataset,
        "optimizer": optimizer,
        "schedule": instantiate(config.schedule),
        "augmentation": instantiate(config.augmentation),
        "loss": instantiate(config.loss),
        "metrics": metrics,
        "init": instantiate(config.init),
        "freeze": instantiate(config.freeze),
        "callbacks": callbacks,
    }
