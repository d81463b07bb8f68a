"""What a person who gets a network should know of it, drawn from the record of its run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from scipy.stats import binomtest

from resnet.data.picture import MODES
from resnet.export.runtime import BATCH
from resnet.run.directory import RunDirectory, flat
from resnet.run.trained import Trained

if TYPE_CHECKING:
    from resnet.export.shipping import Shipped

# What `data.picture.read_picture` does with 8 bits a channel.
PICTURE = """\
picture = Image.open("picture.png")  # of 8 bits a channel
picture.draft("{mode}", ({large}, {large}))  # of a JPEG no more than is needed
picture = ImageOps.exif_transpose(picture)
if picture.has_transparency_data:
    picture = picture.convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
picture = {resized}
picture = np.asarray(picture).reshape(1, {height}, {width}, {channels})
"""
RESIZED = {
    "crop": 'ImageOps.fit(picture.convert("{mode}"), ({width}, {height}), Image.Resampling.BICUBIC{bleed})',
    "stretch": 'picture.convert("{mode}").resize(({width}, {height}), Image.Resampling.BICUBIC)',
}
USE = {
    "saved_model": """\
import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

{picture}network = tf.saved_model.load("saved_model")
serve = network.signatures["serving_default"]
found = serve(images=tf.constant(picture))
names, probabilities = found["class_names"].numpy(), found["probabilities"].numpy()
print(names[probabilities[0].argmax()].decode(), probabilities.max())
""",
    "onnx": """\
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

{picture}network = onnxruntime.InferenceSession("model.onnx")
names, probabilities = network.run(["class_names", "probabilities"], {{"images": picture}})
print(names[probabilities[0].argmax()], probabilities.max())
""",
    "litert": """\
import zipfile
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

{picture}network = Interpreter("model.tflite").get_signature_runner()
names = zipfile.ZipFile("model.tflite").read("labels.txt").decode().splitlines()
probabilities = network(images=picture)["probabilities"]
print(names[probabilities[0].argmax()], probabilities.max())
""",
}
LIMITS = """\
- Whatever a picture shows, it is given one of these {classes} names.
- The accuracy holds for pictures like those of the test, and for no others.
- A probability is the network's own word; `explain.py what=calibration` says how far it can be believed."""


def card(run: RunDirectory, network: Trained, shipped: Sequence[Shipped], tried: int) -> str:
    """The model card, Markdown, of a network in these formats, which were tried on so many pictures."""
    names = network.class_names
    height, width, channels = network.image_shape
    sections = [
        f"# {network.model.name}",
        f"Tells {len(names)} kinds of pictures apart: {', '.join(names)}.",
        f"Pictures are uint8 `(N, {height}, {width}, {channels})`, from 0 to 255, any number at a time; what "
        "normalises them is inside. Out come `class_names` and each picture's `probabilities` in order.",
        "## Files",
        table(shipped),
        f"Each was loaded in its own runtime and compared with the network on {tried:,} test pictures, "
        "of which this is the accuracy. Milliseconds are medians on the machine that wrote this.",
        "## How good it is",
        _accuracy(run),
        "## Data and recipe",
        *_recipe(run),
        "## Limits",
        LIMITS.format(classes=len(names)),
        "## Use",
        *(f"```python\n{script}```" for script in _scripts(run, network, shipped)),
        "## Written by",
        f"    python export.py run={run} format='[{','.join(s.format for s in shipped)}]'",
    ]
    return "\n\n".join(sections) + "\n"


def code(name: str, shape: Sequence[int], data: Mapping[str, Any] = MappingProxyType({})) -> str:
    """A script that asks a network of this format what `picture.png` shows.

    It reads the picture as `trained.read_image` does by a run's node `data`.
    """
    height, width, channels = shape
    share = data.get("test_crop", 1.0)
    values = {
        "mode": MODES[channels],
        "height": height,
        "width": width,
        "channels": channels,
        "large": 2 * round(max(height, width) / share),
        "bleed": f", bleed={(1 - share) / 2}" if share < 1 else "",
    }
    resized = RESIZED[data.get("resize", "crop")].format(**values)
    return USE[name].format(picture=PICTURE.format(resized=resized, **values))


def table(shipped: Sequence[Shipped]) -> str:
    """Formats with their sizes and times, Markdown."""
    head = ("file", "MB", "accuracy", "probabilities apart, at most", "ms a picture", f"ms for {BATCH}")
    rows = [
        (
            f"`{s.file}`",
            f"{s.bytes / 1e6:,.2f}",
            f"{s.accuracy:.2%}",
            f"{s.apart:.1g}",
            f"{s.one:.2f}",
            f"{s.batch:.1f}",
        )
        for s in shipped
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ("---", *["--:"] * 5), *rows))


def _scripts(run, network, shipped):
    """One for each format that has one; none where no picture has the network's channels."""
    if network.image_shape[-1] in MODES:
        data = run.config().get("data", {})
        yield from (code(s.format, network.image_shape, data) for s in shipped if s.format in USE)


def _accuracy(run):
    result, count = run.result(), len(run.parts()["test"])
    accuracy = result["test"]["accuracy"]
    interval = binomtest(round(accuracy * count), count).proportion_ci(method="wilson")
    return (
        f"Accuracy {accuracy:.2%} on {count:,} test pictures, 95% interval {interval.low:.2%} to "
        f"{interval.high:.2%} (Wilson); they were looked at {result['test_looks']} times."
    )


def _recipe(run):
    """Paragraphs on what it was trained on and how."""
    result, data = run.result(), flat(run.config().get("data", {}))
    told = [f"- data.{name}: `{value}`" for name, value in data.items() if value is not None]
    told += [f"- told: `{override}`" for override in run.overrides() or []]
    yield "\n".join(told) or "It was trained from a program, which records neither."
    yield (
        f"{result['epochs']} epochs, {result['steps']:,} steps, final weights `{result['final_weights']}`, "
        f"trained in {result['precision']}, seed {result['seed']}, commit {result['git_commit']}."
    )
