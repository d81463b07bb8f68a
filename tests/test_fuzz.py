"""Whatever is put in, a run trains or ends in a clear line, and a file is read or refused.

`make fuzz` runs a thousand random examples of each; the suite a few, always the same.
"""

import faulthandler
import gzip
import hashlib
import io
import itertools
import json
import logging
import os
import pickle
import pickletools
import resource
import shutil
import struct
import sys
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, get_args, get_origin

import hydra
import numpy as np
import pytest
import tensorflow as tf
from hydra.core.hydra_config import HydraConfig
from hypothesis import event, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf, open_dict
from PIL import Image

from resnet.cli.check import check
from resnet.cli.command import command
from resnet.cli.ranges import ELSEWHERE, RANGES
from resnet.data import archive, cifar, image_folder
from resnet.data.cifar import CIFAR10
from resnet.errors import UserError
from resnet.report import figures
from resnet.run.checkpoints import newest
from tests.test_conf import CONF, GROUPS, composed, options
from tests.test_data import OPTIONS as ALL
from train import train

VALUES = [
    *"""
    null true false 0 1 -1 2 3 8 11 14 20 0.5 -0.5 1.5 1e-3 1e-30 1e30 1e300 -1e300 1e400 inf -inf nan
    2147483647 2147483648 4294967296 99999999999999999999 '' abc 'a b' '1' [] [1] [1,2] [0.5,2] [1,x] [[1]]
    [null] {} {a:1} {_target_:resnet.training.schedules.Constant} ${seed} ${nope} ${trainer} ${data.seed}
    ${oc.env:HOME} ${oc.env:NOPE} ??? str(20) float(8) int(0.5) range(1,3) glob(*) choice(1,2)
    """.split(),  # noqa: SIM905
    *("", "a: b", "'", '"', "\\", "${", "é", "x" * 300),
]
LITERALS = {
    name: list(get_args(kind))
    for ranges in (RANGES, *ELSEWHERE.values())
    for name, kind in ranges.items()
    if get_origin(kind) is Literal
}
WORDS = sorted({str(word) for words in LITERALS.values() for word in words})
CHEAP = {
    "model": {
        "resnet_v1": "model.depth=8",
        "resnet_v2": "model.depth=11",
        "plain": "model.depth=8",
        "vgg": "model.depth=11",
        "resnet_imagenet": "model.depth=18",
        "plain_imagenet": "model.depth=18",
    },
    "data": {"synthetic": "data.train_images=40", "digits": "data.train_size=20"},
    "trainer": {"default": "trainer.batch_size=10"},
}
ONE_STEP = ("++data.test_size=10", "++trainer.max_steps=1", "++trainer.profile=null")


def leaves(node, path):
    """Values of all keys by dotted name."""
    for key, value in node.items():
        yield f"{path}{key}", value
        if isinstance(value, dict):
            yield from leaves(value, f"{path}{key}.")


def keys_of_options(group):
    """The keys of each option of a group with their values; those of everything for an experiment's."""
    path, found = group.replace("/", "."), {}
    for option in options(group):
        keys = dict(leaves(OmegaConf.to_container(composed(option)), ""))
        mine = keys if group == "experiment" else {k: v for k, v in keys.items() if k.startswith(f"{path}.")}
        found[option.partition("=")[2]] = mine
    return found


OPTIONS = {group: keys_of_options(group) for group in GROUPS}
STRATEGIES = keys_of_options("trainer/strategy")
EVERY_KEY = sorted({key for group in OPTIONS.values() for keys in group.values() for key in keys})
TARGETS = sorted(
    {
        value
        for group in (*OPTIONS.values(), STRATEGIES)
        for keys in group.values()
        for key, value in keys.items()
        if key.endswith("._target_")
    }
)


def plausible(key, value):
    """Strategy for overrides of the kind that the key has."""
    words = LITERALS.get(key.rpartition(".")[2])
    if words:
        values = st.sampled_from(words)
    elif isinstance(value, bool):
        values = st.booleans()
    elif isinstance(value, int) or value == "${seed}":
        values = st.sampled_from([0, 1, 2, 5, 8, 10, 11, 14, 20])
    elif isinstance(value, float):
        values = st.floats(0, 1.5)
    else:
        values = st.sampled_from(VALUES)
    return st.builds("{}={}".format, st.just(key), values)


any_value = st.one_of(
    st.sampled_from(VALUES),
    st.sampled_from(WORDS),
    st.floats().map(repr),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4),
)
targets = st.sampled_from([*TARGETS, "os.getcwd", "nope.x"])


@st.composite
def argument_lists(draw):
    """Options of the groups, mostly cheap ones, and up to three overrides of their keys or of any."""
    arguments, keys = [], {"seed": 1, "changes": "refuse"}
    for group, known in OPTIONS.items():
        usual = next(iter(CHEAP.get(group, ["none"])))
        option = draw(st.sampled_from(sorted(known))) if draw(st.integers(0, 5)) == 0 else usual
        if option in known:
            arguments.append(f"{group}={option}")
            keys |= known[option]
        if option in CHEAP.get(group, {}):
            arguments.append(CHEAP[group][option])
    if draw(st.integers(0, 5)) == 0:
        strategy = draw(st.sampled_from(sorted(STRATEGIES)))
        arguments.append(f"trainer/strategy={strategy}")
        keys |= STRATEGIES[strategy]
    likely = st.sampled_from(sorted(keys)).flatmap(lambda key: plausible(key, keys[key]))
    any_key = st.sampled_from(sorted(keys)) | st.sampled_from(EVERY_KEY)
    unlikely = st.one_of(
        st.builds("{}={}".format, any_key, any_value),
        st.builds("~{}".format, any_key | st.sampled_from(GROUPS)),
        st.builds("{}{}={}".format, st.sampled_from(["+", "++"]), any_key | st.just("new"), any_value),
        st.builds("{}._target_={}".format, any_key, targets),
        st.builds("{}={}".format, st.sampled_from(GROUPS), any_value),
    )
    return arguments + draw(st.lists(likely | likely | unlikely, max_size=3)) + [*ONE_STEP]


@pytest.fixture(scope="module")
def in_process():
    """train.py's own function, called often: no traces, no drawing, no downloads, nothing that stays on."""
    pixel = io.BytesIO()
    Image.new("RGB", (1, 1)).save(pixel, "png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.config.experimental, "enable_op_determinism", lambda: None)
        patch.setattr(archive, "download", refuse_to_download)
        patch.setattr(figures, "png", lambda figure: pixel.getvalue())
        tf.config.run_functions_eagerly(True)
        yield patch
        tf.config.run_functions_eagerly(False)
        tf.keras.config.set_dtype_policy("float32")


def refuse_to_download(url, *_):
    raise UserError(f"{url}: there is no network here")


def run(arguments, directory):
    """Compose and train a step, or only check a configuration that is dear."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config", arguments, return_hydra_config=True)
    with open_dict(config):
        config.hydra.runtime.output_dir, config.hydra.job.name = str(directory), "train"
        HydraConfig.instance().set_config(config)
        del config["hydra"]
    check(config)
    if cheap(config):
        train.__wrapped__(config)


def cheap(config):
    """Whether a second or two are enough for a step."""
    limits = {
        "model.depth": 20,
        "model.filters": 64,
        "trainer.batch_size": 100,
        "data.image_size": 40,
        "data.channels": 10,
        "data.classes": 100,
        "data.train_images": 2000,
        "data.test_images": 2000,
    }
    found = {key: OmegaConf.select(config, key, default=0) for key in limits}
    sizes = {key: max(value) if OmegaConf.is_list(value) else value for key, value in found.items()}
    return (
        all(sizes[key] <= limit for key, limit in limits.items()) and config.model.get("head") != "imagenet"
    )


@pytest.mark.slow
@given(arguments=argument_lists())
def test_config_trains_a_step_or_is_refused_in_a_line(in_process, arguments):
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        patch.setenv("HYDRA_FULL_ERROR", "0")
        patch.setattr(sys, "argv", ["train.py", *arguments])
        errors = io.StringIO()
        patch.setattr(sys, "stderr", errors)
        patch.setattr(sys, "stdout", io.StringIO())
        try:
            command(lambda: run(arguments, directory))
        except SystemExit as end:
            lines = errors.getvalue().splitlines()
            assert end.code == 1
            assert 1 <= len(lines) <= 2, lines
            assert len(lines[-1]) > 5
            return


def python2_pickle(batch):
    """The opcodes of the official files, which Python 2 wrote: strings of bytes, numpy.core."""
    data, labels = batch[b"data"], batch[b"labels"]
    size = struct.pack("<i", data.size)
    return b"".join(
        [
            b"\x80\x02}q\x00(U\x06labelsq\x01]q\x02(",
            *(b"K" + bytes([label]) for label in labels),
            b"eU\x04dataq\x03cnumpy.core.multiarray\n_reconstruct\nq\x04cnumpy\nndarray\nq\x05K\x00\x85U\x01b\x87R",
            b"(K\x01M" + struct.pack("<H", len(data)) + b"M" + struct.pack("<H", data.shape[1]) + b"\x86",
            b"cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
            b"\x89T" + size + data.tobytes() + b"tbu.",
        ]
    )


IMAGES = 3
BATCH = {
    b"data": np.arange(IMAGES * 3072, dtype=np.uint32).astype(np.uint8).reshape(IMAGES, 3072),
    b"labels": [0, 9, 5],
}
PICKLES = [python2_pickle(BATCH), *(pickle.dumps(BATCH, protocol) for protocol in (2, 3, 4))]
HUGE = [struct.pack("<Q", size) for size in (2**31, 2**33, 2**40, 2**62, 2**64 - 1)]
OPCODES = [
    *(b"c" + name + b"\n" for name in (b"os\nsystem", b"builtins\neval", b"numpy\nfromfile", b"numpy\nload")),
    *(b"c" + name + b"\n" for name in (b"numpy\nndarray", b"numpy\ndtype", b"_codecs\nencode")),
    *(b"\x8c\x02os\x8c\x06system\x93", b"(S'touch ran'\nios\nsystem\n", b"\x82\x01", b"Pmodule\n", b"Q"),
    *(
        b"U\x09touch ran\x85R",
        b"X\x02\x00\x00\x00O8",
        b"U\x03zip",
        b"R",
        b"b",
        b"o",
        b"\x81",
        b"\x92",
        b"\x97",
    ),
    *(code + size for code in (b"\x8e", b"\x8d", b"\x96", b"\x95") for size in HUGE),
    *(code + size[:4] for code in (b"B", b"X", b"T", b"\x8b", b"r", b"j") for size in HUGE),
    *(b"p%d\n" % 2**31, b"g%d\n" % 2**31, b"I%d\n" % 10**99, b"L" + b"9" * 5000 + b"L\n"),
    *(b"(" * 5000, b"]" * 5000 + b"a" * 4999, b")" + b"\x85" * 5000, b")q\xff" + b"h\xffh\xff\x86q\xff" * 60),
    *(b"]q\xff" + b"](h\xffh\xffeq\xff" * 60, b"}h\xffK\x01s", b"(h\xffNd", b"}]q\x01s", b"\x8f(h\xff\x90"),
    *(
        b"0",
        b"1",
        b"2",
        b"a",
        b"e",
        b"s",
        b"u",
        b"t",
        b"l",
        b"d",
        b"N",
        b"}",
        b"K\x01",
        b"J\xff\xff\xff\xff",
        b".",
    ),
]


def opcodes(data):
    """The pickle cut before each opcode."""
    starts = [position for _, _, position in pickletools.genops(data)] + [len(data)]
    return [data[start:end] for start, end in zip(starts, starts[1:], strict=False)]


@st.composite
def damaged(draw, data):
    """`data` with some bytes replaced, put in or left out, or its end cut off."""
    data = bytearray(data)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, min(len(data), 300) if draw(st.booleans()) else len(data)))
        data[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=8))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 9)) == 0 else data)


@st.composite
def pickles(draw):
    """A pickled batch with opcodes exchanged, put in or left out, then bytes."""
    parts = opcodes(draw(st.sampled_from(PICKLES)))
    for _ in range(draw(st.integers(0, 4))):
        at, removed = draw(st.integers(0, len(parts))), draw(st.integers(0, 3))
        parts[at : at + removed] = draw(
            st.lists(st.sampled_from(OPCODES) | st.sampled_from(parts), max_size=3)
        )
    data = b"".join(parts)
    return data if draw(st.booleans()) else draw(damaged(data))


FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "subprocess",
    "exec",
    "import",
    "socket",
    "ctypes",
)
watching = []


@pytest.fixture(scope="module")
def watch(tmp_path_factory):
    """Around an example: nothing is run or imported, and no more memory is taken than a file fills."""

    @contextmanager
    def watched():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        watching.append(events := [])
        try:
            yield
        finally:
            watching.clear()
        assert not events
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB
        assert not Path("ran").exists()

    def note(event, arguments):
        if watching and event.startswith(FORBIDDEN):
            watching[0].append((event, arguments))

    sys.addaudithook(note)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar, "TRAIN_IMAGES", IMAGES * len(CIFAR10.train_files))
        patch.setattr(cifar, "TEST_IMAGES", IMAGES)
        patch.chdir(tmp_path_factory.mktemp("fuzz"))
        for name in CIFAR10.train_files:
            Path(name).write_bytes(PICKLES[0])
        Path(CIFAR10.names_file).write_bytes(pickle.dumps({b"label_names": [b"name"] * 10}, 2))
        read_pickle(PICKLES[0])
        "".encode("cp437")  # of names in a zip file; imported now
        faulthandler.dump_traceback_later(600, exit=True)  # a hang
        yield watched
        faulthandler.cancel_dump_traceback_later()


def read_pickle(data):
    """The test images and labels of a CIFAR-10 whose file of these holds `data`."""
    Path(CIFAR10.test_file).write_bytes(data)
    test = cifar.cifar10(".", **ALL).test
    return test.images, test.labels


@pytest.mark.parametrize("data", PICKLES)
def test_batches_of_any_python_are_read(watch, data):
    images, labels = read_pickle(data)
    np.testing.assert_array_equal(images.transpose(0, 3, 1, 2).reshape(IMAGES, -1), BATCH[b"data"])
    np.testing.assert_array_equal(labels, BATCH[b"labels"])


@settings(max_examples=4 * settings().max_examples)
@given(data=pickles())
def test_a_pickle_is_read_or_refused(watch, data):
    with watch():
        try:
            images, labels = read_pickle(data)
        except UserError as error:
            assert CIFAR10.test_file in str(error)
            return
    assert (images.shape, images.dtype) == ((IMAGES, 32, 32, 3), np.uint8)
    assert (labels.shape, labels.dtype) == ((IMAGES,), np.int32)
    assert 0 <= labels.min() <= labels.max() <= 9


NAMES = ("batches.meta", "data_batch_1", "..", ".", "", "a/b", "../up", "/up", "x" * 300, "é\n", "\udcff")
NUMBERS = st.sampled_from([0, 1, 511, 512, 2**31, 2**33, 2**62, -1])


@st.composite
def archives(draw):
    """A tar.gz of members of any kind, name and size, each with a right checksum, then damaged."""
    tar = io.BytesIO()
    for _ in range(draw(st.integers(0, 4))):
        folder = draw(st.sampled_from([CIFAR10.folder, CIFAR10.folder, CIFAR10.folder, "..", "", "other"]))
        member = tarfile.TarInfo(f"{folder}/{draw(st.sampled_from(NAMES))}")
        content = draw(st.binary(max_size=1100))
        member.size = len(content) if draw(st.booleans()) else draw(NUMBERS)
        member.type = draw(
            st.sampled_from([b"0", b"0", b"0", *(bytes([c]) for c in b"\x001234567DKLMNSVXgx")])
        )
        member.linkname = draw(st.sampled_from(NAMES))
        header = bytearray(member.tobuf(tarfile.GNU_FORMAT, errors="surrogateescape"))
        if draw(st.integers(0, 3)) == 0:  # where a sparse file says what it unpacks to
            header[386:398] = b"00000000000\0"
            header[483:495] = draw(st.sampled_from([b"77777777777\0", b"00000000000\0", b"-1111111111\0"]))
        header[148:156] = b"%06o\0 " % (256 + sum(header[:148]) + sum(header[156:512]))
        tar.write(bytes(header) + content + bytes(-len(content) % 512))
    data = tar.getvalue() + bytes(1024)
    data = draw(damaged(data)) if draw(st.integers(0, 3)) == 0 else data
    data = gzip.compress(data, 1, mtime=0) if draw(st.integers(0, 9)) else data
    return draw(damaged(data)) if draw(st.integers(0, 3)) == 0 else data


@settings(max_examples=4 * settings().max_examples)
@given(data=archives())
def test_an_archive_is_unpacked_or_refused(watch, data):
    with tempfile.TemporaryDirectory(dir=".") as name:
        place = Path(name)
        (place / "archive").write_bytes(data)
        hash = hashlib.sha256(data).hexdigest()
        with watch():
            try:
                archive.unpack(place / "archive", CIFAR10.folder, place / "to", hash)
            except UserError as error:
                assert "archive" in str(error)
                assert list((place / "to").iterdir()) == []
        assert {path.name for path in place.iterdir()} == {"archive", "to"}
        unpacked = list((place / "to").rglob("*"))
        folder = place / "to" / CIFAR10.folder
        assert all(path == folder or folder in path.parents for path in unpacked)
        assert not any(path.is_symlink() for path in unpacked)
        assert sum(path.stat().st_size for path in unpacked if path.is_file()) < 10_000


@pytest.fixture(scope="module")
def checkpoint():
    file = io.BytesIO()
    arrays = {"model/0/kernel": np.ones((3, 4), np.float32), "optimizer/0/iteration": np.array(7)}
    np.savez(file, notes=np.array(json.dumps({"step": 7})), **arrays)
    return file.getvalue()


@settings(max_examples=2 * settings().max_examples)
@given(data=st.data())
def test_a_checkpoint_is_whole_or_damaged(watch, checkpoint, data):
    with tempfile.TemporaryDirectory(dir=".") as name:
        Path(name, "step_000000007.npz").write_bytes(data.draw(damaged(checkpoint)))
        with watch():
            found = newest(Path(name))
        if found:
            arrays, notes = found
            assert notes == {"step": 7}
            np.testing.assert_array_equal(arrays["model/0/kernel"], np.ones((3, 4)))


def test_a_checkpoint_is_never_unpickled(watch, checkpoint, caplog):
    class Hostile:
        def __reduce__(self):
            return os.system, ("touch ran",)

    with tempfile.TemporaryDirectory(dir=".") as name:
        Path(name, "step_000000007.npz").write_bytes(checkpoint)
        np.savez(Path(name, "step_000000008.npz"), notes=np.array([Hostile()]))
        np.savez(Path(name, "step_000000009.npz"), notes=np.array("{}"), weights=np.array([Hostile()]))
        Path(name, "step_000000010.npz").write_bytes(pickle.dumps(Hostile()))
        with watch():
            assert newest(Path(name))[1] == {"step": 7}
    assert [Path(record.args[0]).stem for record in caplog.records] == [f"step_{n:09}" for n in (10, 9, 8)]


# Folders of pictures. A class is known by its levels, whatever its pictures are written as.

CLASS_NAMES = [
    "cat",
    "dog",
    "$0_$10",
    "[bold]x",
    "é",
    "a b",
    "~a=b,c",
    "日本",
    "-",
    "a\nb",
    os.fsdecode(b"caf\xe9"),
]
PART_NAMES = [
    ("train", "test", "val"),
    ("Train", "Test", "Validation"),
    ("training", "testing", "validation"),
    ("seg_train", "seg_test", "seg_val"),
    ("TRAIN_SET", "TEST_SET", "VAL_SET"),
    ("train2017", "test2017", "val2017"),
]
SYSTEM_FILES = [
    ".a.png",
    ".git/b.png",
    "@eaDir/c.png",
    "__MACOSX/d.png",
    "Thumbs.db",
    "$RECYCLE.BIN/e",
    "desktop.ini",
]
WRITERS = {
    "png": lambda pixels, path: Image.fromarray(pixels).save(path),
    "jpg": lambda pixels, path: Image.fromarray(pixels).save(path, quality=95),
    "gif": lambda pixels, path: Image.fromarray(pixels).save(path),
    "bmp": lambda pixels, path: Image.fromarray(pixels).convert("RGB").save(path),
    "webp": lambda pixels, path: Image.fromarray(pixels).convert("RGBA").save(path, lossless=True),
    "tif": lambda pixels, path: Image.fromarray(pixels).convert("CMYK").save(path),
    "16 bits.png": lambda pixels, path: Image.fromarray(pixels * np.uint16(257)).save(path),
    "16 bits.tiff": lambda pixels, path: Image.fromarray(pixels * np.uint16(257)).save(path),
    "32 bits.tif": lambda pixels, path: Image.fromarray(pixels * np.int32(2**31 // 256)).save(path),
    "floats.tif": lambda pixels, path: Image.fromarray(pixels / np.float32(255)).save(path),
    "palette.png": lambda pixels, path: Image.fromarray(pixels).convert("P").save(path),
    "pgm": lambda pixels, path: Image.fromarray(pixels).save(path),
    "no ending": lambda pixels, path: Image.fromarray(pixels).save(path, "png"),
}
BAND, WITHIN = 60, 20  # a class has the levels from 60 times its number + 15 on


class Drawn(NamedTuple):
    """What was drawn: how many pictures of each class by part, what must be named, whether it can be read."""

    pictures: dict
    unreadable: list
    loose: list
    ambiguous: bool


@st.composite
def picture(draw, label):
    """Pixels of two levels of the class."""
    width, height = draw(st.sampled_from([(8, 8), (20, 16), (9, 31), (64, 3)]))
    pixels = np.full((height, width), BAND * label + 15, np.uint8)
    pixels[: height // 2] += draw(st.integers(0, WITHIN))
    pixels[height // 2 :] += draw(st.integers(0, WITHIN))
    return pixels


def draw_class(draw, folder, elsewhere, label, drawn, names):
    """Write pictures of a class to `folder`, also further down and by links; returns how many."""
    count, numbered = (
        draw(st.integers(0, 2) if draw(st.integers(0, 30)) == 30 else st.integers(4, 8)),
        itertools.count(),
    )
    folder.mkdir(parents=True)
    for _ in range(count):
        where = folder / draw(st.sampled_from(["", "", "", "below", "below/more", "train", "x.png"]))
        where.mkdir(parents=True, exist_ok=True)
        kind = draw(st.sampled_from(sorted(WRITERS)))
        path = where / f"{draw(st.sampled_from(names))}{next(numbered)}.{kind}"
        kept = (
            elsewhere / f"{label} {len(list(elsewhere.iterdir()))}.{kind}"
            if draw(st.integers(0, 4)) == 0
            else path
        )
        WRITERS[kind](draw(picture(label)), kept)
        if kept != path:
            path.symlink_to(kept)
        if draw(st.integers(0, 6)) == 0:
            shutil.copy(path, where / f"copy of {path.name}")
            count += 1
    match draw(st.integers(0, 15)):
        case 0:
            (folder / "notes.txt").write_text("no picture")
            drawn.unreadable.append("notes.txt")
        case 1:
            (folder / "lost.png").symlink_to("nowhere.png")
            drawn.unreadable.append("lost.png")
        case 2:
            (folder / "round").symlink_to(draw(st.sampled_from([".", "..", "../.."])))
        case 3:
            linked = elsewhere / f"folder {len(list(elsewhere.iterdir()))}"
            linked.mkdir()
            WRITERS["png"](draw(picture(label)), linked / "a.png")
            (folder / "linked").symlink_to(linked)
            count += 1
    return count


def leave_behind(draw, folder):
    for name in draw(st.lists(st.sampled_from(SYSTEM_FILES), max_size=2, unique=True)):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"no picture")


def draw_folder(draw, root):
    """Write a data set to `root`/pictures."""
    drawn = Drawn({}, [], [], draw(st.integers(0, 20)) == 20)
    here, elsewhere = root / "pictures", root / "elsewhere"
    elsewhere.mkdir()
    classes = sorted(draw(st.lists(st.sampled_from(CLASS_NAMES), min_size=2, max_size=4, unique=True)))
    names = draw(st.sampled_from(PART_NAMES))
    parts = draw(
        st.sampled_from([(), ("train", "test"), ("train", "test", "validation"), ("train", "validation")])
    )
    folders = {
        part: here / dict(zip(("train", "test", "validation"), names, strict=True))[part] for part in parts
    }
    for part, folder in (folders or {"train": here}).items():
        drawn.pictures[part] = [
            draw_class(draw, folder / name, elsewhere, label, drawn, CLASS_NAMES)
            for label, name in enumerate(classes)
        ]
        leave_behind(draw, folder / draw(st.sampled_from(["", classes[0]])))
        if draw(st.integers(0, 8)) == 0:
            (folder / "loose.png").write_bytes(b"")
            drawn.loose.append("loose.png")
    if drawn.ambiguous:
        (here / ("one more" if folders else "test")).mkdir()
    return classes, drawn


def sides(dataset):
    """The pixels of each class and part."""
    return {
        part: [
            {image.tobytes() for image in split.images[split.labels == label]}
            for label in range(dataset.num_classes)
        ]
        for part, split in dataset.parts.items()
    }


@given(data=st.data())
def test_a_folder_of_pictures_is_read_whole_or_refused(data):
    with tempfile.TemporaryDirectory() as name, messages() as said:
        classes, drawn = draw_folder(data.draw, Path(name))
        options = {
            "image_size": data.draw(st.sampled_from([8, [12, 5]])),
            "channels": data.draw(st.sampled_from([1, 3])),
            "resize": data.draw(st.sampled_from(["crop", "stretch"])),
            "skip_unreadable": data.draw(st.sampled_from([True, True, False])),
            "test_split": data.draw(st.sampled_from([0.2, 0.3, 0.5]) | st.floats(0.05, 0.95)),
            "validation_split": data.draw(st.sampled_from([0.0, 0.0, 0.3, 0.5])),
            "seed": data.draw(st.integers(0, 9)),
        }
        try:
            dataset = image_folder(str(Path(name, "pictures")), **ALL | options)
        except UserError as error:
            assert 1 <= len(str(error).splitlines()) <= 2
            str(error).encode()
            event("refused")
            assert (
                drawn.ambiguous
                or (drawn.unreadable and not options["skip_unreadable"])
                or any(0 in of_each for of_each in drawn.pictures.values())
                or cannot_be_cut(str(error), drawn.pictures, options)
            ), error
            return
    event("read")
    assert not drawn.ambiguous
    assert all(any(lost in line for line in said) for lost in (*drawn.unreadable, *drawn.loose))
    assert all(name.isprintable() for name in dataset.class_names)
    assert len(set(dataset.class_names)) == len(classes)
    # Every picture is there, once, in its part, and in its class.
    given = dict(drawn.pictures)
    if "test" not in given and "validation" in given:
        given["test"] = given.pop("validation")
    cut_off = {"test", "validation"} - given.keys()
    given["train"] = np.array(given["train"])
    found = {part: np.bincount(split.labels, minlength=len(classes)) for part, split in dataset.parts.items()}
    np.testing.assert_array_equal(
        found["train"] + sum(found[p] for p in cut_off if p in found), given["train"]
    )
    for part in given.keys() - {"train"}:
        np.testing.assert_array_equal(found[part], given[part])
    for split in dataset.parts.values():
        levels = split.images.mean((1, 2, 3))
        np.testing.assert_array_equal(np.rint((levels - 15 - WITHIN / 2) / BAND), split.labels)
    # Every class is on every side, and no picture on two sides of a cut.
    assert all(count > 0 for of_each in found.values() for count in of_each)
    pixels = sides(dataset)
    for part in cut_off & pixels.keys():
        assert not any(one & other for one, other in zip(pixels["train"], pixels[part], strict=True))


def cannot_be_cut(error, pictures, options):
    """Whether the refusal of a cut is right: for too few pictures, or too few that differ."""
    counts = np.array(pictures["train"])
    if "copies" in error:
        return True
    if error.startswith("data.validation_split"):
        if "test" not in pictures and "validation" not in pictures:
            counts = counts * (1 - options["test_split"]) - 1  # at most so many fewer than its share
        return counts.min() < 2 or out_of_range(counts, options["validation_split"], slack=2)
    return counts.min() < 2 or out_of_range(counts, options["test_split"])


def out_of_range(counts, fraction, slack=0):
    size, whole, classes = round(fraction * counts.sum()), counts.sum(), len(counts)
    return not classes + slack <= size <= whole - classes - slack


@contextmanager
def messages():
    """What the program logs."""
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("resnet").addHandler(handler)
    try:
        yield said
    finally:
        logging.getLogger("resnet").removeHandler(handler)
