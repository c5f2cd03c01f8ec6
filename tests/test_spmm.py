"""The three products of a sparse weight, against dense products in float64."""

import copy
import os
import pickle
import subprocess
import sys
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisparse._core import BACKEND
from minisparse._core import pattern as places
from minisparse._core import spmm as kernel
from minisparse._core.pattern import Pattern
from minisparse.testing import check_kernel, check_twin

compiled = pytest.mark.skipif(BACKEND == "reference", reason="the compiled kernels are not in use")


@st.composite
def products(draw):
    """indptr, indices, values, x, dy of a random CSR matrix, columns unordered and repeated at will."""
    o, i, n = draw(st.integers(0, 8)), draw(st.integers(1, 9)), draw(st.sampled_from([0, 1, 2, 7, 15, 16, 33, 130]))
    counts = draw(st.lists(st.integers(0, 12), min_size=o, max_size=o))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype, index = draw(st.sampled_from([np.float32, np.float64])), draw(st.sampled_from([np.int32, np.int64]))
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(index)
    indices = generator.integers(0, i, indptr[-1]).astype(index)
    values, x, dy = (generator.normal(size=s).astype(dtype) for s in (len(indices), (i, n), (o, n)))
    return indptr, indices, values, x, dy


def dense(indptr, indices, values, columns):
    w = np.zeros((len(indptr) - 1, columns))
    for o in range(len(w)):
        for k in range(indptr[o], indptr[o + 1]):
            w[o, indices[k]] += values[k]
    return w


def gamma(terms, dtype):
    """Relative error of a sum of n products: n u / (1 - n u)."""
    rounding = terms * np.finfo(dtype).eps / 2
    return rounding / (1 - rounding)


def assert_within(found, exact, terms, oracle_terms, absolute, dtype):
    """|found - exact| <= (gamma of the kernel + gamma of the float64 oracle) * sum |terms|."""
    assert found.dtype == dtype and found.shape == exact.shape
    allowed = (gamma(terms, dtype) + gamma(oracle_terms, np.float64)) * absolute
    assert (np.abs(found - exact) <= allowed * (1 + 1e-9)).all()  # `absolute` is itself rounded, in float64


@given(products())
def test_matmul_is_the_dense_product(case):
    indptr, indices, values, x, _ = case
    w, absolute = (dense(indptr, indices, v, len(x)) for v in (values, abs(values)))
    y, longest = kernel.matmul(Pattern(indptr, indices, len(x)), values, x), max(np.diff(indptr), default=0)
    assert_within(y, w @ x.astype(float), longest, longest + len(x), absolute @ abs(x).astype(float), x.dtype)


@given(products())
def test_rmatmul_is_the_dense_product_with_the_transpose(case):
    indptr, indices, values, x, dy = case
    w, absolute = (dense(indptr, indices, v, len(x)) for v in (values, abs(values)))
    dx, longest = kernel.rmatmul(Pattern(indptr, indices, len(x)), values, dy), max(np.bincount(indices), default=0)
    assert_within(dx, w.T @ dy.astype(float), longest, longest + len(dy), absolute.T @ abs(dy).astype(float), x.dtype)


@given(products())
def test_sampled_is_the_outer_product_at_the_entries(case):
    indptr, indices, _, x, dy = case
    rows, n = np.repeat(np.arange(len(dy)), np.diff(indptr)), x.shape[1]
    exact = (dy.astype(float) @ x.astype(float).T)[rows, indices]
    absolute = (abs(dy).astype(float) @ abs(x).astype(float).T)[rows, indices]
    assert_within(kernel.sampled(Pattern(indptr, indices, len(x)), dy, x), exact, n, n, absolute, x.dtype)


def test_the_products_agree_with_scipys():
    scipy = pytest.importorskip("scipy.sparse")
    w = scipy.random(40, 60, 0.1, "csr", np.float64, np.random.default_rng(0))
    x, dy = np.random.default_rng(1).normal(size=(60, 20)), np.random.default_rng(2).normal(size=(40, 20))
    pattern = Pattern(w.indptr, w.indices, 60)
    assert_within(kernel.matmul(pattern, w.data, x), w @ x, 60, 60, abs(w) @ abs(x), x.dtype)
    assert_within(kernel.rmatmul(pattern, w.data, dy), w.T @ dy, 40, 40, abs(w).T @ abs(dy), x.dtype)


# Operands

INDPTR, INDICES = np.array([0, 2, 2, 3], np.int32), np.array([0, 3, 1], np.int32)
VALUES, X = np.array([1, 2, 3], np.float32), np.arange(8, dtype=np.float32).reshape(4, 2)
DY = np.ones((3, 2), np.float32)


def all_three(indptr=INDPTR, indices=INDICES, values=VALUES, x=X, dy=DY, columns=4):
    pattern = Pattern(indptr, indices, columns)
    return kernel.matmul(pattern, values, x), kernel.rmatmul(pattern, values, dy), kernel.sampled(pattern, dy, x)


def strided(array):
    return np.repeat(array, 3, axis=-1)[..., ::3]


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def reversed_twice(array):
    return np.ascontiguousarray(array[::-1])[::-1]


@pytest.mark.parametrize("layout", [strided, read_only, np.asfortranarray, reversed_twice])
def test_every_layout_of_the_operands_is_accepted(layout):
    expected = all_three()
    found = all_three(*map(layout, (INDPTR, INDICES, VALUES, X, DY)))
    assert all((a == b).all() for a, b in zip(found, expected, strict=True))


MALFORMED = {
    "indptr starts above 0": ("indptr", np.array([1, 2, 2, 3], np.int32)),
    "indptr ends early": ("indptr", np.array([0, 2, 2, 2], np.int32)),
    "indptr ends late": ("indptr", np.array([0, 2, 2, 4], np.int32)),
    "indptr falls": ("indptr", np.array([0, 3, 2, 3], np.int32)),
    "indptr is negative": ("indptr", np.array([0, -1, 2, 3], np.int32)),
    "indptr is empty": ("indptr", np.zeros(0, np.int32)),
    "indptr is a scalar": ("indptr", np.array(0, np.int32)),
    "indptr of another type": ("indptr", INDPTR.astype(np.int64)),
    "indptr of floats": ("indptr", INDPTR.astype(np.float32)),
    "index too high": ("indices", np.array([0, 4, 1], np.int32)),
    "index negative": ("indices", np.array([0, -1, 1], np.int32)),
    "indices too few": ("indices", INDICES[:2]),
    "indices a matrix": ("indices", INDICES[None]),
    "columns negative": ("columns", -1),
    "columns too few": ("columns", 3),
    "columns too many": ("columns", 2**63),
}
WRONG = {
    "values too few": ("values", VALUES[:2]),
    "values of another type": ("values", VALUES.astype(np.float64)),
    "values of integers": ("values", VALUES.astype(np.int32)),
    "x too short": ("x", X[:3]),
    "x a vector": ("x", X[:, 0]),
    "x a scalar": ("x", np.float32(1)),
    "x of another type": ("x", X.astype(np.float64)),
    "x of the other byte order": ("x", X.astype(X.dtype.newbyteorder())),
    "dy too short": ("dy", DY[:2]),
    "dy without rows": ("dy", DY[:0]),
    "dy of another batch": ("dy", DY[:, :1]),
    "dy of half precision": ("dy", DY.astype(np.float16)),
}
USES = {"matmul": ("values", "x"), "rmatmul": ("values", "dy"), "sampled": ("dy", "x")}
FAULTS = [
    (function, fault)
    for function, operands in USES.items()
    for fault, (operand, _) in WRONG.items()
    if operand in operands and (function, fault) != ("rmatmul", "dy of another batch")
]


@pytest.mark.parametrize(("function", "fault"), FAULTS)
def test_operands_that_do_not_fit_are_refused(function, fault):
    operand, value = WRONG[fault]
    operands = {"values": VALUES, "x": X, "dy": DY, operand: value}
    with pytest.raises(ValueError):
        getattr(kernel, function)(Pattern(INDPTR, INDICES, 4), *(operands[name] for name in USES[function]))


@pytest.mark.parametrize("fault", MALFORMED)
def test_a_malformed_pattern_is_refused(fault):
    operand, value = MALFORMED[fault]
    with pytest.raises(ValueError, match=r"indptr|indices|columns"):
        Pattern(**({"indptr": INDPTR, "indices": INDICES, "columns": 4} | {operand: value}))


def test_indices_are_as_wide_as_rows_columns_and_entries_need(monkeypatch):
    def dtypes(pattern):
        transpose = pattern.transpose
        arrays = (pattern.indptr, pattern.indices, pattern.row_of, pattern.order, transpose.indptr, transpose.indices)
        return {array.dtype.type for array in arrays}

    assert Pattern(INDPTR, INDICES, 2**31).indices.dtype == np.int64
    assert Pattern(INDPTR.astype(np.int64), INDICES.astype(np.int64), 2**31 - 1).indices.dtype == np.int32
    # as many rows, columns or entries as the limit, or one less: the transpose agrees
    for rows, columns, entries in ((5, 2, 1), (2, 5, 1), (2, 2, 5)):
        indptr, indices = np.minimum(np.arange(rows + 1) * entries, entries), np.zeros(entries, int)
        for limit, dtype in ((5, np.int64), (6, np.int32)):
            monkeypatch.setattr(places, "LIMIT", limit)
            pattern = Pattern(indptr, indices, columns)
            assert dtypes(pattern) == {dtype} and pattern.wide == (dtype == np.int64)


def test_cuts_are_as_wide_as_the_indices(monkeypatch):
    for limit, dtype in ((2**31, np.int32), (0, np.int64)):
        monkeypatch.setattr(places, "LIMIT", limit)
        cuts = Pattern(INDPTR, INDICES, 4).cuts(2)
        assert cuts.dtype == dtype and cuts.tolist() == [[0, 2, 2], [1, 2, 3], [2, 2, 3]]


@pytest.mark.parametrize("name", ["spmm", "spconv"])
@pytest.mark.parametrize("check", [check_twin, pytest.param(check_kernel, marks=compiled)])
def test_wide_indices_keep_the_contract(check, name, monkeypatch):
    monkeypatch.setattr(places, "LIMIT", 0)
    check(name)


def test_wide_indices_give_the_same_bits(monkeypatch):
    generator = np.random.default_rng(0)
    mask = generator.random((60, 150)) < 0.3
    csr = np.concatenate([[0], np.cumsum(mask.sum(1))]), np.nonzero(mask)[1]
    values = generator.normal(size=mask.sum()).astype(np.float32)
    for n in (1, 3, 20, 200):
        x, dy = (generator.normal(size=(rows, n)).astype(np.float32) for rows in (150, 60))
        monkeypatch.setattr(places, "LIMIT", 2**31)
        expected = all_three(*csr, values, x, dy, 150)
        monkeypatch.setattr(places, "LIMIT", 0)
        assert all((a == b).all() for a, b in zip(all_three(*csr, values, x, dy, 150), expected, strict=True))


def test_what_is_no_pattern_is_refused():
    fake = SimpleNamespace(indptr=INDPTR, indices=INDICES, columns=4, shape=(3, 4))
    for function, operands in (("matmul", (VALUES, X)), ("rmatmul", (VALUES, DY)), ("sampled", (DY, X))):
        with pytest.raises(ValueError, match="expected a Pattern"):
            getattr(kernel, function)(fake, *operands)


def is_valid(indptr, indices, columns):
    rises = indptr[0] == 0 and indptr[-1] == len(indices) and all(a <= b for a, b in pairwise(indptr))
    return rises and columns >= 0 and all(0 <= i < columns for i in indices)


def corrupt(count):
    """Patterns with one or two numbers changed: refused, or else harmless in all products."""
    generator, refused = np.random.default_rng(0), 0
    extremes = [-1, 2**31 - 1, -(2**31), 2**31, -(2**63), 2**63 - 1]
    for _ in range(count):
        o, i, index = *generator.integers(1, 7, 2), generator.choice([np.int32, np.int64])
        indptr = np.concatenate([[0], np.cumsum(generator.integers(0, 5, o))]).astype(index)
        indices = generator.integers(0, i, indptr[-1]).astype(index)
        for array in (indptr, indices)[: generator.integers(1, 3)]:
            if len(array):
                value = generator.choice([*range(-2, 30), *extremes])
                array[generator.integers(len(array))] = np.int64(value).astype(index)
        values, x, dy = (np.ones(s, np.float32) for s in (len(indices), (i, 17), (o, 17)))
        if is_valid(indptr.tolist(), indices.tolist(), i):
            assert all(np.isfinite(r).all() for r in all_three(indptr, indices, values, x, dy, i))
        else:
            refused += 1
            with pytest.raises(ValueError, match=r"indptr|indices"):
                Pattern(indptr, indices, i)
    assert refused > count / 2


def test_random_corruptions_are_refused_or_harmless():
    corrupt(2_000)


@pytest.mark.deep
def test_many_random_corruptions_are_refused_or_harmless():
    corrupt(100_000)


def test_a_pattern_never_changes():
    indptr, indices = INDPTR.copy(), INDICES.copy()
    pattern = Pattern(indptr, indices, 4)
    indptr[:] = indices[:] = 99
    for array in (pattern.indptr, pattern.indices, pattern.order, pattern.transpose.indices):
        with pytest.raises(ValueError):
            array[0] = 7
        with pytest.raises(ValueError):
            array.flags.writeable = True
    with pytest.raises(AttributeError):
        pattern.columns = 2
    for twin in (pickle.loads(pickle.dumps(pattern)), copy.deepcopy(pattern)):
        assert (twin.indptr == INDPTR).all() and (twin.indices == INDICES).all() and not twin.indices.flags.writeable


@given(products())
def test_the_transpose_has_the_same_entries(case):
    indptr, indices, values, x, _ = case
    pattern = Pattern(indptr, indices, len(x))
    there = dense(pattern.transpose.indptr, pattern.transpose.indices, values[pattern.order], len(indptr) - 1)
    np.testing.assert_allclose(there.T, dense(indptr, indices, values, len(x)), atol=1e-6)
    back = pattern.transpose.transpose
    assert (back.indptr == pattern.indptr).all() and (np.diff(pattern.order) != 0).all()


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_parts_cover_the_rows_in_order(count):
    parts = Pattern(np.array([0, 50, 50, 51, 90]), np.zeros(90, np.int64), 1).parts(count)
    assert parts[0] == 0 and parts[-1] == 4 and len(parts) == count + 1 and (np.diff(parts) >= 0).all()


THREADS = """
import hashlib
import numpy as np
from minisparse._core import spmm
from minisparse._core.pattern import Pattern
generator = np.random.default_rng(0)
mask = generator.random((301, 257)) < 0.2
indptr = np.concatenate([[0], np.cumsum(mask.sum(1))])
indices, values = np.nonzero(mask)[1], generator.normal(size=mask.sum()).astype(np.float32)
pattern = Pattern(indptr, indices, 257)
for n in (1, 7, 20, 200, 450):
    x, dy = (generator.normal(size=(rows, n)).astype(np.float32) for rows in (257, 301))
    results = spmm.matmul(pattern, values, x), spmm.rmatmul(pattern, values, dy), spmm.sampled(pattern, dy, x)
    print(*(hashlib.sha256(r.tobytes()).hexdigest() for r in results))
"""


@compiled
def test_results_are_the_same_whatever_the_number_of_threads():
    def digest(threads):
        environment = os.environ | {"OMP_NUM_THREADS": threads}
        return subprocess.run([sys.executable, "-c", THREADS], env=environment, capture_output=True, check=True).stdout

    assert digest("1") == digest("2") == digest("3")
