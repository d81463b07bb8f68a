"""Read pickles that hold arrays, lists, dicts, strings and numbers, and nothing else."""

import pickle

from resnet.errors import UserError

# What NumPy arrays are pickled by. These build arrays of plain types; no other name is looked up.
ADMITTED = {
    (f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")
} | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}


class _SafeUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not an array")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def load(path):
    """The object in the pickle at `path`, with Python 2's strings as bytes.

    Raises UserError for a file that cannot be read, or that asks for any other class or function.
    """
    try:
        with path.open("rb") as file:
            return _SafeUnpickler(file, encoding="bytes").load()
    except Exception as error:  # a hostile pickle can raise anything
        raise UserError(f"{path}: not a readable CIFAR batch: {error}") from error
