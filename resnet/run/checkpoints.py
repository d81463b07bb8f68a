"""Checkpoints that are whole or absent."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from resnet.errors import UserError
from resnet.files import PART, json_text, replacing

log = logging.getLogger(__name__)
NOTES = "notes"


def write(directory: Path, arrays: Mapping[str, np.ndarray], notes: Mapping[str, Any], keep: int) -> None:
    """Write the checkpoint of `notes["step"]` and remove the oldest beyond `keep`.

    One file holds it all: arrays by name, and as JSON what else there is to remember.
    Raises UserError, and keeps what there is, if it cannot be written, or JSON cannot hold a note.
    """
    path = directory / f"step_{notes['step']:09}.npz"
    texts = [f"{json.dumps(name)}: {_text(name, note)}" for name, note in notes.items()]
    held: dict[str, Any] = {NOTES: np.array(f"{{{', '.join(texts)}}}"), **arrays}
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, **held)
    paths = checkpoints(directory)
    end = paths.index(path) + 1
    for old in paths[: max(0, end - keep)]:
        old.unlink()
    for damaged in paths[end:]:  # what the run could not go on from
        damaged.rename(damaged.with_suffix(".damaged"))


def _text(name, note):
    try:
        return json_text(note)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{name.replace('/', '.')}: a checkpoint cannot hold its state(): {error}\n"
            "give numbers, texts, lists and dicts of these, and NumPy arrays by name"
        ) from error


def make_directory(directory: Path) -> None:
    """Make it if missing, and remove what a kill left half-written there."""
    directory.mkdir(exist_ok=True)
    for left_by_a_kill in directory.glob(f"{PART}*"):
        left_by_a_kill.unlink()


def checkpoints(directory: Path) -> list[Path]:
    """Paths of the checkpoints in `directory`, the newest last."""
    return sorted(directory.glob("step_*.npz"))


def newest(directory: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Arrays and notes of the newest whole checkpoint, or None. Warns of each that is damaged.

    Nothing is unpickled: a file that asks for it is damaged.
    """
    for path in reversed(checkpoints(directory)):
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            return arrays, json.loads(str(arrays.pop(NOTES)))
        except PermissionError:
            raise
        except Exception as error:  # a damaged file can raise anything
            reason = str(error).partition(". ")[0]
            log.warning("%s is damaged (%s); taking the checkpoint before it", path, reason)
    return None
