"""What cannot be trained, said before the first step; each raises UserError with a cure."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from types import UnionType

import keras
import numpy as np

from resnet.augmentation.transform import Transform
from resnet.data.dataset import Dataset
from resnet.errors import UserError
from resnet.internals.keras import all_layers, direction, last_function, number
from resnet.training.freezing import Freeze
from resnet.training.schedules import Schedule
from resnet.training.steps import averages_weights, unscaled

log = logging.getLogger(__name__)
PASSED_THROUGH = keras.Model | keras.layers.InputLayer  # which do nothing to images themselves
# What Keras' optimizers do on one replica only, and what does it on several.
ONE_REPLICA = {
    "use_ema": "trainer.final_weights=ema",
    "gradient_accumulation_steps": "trainer.accumulate_steps, with a larger trainer.batch_size",
}


def kind(name: str, value: object, kinds: type | UnionType, expected: str) -> None:
    """An argument is what it is called."""
    if not isinstance(value, kinds):
        raise UserError(f"{name}: {_called(value)} is no {expected}")


def precision(wanted: str, in_force: str) -> None:
    """The Trainer's is that which `environment.prepare` has set."""
    if wanted not in ("auto", in_force):
        raise UserError(
            f"trainer.precision={wanted}, but models are built in {in_force}\n"
            f"call resnet.prepare(precision={wanted!r}) before anything is built"
        )


def options(
    choices: Mapping[str, tuple[str, Sequence[str]]],
    counts: Mapping[str, int | None],
    shares: Mapping[str, float],
) -> None:
    """Each is what it can be: one of some words, a whole number from 1 on (or None), in [0, 1)."""
    for name, (word, known) in choices.items():
        if word not in known:
            raise UserError(f"trainer.{name}={word}: expected {' or '.join(known)}")
    for name, count in counts.items():
        if count is not None and not (isinstance(count, int | np.integer) and count >= 1):
            raise UserError(f"trainer.{name}={count}: expected a whole number from 1 on")
    for name, share in shares.items():
        if not 0 <= share < 1:
            raise UserError(f"trainer.{name}={share}: expected a number from 0 to 1, below 1")


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


def schedule(schedule: Schedule | None) -> None:
    """It is a function of the epoch, and not what makes one."""
    if schedule is not None and (isinstance(schedule, type) or not callable(schedule)):
        raise UserError(
            f"schedule: {_called(schedule)} is no function of the epoch\n"
            "give one, as training.schedules.Cosine(epochs)"
        )


def images(dataset: Dataset, batch_size: int) -> None:
    """There are training images enough, which are not the test images."""
    expected = "resnet.data.Dataset; resnet.data.make_dataset makes one of arrays, resnet.data.npz of a file"
    kind("dataset", dataset, Dataset, expected)
    if dataset.test is dataset.train:
        raise UserError("data.test_split=null makes all images test images; give a share of them, as 0.2")
    if len(dataset.train) < batch_size:
        raise UserError(
            f"trainer.batch_size={batch_size} is more than the {len(dataset.train)} "
            "training images; give a smaller one"
        )


def augmentation(augmentation: Transform | None) -> None:
    """It is what follows one shape of function."""
    expected = (
        "resnet.augmentation.Transform\n"
        "make one of a function of a Batch and a seed, or several one with augmentation.in_order"
    )
    kind("augmentation", augmentation, Transform | None, expected)


def model(model: keras.Model, precision: str, dataset: Dataset) -> None:
    """It takes the images, gives a logit for each class, and was built in the precision in force now.

    Warns of one that scales images, which are normalised before, and of one that was compiled for Keras' fit.
    """
    images, logits = dataset.image_shape, (dataset.num_classes,)
    takes, gives = _shapes(model, images)
    if len(takes) != 1 or any(have not in (None, one) for have, one in zip(*takes, images, strict=False)):
        raise UserError(f"the model takes images {_listed(takes)}; those of the data are {images}")
    if gives != [logits]:
        raise UserError(
            f"the model gives {_listed(gives)} for an image; expected logits {logits}, of the classes"
        )
    if _gives_probabilities(model, images):
        raise UserError(
            "the model ends in a softmax or sigmoid; expected logits, of which the loss takes the softmax\n"
            f"leave it out: Dense({logits[0]}) without an activation, classifier_activation=None of Keras'"
        )
    if model.compiled:
        log.warning("the model was compiled: its optimizer, loss and metrics count for Keras' fit only")
    layers = all_layers(model)
    first = next((layer for layer in layers if not isinstance(layer, PASSED_THROUGH)), None)
    if isinstance(first, keras.layers.Rescaling | keras.layers.Normalization):
        log.warning(
            "the model begins with %s (%s), and images are normalised before, as data.normalization says; "
            "leave it out",
            *(type(first).__name__, first.name),
        )
    kinds = {layer.compute_dtype for layer in layers if isinstance(layer, keras.layers.Conv2D)}
    if kinds and precision not in kinds:
        raise UserError(
            f"the model was built in {min(kinds)}, and the precision was set to {precision} later\n"
            "call resnet.prepare before the model is built"
        )


def optimizer(
    optimizer: keras.optimizers.Optimizer, model: keras.Model, replicas: int, final_weights: str
) -> None:
    """It has a rate that can be multiplied, steps this model on the replicas, and has no second rule."""
    kind("optimizer", optimizer, keras.optimizers.Optimizer, "keras.optimizers.Optimizer; build one")
    optimizer = unscaled(optimizer)
    try:
        for variable in model.trainable_variables if optimizer.built else ():
            number(optimizer, variable)
    except KeyError as error:
        raise UserError("the optimizer was built for another model; make a new one") from error
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
    kind("metrics", metrics, Mapping | None, "dict of metrics by name")
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


def callbacks(
    callbacks: Mapping[str, keras.callbacks.Callback],
    final_weights: str,
    optimizer: keras.optimizers.Optimizer,
) -> None:
    """Each is one, has the run that it needs, no second rule of final weights, nor another way to go on."""
    for name, callback in callbacks.items():
        kind(f"callbacks.{name}", callback, keras.callbacks.Callback, "keras.callbacks.Callback")
        if getattr(callback, "needs_run", False) and getattr(callback, "run", None) is None:
            raise UserError(f"callbacks.{name} records a run: give run=..., or leave it out")
        _ways_of_keras(name, callback, optimizer)
        rule = f"trainer.final_weights={final_weights}" if final_weights != "last" else ""
        if averages_weights(optimizer):
            rule = type(optimizer).__name__
        if rule and getattr(callback, "restore_best_weights", False):
            raise UserError(
                f"callbacks.{name}.restore_best_weights=true and {rule} are two rules for the final weights\n"
                f"give callbacks.{name}.restore_best_weights=false, or leave the other"
            )


def _ways_of_keras(name, callback, optimizer):
    """It goes on, and ends, as a training here does."""
    if isinstance(callback, keras.callbacks.BackupAndRestore):
        raise UserError(
            f"callbacks.{name}: BackupAndRestore brings weights back and begins the schedule anew\n"
            "leave it out: a run goes on by resume=, in Python by its Run"
        )
    if not isinstance(callback, keras.callbacks.SwapEMAWeights):
        return
    if callback.swap_on_epoch:
        raise UserError(
            f"callbacks.{name}.swap_on_epoch=true: a training cut short would end with other weights\n"
            "give false: what is watched, and what it ends with, are the averages without it"
        )
    if not unscaled(optimizer).use_ema:
        raise UserError(
            f"callbacks.{name}: SwapEMAWeights swaps averages in, and {type(optimizer).__name__} has none\n"
            "give an optimizer with use_ema=true, or in its place trainer.final_weights=ema"
        )


def monitors(
    callbacks: Mapping[str, keras.callbacks.Callback],
    logs: Mapping[str, float],
    metrics: Mapping[str, keras.metrics.Metric],
) -> None:
    """What callbacks monitor is in the logs of an epoch, and whether more of it is better is known.

    Keras would ask a compiled model for the latter.
    """
    for name, callback in callbacks.items():
        monitor = getattr(callback, "monitor", None)
        if monitor is None:
            continue
        if monitor not in logs:
            raise UserError(f"callbacks.{name}.monitor={monitor}: an epoch has {', '.join(logs)}")
        metric = monitor.removeprefix("val_")
        if getattr(callback, "mode", None) == "auto" and metric != "loss":
            mode = {"up": "max", "down": "min"}.get(direction(metrics.get(metric)) or "")
            if mode is None:
                raise UserError(
                    f"callbacks.{name}.mode=auto: whether {monitor} is to rise or fall is not known\n"
                    "give max or min"
                )
            callback.mode = mode


def _shapes(model, images):
    """The shapes that a model takes and gives for one image, of the shape `images` where it does not say."""
    if getattr(model, "outputs", None):
        return [tuple(x.shape[1:]) for x in model.inputs], [tuple(y.shape[1:]) for y in model.outputs]
    found = model.compute_output_spec(keras.KerasTensor((None, *images), "float32"))
    return [images], [tuple(output.shape[1:]) for output in keras.tree.flatten(found)]


def _gives_probabilities(model, images):
    if getattr(model, "outputs", None):
        return last_function(model.outputs[0]) in ("softmax", "sigmoid")
    found = np.array(model(np.zeros((1, *images), np.float32)), np.float32)
    return found.min() >= 0 and abs(found.sum() - 1) < 1e-2


def _called(value):
    if isinstance(value, str | int | float):
        return repr(value)
    return getattr(value, "__qualname__", f"a {type(value).__name__}")


def _listed(shapes):
    return " and ".join(map(str, shapes))
