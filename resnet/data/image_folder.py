"""Pictures of your own: one folder per class."""

from __future__ import annotations

import logging
import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import UnidentifiedImageError
from tqdm import tqdm

from resnet.data.dataset import Dataset, Split, make_dataset, source
from resnet.data.layout import part_of, parts
from resnet.data.picture import read_picture
from resnet.errors import UserError
from resnet.listing import entries, files, printable

log = logging.getLogger(__name__)


@source
def image_folder(
    dir: str | Path = "pictures",
    image_size: int | Sequence[int] = 32,
    channels: int = 3,
    resize: str = "crop",
    test_split: float | None = 0.2,
    skip_unreadable: bool = False,
    *,
    seed: int = 0,
    **options: Any,
) -> Dataset:
    """Every file below each of the folders in `dir`, which name the classes.

    Args:
        dir: where the classes' folders lie; or `train` and `test`, and perhaps `validation`, with the
            classes' folders in each. Names that mean the same will do: see `layout.parts`. Where there is
            `validation` and no `test`, that is for testing.
        image_size: pixels, or [height, width].
        channels: 3 for colour, 1 for grey.
        resize: `crop` scales a picture until it covers `image_size` and cuts what hangs over on both
            sides; `stretch` scales height and width apart.
        test_split: fraction of each class for testing, drawn by `seed`, where there is no `test`.
        skip_unreadable: leave files out that cannot be read as pictures.

    Files are of any size and format that Pillow reads; see `read_picture`. Hidden ones, and those of the
    system, are passed over; links are followed. Those that cannot be read are logged by name. Raises
    UserError for these, unless skipped, and for folders of another shape.
    """
    root = Path(dir).expanduser()
    roots = _parts(root)
    folders = {part: _folders(folder) for part, folder in roots.items()}
    class_names = [folder.name for folder in folders["train"]]
    if len(class_names) < 2:
        raise UserError(
            f"{roots['train']}: found {len(class_names)} folders; expected two or more, one per class"
        )
    listed = {part: _list(roots[part], found, class_names) for part, found in folders.items()}
    read = partial(read_picture, image_size=image_size, channels=channels, resize=resize)
    paths = [path for found in listed.values() for path, _ in found]
    pictures = _read(paths, read, skip_unreadable)
    splits = {part: _split(found, pictures, root, roots[part], class_names) for part, found in listed.items()}
    options |= {"class_names": class_names, "test_split": test_split, "seed": seed}
    return make_dataset(**{"test": None} | splits, **options)


def _parts(root):
    """The folders that hold the classes' folders, by part; `train` alone where no part is given."""
    if not root.is_dir():
        raise UserError(f"data.dir={root} is not there; expected a folder that holds a folder for each class")
    names = [folder.name for folder in entries(root)[0]]
    given = {part: root / name for part, name in parts(root, names).items()}
    if not given:
        return {"train": root}
    _folders(root)  # which says what else is there
    given = {part: _innermost(folder, part) for part, folder in given.items()}
    if "test" not in given:
        # What is held out and never trained on is what its owner compares by.
        log.info("%s has no test folder: %s is for testing", printable(root), given["validation"].name)
        given["test"] = given.pop("validation")
    return given


def _innermost(folder, part):
    """`folder`, or the only one in it if that has the name of the same part, as archives unpack."""
    inner, others = entries(folder)
    return (
        _innermost(inner[0], part)
        if len(inner) == 1 and not others and part_of(inner[0].name) == part
        else folder
    )


def _folders(root):
    """The folders in `root`; what lies beside them is named in the log."""
    folders, others = entries(root)
    if lost := [path.name for path in others if not path.exists()]:
        raise UserError(f"{root}: links to nowhere: {', '.join(lost)}; mend or remove them")
    if others:
        named = ", ".join(printable(path.name) for path in others[:3]) + (", ..." if others[3:] else "")
        log.warning("%s: %d files beside the folders are left out: %s", printable(root), len(others), named)
    return folders


def _list(root, folders, class_names):
    """The files below the `folders` in `root`, with their classes' numbers."""
    strange = [printable(folder.name) for folder in folders if folder.name not in class_names]
    if strange:
        raise UserError(f"{root}: found {', '.join(strange)}; expected the classes of train/ and no others")
    return [(path, class_names.index(folder.name)) for folder in folders for path in files(folder)]


def _read(paths, read, skip_unreadable):
    """Pictures by path."""
    doubts = defaultdict(list)

    def attempt(path):
        try:
            return read(path, doubt=lambda path, text: doubts[text].append(path))
        except UnidentifiedImageError:
            return "not a picture"
        except Exception as error:  # a broken file can raise anything
            return getattr(error, "strerror", None) or str(error) or type(error).__name__

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        bar = {"unit": "pictures", "desc": "reading", "delay": 1, "disable": not sys.stderr.isatty()}
        found = dict(zip(paths, tqdm(pool.map(attempt, paths), total=len(paths), **bar), strict=True))
    for text, doubted in doubts.items():
        others = f" and {len(doubted) - 1:,} more" if doubted[1:] else ""
        log.warning("%s%s: %s", printable(min(doubted)), others, text)
    unreadable = {path: reason for path, reason in found.items() if isinstance(reason, str)}
    for path, reason in unreadable.items():
        log.warning("%s cannot be read: %s", printable(path), reason)
    if unreadable and not skip_unreadable:
        path, reason = next(iter(unreadable.items()))
        raise UserError(
            f"{printable(path)}: {reason}; {len(unreadable)} of {len(paths)} files cannot be read\n"
            "remove them, or leave them out with data.skip_unreadable=true"
        )
    return {path: picture for path, picture in found.items() if path not in unreadable}


def _split(found, pictures, root, part, class_names):
    found = [(path, label) for path, label in found if path in pictures]
    labels = np.array([label for _, label in found], np.int32)
    empty = [printable(name) for label, name in enumerate(class_names) if label not in labels]
    if empty:
        raise UserError(f"{part}: no pictures of {', '.join(empty)}; expected some of every class")
    names = np.array([printable(path.relative_to(root)) for path, _ in found], object)
    return Split(np.stack([pictures[path] for path, _ in found]), labels, names)
