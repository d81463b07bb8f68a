"""From the file of a picture to its pixels."""

from __future__ import annotations

import io
import logging
import math
import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from resnet.listing import printable

if TYPE_CHECKING:
    from resnet.augmentation.crop import Crop

log = logging.getLogger(__name__)
MODES = {1: "L", 3: "RGB"}
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF 6.0
RANGES = ((340, 341), (280, 281))  # SMinSampleValue and SMaxSampleValue; the same without S
WHITE_IS_ZERO, SIGNED = 0, 2
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TRANSPOSING = [TURNS[n] for n in (5, 6, 7, 8)]
HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}

if has_heif := find_spec("pillow_heif") is not None:
    from pillow_heif import register_heif_opener

    register_heif_opener()


def log_doubt(path: Any, doubt: str) -> None:
    log.warning("%s: %s", printable(path), doubt)


def read_picture(
    path: os.PathLike | str | io.BytesIO,
    image_size: int | Sequence[int],
    channels: int,
    resize: str,
    doubt: Callable[[Any, str], None] = log_doubt,
    share: float = 1.0,
) -> np.ndarray:
    """The picture in a file, or in its bytes, as uint8 `(H, W, C)`, upright by its EXIF data.

    What is transparent is white. `resize` is `crop`, which shows this `share` of the shorter side and the
    middle of the longer one, or `stretch`. Of several frames or pages it is the first. 8 bits are taken as
    they are, 16 bits of colour by their upper half. Grey levels of other types become 0 to 255 by the first
    of these ranges that there is:

    - the file's own tags: TIFF's SMinSampleValue to SMaxSampleValue, or MinSampleValue to MaxSampleValue;
    - integers: 0 to the largest of BitsPerSample (TIFF), else of the type: 65,535 for unsigned 16 bits;
    - floats: 0 to 1, if all of them lie there.

    `doubt(path, text)` is called where content and type disagree: tags that do not hold the content,
    integers below a sixteenth of their range, EXIF data that cannot be read. Raises ValueError for NaN,
    infinity, and what has no range; else what Pillow does where there is no picture.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    # Which way round it lies is not known yet.
    picture, _ = _upright(path, channels, lambda size: (2 * round(max(height, width) / share),) * 2, doubt)
    if resize == "crop":
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.BICUBIC, bleed=(1 - share) / 2)
    else:
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture).reshape(height, width, channels)


def read_crop(
    path: os.PathLike | str, image_size: Sequence[int], channels: int, crop: Crop, random: np.random.Generator
) -> np.ndarray:
    """A rectangle of the picture in a file, drawn by `random`, as uint8 `(H, W, C)`; see `read_picture`."""
    (height, width), drawn = image_size, crop.draw(random)

    def wanted(size):
        _, _, rows, columns = crop.box(drawn, size[1], size[0])
        larger = max(height / rows, width / columns)
        return tuple(math.ceil(side * larger) for side in size)

    picture, whole = _upright(path, channels, wanted, lambda path, text: None)
    top, left, rows, columns = crop.box(drawn, whole[1], whole[0])
    across, down = picture.width / whole[0], picture.height / whole[1]
    box = (left * across, top * down, (left + columns) * across, (top + rows) * down)
    picture = picture.resize((width, height), Image.Resampling.BILINEAR, box)
    return np.asarray(picture).reshape(height, width, channels)


def _upright(path, channels, wanted, doubt):
    """The picture as it is to be seen, and the size that it has in the file, seen so.

    A JPEG is decoded no larger than need be for what `wanted` makes of its size.
    """
    with _open(path) as picture:
        size = picture.size
        picture.draft(MODES[channels], wanted(size))
        deep = ";16" in str(picture.tile)  # in the file; forgotten once it is loaded
        picture.load()
        doubts: list[str] = []
        turn = _turn(picture, doubts.append)
        if picture.mode[0] in "IF":
            picture = Image.fromarray(_levels(picture, deep, doubts.append))
        elif deep and _brightest(picture) < 16:
            doubts.append(_nearly_black(16))
        for text in doubts:
            doubt(path, text)
        if turn is not None:
            picture = picture.transpose(turn)
            size = size[::-1] if turn in TRANSPOSING else size
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        return picture.convert(MODES[channels]), size


def _open(path):
    if isinstance(path, io.BytesIO):
        return Image.open(path)
    if os.path.isdir(path):
        raise ValueError("a folder that cannot be looked into")
    if not os.path.isfile(path):  # a pipe would be waited for
        raise ValueError("not a file" if os.path.exists(path) else "a link to nowhere")
    try:
        return Image.open(path)
    except UnidentifiedImageError:
        with open(path, "rb") as file:
            head = file.read(12)
        if head[4:8] == b"ftyp" and head[8:] in HEIF and not has_heif:
            raise ValueError("HEIC is read with pillow-heif: pip install pillow-heif") from None
        raise


def _turn(picture, doubt):
    """How a picture is brought upright, or None.

    ImageOps.exif_transpose would also write the EXIF data anew, which fails where a camera wrote odd ones.
    """
    try:
        return TURNS.get(picture.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # what a camera wrote can be anything
        doubt("its EXIF data cannot be read; it is taken as it lies")
        return None


def _levels(picture, deep, doubt):
    """A picture of one channel of integers or floats as uint8 `(H, W)`."""
    values = np.asarray(picture)
    tags = picture.tag_v2 if picture.format == "TIFF" else {}
    signed = _first(tags.get(SAMPLE_FORMAT, 1)) == SIGNED
    if not np.isfinite(values).all():
        raise ValueError("it holds NaN or infinity")
    if picture.mode == "I" and tags and not signed:
        values = values.view(np.uint32)
    black, white = _tagged_range(values, tags, doubt) or _range_of_type(
        values, _bits(picture, tags, deep), signed, doubt
    )
    share = (values - float(black)) / (float(white) - float(black))
    if picture.format == "TIFF" and tags.get(PHOTOMETRIC, WHITE_IS_ZERO) == WHITE_IS_ZERO:
        share = 1 - share  # Pillow does so for 8 bits only
    share = np.where(values == picture.info.get("transparency", np.nan), 1, share)
    return np.rint(255 * share.clip(0, 1)).astype(np.uint8)


def _bits(picture, tags, deep):
    """Bits of an integer: what the file says, else 16 or 32."""
    if tags:
        return _first(tags.get(BITS_PER_SAMPLE, 1))
    # A PGM of more than 8 bits, whatever its largest value, is scaled by Pillow to 16.
    return 16 if deep or "16" in picture.mode or picture.format == "PPM" else 32


def _tagged_range(values, tags, doubt):
    for low, high in RANGES:
        if high in tags:
            black, white = _first(tags.get(low, 0)), _first(tags[high])
            if black < white and black <= values.min() and values.max() <= white:
                return black, white
            doubt("it has tags for black and white that do not hold its content, and are not used")
    return None


def _range_of_type(values, bits, signed, doubt):
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        if low < 0 or high > 1:
            raise ValueError(
                f"floats from {low:g} to {high:g}; expected 0 to 1, or their range in TIFF's SMaxSampleValue"
            )
        return 0, 1
    if low < 0:
        raise ValueError(
            "it holds negative integers; expected 0 and more, or their range in TIFF's SMinSampleValue"
        )
    white = 2 ** (bits - signed) - 1
    if 0 < 16 * int(high) <= white:
        doubt(_nearly_black(bits))
    return 0, white


def _brightest(picture):
    """The largest value of the colours of an 8-bit picture."""
    extrema = picture.getextrema() if len(picture.getbands()) > 1 else [picture.getextrema()]
    return max(high for band, (_, high) in zip(picture.getbands(), extrema, strict=True) if band != "A")


def _nearly_black(bits):
    return (
        f"{bits} bits per value, none above a sixteenth of their range: it is read nearly black; "
        "if fewer bits are meant, save it in these, or as TIFF with MaxSampleValue"
    )


def _first(value):
    """Of tags that have one value per channel."""
    return value[0] if isinstance(value, tuple) else value
