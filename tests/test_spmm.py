"""The three products of a sparse weight, against dense products in float64."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisparse._core import BACKEND
from minisparse._core import spmm as kernel


@st.composite
def products(draw):
    """indptr, indices, values, x, dy of a random CSR matrix, columns unordered and repeated at will."""
    o, i, n = draw(st.integers(0, 8)), draw(st.integers(1, 9)), draw(st.sampled_from([0, 1, 2, 7, 33, 130]))
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
    y, longest = kernel.matmul(indptr, indices, values, x), max(np.diff(indptr), default=0)
    assert_within(y, w @ x.astype(float), longest, longest + len(x), absolute @ abs(x).astype(float), x.dtype)


@given(products())
def test_rmatmul_is_the_dense_product_with_the_transpose(case):
    indptr, indices, values, x, dy = case
    w, absolute = (dense(indptr, indices, v, len(x)) for v in (values, abs(values)))
    dx, longest = kernel.rmatmul(indptr, indices, values, dy, len(x)), max(np.bincount(indices), default=0)
    assert_within(dx, w.T @ dy.astype(float), longest, longest + len(dy), absolute.T @ abs(dy).astype(float), x.dtype)


@given(products())
def test_sampled_is_the_outer_product_at_the_entries(case):
    indptr, indices, _, x, dy = case
    rows, n = np.repeat(np.arange(len(dy)), np.diff(indptr)), x.shape[1]
    exact = (dy.astype(float) @ x.astype(float).T)[rows, indices]
    absolute = (abs(dy).astype(float) @ abs(x).astype(float).T)[rows, indices]
    assert_within(kernel.sampled(indptr, indices, dy, x), exact, n, n, absolute, x.dtype)


def test_the_products_agree_with_scipys():
    scipy = pytest.importorskip("scipy.sparse")
    w = scipy.random(40, 60, 0.1, "csr", np.float64, np.random.default_rng(0))
    x, dy = np.random.default_rng(1).normal(size=(60, 20)), np.random.default_rng(2).normal(size=(40, 20))
    assert_within(kernel.matmul(w.indptr, w.indices, w.data, x), w @ x, 60, 60, abs(w) @ abs(x), x.dtype)
    assert_within(kernel.rmatmul(w.indptr, w.indices, w.data, dy, 60), w.T @ dy, 40, 40, abs(w).T @ abs(dy), x.dtype)


# Operands

INDPTR, INDICES = np.array([0, 2, 2, 3], np.int32), np.array([0, 3, 1], np.int32)
VALUES, X = np.array([1, 2, 3], np.float32), np.arange(8, dtype=np.float32).reshape(4, 2)
DY = np.ones((3, 2), np.float32)


def all_three(indptr=INDPTR, indices=INDICES, values=VALUES, x=X, dy=DY, columns=4):
    return (
        kernel.matmul(indptr, indices, values, x),
        kernel.rmatmul(indptr, indices, values, dy, columns),
        kernel.sampled(indptr, indices, dy, x),
    )


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
    "columns negative": ("columns", -1),
    "columns too few": ("columns", 3),
}
USES = {
    "matmul": ("indptr", "indices", "values", "x"),
    "rmatmul": ("indptr", "indices", "values", "dy", "columns"),
    "sampled": ("indptr", "indices", "dy", "x"),
}


FAULTS = [
    (function, fault)
    for function, operands in USES.items()
    for fault, (operand, _) in (MALFORMED | WRONG).items()
    if operand in operands and (function, fault) != ("rmatmul", "dy of another batch")
]


@pytest.mark.parametrize(("function", "fault"), FAULTS)
def test_operands_that_do_not_fit_are_refused(function, fault):
    operand, value = (MALFORMED | WRONG)[fault]
    operands = {"indptr": INDPTR, "indices": INDICES, "values": VALUES, "x": X, "dy": DY, "columns": 4, operand: value}
    with pytest.raises(ValueError):
        getattr(kernel, function)(*(operands[name] for name in USES[function]))


@given(products(), st.data())
def test_a_random_change_of_the_index_is_refused_or_harmless(case, data):
    indptr, indices, values, x, dy = case
    array = data.draw(st.sampled_from([a for a in (indptr, indices) if len(a)]))
    extremes = [-1, 2**31 - 1, -(2**31)]
    array[data.draw(st.integers(0, len(array) - 1))] = data.draw(st.integers(-3, 120) | st.sampled_from(extremes))
    valid = indptr[0] == 0 and indptr[-1] == len(indices) and (np.diff(indptr) >= 0).all()
    valid = valid and all(0 <= i < len(x) for i in indices)
    for function, operands in (("matmul", (values, x)), ("rmatmul", (values, dy, len(x))), ("sampled", (dy, x))):
        call = getattr(kernel, function)
        if valid:
            assert np.isfinite(call(indptr, indices, *operands)).all()
        else:
            with pytest.raises(ValueError, match=r"indptr|indices"):
                call(indptr, indices, *operands)


THREADS = """
import hashlib
import numpy as np
from minisparse._core import spmm
generator = np.random.default_rng(0)
mask = generator.random((301, 257)) < 0.2
indptr = np.concatenate([[0], np.cumsum(mask.sum(1))])
indices, values = np.nonzero(mask)[1], generator.normal(size=mask.sum()).astype(np.float32)
x, dy = (generator.normal(size=(n, 200)).astype(np.float32) for n in (257, 301))
results = spmm.matmul(indptr, indices, values, x), spmm.rmatmul(indptr, indices, values, dy, 257)
results += (spmm.sampled(indptr, indices, dy, x),)
print(*(hashlib.sha256(r.tobytes()).hexdigest() for r in results))
"""


@pytest.mark.skipif(BACKEND == "reference", reason="the twins have no threads")
def test_results_are_the_same_whatever_the_number_of_threads():
    def digest(threads):
        environment = os.environ | {"OMP_NUM_THREADS": threads}
        return subprocess.run([sys.executable, "-c", THREADS], env=environment, capture_output=True, check=True).stdout

    assert digest("1") == digest("2") == digest("3")
