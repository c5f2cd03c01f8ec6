"""Canonical, length-limited Huffman codes: Kraft, optimality, bounds, hostile tables."""

import heapq
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisparse._core import huffman as kernel
from minisparse._core import huffman_ref
from minisparse._core.huffman_ref import _code_words as code_words
from minisparse.codecs import Bitpack, Huffman, bits
from minisparse.codecs.canonical import code_lengths

COUNTS = st.lists(st.integers(0, 1000) | st.integers(1, 3), min_size=2, max_size=300).filter(
    lambda counts: np.count_nonzero(counts) > 1
)
SYMBOLS = st.lists(st.integers(0, 5) | st.integers(0, 299), max_size=400)
WORD = np.array([5, 0, 2, 0, 3, 4], np.uint32)
LENGTHS = np.array([4, 4, 3, 3, 3, 1])


def encode(symbols, lengths):
    return kernel.encode(symbols, lengths).tobytes()


def decode(payload, lengths, count):
    return kernel.decode(np.frombuffer(payload, np.uint8), np.array([len(payload)]), lengths, count)


def cost(counts, lengths):
    return int(np.dot(counts, lengths))


def heap_cost(counts):
    """Bits of an optimal code without a length limit: the sum of all merged weights."""
    heap = [int(c) for c in counts if c]
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        total += merged
        heapq.heappush(heap, merged)
    return total


def brute_force_cost(counts, limit):
    counts = [c for c in counts if c]
    complete = (
        lengths
        for lengths in itertools.product(range(1, limit + 1), repeat=len(counts))
        if sum(2 ** (limit - length) for length in lengths) <= 2**limit
    )
    return min(cost(counts, lengths) for lengths in complete)


def bitwise_decode(payload, lengths, count):
    """The textbook decoder: one bit at a time until a code matches."""
    words = {(int(n), int(w)): s for s, (n, w) in enumerate(zip(lengths, code_words(lengths), strict=True)) if n}
    out, length, word = [], 0, 0
    for bit in np.unpackbits(np.frombuffer(payload, np.uint8)):
        if len(out) == count:
            break
        length, word = length + 1, word << 1 | int(bit)
        if (length, word) in words:
            out.append(words[length, word])
            length, word = 0, 0
    return out


def fibonacci(n):
    counts = [1, 1]
    while len(counts) < n:
        counts.append(counts[-1] + counts[-2])
    return np.array(counts)


@given(COUNTS, st.integers(9, 15))
def test_lengths_meet_kraft_with_equality_and_codes_are_prefix_free(counts, limit):
    lengths = code_lengths(np.array(counts), limit)
    present = [int(n) for n in lengths if n]
    assert [n > 0 for n in lengths] == [c > 0 for c in counts]
    assert max(present) <= limit and sum(2 ** (limit - n) for n in present) == 2**limit
    words = [format(w, f"0{n}b") for n, w in zip(lengths, code_words(lengths), strict=True) if n]
    ordered = sorted(words)
    assert not any(b.startswith(a) for a, b in itertools.pairwise(ordered))
    # canonical: the order of the codes as text is that of (length, symbol)
    assert ordered == sorted(words, key=len)


@given(COUNTS)
def test_a_more_frequent_symbol_never_has_a_longer_code(counts):
    lengths = code_lengths(np.array(counts))
    pairs = sorted((c, -int(n)) for c, n in zip(counts, lengths, strict=True) if c)
    for (a, m), (b, n) in itertools.combinations(pairs, 2):
        assert n >= m if b > a else abs(m - n) <= 1


@given(COUNTS)
def test_bits_lie_between_entropy_and_one_more_a_symbol(counts):
    counts = np.array(counts)
    total, p = counts.sum(), counts[counts > 0] / counts.sum()
    entropy = float(-(p * np.log2(p)).sum() * total)
    needed = cost(counts, code_lengths(counts, limit=40))
    assert entropy - 1e-9 * total <= needed < entropy + total
    assert cost(counts, code_lengths(counts, 9)) >= needed


@given(COUNTS)
def test_cost_is_that_of_the_textbook_heap(counts):
    assert cost(counts, code_lengths(np.array(counts), limit=40)) == heap_cost(counts)


@given(st.lists(st.integers(1, 60), min_size=2, max_size=6), st.integers(3, 4))
def test_package_merge_is_optimal_under_the_limit(counts, limit):
    assert cost(counts, code_lengths(np.array(counts), limit)) == brute_force_cost(counts, limit)


@given(COUNTS)
def test_cost_falls_as_the_limit_grows(counts):
    costs = [cost(counts, code_lengths(np.array(counts), limit)) for limit in range(9, 20)]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] <= 9 * sum(counts)


@given(COUNTS, st.randoms())
def test_lengths_follow_from_the_counts_whatever_the_symbols_are_called(counts, random):
    shuffled = list(counts)
    random.shuffle(shuffled)
    lengths, others = code_lengths(np.array(counts)), code_lengths(np.array(shuffled))
    assert sorted(lengths) == sorted(others)


def test_golden_vector_of_the_textbook_alphabet():
    counts = np.array([5, 9, 12, 13, 16, 45])
    np.testing.assert_array_equal(code_lengths(counts), LENGTHS)
    assert [format(w, f"0{n}b") for n, w in zip(LENGTHS, code_words(LENGTHS), strict=True)] == [
        "1110", "1111", "100", "101", "110", "0",
    ]  # fmt: skip
    assert encode(WORD, LENGTHS) == bytes.fromhex("74EB80")
    np.testing.assert_array_equal(decode(bytes.fromhex("74EB80"), LENGTHS, 6), WORD)
    assert cost(counts, LENGTHS) == 224 and cost(counts, code_lengths(counts, 3)) == 239


@pytest.mark.parametrize("n", [2, 3, 10, 15, 16, 20, 30])
def test_fibonacci_counts_give_the_deepest_code_and_are_limited(n):
    counts = fibonacci(n)
    assert code_lengths(counts, limit=40).max() == n - 1
    limited = code_lengths(counts)
    assert limited.max() == min(n - 1, 15)
    symbols = np.arange(n, dtype=np.uint32)
    np.testing.assert_array_equal(decode(encode(symbols, limited), limited, n), symbols)


@given(COUNTS, st.integers(9, 15))
def test_the_decoders_table_is_full_and_a_code_of_l_bits_has_two_to_the_rest_of_it(counts, limit):
    lengths = code_lengths(np.array(counts), limit)
    order, spans, longest = huffman_ref._table_order(lengths)
    assert longest == lengths.max() and sorted(order) == list(np.flatnonzero(lengths))
    assert spans.sum() == 2**longest
    np.testing.assert_array_equal(spans, [2 ** (longest - lengths[symbol]) for symbol in order])


@given(COUNTS, st.data())
def test_what_follows_is_coded_behind_what_was_before_with_as_many_bits_as_its_codes(counts, data):
    lengths = code_lengths(np.array(counts))
    words = st.lists(st.sampled_from(np.flatnonzero(lengths).tolist()), max_size=50)
    x, y = (np.array(data.draw(words), np.uint32) for _ in range(2))

    def coded(symbols):
        used = int(lengths[symbols].sum())
        payload = encode(symbols, lengths)
        bits = np.unpackbits(np.frombuffer(payload, np.uint8)).tolist()
        assert len(payload) == math.ceil(used / 8) and not any(bits[used:])
        return bits[:used]

    assert coded(np.concatenate([x, y])) == coded(x) + coded(y)


@given(SYMBOLS)
def test_symbols_come_back_and_nbytes_is_exact(symbols):
    array = np.array(symbols, np.uint32)
    data = Huffman().encode(array)
    assert Huffman().nbytes(array) == len(data)
    np.testing.assert_array_equal(Huffman().decode(data, len(array)), array)


@pytest.mark.parametrize("alphabet", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 255, 256, 257, 300])
def test_every_alphabet_comes_back_skewed_and_uniform(alphabet):
    uniform = np.tile(np.arange(alphabet, dtype=np.uint32), 5)
    skewed = np.repeat(np.arange(alphabet, dtype=np.uint32), 1 + np.arange(alphabet) ** 2 % 90)
    for array in (uniform, skewed, skewed[::-1].copy()):
        np.testing.assert_array_equal(Huffman().decode(Huffman().encode(array), len(array)), array)


def test_a_payload_longer_than_a_chunk_comes_back():
    generator = np.random.default_rng(0)
    array = np.minimum(generator.geometric(0.2, 65_535), 64).astype(np.uint32)
    data = Huffman().encode(array)
    counts = np.bincount(array)
    payload = math.ceil(cost(counts, code_lengths(counts)) / 8)
    assert len(data) == 2 + (len(counts) + 1) // 2 + payload and data[0] == 2
    np.testing.assert_array_equal(Huffman().decode(data, len(array)), array)


@pytest.mark.parametrize("count", [65_536, 65_537, 65_543, 100_000])
def test_long_vectors_are_eight_streams_that_code_an_eighth_each(count):
    array = np.minimum(np.random.default_rng(0).geometric(0.2, count), 64).astype(np.uint32)
    data = Huffman().encode(array)
    counts = np.bincount(array)
    lengths = code_lengths(counts, 12)
    part = math.ceil(count / 8)
    streams = [encode(array[i * part : (i + 1) * part], lengths) for i in range(8)]
    head = b"\3" + bits.put_varint(len(counts)) + bits.pack_fixed(lengths.astype(np.uint32), 4)
    sizes = b"".join(bits.put_varint(len(stream)) for stream in streams[:-1])
    assert data == head + sizes + b"".join(streams)
    assert len(data) == Huffman().nbytes(array) <= Huffman.nbytes_of(counts) + 7 * 4
    np.testing.assert_array_equal(Huffman().decode(data, count), array)
    for length in (0, 1, len(head), len(head) + 8, len(data) // 2, len(data) - 1):
        with pytest.raises(ValueError):
            Huffman().decode(data[:length], count)
    with pytest.raises(ValueError):
        Huffman().decode(data, count - 8)


@given(SYMBOLS)
def test_no_longer_than_fixed_width(symbols):
    array = np.array(symbols, np.uint32)
    width = max(int(array.max(initial=0)).bit_length(), 1)
    assert len(Huffman().encode(array)) <= 2 + len(Bitpack(width).encode(array))


@given(COUNTS, st.data())
def test_any_changed_length_is_detected(counts, data):
    lengths = code_lengths(np.array(counts))
    place = data.draw(st.integers(0, len(lengths) - 1))
    changed = data.draw(st.integers(0, 15).filter(lambda n: n != lengths[place]))
    lengths[place] = changed
    with pytest.raises(ValueError, match="no complete prefix code"):
        decode(b"\0" * 50, lengths, 3)


@given(st.binary(max_size=40), COUNTS, st.integers(0, 400))
def test_garbage_decodes_as_bit_by_bit_or_is_refused(payload, counts, count):
    lengths = code_lengths(np.array(counts))
    expected = bitwise_decode(payload, lengths, count)
    try:
        symbols = decode(payload, lengths, count)
    except ValueError:
        used = sum(int(lengths[s]) for s in expected)
        rest = np.unpackbits(np.frombuffer(payload, np.uint8))[used:]
        assert len(expected) < count or len(rest) >= 8 or rest.any()
    else:
        assert symbols.tolist() == expected


@given(st.binary(max_size=60), st.integers(0, 500))
def test_a_garbage_container_raises_nothing_but_value_error(data, count):
    eight = b"\3\6\x44\x33\x31" + b"\1\2\1\0\1\1\3"
    for start in (b"", b"\0\3", b"\2\4\x12\x33", b"\2\6\x44\x33\x31", b"\3\2\x11", eight):
        try:
            symbols = Huffman().decode(start + data, count)
        except ValueError:
            continue
        assert symbols.shape == (count,) and symbols.dtype == np.uint32


@pytest.mark.parametrize(
    "data, count",
    [
        (b"\1\x07", 2**49),
        (b"\3\x07", 3),
        (b"\0\0", 3),
        (b"\0\x21\0\0\0\0\0", 1),
        (b"\2\2\x11\x41", 3),  # a bit of the padding is set
        (b"\2\3\x11\0\0", 1),  # the table goes on after its last symbol
        (b"\2\xff\xff\xff\xff\xff\xff\xff\x7f\x11", 3),
        (b"\2\2\x11\x40", 2**45),
        (b"\0\1\x40", 2**45),
        (b"\0\1\x41", 7),  # a bit of the padding is set
        (b"\1\x87\0", 3),
        (b"\1" + b"\xff" * 8 + b"\x7f", 3),
        (b"\3\2\x11\1\1\1\1\1\1\2" + bytes(7), 8),  # streams longer than what follows
        (b"\3\2\x11\1\1\1\1\1\1\1" + bytes(9), 8),  # the last one goes on
        (b"\3\2\x11" + (b"\xff" * 8 + b"\x7f") * 7 + bytes(8), 8),
        (b"\3\2\x11\1\1\1\1\1\1", 8),  # a size is missing
    ],
)
def test_hostile_containers_are_refused_before_memory_is_taken(data, count):
    with pytest.raises(ValueError):
        Huffman().decode(data, count)


def test_one_symbol_and_too_many_make_no_code():
    for counts, limit in (([3, 0], 15), ([0, 0], 15), ([1] * 5, 2)):
        with pytest.raises(ValueError, match="symbols that occur"):
            code_lengths(np.array(counts), limit)


def test_more_kinds_than_codes_of_fifteen_bits_are_stored_with_fixed_width():
    array = np.arange(2**15 + 1, dtype=np.uint32)
    data = Huffman().encode(array)
    assert data[:2] == b"\0\x10"
    np.testing.assert_array_equal(Huffman().decode(data, len(array)), array)


@given(st.integers(0, 2**63 - 1), st.binary(max_size=3))
def test_varints_come_back(value, tail):
    data = bits.put_varint(value)
    assert bits.take_varint(data + tail) == (value, len(data))
    for length in range(len(data)):
        with pytest.raises(ValueError):
            bits.take_varint(data[:length])


@given(st.lists(st.integers(0, 2**32 - 1), max_size=50), st.integers(1, 32))
def test_bits_are_packed_most_significant_first(words, width):
    words = np.array(words, np.uint32) >> np.uint32(32 - width)
    text = "".join(format(w, f"0{width}b") for w in words)
    text += "0" * (-len(text) % 8)
    data = bits.pack_fixed(words, width)
    assert data == bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))
    np.testing.assert_array_equal(bits.unpack_fixed(data, width, len(words)), words)


def hostile(generator, cases):
    """Streams of every kind, whole, cut, lengthened, with flipped bits, or garbage, with counts near the true one."""
    codes = [LENGTHS, np.array([*range(1, 16), 15]), np.full(16, 4), np.array([1, 1]), np.array([12] * 4096)]
    for case in range(cases):
        lengths = codes[case % len(codes)]
        kinds, count = np.flatnonzero(lengths), int(generator.integers(0, 300))
        odds = 0.5 ** lengths[kinds]
        symbols = generator.choice(kinds.astype(np.uint32), count, p=odds / odds.sum())
        number = int(generator.choice([1, 2, 8]))
        part = -(-count // number)
        streams = [encode(symbols[i * part : (i + 1) * part], lengths) for i in range(number)]
        payload, sizes = bytearray(b"".join(streams)), [len(stream) for stream in streams]
        fate = generator.integers(6)
        if fate == 1 and payload:
            payload[generator.integers(len(payload))] ^= 1 << int(generator.integers(8))
        elif fate == 2:
            sizes[-1] -= 1
            del payload[-1:]
        elif fate == 3:
            sizes[0] += 1
            payload[:0] = generator.bytes(1)
        elif fate == 4:
            payload = bytearray(generator.bytes(len(payload)))
        elif fate == 5:
            generator.shuffle(sizes)
        yield np.frombuffer(bytes(payload), np.uint8), np.array(sizes, np.int64), lengths, count, symbols, fate


def outcome(function, *arguments):
    try:
        return function(*arguments).tolist()
    except ValueError:
        return ValueError


def check_hostile(cases):
    for *arguments, symbols, fate in hostile(np.random.default_rng(0), cases):
        found = outcome(kernel.decode, *arguments)
        assert found == outcome(huffman_ref.decode, *arguments)
        assert fate or found == symbols.tolist()


def test_hostile_streams_give_the_same_symbols_or_error_on_both_backends():
    check_hostile(2000)


@pytest.mark.deep
def test_hostile_streams_in_great_number():
    check_hostile(100_000)
