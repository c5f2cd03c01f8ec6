"""Bits into bytes and back, each at the cost of its probability: the coder below arithmetic_ref.py.

A bit comes with the numbers n0 and n1 of zeros and ones that its context has seen; a one has the probability
(n1 + 1/2) / (n0 + n1 + 1).

The interval [low, low + range) starts as [0, 2^64 - 1). A zero takes its first range // (2 n0 + 2 n1 + 2) * (2 n0 + 1)
numbers, a one the others. While range < 2^56 the top byte of low goes out and both grow by eight bits; a carry out of
low goes into the bytes before. At the end comes the top byte of low, rounded up to a multiple of 2^56, and all zeros
at the end of the data are dropped: a reader finds zeros there.

Source: Rissanen and Langdon (1979), arithmetic coding; carries as in Schindler's range coder.
"""

import numpy as np

TOP, BYTE = (1 << 64) - 1, 1 << 56


def _split(interval: int, counts: list[int]) -> int:
    """How many numbers of the interval mean zero."""
    return interval // (2 * sum(counts) + 2) * (2 * counts[0] + 1)


class Encoder:
    """Bits on their way into bytes."""

    def __init__(self):
        self.low, self.range, self.data = 0, TOP, bytearray()

    def put(self, bit: int, counts: list[int]) -> None:
        split = _split(self.range, counts)
        counts[bit] += 1
        if not bit:
            self.range = split
        else:
            self.range -= split
            self._raise(split)
        while self.range < BYTE:
            self._shift()
            self.range <<= 8

    def finish(self) -> np.ndarray:
        self._raise(-self.low % BYTE)
        self._shift()
        return np.frombuffer(bytes(self.data).rstrip(b"\0"), np.uint8).copy()

    def _raise(self, step: int) -> None:
        """low += step, the carry into the bytes that have gone out: they are not all 255, as low < 1 on the whole."""
        self.low += step
        if self.low > TOP:
            self.low -= TOP + 1
            place = len(self.data) - 1
            while self.data[place] == 255:
                self.data[place] = 0
                place -= 1
            self.data[place] += 1

    def _shift(self) -> None:
        self.data.append(self.low >> 56)
        self.low = self.low << 8 & TOP


class Decoder:
    """Bits out of bytes; `code` is the data's number minus low."""

    def __init__(self, data: np.ndarray):
        self.array, self.data, self.position = data, data.tobytes(), 8
        self.code, self.range = int.from_bytes(self.data[:8].ljust(8, b"\0")), TOP
        check_start(self.code)

    def take(self, counts: list[int]) -> int:
        split = _split(self.range, counts)
        bit = int(self.code >= split)
        counts[bit] += 1
        if not bit:
            self.range = split
        else:
            self.range -= split
            self.code -= split
        while self.range < BYTE:
            following = self.data[self.position] if self.position < len(self.data) else 0
            self.code, self.range = self.code << 8 | following, self.range << 8
            self.position += 1
        return bit

    def finish(self) -> None:
        check_end(self.code, self.position, self.array)


def check_start(code: int) -> None:
    """ValueError unless the data's number lies below low + range at the start."""
    if code >= TOP:
        raise ValueError("data start with eight bytes of 255, as no coded bits do")


def check_end(code: int, position: int, data: np.ndarray) -> None:
    """ValueError unless the data are exactly what the encoder ends with.

    Its number is low rounded up to a multiple of 2^56: less than that above low, and zeros from the second of the
    eight bytes before `position` on, none of which is stored.
    """
    if code >= BYTE or len(data) > position - 7 or (len(data) and data[-1] == 0):
        raise ValueError("data go on after the last bit, or end otherwise than an encoder ends")
