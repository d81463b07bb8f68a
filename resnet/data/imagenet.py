"""ImageNet's 1,000 classes (Russakovsky et al. 2015) in the folders that they are published in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet.data.dataset import Dataset, make_dataset, source
from resnet.data.image_folder import pictures_in
from resnet.errors import UserError
from resnet.listing import entries, files

WNID = re.compile(r"n\d{8}")
PLACES = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")  # of train/ and val/, below what is given
DEVKIT = "ILSVRC2012_devkit_t12/data"
EXPECTED = (
    "expected train/ with a folder for each class, such as n01440764, and val/ with the same, or with the "
    f"pictures and beside it {DEVKIT}/, or LOC_val_solution.csv"
)


@source
def imagenet(
    dir: str | Path = "imagenet",
    image_size: int | Sequence[int] = 224,
    resize: str = "crop",
    test_crop: float = 1.0,
    originals: bool = False,
    skip_unreadable: bool = False,
    **options: Any,
) -> Dataset:
    """Training pictures of the classes in `train/`; those in `val/`, 50,000 of all classes, are for testing.

    Args:
        dir: where `train/` and `val/` lie; or the folder ILSVRC, or what holds it, as it is unpacked.
        image_size: pixels, or [height, width].
        resize: see `image_folder`.
        test_crop: share of the shorter side that test pictures show, in the middle: 0.875 are 224 of 256
            pixels.
        originals: read training pictures from their files in each epoch, so that a random_resized_crop cuts
            from these; what it does not cut is seen as test pictures are.
        skip_unreadable: leave files out that cannot be read as pictures.

    Where `val/` has no folders, its labels are those of the development kit, in the order of its file names,
    or of LOC_val_solution.csv. Classes are numbered in the order of their folders, as everywhere, and named
    by the kit's `meta.mat`, or LOC_synset_mapping.txt, else by their folders. Raises UserError naming what is
    missing.
    """
    given = Path(dir).expanduser()
    root = next((given / place for place in PLACES if (given / place / "train").is_dir()), None)
    if root is None:
        raise UserError(f"data.dir={given}: there is no train/; {EXPECTED}")
    homes = list(dict.fromkeys([given, *given.parents[:1], root]))
    folders = [path for path in entries(root / "train")[0] if WNID.fullmatch(path.name)]
    classes = [folder.name for folder in folders]
    if len(classes) < 2:
        raise UserError(f"{root / 'train'}: found {len(classes)} folders of classes; {EXPECTED}")
    number = {name: i for i, name in enumerate(classes)}
    train = [(path, number[folder.name]) for folder in folders for path in files(folder)]
    test = _validation(root / "val", homes, number)
    class_names = names_of(classes, _words(homes))
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    how = {"image_size": (height, width), "channels": 3, "resize": resize}
    middle = how | {"share": test_crop}
    return make_dataset(
        pictures_in(
            root, root / "train", train, class_names, middle if originals else how, skip_unreadable, originals
        ),
        pictures_in(root, root / "val", test, class_names, middle, skip_unreadable),
        class_names,
        **options,
    )


def table(path: Path, separator: str | None = None) -> list[list[str]]:
    """The lines of a text file, each in its columns. Raises UserError where it cannot be read."""
    try:
        return [line.split(separator) for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def names_of(classes: Sequence[str], words: Mapping[str, str]) -> list[str]:
    """The first word for each of `classes`; all of them where another class has the same."""
    first = [words.get(name, name).split(",")[0] for name in classes]
    return [
        words[name] if first.count(word) > 1 and name in words else word
        for name, word in zip(classes, first, strict=True)
    ]


def _validation(folder, homes, number):
    if not folder.is_dir():
        raise UserError(f"{folder} is not there; {EXPECTED}")
    folders, pictures = entries(folder)
    if folders:
        if strange := [path.name for path in folders if path.name not in number]:
            raise UserError(f"{folder}: found {', '.join(strange[:3])}, which train/ has not")
        return [(path, number[of.name]) for of in folders for path in files(of)]
    labels = _labels(homes, pictures)
    for path, name in labels.items():
        if name not in number:
            raise UserError(f"{path} is of {name}, which train/ has not")
    return [(path, number[name]) for path, name in labels.items()]


def _labels(homes, pictures):
    """The class of each of the `pictures`, sorted, by what is published beside them."""
    for home in homes:
        truth, solution = (
            home / DEVKIT / "ILSVRC2012_validation_ground_truth.txt",
            home / "LOC_val_solution.csv",
        )
        if truth.is_file():
            names = {number: name for number, name, _ in _synsets(truth.with_name("meta.mat"))}
            found = [names.get(int(line[0])) for line in table(truth)]
            if len(found) != len(pictures):
                raise UserError(f"{truth}: {len(found)} labels, and val/ has {len(pictures)} pictures")
            return dict(zip(pictures, found, strict=True))
        if solution.is_file():
            of = {line[0]: line[1].split()[0] for line in table(solution, ",")[1:]}
            missing = [path.name for path in pictures if path.stem not in of]
            if missing:
                raise UserError(f"{solution}: there is no {missing[0]}")
            return {path: of[path.stem] for path in pictures}
    raise UserError(f"the pictures in val/ have no labels; {EXPECTED}")


def _words(homes):
    """What classes are called, as far as that is published beside them."""
    for home in homes:
        meta, mapping = home / DEVKIT / "meta.mat", home / "LOC_synset_mapping.txt"
        if meta.is_file():
            return {name: words for _, name, words in _synsets(meta)}
        if mapping.is_file():
            return {line[0]: " ".join(line[1:]) for line in table(mapping)}
    return {}


def _synsets(path):
    """(number, folder, words) of each class in the development kit's meta.mat."""
    from scipy.io import loadmat  # other layouts need not wait for it

    try:
        synsets = loadmat(path, squeeze_me=True)["synsets"]
        fields = [synsets[name] for name in ("ILSVRC2012_ID", "WNID", "words")]
        return [(int(number), str(name), str(words)) for number, name, words in zip(*fields, strict=True)]
    except Exception as error:  # a broken file can raise anything
        raise UserError(f"{path} cannot be read: {error}") from error
