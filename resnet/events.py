"""Files that TensorBoard reads."""

import os
import socket
import time

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter

from resnet.files import writing


class EventFile:
    """Takes events one by one, each written at once.

    TensorBoard's own writer hands them to a thread, where a full disk would go unnoticed.

    Args:
        directory: where the file lies; made if missing.
        suffix: how its name ends.
    """

    def __init__(self, directory, suffix=""):
        now = time.time()
        name = f"events.out.tfevents.{now:010.0f}.{socket.gethostname()}.{os.getpid()}{suffix}"
        self.path = directory / name
        with writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
        self.add_event(Event(wall_time=now, file_version="brain.Event:2"))

    def add_event(self, event):
        """Append an Event. Raises UserError if it cannot be written."""
        with writing(self.path), self.path.open("ab") as file:
            RecordWriter(file).write(event.SerializeToString())
