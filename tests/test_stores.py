"""Sparse and dense stores hold the same weight to the bit and compute the same products to rounding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisparse.params import Init, Parameter
from minisparse.stores import DenseStore, Geometry, SparseStore, put_at_rest

DTYPES = st.sampled_from([np.float32, np.float64])
RESTS = st.sampled_from([0.0, 0.5, 1.0])
DENSITIES = st.sampled_from([0.0, 0.1, 0.5, 1.0])


@st.composite
def parameters(draw, shape, groups=1):
    """A masked parameter with trained values on the mask."""
    p = Parameter(shape, Init(draw(st.sampled_from(["normal", "uniform", "constant"])), 0.7))
    p.initialise(draw(st.integers(0, 2**64 - 1)), draw(DTYPES))
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    p.store.values += generator.normal(size=shape).astype(p.dtype)
    p.rest_scale = draw(RESTS)
    p.keep(generator.random(shape) < draw(DENSITIES))
    return p


@st.composite
def matrices(draw):
    """(parameter, groups, N)"""
    groups = draw(st.integers(1, 3))
    shape = (groups * draw(st.integers(1, 4)), draw(st.integers(1, 6)))
    return draw(parameters(shape)), groups, draw(st.integers(0, 5))


@st.composite
def convolutions(draw):
    """(parameter, geometry, shape of x)"""
    groups, kernel = draw(st.integers(1, 2)), (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    channels = draw(st.integers(1, 3))
    shape = (groups * draw(st.integers(1, 3)), channels, *kernel)
    geometry = Geometry(kernel, draw(st.integers(1, 3)), draw(st.integers(0, 2)), groups)
    size = draw(st.integers(3, 6)), draw(st.integers(3, 6))
    return draw(parameters(shape)), geometry, (groups * channels, *size, draw(st.integers(0, 3)))


def _both(p):
    """The dense and the sparse store of one weight."""
    dense = p.store
    p.to_sparse()
    return dense, p.store


def _random(shape, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def _block_diagonal(w, groups):
    """The matrix (O, groups I) of a grouped weight (O, I), float64."""
    rows, columns = w.shape
    full = np.zeros((rows, groups * columns))
    for o in range(rows):
        group = o // (rows // groups)
        full[o, group * columns : (group + 1) * columns] = w[o]
    return full


def _agrees(ours, a, b, dtype):
    """ours = a @ b within terms * eps * sum|terms|, the bound for any order of summation."""
    bound = a.shape[1] * np.finfo(dtype).eps * (np.abs(a) @ np.abs(b))
    assert ours.dtype == dtype
    assert (np.abs(ours - a @ b) <= bound).all()


@given(matrices())
def test_products_of_both_stores_agree_with_a_dense_float64_product(case):
    p, groups, n = case
    full, dtype = _block_diagonal(p.value().astype(np.float64), groups), p.dtype
    x, dy = _random((full.shape[1], n), dtype), _random((full.shape[0], n), dtype, 1)
    exact = (full, x.astype(np.float64), dy.astype(np.float64))
    for store in _both(p):
        _agrees(store.matmul(x, groups), exact[0], exact[1], dtype)
        _agrees(store.rmatmul(dy, groups), exact[0].T, exact[2], dtype)
        store.accumulate(dy, x, groups)
        inside = _block_diagonal(np.ones(store.shape), groups) > 0
        bound, dw = n * np.finfo(dtype).eps * (np.abs(exact[2]) @ np.abs(exact[1]).T), exact[2] @ exact[1].T
        bound, dw = bound[inside].reshape(store.shape), dw[inside].reshape(store.shape)
        if isinstance(store, DenseStore):
            assert (np.abs(store.grad - dw * store.mask) <= bound).all()
        else:
            assert (np.abs(store.grad - dw[store.mask]) <= bound[store.mask]).all()
        once = store.grad.copy()
        store.accumulate(dy, x, groups)
        np.testing.assert_array_equal(store.grad, 2 * once)


@given(convolutions())
def test_convolutions_of_both_stores_are_the_sum_over_windows(case):
    p, geometry, shape = case
    dtype = p.dtype
    x = _random(shape, dtype)
    ho, wo = geometry.output_size(*shape[1:3])
    dy = _random((p.shape[0], ho, wo, shape[3]), dtype, 1)
    w, eps = p.value().astype(np.float64), np.finfo(dtype).eps
    y, dx, dw = _naive(w, x.astype(np.float64), dy.astype(np.float64), geometry)
    size_y, size_dx, size_dw = _naive(np.abs(w), np.abs(x).astype(np.float64), np.abs(dy).astype(np.float64), geometry)
    for store in _both(p):
        assert (np.abs(store.convolve(x, geometry) - y) <= w[0].size * eps * size_y).all()
        assert (np.abs(store.rconvolve(dy, geometry, shape) - dx) <= w.size * eps * size_dx).all()
        store.accumulate_convolution(dy, x, geometry)
        grad, bound = (dw * store.mask, size_dw) if isinstance(store, DenseStore) else (dw[p.mask], size_dw[p.mask])
        assert (np.abs(store.grad - grad) <= ho * wo * shape[3] * eps * bound).all()


def _naive(w, x, dy, geometry):
    """y, dx, dw of a convolution, an output pixel at a time."""
    p, s, (kh, kw) = geometry.padding, geometry.stride, geometry.kernel
    padded = np.pad(x, ((0, 0), (p, p), (p, p), (0, 0)))
    y, dpadded, dw = np.zeros(dy.shape), np.zeros(padded.shape), np.zeros(w.shape)
    each = len(w) // geometry.groups
    for o in range(len(w)):
        channels = slice(o // each * w.shape[1], (o // each + 1) * w.shape[1])
        for i in range(dy.shape[1]):
            for j in range(dy.shape[2]):
                window = channels, slice(s * i, s * i + kh), slice(s * j, s * j + kw)
                y[o, i, j] = np.einsum("cuv,cuvn->n", w[o], padded[window])
                dw[o] += padded[window] @ dy[o, i, j]
                dpadded[window] += w[o][..., None] * dy[o, i, j]
    return y, dpadded[:, p : p + x.shape[1], p : p + x.shape[2]], dw


@given(st.sampled_from([(1,), (7,), (1, 1), (4, 5), (3, 2, 2, 3)]).flatmap(parameters))
def test_dense_to_sparse_and_back_is_exact(p):
    values, mask, rest, rest_scale = p.value().copy(), p.mask.copy(), p.rest(), p.rest_scale
    p.to_sparse()
    assert isinstance(p.store, SparseStore) and p.store.values.dtype == p.dtype
    assert p.value().tobytes() == values.tobytes() and p.rest_scale == rest_scale
    np.testing.assert_array_equal(p.mask, mask)
    assert p.kept == mask.sum()
    np.testing.assert_array_equal(p.store.rest_values(), rest[mask])
    p.store.add_gradient(values)
    np.testing.assert_array_equal(p.store.grad, values[mask])
    p.to_dense()
    assert p.value().tobytes() == values.tobytes() and p.rest_scale == rest_scale
    np.testing.assert_array_equal(p.mask, mask)


def test_a_dense_store_without_a_mask_becomes_a_sparse_one_that_keeps_all():
    p = Parameter((3, 4), Init("normal", 1.0))
    p.to_sparse()
    assert p.kept == 12 and p.mask.all()
    np.testing.assert_array_equal(p.value(), p.initial())


def test_an_entry_off_the_mask_that_is_not_at_rest_is_refused():
    p = Parameter((3, 4), Init("normal", 1.0))
    p.keep(np.zeros((3, 4), bool))
    p.store.values[1, 1] = 1e-30
    with pytest.raises(ValueError, match="not at its rest value"):
        p.to_sparse()


@pytest.mark.parametrize("index", [[1, 1], [2, 1], [-1, 3], [3, 12]])
def test_an_index_that_does_not_rise_within_the_weight_is_refused(index):
    with pytest.raises(ValueError, match="increase strictly"):
        SparseStore((3, 4), np.array(index), np.zeros(2), Init("constant", 0.0))


def test_index_and_values_must_have_one_length():
    with pytest.raises(ValueError, match="one length"):
        SparseStore((3, 4), np.array([1]), np.zeros(2), Init("constant", 0.0))


@given(matrices())
def test_the_memory_account_is_the_arrays_that_are_held(case):
    p, _, _ = case
    width, kept = p.store.values.itemsize, p.kept
    dense, sparse = _both(p)
    assert dense.memory() == {"values": width * p.size, "index": p.size, "grad": width * p.size}
    index = 4 * (kept + p.shape[0] + 1)
    assert sparse.memory() == {"values": width * kept, "index": index, "grad": width * kept}


def test_a_product_with_rest_one_is_the_same_whatever_the_tile(monkeypatch):
    p = Parameter((12, 9), Init("normal", 1.0))
    p.rest_scale = 1.0
    p.keep(np.arange(12 * 9).reshape(12, 9) % 4 == 0)
    p.to_sparse()
    x, dy = _random((18, 3), np.float64), _random((12, 3), np.float64)
    p.store.values = p.store.values.astype(np.float64)
    y, dx = p.store.matmul(x, 2), p.store.rmatmul(dy, 2)
    monkeypatch.setattr("minisparse.stores.sparse.TILE", 20)
    np.testing.assert_allclose(p.store.matmul(x, 2), y, rtol=1e-13)
    np.testing.assert_allclose(p.store.rmatmul(dy, 2), dx, rtol=1e-13, atol=1e-14)


def test_a_kernel_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        Geometry((3, 3)).output_size(2, 5)


ODD = st.sampled_from([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, 1.5, -2.0])


@given(
    st.lists(st.tuples(ODD, st.booleans(), ODD), max_size=9),
    st.sampled_from([np.float32, np.float64, np.complex128]),
    st.booleans(),
)
def test_entries_off_the_mask_go_to_rest_and_others_stay_to_the_bit(entries, dtype, zero):
    values, mask, rest = (np.array([entry[i] for entry in entries], kind) for i, kind in enumerate((dtype, bool, "f4")))
    expected = values.copy()
    expected[~mask] = 0 if zero else rest[~mask]
    put_at_rest(values, mask, None if zero else rest)
    assert values.tobytes() == expected.tobytes()


def test_entries_of_a_view_go_to_rest():
    whole = np.ones((4, 6), np.float32)
    put_at_rest(whole[:, ::2], np.zeros((4, 3), bool))
    assert whole.sum(axis=0).tolist() == [0, 4, 0, 4, 0, 4]
