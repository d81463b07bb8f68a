"""Pictures of your own: one folder per class."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from resnet.data.dataset import Dataset, make_dataset, source
from resnet.data.encoded import Encoded, check_classes
from resnet.data.layout import part_of, parts
from resnet.data.picture import read_crop, read_picture
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
    listed = {
        part: _list(roots[part], found, class_names, roots["train"].name) for part, found in folders.items()
    }
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    how = {"image_size": (height, width), "channels": channels, "resize": resize}
    splits: dict[str, Any] = {
        part: pictures_in(root, roots[part], found, class_names, how, skip_unreadable)
        for part, found in listed.items()
    }
    options |= {"class_names": class_names, "test_split": test_split, "seed": seed}
    return make_dataset(**{"test": None} | splits, **options)


def pictures_in(
    root: Path,
    place: Path,
    listed: Sequence[tuple[Path, int]],
    class_names: Sequence[str],
    how: Mapping[str, Any],
    skip_unreadable: bool = False,
    originals: bool = False,
) -> Encoded:
    """Files that are still to be read, with their labels, and their paths from `root` for names.

    `place` is the folder below `root` that they are a part of, and `how` are options of `read_picture`; for
    `originals` see Encoded. Raises UserError for a class that has none.
    """
    paths = [str(path) for path, _ in listed]
    labels = np.array([label for _, label in listed], np.int32)
    check_classes(labels, class_names, place)

    def marks():
        yield str(how)
        for path in paths:
            with suppress(OSError):  # a link to nowhere, which whoever reads it names
                found = os.stat(path)
                yield f"{os.path.relpath(path, root)!r} {found.st_size} {found.st_mtime_ns}"

    return Encoded(
        place=place,
        image_shape=(*how["image_size"], how["channels"]),
        labels=labels,
        names=np.array([printable(os.path.relpath(path, root)) for path in paths], object),
        read=lambda i, doubt: read_picture(paths[i], **how, doubt=lambda _, text: doubt(text)),
        marks=marks,
        paths=paths,
        skip_unreadable=skip_unreadable,
        crop=lambda i, crop, random: read_crop(paths[i], how["image_size"], how["channels"], crop, random),
        originals=originals,
    )


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


def _list(root, folders, class_names, train):
    """The files below the `folders` in `root`, with the numbers of their classes, those of `train`."""
    strange = [printable(folder.name) for folder in folders if folder.name not in class_names]
    if strange:
        raise UserError(
            f"{root}: found {', '.join(strange)}; expected the classes of {printable(train)}/ and no others\n"
            "a class is called the same in both, letter by letter"
        )
    return [(path, class_names.index(folder.name)) for folder in folders for path in files(folder)]
