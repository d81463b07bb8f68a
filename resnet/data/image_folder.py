"""Pictures of your own: a folder a class."""

import logging
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from resnet.data.dataset import Split, make_dataset, split_off
from resnet.errors import UserError
from resnet.options import with_options_of

log = logging.getLogger(__name__)
MODES = {1: "L", 3: "RGB"}


@with_options_of(make_dataset)
def image_folder(
    dir="pictures",
    image_size=32,
    channels=3,
    resize="crop",
    test_split=0.2,
    skip_unreadable=False,
    *,
    seed=0,
    **options,
):
    """Every file below each of the folders in `dir`, which name the classes.

    Args:
        dir: where the classes' folders lie; or `train` and `test`, with the classes' folders in both.
        image_size: pixels, or [height, width].
        channels: 3 for colour, 1 for grey.
        resize: `crop` scales a picture until it covers `image_size` and cuts what hangs over on both
            sides; `stretch` scales height and width apart.
        test_split: fraction of each class for testing, drawn by `seed`, where there is no `test`.
        skip_unreadable: leave files out that cannot be read as pictures.

    Files are of any size and format that Pillow reads, turned as their EXIF data says; hidden ones are
    passed over. Those that cannot be read are logged by name. Raises UserError for these, unless skipped,
    and for folders of another shape.
    """
    root = Path(dir).expanduser()
    roots = _splits(root)
    class_names = [folder.name for folder in _folders(roots[0])]
    if len(class_names) < 2:
        raise UserError(f"{roots[0]}: found {len(class_names)} folders; expected two or more, one a class")
    listed = [_list(part, class_names) for part in roots]
    read = partial(read_picture, image_size=image_size, channels=channels, resize=resize)
    pictures = _read([path for files in listed for path, _ in files], read, skip_unreadable)
    splits = [_split(files, pictures, part, class_names) for files, part in zip(listed, roots, strict=True)]
    if len(splits) == 1:
        splits = split_off(splits[0], test_split, seed, "test_split")
    return make_dataset(*splits, class_names, seed=seed, **options)


def read_picture(path, image_size, channels, resize):
    """The picture in a file as uint8 `(H, W, C)`, on white where it is transparent.

    Raises what Pillow does where it is none.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    with Image.open(path) as picture:
        # A JPEG is decoded no larger than needed; which way round it lies is not known yet.
        picture.draft(MODES[channels], (2 * max(height, width),) * 2)
        picture = ImageOps.exif_transpose(picture)
        if picture.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
            picture = Image.fromarray((np.asarray(picture) / 257).clip(0, 255).astype(np.uint8))
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        picture = picture.convert(MODES[channels])
        scale = ImageOps.fit if resize == "crop" else Image.Image.resize
        picture = scale(picture, (width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture).reshape(height, width, channels)


def _splits(root):
    """The folders of training and test images, or the one of both."""
    if not root.is_dir():
        raise UserError(f"data.dir={root} is not there; expected a folder that holds a folder for each class")
    given = [root / name for name in ("train", "test") if (root / name).is_dir()]
    if len(given) == 1:
        raise UserError(
            f"{root}: found {given[0].name}/ alone; expected train/ and test/, or a folder a class"
        )
    return given or [root]


def _folders(root):
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _list(root, class_names):
    """The files below `root` with their classes' numbers."""
    strange = [folder.name for folder in _folders(root) if folder.name not in class_names]
    if strange:
        raise UserError(f"{root}: found {', '.join(strange)}; expected the classes of train/ and no others")
    return [
        (path, label)
        for label, name in enumerate(class_names)
        for path in sorted((root / name).rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    ]


def _read(paths, read, skip_unreadable):
    """Pictures by path."""

    def attempt(path):
        try:
            return read(path)
        except UnidentifiedImageError:
            return "not a picture"
        except Exception as error:  # a broken file can raise anything
            return str(error) or type(error).__name__

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        bar = {"unit": "pictures", "desc": "reading", "delay": 1, "disable": not sys.stderr.isatty()}
        found = dict(zip(paths, tqdm(pool.map(attempt, paths), total=len(paths), **bar), strict=True))
    unreadable = {path: reason for path, reason in found.items() if isinstance(reason, str)}
    for path, reason in unreadable.items():
        log.warning("%s cannot be read: %s", path, reason)
    if unreadable and not skip_unreadable:
        path, reason = next(iter(unreadable.items()))
        raise UserError(
            f"{path}: {reason}; {len(unreadable)} of {len(paths)} files cannot be read\n"
            "remove them, or leave them out with data.skip_unreadable=true"
        )
    return {path: picture for path, picture in found.items() if path not in unreadable}


def _split(files, pictures, root, class_names):
    files = [(path, label) for path, label in files if path in pictures]
    labels = np.array([label for _, label in files], np.int32)
    empty = [name for label, name in enumerate(class_names) if label not in labels]
    if empty:
        raise UserError(f"{root}: no pictures of {', '.join(empty)}; expected some of every class")
    return Split(np.stack([pictures[path] for path, _ in files]), labels)
