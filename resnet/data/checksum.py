"""CRC-32 of many pieces from that of each, so that a part of the pieces needs no reading."""

from __future__ import annotations

import numpy as np

POLYNOMIAL = 0xEDB88320  # of zlib's CRC-32, its bits reversed


def combined(crcs: np.ndarray, size: int) -> int:
    """CRC-32 of pieces of `size` bytes each, one after the other, of uint32 `crcs` `(N,)`.

    As zlib's `crc32_combine`: a CRC after more bytes is a linear map of it, a matrix over GF(2), and what
    the bytes have themselves. Neighbours are joined pair by pair.
    """
    operator = _zeros(size)
    while len(crcs) > 1:
        if len(crcs) % 2:
            crcs = np.insert(crcs, 0, 0)  # nothing at all, which has 0
        crcs = _apply(operator, crcs[::2]) ^ crcs[1::2]
        operator = _apply(operator, operator)
    return int(crcs.sum())  # of one, or none


def _zeros(size):
    """What `size` bytes of zeros make of a CRC: the images `(32,)` of its single bits."""
    power = np.array([POLYNOMIAL, *(1 << bit for bit in range(31))], np.uint32)  # of one bit
    operator = np.array([1 << bit for bit in range(32)], np.uint32)
    count = 8 * size
    while count:
        if count & 1:
            operator = _apply(power, operator)
        power, count = _apply(power, power), count >> 1
    return operator


def _apply(operator, values):
    """The linear map on uint32 `(N,)`."""
    found = np.zeros_like(values)
    for bit in range(32):
        found ^= operator[bit] * (values >> np.uint32(bit) & np.uint32(1))
    return found
