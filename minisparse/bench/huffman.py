"""Huffman coding of quantised weights, on one thread, against zlib, zstandard, constriction and dahuffman."""

import zlib

import numpy as np

from minisparse.bench.base import Benchmark, normal
from minisparse.bench.harness import Contestant, Expected, mean_ratio
from minisparse.codecs import Huffman as Codec

BITS = (4, 5, 6, 7, 8)
SYMBOLS = 1 << 20
SPREAD = 5.0
"""Levels reach this many standard deviations to either side."""


class Huffman(Benchmark):
    peer_names = ("zstandard", "constriction", "dahuffman", "threadpoolctl")
    threaded = False
    budget_s = 3.0
    notes = (
        "Normal weights rounded to 2^bits levels over 5 standard deviations to either side, as trained weights "
        "lie. ours takes and gives uint32 symbols, zlib (Huffman only, no matches) and zstandard (level 1) the same as "
        "bytes, constriction (range coder: no Huffman code, slightly shorter) int32 symbols, dahuffman a list.",
        "encode_vs_zlib, decode_vs_zlib: geometric mean over bits of zlib's time over ours; size_over_zlib: the mean "
        "of our bytes over zlib's.",
    )

    def grid(self):
        size = 1 << 12 if self.quick else SYMBOLS
        return [{"task": task, "bits": bits, "symbols": size} for task in ("encode", "decode") for bits in BITS]

    def case(self, labels):
        return "{task} {bits} bits".format(**labels)

    def contestants(self, task, bits, symbols):
        levels = symbols_of(bits, symbols)
        coders = {"ours": _ours(symbols), "zlib": ZLIB, **self._peers(levels)}
        entrants, sizes = {}, {}
        for name, (prepare, encode, decode) in coders.items():
            given = prepare(levels)
            code = encode(given)
            sizes[f"{name}_bytes"] = _nbytes(code)
            read = _bytes_to_levels if isinstance(given, bytes) else np.asarray
            # an encoder is right if its own decoder gives the symbols back
            if task == "encode":
                entrants[name] = _contestant(encode, given, levels, lambda c, d=decode, r=read: r(d(c)))
            else:
                entrants[name] = _contestant(decode, code, levels, read)
        return entrants, sizes

    def _peers(self, levels):
        coders = {}
        if zstandard := self.peers.get("zstandard"):
            press, expand = zstandard.ZstdCompressor(level=1), zstandard.ZstdDecompressor()
            coders["zstandard"] = bytes_of, press.compress, expand.decompress
        if constriction := self.peers.get("constriction"):
            coders["constriction"] = _range_coder(constriction, levels)
        if dahuffman := self.peers.get("dahuffman"):
            codec = dahuffman.HuffmanCodec.from_data(levels.tolist())
            coders["dahuffman"] = np.ndarray.tolist, codec.encode, codec.decode
        return coders

    def summary(self, rows):
        tasks = {task: [row for row in rows if row["task"] == task] for task in ("encode", "decode")}
        summary = {f"{task}_vs_zlib": mean_ratio(found, ["zlib"]) for task, found in tasks.items()}
        sizes = [row["ours_bytes"] / row["zlib_bytes"] for row in tasks["encode"]]
        return summary | {"size_over_zlib": float(np.mean(sizes))}


def symbols_of(bits: int, count: int) -> np.ndarray:
    """Normal weights as the numbers of their levels: (count,) uint32 < 2^bits."""
    step = 2 * SPREAD / 2**bits
    return np.clip(normal("weights", count) / step + 2 ** (bits - 1), 0, 2**bits - 1).astype(np.uint32)


def bytes_of(levels: np.ndarray) -> bytes:
    return levels.astype(np.uint8).tobytes()


def _zlib_encode(given: bytes) -> bytes:
    press = zlib.compressobj(strategy=zlib.Z_HUFFMAN_ONLY)
    return press.compress(given) + press.flush()


ZLIB = bytes_of, _zlib_encode, zlib.decompress


def _ours(count):
    codec = Codec()
    return np.copy, codec.encode, lambda code: codec.decode(code, count)


def _range_coder(constriction, levels):
    """One categorical model of the symbols' frequencies, which is left out of the size."""
    probabilities = (np.bincount(levels) / len(levels)).astype(np.float32)
    model = constriction.stream.model.Categorical(probabilities, perfect=False)

    def encode(given):
        coder = constriction.stream.queue.RangeEncoder()
        coder.encode(given, model)
        return coder.get_compressed()

    def decode(code):
        return constriction.stream.queue.RangeDecoder(code).decode(model, len(levels))

    return lambda symbols: symbols.astype(np.int32), encode, decode


def _contestant(call, operand, levels, read):
    return Contestant(lambda: call(operand), Expected(levels), read)


def _bytes_to_levels(text):
    return np.frombuffer(text, np.uint8)


def _nbytes(code):
    return code.nbytes if isinstance(code, np.ndarray) else len(code)
