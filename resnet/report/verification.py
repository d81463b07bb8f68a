"""Whether the first steps of a run, repeated, are what its receipt says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import keras
import yaml
from pydantic import AfterValidator, BaseModel, Field, FiniteFloat, ValidationError

from resnet.errors import UserError
from resnet.run.callbacks import Progress
from resnet.run.changes import changes, told
from resnet.run.directory import RunDirectory
from resnet.run.epoch_record import flat

# How far rounding may carry losses apart at the first step, relative. That grows up to eightfold a step
# (ResNet-20 in float32, one thread beside two: 4e-7 and 8e-7 at first): later steps tell nothing more.
ROUNDING = {"float32": 1e-5, "bfloat16": 2e-3, "float16": 5e-4}
GROWTH, MOST = 10.0, 0.25
WRITERS = (
    keras.callbacks.CSVLogger,
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.RemoteMonitor,
    keras.callbacks.TensorBoard,
)


class Circumstances(BaseModel, extra="allow"):
    """Of a training: see `training.environment.circumstances`."""

    threads: Annotated[int, Field(ge=1, le=4096)]
    replicas: Annotated[int, Field(ge=1)]


def _parsed(text):
    try:
        if isinstance(yaml.safe_load(text), dict):
            return text
    except yaml.YAMLError:
        pass
    raise ValueError("no configuration in YAML")


class Configuration(BaseModel):
    """That by which a run trained from a step on, YAML."""

    step: int
    text: Annotated[str, AfterValidator(_parsed)]


class Receipt(BaseModel):
    """What receipt.json holds: see `run.callbacks.Receipt`, which writes it.

    `configurations` is empty in older ones, and without a run.
    """

    losses: Annotated[list[FiniteFloat], Field(min_length=1)]
    weights_before: str
    weights_after: str
    images: int
    planned_steps: Annotated[int, Field(ge=1)] | None = None
    configurations: list[Configuration] = []
    circumstances: Circumstances


def read(run: RunDirectory) -> Receipt:
    """The Receipt of a RunDirectory. Raises UserError where there is none that can be read."""
    try:
        return Receipt.model_validate(run.receipt())
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "all of it"
        raise UserError(f"run={run}: its receipt is damaged: {where}: {fault['msg'].lower()}") from error


def gone_on_with(said: Receipt, run: RunDirectory) -> list[str]:
    """Sentences on how the configuration was changed after the steps of a receipt.

    Raises UserError where that of the run is not the last one that it trained by.
    """
    texts = [configuration.text for configuration in said.configurations]
    if texts and (changed := changes(texts[-1], run.config_text() or "")):
        raise UserError(f"run={run}: other: its configuration is not that of its training: {told(changed)}")
    return [
        f"after step {later.step} the run went on with another configuration: "
        f"{told(changes(before, later.text))}"
        for before, later in zip(texts, said.configurations[1:], strict=False)
    ]


def steering(callbacks: Mapping[str, keras.callbacks.Callback]) -> dict[str, keras.callbacks.Callback]:
    """Those that a repetition needs: they may steer it, need no run, write no file and say nothing."""
    return {
        name: callback
        for name, callback in callbacks.items()
        if not (getattr(callback, "needs_run", False) or isinstance(callback, (*WRITERS, Progress)))
    }


@contextmanager
def without_a_run() -> Iterator[None]:
    """Around the repetition. Raises UserError for a callback of Keras' that asks for the run it has not."""
    try:
        yield
    except AttributeError as error:
        if error.name != "run" or not isinstance(error.obj, keras.callbacks.Callback):
            raise
        raise UserError(
            f"{type(error.obj).__name__} uses self.run, and steps are repeated without a run\n"
            "derive it from resnet.run.callbacks.Callback: what needs a run is left out then"
        ) from error


def judge(
    said: Receipt,
    found: Receipt,
    deterministic: bool,
    rows: Sequence[Mapping[str, float]] = (),
    history: Sequence[Mapping[str, Any]] = (),
) -> tuple[bool, list[str]]:
    """Whether the repetition is the run, and sentences that say so.

    Args:
        said, found: the Receipt of the run and that of its repetition.
        deterministic: whether both had `trainer.deterministic`.
        rows: those of metrics.csv, floats by path.
        history: of the repetition, see `run.epoch_record`.
    """
    there, here = said.circumstances.model_dump(), found.circumstances.model_dump()
    differing = [
        f"{name} is {here.get(name)}, it was {there.get(name)}"
        for name in dict.fromkeys([*there, *here])
        if there.get(name) != here.get(name)
    ]
    reasons = differing + ([] if deterministic else ["trainer.deterministic=false"])
    if said.weights_before != found.weights_before and not differing:
        return False, ["other: the weights before step 1 are not the run's"]
    if len(said.losses) != len(found.losses):
        return False, [f"other: the training ends after step {len(found.losses)}, the run's did not"]
    steps = f"{len(found.losses)} steps"
    deviations = [abs(f - s) / max(abs(s), 1e-9) for s, f in zip(said.losses, found.losses, strict=True)]
    first = next((i for i, deviation in enumerate(deviations) if deviation), None)
    if (
        first is None
        and said.weights_before == found.weights_before
        and said.weights_after == found.weights_after
    ):
        checked, wrong = _figures(rows, history)
        if wrong:
            return False, [f"other: {wrong}"]
        return True, [
            f"the same bit for bit: losses of {steps}, weights before and after"
            + (f", epochs 1 to {checked} of metrics.csv" if checked else "")
        ]
    tolerance = max(ROUNDING.get(str(side.get("precision")), ROUNDING["float32"]) for side in (there, here))
    beyond = next((i for i, d in enumerate(deviations) if d > min(tolerance * GROWTH**i, MOST)), None)
    if reasons and beyond is None:
        return True, [
            f"the same within rounding: losses of {steps}, at most {max(deviations):.1e} of a loss apart",
            f"not to the last bit, for {'; '.join(reasons)}; metrics.csv is not compared",
        ]
    i = first if beyond is None else beyond
    what = (
        "the losses are the same, but not the weights after the last step"
        if i is None
        else f"the loss of step {i + 1} is {found.losses[i]!r}, it was {said.losses[i]!r}: "
        f"{deviations[i]:.1e} of it apart"
    )
    return False, [
        f"other: {what}",
        *([f"more than rounding explains, though {'; '.join(reasons)}"] if reasons else []),
    ]


def _figures(rows, history):
    """How many epochs are in both, from the first on, and the first figure that differs in words, or None."""
    count = 0
    for said, record in zip(rows, history, strict=False):
        found = flat({name: value for name, value in record.items() if name != "time"})
        if said.get("step") != found["step"]:
            break
        count += 1
        for name in dict.fromkeys([*said, *found]):
            if said.get(name) != found.get(name):
                value, was = found.get(name, "absent"), said.get(name, "absent")
                return count, f"{name} of epoch {count} in metrics.csv is {was}, repeated it is {value}"
    return count, None
