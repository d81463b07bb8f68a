"""Which files a folder, a glob or a name given to predict.py stands for, and how they are called."""

import os
import re
from pathlib import Path

import pytest

from resnet import listing
from resnet.cli.images import find
from resnet.errors import ConfigError


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        *("photos/a.png", "photos/b/c.png", "photos/b/@eaDir/c.png", "photos/__MACOSX/b/._c.png"),
        *("photos/.hidden.png", "photos/.git/d.png", "photos/Thumbs.db", "photos/b/desktop.ini", "e[1].png"),
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"")
    Path("photos/nowhere.png").symlink_to("lost.png")
    for i in range(12):  # ways to go on without end
        Path(f"photos/b/loop {i}").symlink_to("..")


ALL = ["photos/a.png", "photos/nowhere.png", "photos/b/c.png"]


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ("photos", ALL),
        ("photos/", ALL),
        ("photos/*", ["photos/a.png", "photos/b/c.png", "photos/nowhere.png"]),
        ("photos/**/*.png", ["photos/a.png", "photos/b/c.png", "photos/nowhere.png"]),
        (["photos/b", "photos/a.png", "photos"], ["photos/b/c.png", "photos/a.png", "photos/nowhere.png"]),
        ("photos/b/@eaDir/*.png", ["photos/b/@eaDir/c.png"]),
        ("photos/.hidden.png", ["photos/.hidden.png"]),
        ("e[1].png", ["e[1].png"]),
    ],
)
def test_what_predict_is_given(images, expected, photos):
    found = find(images)
    assert sorted(map(str, found)) == sorted(expected)
    assert len(found) == len(expected)


@pytest.mark.parametrize("images", ["nothing.png", "none/*.png", "photos/**/*.jpg"])
def test_a_name_for_nothing_is_refused(images, photos):
    with pytest.raises(ConfigError, match=rf"images={re.escape(images)}: there is no such file"):
        find(images)


def test_files_are_those_that_a_walk_finds(tmp_path):
    for name in ("a/1", "a/b/2", "3", "c/d/e/4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    expected = sorted(Path(folder, name) for folder, _, names in os.walk(tmp_path) for name in names)
    assert sorted(listing.files(tmp_path)) == expected


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("été 日本 $[a]~=.png", "été 日本 $[a]~=.png"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
        ("a\nb\x7f\u2028", "a\\x0ab\\x7f\\u2028"),
        ("\ud800", "\\ud800"),
    ],
)
def test_names_can_be_printed(name, shown):
    assert listing.printable(name) == shown
    shown.encode()
