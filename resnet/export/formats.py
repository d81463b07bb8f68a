"""How a network is written in each format."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from resnet.errors import ConfigError

if TYPE_CHECKING:
    from resnet.export.serving import Serving

OPSET = 17


class Format(NamedTuple):
    """How `write(serving, path, calibration)` writes a format, what that needs, and how near it must come."""

    file: str
    write: Callable[[Serving, Path, np.ndarray], None]
    packages: tuple[str, ...] = ()
    extra: str = ""
    exact: bool = True  # the same probabilities; else the same classes for most pictures


def check(names: Sequence[str]) -> None:
    """Raise ConfigError for none, for a format that is not known, or whose packages are missing."""
    for name in names or ["[]"]:
        if name not in FORMATS:
            raise ConfigError(f"format={name}: expected some of {', '.join(FORMATS)}")
        missing = [package for package in FORMATS[name].packages if find_spec(package) is None]
        if missing:
            extra = FORMATS[name].extra
            raise ConfigError(f"format={name} needs {', '.join(missing)}: pip install -e .[{extra}]")


def _saved_model(serving, path, calibration):
    import tensorflow as tf

    module = tf.Module()
    module.serve = serving.function
    tf.saved_model.save(module, str(path), signatures=serving.function)


def _onnx(serving, path, calibration):
    import tf2onnx

    tf2onnx.convert.from_function(
        serving.function, serving.function.input_signature, opset=OPSET, output_path=str(path)
    )


def _litert(serving, path, calibration):
    _write_litert(path, _converter(serving).convert(), serving)


def _litert_int8(serving, path, calibration):
    import tensorflow as tf

    converter = _converter(serving)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([picture[None]] for picture in calibration)
    # The pictures come as uint8 and are normalised first: what has no int8 form stays as it is.
    ops = tf.lite.OpsSet
    converter.target_spec.supported_ops = [ops.TFLITE_BUILTINS_INT8, ops.TFLITE_BUILTINS]
    _write_litert(path, converter.convert(), serving)


def _converter(serving):
    import tensorflow as tf

    module = tf.Module()
    module.serve = serving.probabilities
    functions = [serving.probabilities.get_concrete_function()]
    return tf.lite.TFLiteConverter.from_concrete_functions(functions, module)


def _write_litert(path, network, serving):
    """With the names appended as a zip file, which readers of the network do not see."""
    names = io.BytesIO()
    with zipfile.ZipFile(names, "w") as archive:
        archive.writestr("labels.txt", "\n".join(serving.class_names))
    path.write_bytes(network + names.getvalue())


FORMATS = {
    "saved_model": Format("saved_model", _saved_model),
    "onnx": Format("model.onnx", _onnx, ("onnx", "tf2onnx", "onnxruntime"), "onnx"),
    "litert": Format("model.tflite", _litert, ("ai_edge_litert",), "litert"),
    "litert_int8": Format("model_int8.tflite", _litert_int8, ("ai_edge_litert",), "litert", exact=False),
}
