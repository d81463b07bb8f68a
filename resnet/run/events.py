"""Files that TensorBoard reads, and what is in them."""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from resnet.files import writing
from resnet.internals import tensorboard as tb


class EventFile:
    """Takes events one by one, each written at once.

    TensorBoard's own writer hands them to a thread, where a full disk would go unnoticed.

    Args:
        directory: where the file lies; made if missing.
        suffix: how its name ends.
    """

    def __init__(self, directory: Path, suffix: str = "") -> None:
        now = time.time()
        name = f"events.out.tfevents.{now:010.0f}.{socket.gethostname()}.{os.getpid()}{suffix}"
        self.path = directory / name
        with writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
        self.add_event(tb.Event(wall_time=now, file_version="brain.Event:2"))

    def add_event(self, event: tb.Event) -> None:
        """Append an Event. Raises UserError if it cannot be written."""
        with writing(self.path), self.path.open("ab") as file:
            tb.RecordWriter(file).write(event.SerializeToString())


def _event(summary, step=0, wall_time=None):
    return tb.Event(wall_time=wall_time or time.time(), step=step, summary=summary)


def start_event() -> tb.Event:
    """That a writer starts anew."""
    return tb.Event(wall_time=time.time(), step=0, session_log=tb.SessionLog(status=tb.SessionLog.START))


def scalar_event(tag: str, value: float, step: int, wall_time: float) -> tb.Event:
    return _event(tb.scalar_pb(tag, value), step, wall_time)


def text_event(tag: str, text: str) -> tb.Event:
    return _event(tb.text_pb(tag, text))


def histogram_event(tag: str, values: np.ndarray, step: int) -> tb.Event:
    return _event(tb.histogram_pb(tag, values), step)


def hparams_event(values: Mapping[str, bool | int | float | str], name: str) -> tb.Event:
    """The row of a run among the HParams: plain values by name, and what the run is called there."""
    return _event(tb.hparams_pb(values, trial_id=name))


def end_event(step: int) -> tb.Event:
    """That a run among the HParams ended well."""
    end = tb.session_end_pb(tb.STATUS_SUCCESS)  # TensorFlow's Summary, the same message
    return _event(tb.Summary.FromString(end.SerializeToString()), step)


def picture_event(tag: str, data: bytes, step: int) -> tb.Event:
    """One picture: `data` is a PNG file."""
    with Image.open(io.BytesIO(data)) as picture:
        size = [str(side).encode() for side in picture.size]
    metadata = tb.create_image_metadata(display_name=None, description=None)
    tensor = tb.make_tensor_proto(np.array([*size, data], object))
    return _event(tb.Summary(value=[tb.Summary.Value(tag=tag, metadata=metadata, tensor=tensor)]), step)
