"""Read pickles that hold a dict of lists, strings, numbers and plain arrays, and nothing else.

Admitting only NumPy's own functions would not do: they trust the flags and sizes that a file gives.
So no function is called, and arrays are built here from their bytes.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from resnet.errors import UserError
from resnet.internals.pickle import Unpickler

ADMITTED = """
    PROTO FRAME STOP MARK EMPTY_DICT SETITEM SETITEMS EMPTY_LIST LIST APPEND APPENDS
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET
    NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8
    UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 GLOBAL STACK_GLOBAL REDUCE BUILD
"""
TYPES = {"b1", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"}


def load(path: Path) -> dict[Any, Any]:
    """The dict in the pickle at `path`, with Python 2's strings as bytes; arrays cannot be written to.

    Raises UserError for a file that cannot be read, or that asks for anything else.
    """
    try:
        with path.open("rb") as file:
            found = _Unpickler(file, encoding="bytes").load()
        if not isinstance(found, dict):
            raise pickle.UnpicklingError(f"expected a dict, found {type(found).__name__}")
        return {key: value.array if isinstance(value, _Array) else value for key, value in found.items()}
    except Exception as error:  # a hostile pickle can raise anything
        raise UserError(f"{path}: not a readable CIFAR batch: {error}; unpack the archive again") from error


class _Type:
    """Stands for a numpy.dtype."""

    def __init__(self, code, *_):
        if _text(code) not in TYPES:
            raise pickle.UnpicklingError(f"an array of {code} is not a plain one")
        self.dtype = np.dtype(_text(code))

    def set(self, version, order, *_):
        self.dtype = self.dtype.newbyteorder(_text(order))


class _Array:
    """Stands for a numpy.ndarray."""

    def __init__(self, *_):
        self.array = None

    def set(self, version, shape, kind, column_major, content):
        flat = np.frombuffer(content, kind.dtype)
        self.array = flat.reshape(shape, order="F" if column_major else "C")


class _Dict(dict):
    """Hashes no key but a string: nested tuples take for ever."""

    def __setitem__(self, key, value):
        if not isinstance(key, str | bytes):
            raise pickle.UnpicklingError(f"a key is a {type(key).__name__}")
        super().__setitem__(key, value)


def _encode(text, encoding):
    """How Python 3 writes bytes in Python 2's protocols."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes are written in latin1, not {encoding}")
    return text.encode("latin1")


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): None,  # an argument only
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(Unpickler):
    append: Callable[[Any], None]  # both made by `load`, which then runs what is dispatched
    stack: list[Any]

    dispatch: ClassVar[dict[int, Callable]] = {
        ord(opcode.code): Unpickler.dispatch[ord(opcode.code)]
        for opcode in pickletools.opcodes
        if opcode.name in ADMITTED.split()
    }

    def find_class(self, module, name):
        if (module, name) not in STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not an array")
        return STAND_INS[module, name]

    def load_empty_dictionary(self):
        self.append(_Dict())

    def load_build(self):
        state = self.stack.pop()
        self.stack[-1].set(*state)

    dispatch[pickle.EMPTY_DICT[0]] = load_empty_dictionary
    dispatch[pickle.BUILD[0]] = load_build
