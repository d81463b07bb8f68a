"""Pictures in files that are mapped to memory, so that it holds only those that are asked for.

A folder of shards is known by the fingerprint of its pictures. Shard n is `n.npy`, uint8 `(R, H, W, C)`, and
`n.npz` with what is known of each picture in it; the latter is written last, and makes it whole. Of
originals, which are read from their own files each time, there is only the latter.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from resnet.data import archive
from resnet.data.checksum import combined
from resnet.data.encoded import Encoded, Findings, Reader
from resnet.data.equality import digest
from resnet.data.labelled import Labelled
from resnet.errors import UserError
from resnet.files import replacing, writing
from resnet.process import cores

if TYPE_CHECKING:
    from resnet.augmentation.crop import Crop

log = logging.getLogger(__name__)
FORMAT = "shards 1"
SHARD_BYTES = 1 << 26
UNREADABLE = (OSError, ValueError, KeyError, EOFError, BadZipFile)


@dataclass(frozen=True)
class Sharded(Labelled):
    """Images uint8 `(N, H, W, C)` in shards, with labels int32 `(N,)` and, if they have any, names `(N,)`.

    Image i is row `rows[i]` of `pieces[shards[i]]`, a shard or the originals; `folder` is where the shards
    are; `hashes` uint64 `(N,)` are those of a Split in memory, `crcs` uint32 `(N,)` the CRC-32 of each image.
    """

    pieces: tuple[Path | Encoded, ...]
    folder: Path
    image_shape: tuple[int, ...]
    shards: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    names: np.ndarray | None
    hashes: np.ndarray
    crcs: np.ndarray

    @cached_property
    def checksum(self) -> int:
        """CRC-32 of images and labels: that of the same images in memory."""
        return zlib.crc32(self.labels.data, combined(self.crcs, int(np.prod(self.image_shape))))

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels of int indices `(B,)`, as NumPy arrays.

        Raises UserError for a shard that is gone or damaged.
        """
        shards, rows = self.shards[indices], self.rows[indices]
        images = np.empty((len(rows), *self.image_shape), np.uint8)
        order = np.lexsort((rows, shards))
        for places in np.split(order, np.flatnonzero(np.diff(shards[order])) + 1) if len(order) else ():
            piece = self.pieces[shards[places[0]]]
            if isinstance(piece, Encoded):
                images[places] = _read(piece, rows[places])
            else:
                # Mapped anew each time: a mapping that is kept would count as this process's memory.
                mapped = _mapped(piece)
                images[places] = mapped[rows[places]]
                unseen = _unseen(piece, os.stat(piece).st_mtime_ns, len(mapped))
                self._compare(piece, images, indices, places[unseen[rows[places]]])
                unseen[rows[places]] = False
        return images, self.labels[indices]

    def _compare(self, path, images, indices, places):
        """Raise UserError unless the images at `places` are those that were written."""
        with _readable(path):
            for place in places:
                if zlib.crc32(images[place].data) != self.crcs[indices[place]]:
                    raise ValueError(
                        f"image {self.rows[indices[place]]} in it is not the one that was written"
                    )

    @property
    def originals(self) -> bool:
        """Whether the images are read from their own files, so that `cropped` can cut from them."""
        return all(isinstance(piece, Encoded) for piece in self.pieces)

    def cropped(self, indices: np.ndarray, crop: Crop, seed: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """As `batch`, a rectangle of each image, drawn as `crop` says by the seed and the image's number.

        Of originals only. Raises UserError for a file that can no longer be read.
        """

        def cut(place):
            piece, row = self.pieces[self.shards[indices[place]]], int(self.rows[indices[place]])
            random = np.random.default_rng([*seed, int(indices[place])])
            return _read_one(partial(piece.crop, crop=crop, random=random), piece, row)

        with ThreadPoolExecutor(cores()) as pool:
            images = list(pool.map(cut, range(len(indices))))
        return np.stack(images), self.labels[indices]

    def take(self, index: np.ndarray) -> Sharded:
        return Sharded(
            self.pieces,
            self.folder,
            self.image_shape,
            self.shards[index],
            self.rows[index],
            self.labels[index],
            None if self.names is None else self.names[index],
            self.hashes[index],
            self.crcs[index],
        )

    @staticmethod
    def joined(parts: Sequence[Sharded]) -> Sharded:
        """The images of several, which have one shape, in their order."""
        before = np.cumsum([0, *(len(part.pieces) for part in parts)])
        shards = [part.shards + n for part, n in zip(parts, before, strict=False)]
        rest = ("rows", "labels", "hashes", "crcs")
        rows, labels, hashes, crcs = (np.concatenate([getattr(p, name) for p in parts]) for name in rest)
        named = [part.names for part in parts if part.names is not None]
        return Sharded(
            sum((part.pieces for part in parts), ()),
            parts[0].folder,
            parts[0].image_shape,
            np.concatenate(shards),
            rows,
            labels,
            np.concatenate(named) if len(named) == len(parts) else None,
            hashes,
            crcs,
        )


def _read(encoded, rows):
    def read(row):
        return encoded.read(row, lambda text: None)  # doubts were told when it was first read

    with ThreadPoolExecutor(cores()) as pool:
        return np.stack(list(pool.map(lambda row: _read_one(read, encoded, int(row)), rows)))


def _read_one(read, encoded, row):
    try:
        return read(row)
    except Exception as error:  # a broken file can raise anything
        raise UserError(f"{encoded.paths[row]} can no longer be read: {error}") from error


def _mapped(path):
    with _readable(path):
        return np.load(path, mmap_mode="r", allow_pickle=False)


@cache
def _unseen(path, changed, count):
    """Which of the `count` pictures in a shard, as it was `changed`, this process has not compared yet."""
    return np.ones(count, bool)


def write(encoded: Encoded, root: Path) -> tuple[Sharded | None, Findings]:
    """The pictures as shards in a folder below `root`, those that are not there yet read in threads.

    Whoever is cut off goes on with the shard that it was at; another process that wants the same waits.
    Pictures that cannot be read are left out, if they may be; else their shards are not written, and there
    is None. Raises UserError where the disk has no room or the folder cannot be written.
    """
    size = max(1, SHARD_BYTES // int(np.prod(encoded.image_shape)))
    kind = f"{FORMAT} of {size}, originals={encoded.originals}"
    name = hashlib.sha256(f"{kind} {encoded.fingerprint()}".encode()).hexdigest()[:12]
    folder = root / f"{encoded.place.name}-{name}"
    starts = range(0, len(encoded), size)
    parts = {
        folder / f"{start // size:05}.npy": range(len(encoded))[start : start + size] for start in starts
    }
    found = Findings()
    if not all(_is_whole(encoded, path) for path in parts):
        with writing(folder), archive.lock(folder):
            missing = {path: numbers for path, numbers in parts.items() if not _is_whole(encoded, path)}
            found = _write_missing(encoded, missing)
    if found.unreadable and not encoded.skip_unreadable:
        return None, found
    return _open(encoded, parts, found), found


def _is_whole(encoded, path):
    return path.with_suffix(".npz").exists() and (encoded.originals or path.exists())


def _write_missing(encoded, parts):
    found, count = Findings(), sum(map(len, parts.values()))
    if not parts:  # another process has written them
        return found
    folder = next(iter(parts)).parent
    needed, free = count * int(np.prod(encoded.image_shape)), shutil.disk_usage(folder).free
    if needed > free and not encoded.originals:
        raise UserError(
            f"{folder}: {count:,} images take {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free\n"
            "give another place with data.shards"
        )
    log.info("reading %s images into %d files in %s", f"{count:,}", len(parts), folder)
    with Reader(len(encoded), len(encoded) - count) as reader:
        for path, numbers in parts.items():
            found.add(_write_shard(encoded, path, numbers, reader))
    return found


def _write_shard(encoded, path, numbers, reader):
    # Not in a file that is mapped: a full disk would end the process.
    images = np.zeros((len(numbers), *encoded.image_shape), np.uint8)
    hashes, crcs = np.zeros(len(numbers), "<u8"), np.zeros(len(numbers), "<u4")

    def take(row, image):
        images[row] = image
        hashes[row] = int.from_bytes(digest(image), "little")
        crcs[row] = zlib.crc32(np.ascontiguousarray(image).data)

    found = reader.read(encoded, numbers, take)
    if found.unreadable and not encoded.skip_unreadable:
        return found
    if not encoded.originals:
        with replacing(path) as part, part.open("wb") as file:
            np.save(file, images)
    unreadable = json.dumps({number - numbers[0]: reason for number, reason in found.unreadable.items()})
    with replacing(path.with_suffix(".npz")) as part, part.open("wb") as file:
        np.savez(file, hashes=hashes, crcs=crcs, unreadable=np.array(unreadable))
    return found


def _open(encoded, parts, found):
    """The pictures in whole shards; `found` is told which could not be read."""
    hashes, crcs, unreadable = zip(*(_known(path.with_suffix(".npz")) for path in parts), strict=True)
    for numbers, reasons in zip(parts.values(), unreadable, strict=True):
        found.unreadable |= {numbers[int(row)]: reason for row, reason in reasons.items()}
    if encoded.originals:
        pieces: tuple[Path | Encoded, ...] = (encoded,)
        sizes = [len(encoded)]
    else:
        pieces, sizes = tuple(parts), [len(numbers) for numbers in parts.values()]
    everything = Sharded(
        pieces,
        next(iter(parts)).parent,
        tuple(encoded.image_shape),
        np.repeat(np.arange(len(sizes), dtype=np.int32), sizes),
        np.concatenate([np.arange(size, dtype=np.int32) for size in sizes]),
        encoded.labels,
        encoded.names,
        np.concatenate(hashes),
        np.concatenate(crcs),
    )
    left_out = list(found.unreadable)
    return everything.take(np.delete(np.arange(len(encoded)), left_out)) if left_out else everything


def _known(path):
    with _readable(path), np.load(path, allow_pickle=False) as file:
        return file["hashes"], file["crcs"], json.loads(str(file["unreadable"]))


@contextmanager
def _readable(path):
    """Makes a UserError of what a damaged file raises."""
    try:
        yield
    except UNREADABLE as error:
        raise UserError(
            f"{path} cannot be read: {error}\nremove the folder {path.parent}, which is then written anew"
        ) from error
