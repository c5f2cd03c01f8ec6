"""IDX, the file format of MNIST and its successors, compressed with gzip.

    00 00 08 D      two zero bytes, the type (08: unsigned byte), the number of dimensions
    D times uint32  the dimensions, big-endian
    the values      in row-major order, nothing after them
"""

import gzip
import math
import struct
import zlib
from collections.abc import Sequence

import numpy as np

MAGIC = b"\x00\x00\x08"


def parse(content: bytes) -> np.ndarray:
    """The array in a gzipped IDX file: uint8, of the shape in its header.

    Raises
    ------
    ValueError : not gzip, truncated, not IDX of unsigned bytes, or longer or shorter than its header says.
    """
    try:
        plain = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"not a whole gzip file: {error}") from error
    if len(plain) < 4 or plain[:3] != MAGIC:
        raise ValueError(f"an IDX file of unsigned bytes starts with 00 00 08, not {plain[:3].hex(' ')}")
    start = 4 + 4 * plain[3]
    if plain[3] == 0 or len(plain) < start:
        raise ValueError(f"an IDX header of {plain[3]} dimensions in a file of {len(plain)} bytes")
    shape = struct.unpack(f">{plain[3]}I", plain[4:start])
    if len(plain) != start + math.prod(shape):
        raise ValueError(f"the IDX header says {math.prod(shape)} values {shape}, the file holds {len(plain) - start}")
    try:
        return np.frombuffer(plain, np.uint8, offset=start).reshape(shape)
    except ValueError as error:  # more dimensions than NumPy has, or too large ones beside a zero
        raise ValueError(f"IDX dimensions {shape}: {error}") from error


def encode(array: np.ndarray) -> bytes:
    """A gzipped IDX file of a uint8 array; the same bytes each time, without name or time."""
    if array.dtype != np.uint8 or not 1 <= array.ndim <= 255:
        raise ValueError(f"array must be uint8 with at least one dimension, not {array.dtype} {array.shape}")
    header = MAGIC + struct.pack(f">B{array.ndim}I", array.ndim, *array.shape)
    packed = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    plain = header + array.tobytes()
    body = packed.compress(plain) + packed.flush()
    gzip_header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    return gzip_header + body + struct.pack("<II", zlib.crc32(plain), len(plain) & 0xFFFFFFFF)


def join(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(images, labels) of one set: images (N, H, W), labels (N,)."""
    images, labels = parts
    if labels.shape != images.shape[:1]:
        raise ValueError(f"{len(images)} images but labels of shape {labels.shape}")
    return images, labels
