"""Relative indices: every mask and width comes back, with the paper's number of fillers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisparse._core import gaps as kernel
from minisparse.codecs import Bitmap, Codebook, Gaps, bits
from minisparse.codecs.gaps import choose_width

MASKS = st.builds(
    lambda runs: np.concatenate([np.zeros(0, bool), *[np.append(np.zeros(z, bool), True) for z in runs]]),
    st.lists(st.integers(0, 3) | st.integers(0, 70), max_size=30),
)


def mask_of(runs, tail=0):
    return np.array([bit for z in runs for bit in [0] * z + [1]] + [0] * tail, bool)


@given(MASKS, st.integers(0, 100), st.integers(1, 16))
def test_any_mask_comes_back_at_any_width(mask, tail, width):
    mask = np.append(mask, np.zeros(tail, bool))
    codec = Gaps(width)
    np.testing.assert_array_equal(codec.decode(codec.encode(mask), len(mask)), mask)


@pytest.mark.parametrize("width", range(1, 17))
def test_runs_around_a_filler_come_back(width):
    for z in (2**width - 1, 2**width, 2**width + 1, 2 ** (width + 1), 3 * 2**width - 1):
        mask = mask_of([z, 0, z], tail=z)
        np.testing.assert_array_equal(Gaps(width).decode(Gaps(width).encode(mask), len(mask)), mask)
        symbols = kernel.to_symbols(np.flatnonzero(mask), width)
        assert len(symbols) == 3 + 2 * (z // 2**width)


@pytest.mark.parametrize("width", range(1, 17))
@pytest.mark.parametrize("kept", [False, True])
def test_masks_of_one_kind_come_back_in_few_bytes(width, kept):
    for n in (0, 1, 8, 1000):
        mask = np.full(n, kept)
        data = Gaps(width).encode(mask)
        assert len(data) <= (4 if kept else 1)
        np.testing.assert_array_equal(Gaps(width).decode(data, n), mask)


@given(st.lists(st.integers(0, 100), max_size=30), st.integers(1, 16))
def test_symbols_are_the_kept_entries_and_floor_z_over_two_to_the_b_fillers(runs, width):
    symbols = kernel.to_symbols(np.flatnonzero(mask_of(runs)), width)
    expected = []
    for z in runs:
        while z >= 2**width:
            expected.append(2**width)
            z -= 2**width
        expected.append(z)
    assert symbols.tolist() == expected
    assert np.count_nonzero(symbols == 2**width) == sum(z // 2**width for z in [int(z) for z in runs])


def test_example_of_eie():
    # Han et al. (2016), arXiv 1602.01528: 0 0 1 2 (18 zeros) 3 has the runs 2, 0, 15 (the filler), 2
    mask = mask_of([2, 0, 18])
    assert kernel.to_symbols(np.flatnonzero(mask), 4).tolist() == [2, 0, 16, 2]


@given(MASKS, st.integers(0, 20))
def test_chosen_width_is_the_cheapest_of_all(mask, tail):
    mask = np.append(mask, np.zeros(tail, bool))
    sizes = [len(Gaps(width).encode(mask)) for width in range(1, 17)]
    assert choose_width(mask) == 1 + int(np.argmin(sizes))


def test_sparse_masks_take_few_bits_an_entry_and_less_than_a_bitmap():
    mask = np.random.default_rng(0).random(100_000) < 0.02
    data = Gaps(choose_width(mask)).encode(mask)
    # n H(p) / K = 7.1 bits at 2 %
    assert 7.0 < 8 * len(data) / mask.sum() < 7.3
    assert len(data) < len(Bitmap().encode(mask))


@pytest.mark.parametrize("symbols", [[4], [5], [0, 4], [3, 3, 3], [2**32 - 1]])
def test_symbols_beyond_the_filler_or_the_mask_and_a_last_filler_are_refused(symbols):
    with pytest.raises(ValueError, match="gaps"):
        kernel.from_symbols(np.array(symbols, np.uint32), 2, 10)


@pytest.mark.parametrize("places", [[-1], [3, 3], [5, 2]])
def test_places_that_do_not_increase_are_refused(places):
    with pytest.raises(ValueError, match="increase"):
        kernel.to_symbols(np.array(places), 2)


@given(st.lists(st.integers(0, 9) | st.integers(0, 2**32 - 1), max_size=60), st.integers(1, 16), st.integers(-1, 300))
def test_any_symbols_give_increasing_places_in_the_mask_or_value_error(symbols, width, count):
    try:
        places = kernel.from_symbols(np.array(symbols, np.uint32), width, count)
    except ValueError:
        return
    assert len(places) == 0 or (places[0] >= 0 and (np.diff(places) > 0).all() and places[-1] < count)


@given(st.binary(max_size=40), st.integers(1, 16), st.integers(0, 300))
def test_garbage_raises_nothing_but_value_error(data, width, count):
    for codec in (Gaps(width), Codebook()):
        try:
            array = codec.decode(data, count)
        except ValueError:
            continue
        assert array.shape == (count,)


def test_more_gaps_than_entries_are_refused_before_memory_is_taken():
    with pytest.raises(ValueError, match="too many"):
        Gaps(3).decode(bits.put_varint(2**40) + b"\1\0", 100)


@given(st.lists(st.integers(0, 2**32 - 1) | st.sampled_from([0, 2**31, 0x7FC00000, 0x7F800001]), max_size=60))
def test_codebook_keeps_every_bit_pattern(patterns):
    values = np.array(patterns, np.uint32).view(np.float32)
    decoded = Codebook().decode(Codebook().encode(values), len(values))
    assert decoded.tobytes() == values.tobytes()


@pytest.mark.parametrize(
    "data, count",
    [
        (b"\x02" + bytes([1, 0, 0, 0, 1, 0, 0, 0]) + b"\1\0", 2),  # a level twice
        (b"\x02" + bytes([2, 0, 0, 0, 1, 0, 0, 0]) + b"\1\0", 2),  # levels that fall
        (b"\x02" + bytes([1, 0, 0, 0, 2, 0, 0, 0]) + b"\1\2", 2),  # an index outside
        (b"\x03" + bytes([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]) + b"\1\0", 2),  # more levels than values
        (b"\xff" * 8 + b"\x7f", 2**48),
        (b"\x00", 1),
    ],
)
def test_hostile_codebooks_are_refused(data, count):
    with pytest.raises(ValueError):
        Codebook().decode(data, count)
