"""An exported network in the runtime of its format: `python runtime.py NETWORK PICTURES.npy ANSWERS.npz`.

It needs NumPy and that runtime, and nothing of the program that exported it.
"""

import os
import sys
import time
import zipfile
from collections.abc import Callable

import numpy as np

Predict = Callable[[np.ndarray], tuple[list[str], np.ndarray]]
BATCH = 32
TURNS = 20


def load(path: str) -> Predict:
    """A function of uint8 pictures `(N, H, W, C)`: K class names, and probabilities float32 `(N, K)`."""
    if os.path.isdir(path):
        return _saved_model(path)
    return _onnx(path) if path.endswith(".onnx") else _litert(path)


def _saved_model(path):
    import tensorflow as tf

    loaded = tf.saved_model.load(path)  # which lives as long as its signature

    def predict(pictures):
        found = loaded.signatures["serving_default"](images=tf.constant(pictures))
        return [name.decode() for name in found["class_names"].numpy()], found["probabilities"].numpy()

    return predict


def _onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda pictures: session.run(["class_names", "probabilities"], {"images": pictures})


def _litert(path):
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(path).get_signature_runner()
    with zipfile.ZipFile(path) as archive:  # appended to the network
        names = archive.read("labels.txt").decode().splitlines()
    return lambda pictures: (names, run(images=pictures)["probabilities"])


def milliseconds(predict: Predict, pictures: np.ndarray) -> float:
    """The median time of a call."""
    times = []
    for _ in range(TURNS):
        started = time.perf_counter()
        predict(pictures)
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times))


def main(network: str, asked: str, answers: str) -> None:
    predict, pictures = load(network), np.load(asked)
    found = [predict(pictures[i : i + BATCH]) for i in range(0, len(pictures), BATCH)]
    np.savez(
        answers,
        class_names=np.array(found[0][0], str),
        probabilities=np.concatenate([probabilities for _, probabilities in found]),
        one=milliseconds(predict, pictures[:1]),
        batch=milliseconds(predict, pictures[:BATCH]),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
