import re
import xml.etree.ElementTree as ElementTree

import pytest

from resnet.models import architecture, resnet_v1, resnet_v2

SVG = "{http://www.w3.org/2000/svg}"


def texts(model):
    root = ElementTree.fromstring(architecture.svg(model))
    return [element.text for element in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("options", [{}, {"shortcut": "identity"}, {"survival": 0.5}])
@pytest.mark.parametrize(("family", "depth"), [(resnet_v1, 20), (resnet_v2, 29)])
def test_looped_and_unrolled_are_one_picture(family, depth, options):
    looped, unrolled = (
        family((32, 32, 3), 10, depth=depth, stage=stage, **options) for stage in ("looped", "unrolled")
    )
    assert texts(looped)[1:] == texts(unrolled)[1:]  # after the title: gates count their steps as they are


def test_stages_shapes_shortcuts_and_repeats():
    shown = texts(resnet_v1((32, 32, 3), 10, depth=20))
    assert {"resnet_v1_20: 274,442 parameters", "10 logits"} <= set(shown)
    assert [text for text in shown if text.startswith("stage")] == [f"stage {i}: 3 blocks" for i in (1, 2, 3)]
    shapes = ["32 × 32 × 3", "32 × 32 × 16", "32 × 32 × 16", "16 × 16 × 32", "8 × 8 × 64"]
    assert [text for text in shown if re.fullmatch(r"\d+ × \d+ × \d+", text)] == shapes
    assert [text for text in shown if text.startswith("× ")] == ["× 3", "× 2", "× 2"]
    assert shown.count("identity") == 3
    assert {"1×1 conv, 32, /2", "1×1 conv, 64, /2"} <= set(shown)


def test_depth_1001_needs_no_more_room_than_29():
    deep, shallow = (resnet_v2((32, 32, 3), 10, depth=depth) for depth in (1001, 29))
    assert len(texts(deep)) == len(texts(shallow))
    assert texts(deep).count("× 110") == 3
    assert texts(deep).count("1×1 conv, 128, /2") == 2  # branch of stage 3, and shortcut of stage 2


def test_the_branch_is_read_in_its_order():
    (stem, first, *_, head) = architecture.read(resnet_v2((32, 32, 3), 10, depth=29))
    (block, repeats), (equal, repeated) = first.blocks
    assert (repeats, repeated) == (1, 2)
    branch = ["1×1 conv, 16", "BN, ReLU", "3×3 conv, 16", "BN, ReLU", "1×1 conv, 64"]
    assert [op.label for op in block.branch] == branch
    assert [op.label for op in block.shortcut] == ["1×1 conv, 64"]
    assert [op.label for op in equal.branch] == ["BN, ReLU", *branch]
    assert equal.shortcut == ()
    assert [op.label for op in head.blocks[0][0].branch] == ["BN, ReLU", "global average", "dense, 10"]


def test_everything_lies_inside_the_picture():
    root = ElementTree.fromstring(architecture.svg(resnet_v2((32, 32, 3), 10, depth=29)))
    width, height = float(root.get("width")), float(root.get("height"))
    for box in root.iter(f"{SVG}rect"):
        assert float(box.get("x", 0)) + float(box.get("width")) <= width
        assert float(box.get("y", 0)) + float(box.get("height")) <= height
    for text in root.iter(f"{SVG}text"):
        assert 0 < float(text.get("x")) < width
        assert 0 < float(text.get("y")) < height
