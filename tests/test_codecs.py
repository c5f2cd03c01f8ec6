"""decode(encode(x)) is x to the bit, for every codec and whatever x is."""

import random

import numpy as np
import pytest

from minisparse.codecs import Adaptive, Arithmetic, Bitmap, Bitpack, Codebook, Gaps, Huffman, Multiples, Raw, Split
from minisparse.codecs.canonical import code_lengths
from minisparse.codecs.codebook import CODERS
from minisparse.codecs.raw import DTYPES

ODD = np.array(
    [0x80000000, 0, 0x7FC00000, 0x7FC00001, 0xFFC12345, 0x7F800001, 0x7F800000, 0xFF800000, 1, 0x807FFFFF, 0x7F7FFFFF],
    np.uint32,
)
"""Signed zeros, NaNs with payloads, quiet and signalling, infinities, the smallest and largest numbers."""
CODECS = ["raw", "bitpack", "bitmap", "gaps", "adaptive", "huffman", "arithmetic", "codebook", "split", "multiples"]


def symbols(rng, limit):
    """uint32 symbols below `limit`: none, one kind, few, all, Fibonacci counts, skewed, uniform."""
    generator, count = np.random.default_rng(rng.getrandbits(64)), rng.choice([0, 1, 2, 3, 17, 200])
    kind = rng.randrange(5)
    if kind == 0:
        vector = np.full(count, generator.integers(0, limit))
    elif kind == 1:
        vector = generator.integers(0, limit, count)
    elif kind == 2:
        vector = np.minimum(generator.geometric(rng.choice([0.02, 0.3, 0.9]), count) - 1, limit - 1)
    elif kind == 3:
        vector = np.repeat(np.arange(12), [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144])[:count] % limit
    else:
        vector = generator.choice(np.array([0, limit - 1, limit // 2]), count)
    return vector.astype(np.uint32)


def floats(rng):
    generator, count = np.random.default_rng(rng.getrandbits(64)), rng.choice([0, 1, 2, 9, 120])
    words = [
        generator.choice(ODD, count),
        generator.integers(0, 2**32, count, np.uint32),
        generator.normal(size=count).astype(np.float32).view(np.uint32),
        generator.choice(generator.normal(size=15).astype(np.float32).view(np.uint32), count),
        np.full(count, rng.choice(ODD.tolist()), np.uint32),
    ]
    return rng.choice(words).view(np.float32)


def multiples(rng):
    """Of a step between the smallest number and 2^100, not all 0."""
    generator, most = np.random.default_rng(rng.getrandbits(64)), rng.choice([1, 3, 16, 255, 32_767])
    step = np.float32(generator.uniform(0.5, 1)) * np.float32(2.0) ** np.float32(rng.choice([-148, -120, -4, 0, 100]))
    k = generator.integers(-most, most + 1, rng.choice([0, 1, 9, 120]))
    return np.append(k, rng.choice([1, -1])).astype(np.float32) * step


def masks(rng):
    generator, count = np.random.default_rng(rng.getrandbits(64)), rng.choice([0, 1, 8, 50, 333])
    columns = np.arange(count) % 7 == 3
    return rng.choice([generator.random(count) < rng.choice([0, 0.02, 0.3, 0.9, 1]), columns, ~columns])


def case(name, rng):
    """A codec of this name and a vector for it."""
    if name == "raw":
        values = floats(rng)
        return rng.choice([(Raw(), values), (Raw(rng.choice(DTYPES)), None)]) if len(values) else (Raw(), values)
    if name == "bitpack":
        width = rng.randint(1, 16)
        return Bitpack(width), symbols(rng, 2**width)
    if name in ("bitmap", "gaps", "adaptive"):
        codec = {"bitmap": Bitmap(), "gaps": Gaps(rng.randint(1, 16)), "adaptive": Adaptive(rng.randint(1, 60))}[name]
        return codec, masks(rng)
    if name == "huffman":
        return Huffman(), symbols(rng, rng.choice([2, 16, 300, 2**32]))
    if name == "arithmetic":
        order = rng.randrange(2)
        return Arithmetic(order), symbols(rng, rng.choice([2, 16, 256, 256 if order else 65_536]))
    if name == "multiples":
        return Multiples(), multiples(rng)
    return (Codebook(rng.choice(list(CODERS))) if name == "codebook" else Split()), floats(rng)


def check(codec, vector):
    data = codec.encode(vector)
    decoded = codec.decode(data, len(vector))
    assert decoded.dtype == vector.dtype and decoded.tobytes() == vector.tobytes(), (codec, vector)


@pytest.mark.parametrize("number", [5000, pytest.param(1_000_000, marks=pytest.mark.deep)])
def test_random_vectors_come_back_to_the_bit(number):
    rng = random.Random(number)
    for i in range(number):
        codec, vector = case(CODECS[i % len(CODECS)], rng)
        if vector is None:
            size = np.dtype(codec.dtype).itemsize
            vector = np.frombuffer(rng.randbytes(size * rng.randrange(9)), codec.dtype)
        check(codec, vector)


@pytest.mark.parametrize("codec", [Huffman(), Arithmetic()])
@pytest.mark.parametrize("count", [65_536, 200_000])
def test_65536_symbols_come_back(codec, count):
    generator = np.random.default_rng(0)
    everyone = generator.permutation(65_536).astype(np.uint32)
    check(codec, everyone)
    check(codec, np.concatenate([everyone, generator.choice(everyone[:50], count)]))


@pytest.mark.parametrize("coder", ["huffman", "arithmetic"])
def test_65536_levels_come_back(coder):
    levels = np.arange(65_536, dtype=np.uint32) * 65_537
    check(Codebook(coder), np.concatenate([levels, levels[::-1], levels[:99]]).view(np.float32))


@pytest.mark.parametrize("codec", [Huffman(), Arithmetic(), Arithmetic(order=1)])
def test_fibonacci_counts_come_back(codec):
    counts = [1, 1]
    while len(counts) < 25:
        counts.append(counts[-1] + counts[-2])
    vector = np.repeat(np.arange(25, dtype=np.uint32), counts)
    assert len(vector) > 190_000
    check(codec, vector)
    check(codec, np.random.default_rng(0).permutation(vector))


@pytest.mark.parametrize("coder", CODERS)
def test_a_code_book_holds_no_level_that_nothing_has(coder):
    data = Codebook(coder).encode(np.float32([1, 2, 2, 3, 3, 3]))
    check(Codebook(coder), np.float32([1, 2, 2, 3, 3, 3]))
    more = b"\4" + data[1:13] + np.float32(4).tobytes() + data[13:]
    with pytest.raises(ValueError, match="a level that no index points to"):
        Codebook(coder).decode(more, 6)


def optimal_bits(counts):
    """Bits of constriction's Huffman code for symbols with these counts."""
    constriction = pytest.importorskip("constriction", reason="an oracle of `make peers`")
    tree = constriction.symbol.huffman.EncoderHuffmanTree(counts.astype(np.float64))
    coder = constriction.symbol.QueueEncoder()
    total, before = 0, 0
    for symbol in np.flatnonzero(counts).tolist():
        coder.encode_symbol(symbol, tree)
        bits = coder.get_compressed()[1]
        total += int(counts[symbol]) * (bits - before)
        before = bits
    return total


@pytest.mark.parametrize("alphabet", [2, 3, 7, 16, 60, 300])
def test_huffman_codes_are_as_short_as_an_independent_optimal_coder_makes_them(alphabet):
    generator = np.random.default_rng(alphabet)
    for draw in (generator.integers(1, 50, alphabet), generator.geometric(0.01, alphabet), np.ones(alphabet, np.int64)):
        lengths = code_lengths(draw, limit=40)
        assert int(lengths @ draw) == optimal_bits(draw)
