"""What cannot be trained, said before the first step; each raises UserError with a cure."""

from __future__ import annotations

from collections.abc import Mapping

import keras

from resnet.data.dataset import Dataset
from resnet.errors import UserError
from resnet.training.freezing import Freeze
from resnet.training.steps import averages_weights

# What Keras' optimizers do on one replica only, and what does it on several.
ONE_REPLICA = {
    "use_ema": "trainer.final_weights=ema",
    "gradient_accumulation_steps": "trainer.accumulate_steps, with a larger trainer.batch_size",
}


def precision(wanted: str, in_force: str) -> None:
    """The Trainer's is that which `environment.prepare` has set."""
    if wanted not in ("auto", in_force):
        raise UserError(
            f"trainer.precision={wanted}, but models are built in {in_force}\n"
            f"call resnet.prepare(precision={wanted!r}) before anything is built"
        )


def batch_size(size: int, replicas: int, parts: int) -> None:
    """It divides among the replicas, and gives an image to each of the parts that they accumulate."""
    if size % replicas:
        nearest = [n for n in (size // replicas * replicas, -(-size // replicas) * replicas) if n]
        raise UserError(
            f"trainer.batch_size={size} does not divide among {replicas} replicas; "
            f"nearest: {' and '.join(map(str, nearest))}"
        )
    if size < replicas * parts:
        raise UserError(
            f"trainer.batch_size={size} gives no image to each of {parts} parts on {replicas} replicas\n"
            "give a smaller trainer.accumulate_steps"
        )


def images(dataset: Dataset, batch_size: int) -> None:
    """There are training images enough, which are not the test images."""
    if dataset.test is dataset.train:
        raise UserError("data.test_split=null makes all images test images; give a share of them, as 0.2")
    if len(dataset.train) < batch_size:
        raise UserError(
            f"trainer.batch_size={batch_size} is more than the {len(dataset.train)} "
            "training images; give a smaller one"
        )


def model(model: keras.Model, precision: str) -> None:
    """It was built in the precision that is in force now."""
    kinds = {layer.compute_dtype for layer in model.layers if isinstance(layer, keras.layers.Conv2D)}
    if kinds and precision not in kinds:
        raise UserError(
            f"the model was built in {min(kinds)}, and the precision was set to {precision} later\n"
            "call resnet.prepare before the model is built"
        )


def optimizer(optimizer: keras.optimizers.Optimizer, replicas: int, final_weights: str) -> None:
    """It has a rate that can be multiplied, works on the replicas, and no second rule of final weights."""
    if isinstance(optimizer.get_config()["learning_rate"], dict):
        raise UserError(
            "optimizer.learning_rate is a schedule of Keras', which the trainer cannot multiply\n"
            "give a number, and the schedule as schedule=..."
        )
    for name, cure in ONE_REPLICA.items():
        if replicas > 1 and getattr(optimizer, name):
            raise UserError(
                f"optimizer.{name} does not work on several replicas\ngive {cure}, or trainer/strategy=single"
            )
    if final_weights != "last" and (optimizer.use_ema or averages_weights(optimizer)):
        raise UserError(
            f"trainer.final_weights={final_weights} and {type(optimizer).__name__}, which averages "
            "its weights itself, are two rules\ngive trainer.final_weights=last or another optimizer"
        )


def metrics(metrics: Mapping[str, object] | None) -> None:
    """The accuracy is among them, where any are given."""
    if metrics is not None and "accuracy" not in metrics:
        raise UserError(
            "metrics: there is no accuracy, by which runs are judged\n"
            "leave it in, as in metrics=[default,top5]"
        )


def freeze(freeze: Freeze, optimizer: keras.optimizers.Optimizer, minutes: float | None) -> None:
    """What is frozen can be planned, and is not averaged."""
    if freeze.epochs is not None and minutes is not None:
        raise UserError(
            "trainer.minutes: steps take longer once nothing is frozen, which cannot be tried before\n"
            "give trainer.epochs in its place, or freeze.epochs=null"
        )
    if freeze.parts and optimizer.use_ema:
        raise UserError("optimizer.use_ema averages frozen weights too; give trainer.final_weights=ema")


def monitors(callbacks: Mapping[str, keras.callbacks.Callback], logs: Mapping[str, float]) -> None:
    """What callbacks monitor is in the logs of an epoch."""
    for name, callback in callbacks.items():
        monitor = getattr(callback, "monitor", None)
        if monitor is not None and monitor not in logs:
            raise UserError(f"callbacks.{name}.monitor={monitor}: an epoch has {', '.join(logs)}")
