"""A network as one picture: stages as columns, equal blocks drawn once with how often they follow.

`svg` reads the graph of any functional Keras model whose layers are named as `resnet.models.names` says;
what comes before and after the stages is stem and head. A looped stage and an unrolled one give the same
picture.
"""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple
from xml.sax.saxutils import escape

import keras

from resnet.internals.keras import producer
from resnet.models import names
from resnet.models.attention import CBAM, SqueezeExcitation
from resnet.models.batch_norm import FusedBatchNormalization
from resnet.models.layers import Dropout, IdentityShortcut, Scale, Shift, SurvivalGates
from resnet.models.normalizer_free import ExpectedDeviation
from resnet.models.repeat import Repeat
from resnet.models.revnet import FirstHalf, SecondHalf, SwapHalves

ROW, GAP, BOX, HEADER, TOP = 22, 10, 132, 22, 112  # pixels
FILLS = {"conv": "#D6E8F5", "norm": "#EEEEEE", "shortcut": "#FBE3D2", "pool": "#DDF1E8", "dense": "#F5E3EE"}
BLUE, ORANGE, GREY, INK = "#0072B2", "#D55E00", "#A0A0A0", "#222222"


class Op(NamedTuple):
    label: str
    kind: str


class Block(NamedTuple):
    """`before`, then `branch` beside `shortcut` (None: there is no addition), then `after`."""

    before: tuple[Op, ...]
    branch: tuple[Op, ...]
    shortcut: tuple[Op, ...] | None
    after: tuple[Op, ...]


class Part(NamedTuple):
    """Stem, a stage or head: its blocks with their repeats, and the shape that leaves it.

    A part whose layers belong to no numbered block is a single Block that is not `numbered`.
    """

    name: str
    blocks: list[tuple[Block, int]]
    numbered: bool
    shape: tuple[int, ...]


def svg(model: keras.Model) -> str:
    """The text of an SVG file."""
    parts = read(model)
    title = f"{model.name}: {model.count_params():,} parameters"
    return _draw(parts, title, _shape(model.input.shape[1:]))


def read(model: keras.Model) -> list[Part]:
    """The Parts of a functional model, in the order of the data."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    places = [names.place(layer.name) for layer in layers]
    staged = [i for i, place in enumerate(places) if place.stage]
    stem, head = (staged[0], staged[-1] + 1) if staged else (len(layers), len(layers))
    words = ["stem" if i < stem else "head" if i >= head else place.part for i, place in enumerate(places)]
    parts = []
    for name, group in groupby(zip(words, layers, strict=True), lambda pair: pair[0]):
        members = [layer for _, layer in group]
        units = _units(members)
        parts.append(Part(name, _count(units), None not in units, tuple(members[-1].output.shape[1:])))
    return parts


def _units(layers):
    """Layers by the blocks that they belong to, a range; by None where they name none."""
    units: dict[range | None, list[keras.Layer]] = {}
    for layer in layers:
        if not isinstance(layer, SurvivalGates):
            units.setdefault(names.place(layer.name).blocks, []).append(layer)
    return units


def _count(units):
    """Blocks in their order, equal ones that follow each other counted."""
    counted: list[tuple[Block, int]] = []
    for unit in units.values():
        looped = isinstance(unit[0], Repeat)
        block, repeats = _block(unit[0].block.layers if looped else unit), unit[0].repeats if looped else 1
        if counted and counted[-1][0] == block:
            repeats += counted.pop()[1]
        counted.append((block, repeats))
    return counted


def _block(layers):
    layers = [layer for layer in layers if not isinstance(layer, keras.layers.InputLayer)]
    added = next((layer for layer in reversed(layers) if isinstance(layer, keras.layers.Add)), None)
    if added is None:
        return Block((), _ops(layers), None, ())
    paths = sorted((_path(tensor, layers) for tensor in added.input), key=len)
    shared = sum(a is b for a, b in zip(*paths, strict=False))
    used = {id(layer) for path in paths for layer in path} | {id(added)}
    return Block(
        _ops(paths[0][:shared]),
        _ops(paths[1][shared:]),
        _ops(paths[0][shared:]),
        _ops([layer for layer in layers if id(layer) not in used]),
    )


def _path(tensor, layers):
    """The layers among `layers` that lead to `tensor`, along the first input of each."""
    path = []
    while any(producer(tensor) is layer for layer in layers):
        path.append(producer(tensor))
        tensor = keras.tree.flatten(path[-1].input)[0]
    return path[::-1]


def _ops(layers):
    """What the layers do; a ReLU shares the box of the normalisation before it."""
    ops: list[Op] = []
    for layer in layers:
        op = _op(layer)
        if op and op.label == "ReLU" and ops and ops[-1].label == "BN":
            ops[-1] = Op("BN, ReLU", "norm")
        elif op:
            ops.append(op)
    return tuple(ops)


def _op(layer):
    """What one layer does; None for a padding, which belongs to the operation after it."""
    match layer:
        case keras.layers.ZeroPadding2D() | FirstHalf():
            return None
        case keras.layers.Conv2D():
            return Op(f"{_size(layer.kernel_size)} conv, {_channels(layer)}{_by(layer.strides)}", "conv")
        case keras.layers.BatchNormalization() | FusedBatchNormalization():
            return Op("BN", "norm")
        case keras.layers.ReLU():
            return Op("ReLU", "norm")
        case IdentityShortcut():
            padded = f"zero-pad to {layer.filters}" if layer.filters > layer.input.shape[-1] else "subsample"
            return Op(f"{padded}{_by((layer.strides,))}", "shortcut")
        case Scale():
            return Op("× learned factor", "norm")
        case Shift():
            return Op("+ learned number", "norm")
        case keras.layers.Subtract():
            return Op("- input", "norm")
        case SecondHalf():
            return Op("second half", "shortcut")
        case SwapHalves():
            return Op("swap halves", "shortcut")
        case ExpectedDeviation():
            return Op("/ expected deviation", "norm")
        case keras.layers.Rescaling():
            return Op(f"× {layer.scale:g}", "norm")
        case keras.layers.Activation():
            return Op({"gelu": "GELU", "silu": "SiLU"}.get(layer.activation.__name__, "activation"), "norm")
        case keras.layers.GroupNormalization():
            return Op("group norm", "norm")
        case keras.layers.LayerNormalization():
            return Op("layer norm", "norm")
        case CBAM():
            return Op("CBAM", "norm")
        case SqueezeExcitation():
            return Op("SE", "norm")
        case keras.layers.AveragePooling2D():
            return Op(f"{_size(layer.pool_size)} average{_by(layer.strides)}", "pool")
        case keras.layers.Concatenate():
            return Op("append to input", "shortcut")
        case keras.layers.Multiply():
            return Op("× gate", "norm")
        case keras.layers.MaxPooling2D():
            return Op(f"{_size(layer.pool_size)} max pool{_by(layer.strides)}", "pool")
        case keras.layers.GlobalAveragePooling2D():
            return Op("global average", "pool")
        case keras.layers.Dense():
            return Op(f"dense, {layer.units:,}", "dense")
        case Dropout() | keras.layers.Dropout():
            return Op(f"dropout {layer.rate:g}", "norm")
    return Op(type(layer).__name__, "norm")


def _size(size):
    return "×".join(map(str, size))


def _channels(layer):
    """As in ResNeXt's names, 32×4 for 32 groups of 4."""
    return f"{layer.groups}×{layer.filters // layer.groups}" if layer.groups > 1 else layer.filters


def _by(strides):
    return f", /{strides[0]}" if strides[0] > 1 else ""


def _shape(shape):
    return " × ".join(f"{size:,}" if size else "?" for size in shape)


class _Canvas:
    """SVG elements in the order they are painted."""

    def __init__(self):
        self.elements = []

    def box(self, x, y, width, height, fill, stroke="none", radius=4):
        self.elements.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius}" '
            f'fill="{fill}" stroke="{stroke}"/>'
        )

    def circle(self, x, y, radius, text):
        self.elements.append(f'<circle cx="{x:g}" cy="{y:g}" r="{radius}" fill="white" stroke="{INK}"/>')
        self.text(x, y + 5, text, 15)

    def text(self, x, y, text, size=12, weight="normal", anchor="middle", colour=INK):
        self.elements.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" '
            f'text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
        )

    def line(self, *points, colour=INK, width=1.2, arrow=True):
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        head = ' marker-end="url(#arrow)"' if arrow else ""
        self.elements.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{head}/>'
        )

    def svg(self, width, height, title):
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
                f'viewBox="0 0 {width:g} {height:g}" font-family="Helvetica, Arial, sans-serif">',
                f"<title>{escape(title)}</title>",
                '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
                'markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="context-stroke"/>'
                "</marker></defs>",
                f'<rect width="{width:g}" height="{height:g}" fill="white"/>',
                *self.elements,
                "</svg>\n",
            ]
        )


def _draw(parts, title, shape):
    """Parts from left to right; the data go down each, along a rail below and up to the next."""
    canvas = _Canvas()
    canvas.text(2 * GAP, 32, title, 18, "bold", "start")
    bottoms = [TOP + GAP + sum(_height(block, part) for block, _ in part.blocks) for part in parts]
    rail, above, x = max(bottoms), TOP - 32, 2 * GAP
    for part in parts:
        centre, width = x + BOX / 2 + GAP, BOX + 2 * GAP + (BOX + GAP) * part.numbered
        after = x + width + 2 * GAP
        _draw_heading(canvas, part, x)
        canvas.line((x, above), (centre, above), (centre, TOP), colour=BLUE)
        canvas.text(centre + 8, TOP - 12, shape, 11, anchor="start", colour=BLUE)
        shape = _shape(part.shape)
        if part is parts[-1]:
            canvas.line((centre, TOP), (centre, bottoms[-1]), colour=BLUE)
            canvas.text(centre, bottoms[-1] + 14, f"{shape} logits", 11, colour=BLUE)
        else:
            corners = (centre, rail), (after - GAP, rail), (after - GAP, above), (after, above)
            canvas.line((centre, TOP), *corners, colour=BLUE, arrow=False)
        _draw_blocks(canvas, part, x, width)
        x = after
    return canvas.svg(x, rail + 24, title)


def _draw_heading(canvas, part, x):
    blocks = sum(repeats for _, repeats in part.blocks)
    name = part.name.replace("stage", "stage ")
    heading = f"{name}: {blocks} block{'s' if blocks > 1 else ''}" if part.numbered else name
    canvas.text(x + GAP, TOP - 44, heading, 14, "bold", "start")


def _height(block, part):
    """Pixels that a block takes, with the gap after it."""
    rows = len(block.before) + len(block.branch) + len(block.after) + (block.shortcut is not None)
    return rows * (ROW + GAP) + GAP + (HEADER + GAP if part.numbered else 0)


def _draw_blocks(canvas, part, x, width):
    y, first = TOP + GAP, 1
    for block, repeats in part.blocks:
        if part.numbered:
            _draw_frame(canvas, x, y, width, _height(block, part) - GAP, first, repeats)
        _draw_block(canvas, block, x + GAP, y + (HEADER + GAP if part.numbered else 0))
        y, first = y + _height(block, part), first + repeats


def _draw_frame(canvas, x, y, width, height, first, repeats):
    canvas.box(x, y, width, height, "none", INK if repeats > 1 else GREY, 8)
    if repeats > 1:
        canvas.text(x + width - 8, y + 19, f"× {repeats}", 16, "bold", "end", ORANGE)
    name = f"block {first}" if repeats == 1 else f"blocks {first}–{first + repeats - 1}"
    canvas.text(x + BOX / 2 + 2 * GAP, y + 17, name, 11, anchor="start")


def _draw_block(canvas, block, x, y):
    y = _draw_ops(canvas, block.before, x, y)
    fork, y = y - GAP / 2, _draw_ops(canvas, block.branch, x, y)
    if block.shortcut is not None:
        _draw_shortcut(canvas, block.shortcut, x + BOX / 2, fork, y + ROW / 2)
        y += ROW + GAP
    _draw_ops(canvas, block.after, x, y)


def _draw_ops(canvas, ops, x, y):
    """Boxes from y down; gives the y of the next."""
    for op in ops:
        canvas.box(x, y, BOX, ROW, FILLS[op.kind], GREY)
        canvas.text(x + BOX / 2, y + 15, op.label)
        y += ROW + GAP
    return y


def _draw_shortcut(canvas, ops, centre, fork, end):
    """The way around the branch, from `fork` to the addition at `end`."""
    lane = centre + BOX + GAP
    canvas.line((centre, fork), (lane, fork), (lane, end), (centre + 10, end), colour=ORANGE, width=2)
    top = (fork + end - len(ops) * (ROW + GAP) + GAP) / 2
    _draw_ops(canvas, ops, lane - BOX / 2, top)
    if not ops:
        canvas.text(lane + 6, (fork + end) / 2, "identity", 11, anchor="start", colour=ORANGE)
    canvas.circle(centre, end, 9, "+")
