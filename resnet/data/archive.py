"""Fetch and unpack an archive so that what lies in place is always whole."""

from __future__ import annotations

import hashlib
import logging
import shutil
import stat
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from filelock import BaseFileLock, FileLock
from tqdm import tqdm

from resnet.errors import UserError

log = logging.getLogger(__name__)
CHUNK = 1 << 20


def unpack(archive: Path, folder: str, destination: Path, digest: str, bare: bool = False) -> None:
    """Check a tar or zip against its hash and put its one folder, `folder`, into `destination`.

    What a `bare` one holds lies in no folder, and is put into one of this name. Raises UserError for a wrong
    hash, a broken archive, or a member other than a file or folder in that folder.
    """
    check(archive, digest)
    log.info("unpacking %s into %s", archive, destination)
    destination.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination, prefix=".unpack-") as aside:
        try:
            with archive.open("rb") as file, _bar(archive, "unpacking") as bar:
                for member in _members(file):
                    _write(member, folder, Path(aside), bare)
                    bar.update(max(0, file.tell() - bar.n))
            Path(aside, folder).rename(destination / folder)
        except Exception as error:  # a damaged archive can raise anything
            raise UserError(f"{archive}: cannot be unpacked: {error}; delete it and try again") from error


class _Member(NamedTuple):
    """Of an archive: its name, whether it is a folder, or a plain file, and what opens that."""

    name: str
    is_folder: bool
    is_file: bool
    open: Callable[[], IO[bytes] | None]


def _members(file):
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                is_file = not info.is_dir() and not stat.S_ISLNK(info.external_attr >> 16)
                yield _Member(info.filename, info.is_dir(), is_file, partial(archive.open, info))
        return
    file.seek(0)
    with tarfile.open(fileobj=file) as archive:
        for member in archive:
            # A sparse file could ask for a disk full of zeros.
            is_file = member.isfile() and not member.issparse()
            yield _Member(member.name, member.isdir(), is_file, partial(archive.extractfile, member))


def _write(member, folder, aside, bare):
    # Not extractall: its filter against climbing paths came only with Python 3.11.4.
    name = PurePosixPath(folder, member.name) if bare else PurePosixPath(member.name)
    outside = name.is_absolute() or name.parts[:1] != (folder,) or ".." in name.parts or "\\" in member.name
    if outside or not (member.is_file or member.is_folder):
        raise ValueError(f"{member.name} is not a file in {folder}")
    target = aside.joinpath(*name.parts)
    (target if member.is_folder else target.parent).mkdir(parents=True, exist_ok=True)
    if member.is_file:
        with member.open() as source, open(target, "xb") as file:
            shutil.copyfileobj(source, file, CHUNK)


def check(archive: Path, digest: str) -> None:
    """Raise UserError unless the file has this SHA-256, or this MD5 where no other is published."""
    kind = _kind(digest)
    with archive.open("rb") as file, _bar(archive, "checking") as bar:
        found = _digest(file, kind, bar.update)
    if found != digest:
        raise UserError(
            f"{archive} ({archive.stat().st_size:,} bytes) is damaged: {kind} {found}, "
            f"expected {digest}\ndelete it and try again, or use data=digits, which needs no download"
        )


def has(path: Path, digest: str) -> bool:
    """Whether the file has this hash."""
    with path.open("rb") as file:
        return _digest(file, _kind(digest)) == digest


def _kind(digest):
    return {32: "MD5", 64: "SHA-256"}[len(digest)]


def _digest(file, kind, update=lambda count: None):
    found = hashlib.new(kind.replace("-", ""), usedforsecurity=False)
    while chunk := file.read(CHUNK):
        found.update(chunk)
        update(len(chunk))
    return found.hexdigest()


def fetched(url: str, root: Path, digest: str) -> Path:
    """The file that `url` names, in `root`: downloaded where it is not there."""
    path = root / PurePosixPath(url).name
    if not path.exists():
        with lock(root):
            if not path.exists():
                download(url, path, digest)
    return path


def unpacked(url: str, root: Path, folder: str, digest: str, bare: bool = False) -> Path:
    """The `folder` of an archive: `root`, or in it, else unpacked there from the archive, perhaps downloaded.

    `root` itself is taken where it has this name.
    """
    for place in (root, root / folder):
        if place.name == folder and place.is_dir():
            return place
    with lock(root):
        if not (root / folder).is_dir():
            path = root / PurePosixPath(url).name
            if not path.exists():
                download(url, path, digest)
            unpack(path, folder, root, digest, bare)
    return root / folder


def download(url: str, path: Path, digest: str) -> None:
    """Fetch `url` to `path` with a progress bar; it appears there only when whole and right."""
    part = path.with_name(path.name + ".part")
    log.info("downloading %s to %s", url, path)
    try:
        with urllib.request.urlopen(url, timeout=30) as reply, part.open("wb") as file:
            size = int(reply.headers.get("Content-Length", 0)) or None
            with tqdm.wrapattr(reply, "read", total=size, disable=None, desc=path.name) as body:
                shutil.copyfileobj(body, file, CHUNK)
        check(part, digest)
        part.replace(path)
    except OSError as error:
        raise UserError(
            f"{url} cannot be downloaded: {error}\nput {path.name} into {path.parent}, "
            "or use data=digits, which needs no download"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _bar(archive, doing):
    """On a terminal, how much of `archive` is done."""
    size, doing = archive.stat().st_size, f"{doing} {archive.name}"
    return tqdm(total=size, desc=doing, unit="B", unit_scale=True, leave=False, disable=None)


def lock(folder: Path) -> BaseFileLock:
    """One process at a time prepares `folder`; the others wait, then find it ready."""
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / ".lock")
