"""Fetch and unpack an archive so that what lies in place is always whole."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tarfile
import tempfile
import urllib.request
from pathlib import Path, PurePosixPath

from filelock import BaseFileLock, FileLock
from tqdm import tqdm

from resnet.errors import UserError

log = logging.getLogger(__name__)
CHUNK = 1 << 20


def unpack(archive: Path, folder: str, destination: Path, sha256: str) -> None:
    """Check `archive` against its hash and put its one folder, `folder`, into `destination`.

    Raises UserError for a wrong hash, a broken archive, or a member other than a file in that folder.
    """
    check(archive, sha256)
    log.info("unpacking %s into %s", archive, destination)
    destination.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination, prefix=".unpack-") as aside:
        try:
            with (
                archive.open("rb") as file,
                _bar(archive, "unpacking") as bar,
                tarfile.open(fileobj=file) as tar,
            ):
                for member in tar:
                    _write(tar, member, folder, Path(aside))
                    bar.update(file.tell() - bar.n)
            Path(aside, folder).rename(destination / folder)
        except Exception as error:  # a damaged archive can raise anything
            raise UserError(f"{archive}: cannot be unpacked: {error}; delete it and try again") from error


def _write(tar, member, folder, aside):
    # Not extractall: its filter against climbing paths came only with Python 3.11.4.
    if member.isdir() and member.name == folder:
        return
    name = PurePosixPath(member.name)
    # A sparse file could ask for a disk full of zeros.
    if not member.isfile() or member.issparse() or name.parent != PurePosixPath(folder) or name.name == "..":
        raise tarfile.TarError(f"{member.name} is not a file in {folder}")
    (aside / folder).mkdir(exist_ok=True)
    with tar.extractfile(member) as source, open(aside / folder / name.name, "xb") as target:
        shutil.copyfileobj(source, target, CHUNK)


def check(archive: Path, sha256: str) -> None:
    """Raise UserError unless the file has this SHA-256."""
    with archive.open("rb") as file, _bar(archive, "checking") as bar:
        digest = hashlib.sha256()
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    found = digest.hexdigest()
    if found != sha256:
        raise UserError(
            f"{archive} ({archive.stat().st_size:,} bytes) is damaged: SHA-256 {found}, "
            f"expected {sha256}\ndelete it and try again, or use data=digits, which needs no download"
        )


def download(url: str, path: Path, sha256: str) -> None:
    """Fetch `url` to `path` with a progress bar; it appears there only when whole and right."""
    part = path.with_name(path.name + ".part")
    log.info("downloading %s to %s", url, path)
    try:
        with urllib.request.urlopen(url, timeout=30) as reply, part.open("wb") as file:
            size = int(reply.headers.get("Content-Length", 0)) or None
            with tqdm.wrapattr(reply, "read", total=size, disable=None, desc=path.name) as body:
                shutil.copyfileobj(body, file, CHUNK)
        check(part, sha256)
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
