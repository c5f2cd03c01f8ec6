"""Deep Compression's own format of a layer, and its exact size after each of its three stages.

Walk the weights; z is the number of zeros passed before a non-zero one. While z >= 2^B comes a filler, a zero with the
gap 2^B - 1 that accounts for 2^B places, and z -= 2^B; then the weight with the gap z. So both streams, levels and
gaps, have nnz + f symbols, f = sum floor(z / 2^B), and of n weights with k levels, k < 2^b, are left

    pruned       32 nnz + B (nnz + f)                                                        bits       (1)
    quantised    (b + B) (nnz + f) + 32 2^b                                                             (2)
    coded        sum of the Huffman codes of both streams + 32 k + 4 (k + 1) + 4 2^B                    (3)

where a table has a length of four bits for each symbol there could be, and a stream of equal symbols takes none.
Files use other codecs (docs/FORMAT.md), in which a filler costs no level; this one is for comparison with the paper.

Source: S. Han, H. Mao, W. Dally, 2016, arXiv 1510.00149, sections 2 to 4.
"""

from typing import NamedTuple

import numpy as np

from minisparse._core import gaps as gaps_kernel
from minisparse._core import huffman as kernel
from minisparse.codecs import bits, canonical

WIDTHS = range(1, 17)


class Layer(NamedTuple):
    """A layer as two streams.

    Attributes
    ----------
    levels : (nnz + f,) uint32; 0 is a filler, j the j-th level
    gaps : (nnz + f,) uint32 below 2^B
    codebook : (k,) float32, increasing
    """

    levels: np.ndarray
    gaps: np.ndarray
    codebook: np.ndarray


class Sizes(NamedTuple):
    """Bits after each stage, eqs. 1 to 3."""

    pruned: int
    quantised: int
    coded: int


def streams(values: np.ndarray, mask: np.ndarray, width: int) -> Layer:
    """The kept weights of a layer, values (n,) float32 where mask (n,) bool is true, with gaps of B = width bits."""
    codebook, index = np.unique(values[mask], return_inverse=True)
    symbols = gaps_kernel.to_symbols(np.flatnonzero(mask), width)
    filler = symbols == 1 << width
    levels = np.zeros(len(symbols), np.uint32)
    levels[~filler] = index + 1
    return Layer(levels, np.where(filler, np.uint32((1 << width) - 1), symbols).astype(np.uint32), codebook)


def dense(layer: Layer, count: int) -> np.ndarray:
    """The weights (count,) float32, zeros included."""
    places = np.cumsum(layer.gaps.astype(np.int64) + 1) - 1
    kept = layer.levels > 0
    values = np.zeros(count, np.float32)
    values[places[kept]] = layer.codebook[layer.levels[kept] - 1]
    return values


def sizes(layer: Layer, width: int, level_bits: int | None = None) -> Sizes:
    """Eqs. 1 to 3, b = level_bits, by default as few as the levels and zero need."""
    symbols, k = len(layer.levels), len(layer.codebook)
    nnz = int(np.count_nonzero(layer.levels))
    b = max(k.bit_length(), 1) if level_bits is None else level_bits
    if k >= 1 << b:
        raise ValueError(f"level_bits={b} cannot tell {k} levels and zero apart")
    coded = 32 * k + 4 * (k + 1) + 4 * (1 << width)
    for stream in (layer.levels, layer.gaps):
        counts = np.bincount(stream)
        coded += int(counts @ _lengths(counts)) if np.count_nonzero(counts) > 1 else 0
    return Sizes(32 * nnz + width * symbols, (b + width) * symbols + (32 << b), coded)


def choose_width(values: np.ndarray, mask: np.ndarray) -> int:
    """B with the fewest bits after the last stage, the smallest of equals."""
    return min(WIDTHS, key=lambda width: sizes(streams(values, mask, width), width).coded)


def encode(layer: Layer, width: int) -> dict[str, bytes]:
    """The parts of eq. 3, each filled up to whole bytes: codebook, tables, levels, gaps."""
    tables, parts = [], {"codebook": layer.codebook.astype("<f4").tobytes()}
    for name, alphabet in (("levels", len(layer.codebook) + 1), ("gaps", 1 << width)):
        stream = getattr(layer, name)
        lengths = _lengths(np.bincount(stream, minlength=alphabet))
        tables.append(lengths)
        parts[name] = kernel.encode(stream, lengths).tobytes() if np.count_nonzero(lengths) > 1 else b""
    return {"tables": bits.pack_fixed(np.concatenate(tables).astype(np.uint32), 4), **parts}


def decode(parts: dict[str, bytes], width: int, symbols: int) -> Layer:
    """The streams of `symbols` = nnz + f symbols each; ValueError where the parts hold others."""
    codebook = np.frombuffer(parts["codebook"], "<f4").astype(np.float32)
    tables = bits.unpack_fixed(parts["tables"], 4, len(codebook) + 1 + (1 << width)).astype(np.int64)
    lengths = {"levels": tables[: len(codebook) + 1], "gaps": tables[len(codebook) + 1 :]}
    return Layer(**{name: _stream(parts[name], lengths[name], symbols) for name in lengths}, codebook=codebook)


def _lengths(counts: np.ndarray) -> np.ndarray:
    """Code lengths of a stream; 1 for a symbol that is alone."""
    if np.count_nonzero(counts) > 1:
        return canonical.code_lengths(counts)
    return (counts > 0).astype(np.int64)


def _stream(data: bytes, lengths: np.ndarray, count: int) -> np.ndarray:
    present = np.flatnonzero(lengths)
    if len(present) > 1:
        return kernel.decode(np.frombuffer(data, np.uint8), np.array([len(data)]), lengths, count)
    if data or (count and not len(present)):
        raise ValueError(f"{len(data)} bytes cannot hold {count} symbols of {len(present)} kinds")
    return np.full(count, present[0] if count else 0, np.uint32)
