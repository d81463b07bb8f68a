import struct

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from resnet.data.picture import has_heif, read_picture

LOW, HIGH = 10, 250


def tiff(path, data, bits, *, sample_format=1, photometric=1, order="<", size=(8, 8), **tags):
    """A grey TIFF of one strip, byte by byte as TIFF 6.0 has it; tags are written as `t281=4095`."""
    kinds = {int: (4, "I"), float: (11, "f")}
    fixed = {256: size[0], 257: size[1], 258: bits, 259: 1, 262: photometric, 273: 0, 277: 1, 278: size[1]}
    fixed |= {279: len(data), 339: sample_format} | {int(name[1:]): value for name, value in tags.items()}
    fixed[273] = 8 + 2 + 12 * len(fixed) + 4
    mark = b"II*\0" if order == "<" else b"MM\0*"
    written = mark + struct.pack(f"{order}IH", 8, len(fixed))
    for tag, value in sorted(fixed.items()):
        kind, code = kinds[type(value)]
        written += struct.pack(f"{order}HHI{code}", tag, kind, 1, value)
    path.write_bytes(written + bytes(4) + data)
    return path


def ramp(kind, order="<"):
    """8 x 8 levels from 0 to 63, as bytes of this type."""
    return np.arange(64).astype(np.dtype(kind).newbyteorder(order)).tobytes()


@pytest.fixture
def doubts():
    return []


@pytest.fixture
def read(doubts):
    return lambda path: read_picture(path, 8, 1, "crop", lambda _, text: doubts.append(text))[..., 0]


def flat(level, kind):
    return np.full((8, 8), level, kind)


@pytest.mark.parametrize(
    ("pixels", "level"),
    [
        (flat(30_000, np.uint16), 117),  # 30,000 / 65,535 x 255 = 116.7
        (flat(65_535, np.uint16), 255),
        (flat(0.8, np.float32), 204),
        (flat(1.0, np.float32), 255),
        (flat(2**31 - 1, np.int32), 255),
        (flat(200, np.uint8), 200),
        (flat(0, np.uint16), 0),
    ],
)
def test_levels_by_the_range_of_their_type(pixels, level, tmp_path, read, doubts):
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), level)
    assert doubts == []


@pytest.mark.parametrize("level", [200, 4095])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_few_bits_in_many_are_doubted(level, suffix, tmp_path, read, doubts):
    Image.fromarray(flat(level, np.uint16)).save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(read(tmp_path / f"a.{suffix}"), round(level / 257))
    assert len(doubts) == 1
    assert doubts[0].startswith("16 bits per value, none above a sixteenth")


def test_few_bits_in_colours_of_many_are_doubted(tmp_path, read, doubts):
    for level, expected in ((200, 0), (30_000, 117)):
        data = np.full((8, 8, 3), level, "<u2").tobytes()
        # Of several values per pixel: where the bits of each stand, then the pixels.
        entries = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 3, 134), (259, 3, 1, 1), (262, 3, 1, 2)]
        entries += [(273, 4, 1, 140), (277, 3, 1, 3), (278, 3, 1, 8), (279, 4, 1, len(data)), (284, 3, 1, 1)]
        head = b"II*\0" + struct.pack("<IH", 8, 10) + b"".join(struct.pack("<HHII", *e) for e in entries)
        (tmp_path / "a.tif").write_bytes(head + bytes(4) + struct.pack("<HHH", 16, 16, 16) + data)
        np.testing.assert_array_equal(read(tmp_path / "a.tif"), expected)
    assert [text[:7] for text in doubts] == ["16 bits"]


@pytest.mark.parametrize(
    ("kind", "bits", "sample_format", "tags", "white"),
    [
        ("u2", 16, 1, {"t281": 63}, 63),
        ("u2", 16, 1, {"t281": 4095}, 4095),
        ("u2", 16, 1, {"t340": 0.0, "t341": 126.0}, 126),
        ("i2", 16, 2, {"t281": 255}, 255),
        ("u4", 32, 1, {"t281": 100}, 100),
        ("i4", 32, 2, {"t281": 63}, 63),
        ("f4", 32, 3, {"t281": 255}, 255),
        ("f4", 32, 3, {"t340": 0.0, "t341": 65535.0}, 65535),
    ],
)
def test_the_files_own_range_comes_first(kind, bits, sample_format, tags, white, tmp_path, read, doubts):
    path = tiff(tmp_path / "a.tif", ramp(kind), bits, sample_format=sample_format, **tags)
    np.testing.assert_array_equal(read(path), np.rint(np.arange(64) * 255 / white).reshape(8, 8))
    assert doubts == []


def test_negative_values_have_a_place_in_a_range_of_tags(tmp_path, read):
    values = (np.arange(64) - 32).astype("<i2").tobytes()
    path = tiff(tmp_path / "a.tif", values, 16, sample_format=2, t340=-32.0, t341=31.0)
    np.testing.assert_array_equal(read(path), np.rint(np.arange(64) * 255 / 63).reshape(8, 8))


def test_tags_that_do_not_hold_the_content_are_not_used(tmp_path, read, doubts):
    path = tiff(tmp_path / "a.tif", (1000 * np.arange(64)).astype("<u2").tobytes(), 16, t281=255)
    np.testing.assert_array_equal(read(path), np.rint(1000 * np.arange(64) / 257).reshape(8, 8))
    assert len(doubts) == 1
    assert "tags" in doubts[0]


def test_twelve_bits_are_a_range(tmp_path, read, doubts):
    values = 65 * np.arange(64)  # to 4,095
    first, second = values[::2], values[1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1).astype(np.uint8)
    path = tiff(tmp_path / "a.tif", packed.tobytes(), 12)
    np.testing.assert_array_equal(read(path), np.rint(values * 255 / 4095).reshape(8, 8))
    assert doubts == []


@pytest.mark.parametrize(
    ("kind", "bits", "sample_format", "scale"),
    [("u1", 8, 1, 4), ("u2", 16, 1, 1040), ("f4", 32, 3, 1 / 63)],
)
def test_where_white_is_zero_the_levels_turn_round(kind, bits, sample_format, scale, tmp_path, read):
    values = (scale * np.arange(64)).astype(f"<{kind}").tobytes()
    black, white = (
        read(tiff(tmp_path / f"{p}.tif", values, bits, sample_format=sample_format, photometric=p))
        for p in (1, 0)
    )
    assert black[-1, -1] > 240
    np.testing.assert_allclose(white.astype(int), 255 - black.astype(int), atol=1)


def test_unsigned_32_bits_reach_their_end(tmp_path, read):
    for level, expected in ((2**32 - 1, 255), (3_000_000_000, 178)):
        path = tiff(tmp_path / "a.tif", flat(level, "<u4").tobytes(), 32)
        np.testing.assert_array_equal(read(path), expected)


def test_big_endian_levels(tmp_path, read):
    values = (1040 * np.arange(64)).astype(">u2").tobytes()
    path = tiff(tmp_path / "a.tif", values, 16, order=">")
    np.testing.assert_array_equal(read(path), np.rint(1040 * np.arange(64) / 257).reshape(8, 8))


def test_a_grey_map_of_any_largest_value(tmp_path, read, doubts):
    for white in (1023, 65_535):
        (tmp_path / "a.pgm").write_bytes(b"P5 8 8 %d\n" % white + flat(white // 2, ">u2").tobytes())
        np.testing.assert_allclose(read(tmp_path / "a.pgm"), 127, atol=1)
    assert doubts == []


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (flat(np.nan, np.float32), "NaN"),
        (flat(np.inf, np.float32), "infinity"),
        (flat(-np.inf, np.float32), "infinity"),
        (flat(65_535, np.float32), "floats from 65535 to 65535; expected 0 to 1"),
        (flat(-0.5, np.float32), "floats from -0.5"),
        (flat(-5, np.int32), "negative integers"),
    ],
)
def test_what_has_no_range_is_refused(pixels, words, tmp_path, read):
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=words):
        read(tmp_path / "a.tif")


def test_transparency_of_sixteen_bits_is_white(tmp_path, read):
    pixels = flat(30_000, np.uint16)
    pixels[0] = 7
    Image.fromarray(pixels).save(tmp_path / "a.png", transparency=7)
    np.testing.assert_array_equal(read(tmp_path / "a.png")[:, 0], [255, *[117] * 7])


def test_pictures_lie_as_their_camera_says(tmp_path, read):
    """Eight ways to lie, each of which brings the first row of the scene to where TIFF 6.0 says."""
    scene = np.full((8, 8), LOW, np.uint8)
    scene[0] = HIGH
    scene[0, 0] = LOW  # a corner, which tells a mirrored scene
    stored = {
        1: scene,
        2: scene[:, ::-1],
        3: scene[::-1, ::-1],
        4: scene[::-1],
        5: scene.T,
        6: np.rot90(scene),
        7: scene[::-1, ::-1].T,
        8: np.rot90(scene, -1),
    }
    for orientation, pixels in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        for suffix in ("png", "tif"):
            Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / f"a.{suffix}", exif=exif)
            np.testing.assert_array_equal(read(tmp_path / f"a.{suffix}"), scene, str(orientation))


@pytest.fixture
def dawn():
    """Lighter from row to row."""
    return np.repeat(np.linspace(0, 255, 8).astype(np.uint8)[:, None], 8, 1)


def test_a_picture_is_turned_though_its_exif_cannot_be_written_anew(dawn, tmp_path, read, doubts):
    upside_down = struct.pack("<HHII", 0x0112, 3, 1, 3)
    text_for_a_fraction = struct.pack("<HHI4s", 0x011A, 2, 4, b"abc")
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + upside_down + text_for_a_fraction + bytes(4)
    path = tmp_path / "a.png"
    Image.fromarray(dawn[::-1]).save(path, exif=exif)
    with Image.open(path) as picture, pytest.raises(TypeError):
        ImageOps.exif_transpose(picture)
    np.testing.assert_array_equal(read(path), dawn)
    assert doubts == []


def test_a_picture_whose_exif_cannot_be_read_is_taken_as_it_lies(dawn, tmp_path, read, doubts):
    text = PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n  4\nno hexadecimals\n")
    Image.fromarray(dawn).save(tmp_path / "a.png", pnginfo=text)
    np.testing.assert_array_equal(read(tmp_path / "a.png"), dawn)
    assert len(doubts) == 1
    assert "EXIF" in doubts[0]


def test_the_first_of_several_frames(tmp_path, read):
    frames = [Image.fromarray(flat(level, np.uint8)) for level in (50, 200)]
    for suffix in ("gif", "tif", "webp", "png"):
        path = tmp_path / f"a.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        assert np.abs(read(path).astype(int) - 50).max() < 3


@pytest.mark.skipif(has_heif, reason="it can be read here")
def test_heic_names_what_reads_it(tmp_path, read):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(ValueError, match="pip install pillow-heif"):
        read(tmp_path / "a.heic")


def test_heic_is_read_where_pillow_heif_is_installed(tmp_path, read):
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.fromarray(np.full((64, 64, 3), 100, np.uint8))).save(tmp_path / "a.heic")
    np.testing.assert_allclose(read(tmp_path / "a.heic"), 100, atol=3)
