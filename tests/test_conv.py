"""Dense and sparse convolution kernels, against the product of unfolded columns in float64."""

import itertools
import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisparse._core import BACKEND, conv, norm, pool, spconv, winograd
from minisparse._core.pattern import Pattern
from minisparse.stores import Geometry

BATCHES = [0, 1, 3, 15, 16, 17, 31, 32, 33, 70]


@dataclass
class Case:
    """A masked weight w (O, C / groups, kh, kw), x, dy and the geometry they meet in."""

    geometry: Geometry
    mask: np.ndarray
    w: np.ndarray
    x: np.ndarray
    dy: np.ndarray
    index: type = np.int32

    @property
    def settings(self):
        return self.geometry.stride, self.geometry.padding, self.geometry.groups

    @property
    def sparse(self):
        rows = self.mask.reshape(len(self.mask), -1)
        indptr = np.concatenate([[0], np.cumsum(rows.sum(1))]).astype(self.index)
        return Pattern(indptr, np.nonzero(rows)[1].astype(self.index), rows.shape[1]), self.w[self.mask]


def make(outputs, channels, size, kernel, stride=1, padding=0, groups=1, n=33, density=0.5, dtype=np.float32, seed=0):
    """Channels of one group and outputs of one group; an all-zero row in the middle."""
    generator = np.random.default_rng(seed)
    geometry = Geometry(kernel, stride, padding, groups)
    mask = generator.random((groups * outputs, channels, *kernel)) < density
    mask[len(mask) // 2] &= density == 1
    x = generator.normal(size=(groups * channels, *size, n)).astype(dtype)
    dy = generator.normal(size=(groups * outputs, *geometry.output_size(*size), n)).astype(dtype)
    return Case(geometry, mask, (mask * generator.normal(size=mask.shape)).astype(dtype), x, dy)


@st.composite
def convolutions(draw):
    kernel = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    padding = draw(st.integers(0, 6))
    size = tuple(draw(st.integers(max(1, k - 2 * padding), 10)) for k in kernel)
    case = make(
        draw(st.integers(1, 6)),
        draw(st.integers(1, 5)),
        size,
        kernel,
        draw(st.integers(1, 4)),
        padding,
        draw(st.integers(1, 3)),
        draw(st.sampled_from(BATCHES)),
        draw(st.sampled_from([0.0, 0.1, 0.6, 1.0])),
        draw(st.sampled_from([np.float32, np.float64])),
        draw(st.integers(0, 2**32)),
    )
    case.index = draw(st.sampled_from([np.int32, np.int64]))
    return case


TILED = [  # outputs, channels, size, kernel, stride, padding that the compiled kernels compute by tiles
    (o, c, (h, w), (r, r), 1, p)
    for o, c, r, h, w in itertools.product((8, 13, 50), (9, 17, 30), (3, 5), range(3, 15), range(3, 15))
    for p in range(r + 1)
    if min(h, w) + 2 * p >= r and winograd.pays((o, c, r, r), 1, p, (h + 2 * p - r + 1, w + 2 * p - r + 1))
]


@st.composite
def by_tiles(draw):
    """Some of these, of values that may be zero, alike or far apart."""
    case = make(
        *draw(st.sampled_from(TILED)),
        n=draw(st.sampled_from(BATCHES[1:])),
        density=draw(st.sampled_from([0.1, 0.6, 1.0])),
        dtype=draw(st.sampled_from([np.float32, np.float64])),
        seed=draw(st.integers(0, 2**32)),
    )
    for values in case.x, case.dy:
        kind = draw(st.sampled_from(["normal", "rectified", "constant", "far apart", "one"]))
        if kind == "rectified":
            np.maximum(values, 0, out=values)
        elif kind == "constant":
            values[:] = draw(st.sampled_from([0.0, 1.0, -3.0]))
        elif kind == "far apart":
            values *= 10 ** (6 * np.random.default_rng(0).random(values.shape) - 3)
        elif kind == "one":
            values.reshape(-1)[1:] = 0
    return case


def by_group(array, groups):
    return array.reshape(groups, len(array) // groups, -1) if array.size else array.reshape(groups, 0, 0)


def products(case, absolute=False):
    """y, dx, dw as products of unfolded columns, float64; or of the absolute values."""
    w, x, dy = (np.abs(a).astype(float) if absolute else a.astype(float) for a in (case.w, case.x, case.dy))
    g, groups = case.geometry, case.geometry.groups
    if not x.size:
        return np.zeros(dy.shape), np.zeros(x.shape), np.zeros(w.shape)
    columns, flat = by_group(g.unfold(x), groups), by_group(dy, groups)
    y = by_group(w, groups) @ columns
    dx = by_group(w, groups).swapaxes(1, 2) @ flat
    dw = flat @ columns.swapaxes(1, 2)
    return y.reshape(dy.shape), g.fold(dx.reshape(-1, flat.shape[2]), x.shape), dw.reshape(w.shape)


def dense(case):
    w, x, dy = case.w, case.x, case.dy
    dx = conv.input_gradient(w, dy, *x.shape[1:3], *case.settings)
    return conv.convolve(w, x, *case.settings), dx, conv.weight_gradient(dy, x, *w.shape[2:], *case.settings)


def sparse(case):
    pattern, values = case.sparse
    x, dy, kernel = case.x, case.dy, case.w.shape[2:]
    y = spconv.convolve(pattern, values, x, *kernel, *case.settings)
    dx = spconv.input_gradient(pattern, values, dy, *x.shape[:3], *kernel, *case.settings)
    return y, dx, spconv.weight_gradient(pattern, dy, x, *kernel, *case.settings)


def assert_within(found, exact, terms, absolute, dtype):
    """|found - exact| <= n eps / (1 - n eps) sum |terms|, which is twice the kernel's bound: room for the oracle's."""
    assert found.dtype == dtype and found.shape == exact.shape
    rounding = terms * np.finfo(dtype).eps
    assert (np.abs(found - exact) <= rounding / (1 - rounding) * absolute).all()


@given(convolutions())
def test_dense_and_sparse_kernels_are_the_product_of_unfolded_columns(case):
    exact, absolute = products(case), products(case, absolute=True)
    terms = case.w[0].size, case.w.size, max(1, case.dy[0].size)
    for found, *expected in zip(dense(case), exact, terms, absolute, strict=True):
        assert_within(found, *expected, case.x.dtype)
    exact, absolute = ((y, dx, dw[case.mask]) for y, dx, dw in (exact, absolute))
    for found, *expected in zip(sparse(case), exact, terms, absolute, strict=True):
        assert_within(found, *expected, case.x.dtype)


@given(by_tiles())
def test_products_of_tiles_are_those_of_unfolded_columns_within_what_their_transforms_round(case):
    r, padding = case.w.shape[2], case.geometry.padding
    bounds = [winograd.convolve(case.w, case.x, padding, absolute=True), products(case, absolute=True)[1]]
    if winograd.back(case.w.shape, 1, padding, case.dy.shape[1:3]):
        bounds[1] = winograd.input_gradient(case.w, case.dy, padding, absolute=True)
    bounds.append(winograd.weight_gradient(case.dy, case.x, r, padding, absolute=True))
    more = winograd.ROUNDINGS + winograd.OVERLAPS
    terms = (n + more for n in (case.w[0].size, case.w.size, case.dy[0].size))
    for found, *expected in zip(dense(case), products(case), terms, bounds, strict=True):
        assert_within(found, *expected, case.x.dtype)


@given(by_tiles())
def test_the_transforms_of_tiles_give_sums_of_products(case):
    """winograd.py in float64, against the product of unfolded columns."""
    w, x, dy = (array.astype(np.float64) for array in (case.w, case.x, case.dy))
    r, padding = w.shape[2], case.geometry.padding
    y, dx, dw = products(case)
    largest = [np.abs(array).max(initial=1) for array in (w, x, dy)]
    np.testing.assert_allclose(winograd.convolve(w, x, padding), y, atol=1e-11 * largest[0] * largest[1])
    np.testing.assert_allclose(winograd.spread(w, dy, padding), dx, atol=1e-11 * largest[0] * largest[2])
    np.testing.assert_allclose(winograd.weight_gradient(dy, x, r, padding), dw, atol=1e-9 * largest[1] * largest[2])


@given(by_tiles(), st.sampled_from([np.nan, np.inf]))
def test_what_is_not_finite_stays_in_its_tile_and_image(case, value):
    expected, m = conv.convolve(case.w, case.x, *case.settings), winograd.SIDE
    case.x[0, 0, 0, 0] = value
    found = conv.convolve(case.w, case.x, *case.settings)
    reached = np.zeros(found.shape[1:], bool)
    reached[: (case.geometry.padding // m + 1) * m, : (case.geometry.padding // m + 1) * m, 0] = True
    np.testing.assert_array_equal(found[:, ~reached], expected[:, ~reached])


def pooled(case, dy=None, winner=None):
    """Dense and sparse: what is pooled with its winners, or of those both gradients."""
    (pattern, values), kernel = case.sparse, case.w.shape[2:]
    if dy is None:
        yield conv.convolve_pooled(case.w, case.x, *case.settings)
        yield spconv.convolve_pooled(pattern, values, case.x, *kernel, *case.settings)
        return
    shape, pooling = case.x.shape, () if winner is None else (winner,)
    yield conv.input_gradient(case.w, dy, *shape[1:3], *case.settings, *pooling)
    yield conv.weight_gradient(dy, case.x, *kernel, *case.settings, *pooling)
    yield spconv.input_gradient(pattern, values, dy, *shape[:3], *kernel, *case.settings, *pooling)
    yield spconv.weight_gradient(pattern, dy, case.x, *kernel, *case.settings, *pooling)


@given(convolutions() | by_tiles(), st.sampled_from([None, np.nan, np.inf, 0.0]))
def test_pooled_kernels_are_the_others_with_pooling_between_to_the_bit(case, value):
    if value is not None and case.x.size:
        case.x.reshape(-1)[:: max(1, case.x.size // 5)] = value
    if min(case.dy.shape[1:3]) < 2:
        for kernel in (conv.convolve_pooled, spconv.convolve_pooled):
            with pytest.raises(ValueError, match="window of 2 x 2"):
                weight = (case.w,) if kernel is conv.convolve_pooled else case.sparse
                kernel(*weight, case.x, *(() if kernel is conv.convolve_pooled else case.w.shape[2:]), *case.settings)
        return
    for (found, winner), y in zip(pooled(case), (dense(case)[0], sparse(case)[0]), strict=True):
        largest, place = pool.maximum(y, 2, 2)
        np.testing.assert_array_equal(found, largest)
        np.testing.assert_array_equal(winner, place)
    dy = np.ascontiguousarray(case.dy[:, : case.dy.shape[1] // 2, : case.dy.shape[2] // 2])
    winner = np.random.default_rng(1).integers(4, size=dy.shape).astype(np.uint8)
    whole = pool.maximum_backward(dy, winner.astype(np.int32), 2, 2, *case.dy.shape[1:3])
    for found, expected in zip(pooled(case, dy, winner), pooled(case, whole), strict=True):
        np.testing.assert_array_equal(found, expected)


@given(convolutions() | by_tiles())
def test_kernels_that_normalise_are_the_others_on_what_was_normalised_to_the_bit(case):
    normal = np.random.default_rng(1).normal(size=(len(case.x), 4)).astype(case.x.dtype)
    (pattern, values), kernel, x = case.sparse, case.w.shape[2:], case.x
    found = [
        conv.convolve(case.w, x, *case.settings, None, normal),
        conv.weight_gradient(case.dy, x, *kernel, *case.settings, None, normal),
        spconv.convolve(pattern, values, x, *kernel, *case.settings, None, normal),
        spconv.weight_gradient(pattern, case.dy, x, *kernel, *case.settings, None, normal),
    ]
    if x.size:
        case.x = norm.normalise(x.reshape(len(x), -1), normal, True).reshape(x.shape)
    (y, _, dw), (sparse_y, _, sparse_dw) = dense(case), sparse(case)
    for result, expected in zip(found, (y, dw, sparse_y, sparse_dw), strict=True):
        np.testing.assert_array_equal(result, expected)


GROUPS_OF_ROWS = [  # several a band, with chunks of channels, columns left over, rows of dx below those of dy
    make(12, 3, (140, 130), (3, 3), stride=2, padding=1, n=2, density=0.3),
    make(30, 20, (64, 63), (3, 3), padding=1, n=40, density=0.02),
    make(9, 40, (50, 31), (5, 5), n=33, density=0.1),
    make(4, 40, (60, 50), (2, 2), padding=3, n=33, density=0.3),
]


@given(convolutions() | st.sampled_from(GROUPS_OF_ROWS), st.booleans(), st.booleans())
def test_both_gradients_at_once_are_one_after_the_other_to_the_bit(case, pooled, normalised):
    (pattern, values), kernel, x, dy, winner = case.sparse, case.w.shape[2:], case.x, case.dy, None
    generator = np.random.default_rng(1)
    if pooled and min(dy.shape[1:3]) > 1:
        dy = np.ascontiguousarray(dy[:, : dy.shape[1] // 2, : dy.shape[2] // 2])
        winner = generator.integers(5, size=dy.shape).astype(np.uint8)
    normal = generator.normal(size=(len(x), 4)).astype(x.dtype) if normalised else None
    dw, dx = spconv.gradients(pattern, values, dy, x, *kernel, *case.settings, winner, normal)
    expected = spconv.input_gradient(pattern, values, dy, *x.shape[:3], *kernel, *case.settings, winner)
    np.testing.assert_array_equal(dx, expected)
    expected = spconv.weight_gradient(pattern, dy, x, *kernel, *case.settings, winner, normal)
    np.testing.assert_array_equal(dw, expected)


@pytest.mark.parametrize("n", [3, 33])
def test_what_lies_beyond_the_batch_is_not_normalised(n):
    case = make(2, 5, (3, 3), (3, 3), padding=1, n=n, density=1)
    case.x[:], case.dy[:] = 1, 1
    normal = np.tile(np.float32([0, 1, 1, np.inf]), (5, 1))
    pattern, _ = case.sparse
    dw = spconv.weight_gradient(pattern, case.dy, case.x, 3, 3, *case.settings, None, normal)
    assert (dw == np.inf).all()
    assert (conv.weight_gradient(case.dy, case.x, 3, 3, *case.settings, None, normal) == np.inf).all()


@pytest.mark.parametrize("channels", [(5, 3), (12, 10)])
@pytest.mark.parametrize("n", BATCHES)
def test_blocks_at_the_end_of_the_batch_are_whole_images(n, channels):
    case = make(*channels, (6, 9), (3, 3), padding=1, n=n)
    for kernels in (dense, sparse):
        whole = kernels(case)[:2]
        for i in range(n):
            one = Case(case.geometry, case.mask, case.w, case.x[..., i : i + 1], case.dy[..., i : i + 1])
            for all_, single in zip(whole, kernels(one)[:2], strict=True):
                np.testing.assert_allclose(all_[..., i : i + 1], single, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(6, 4, (9, 8), (3, 2), 2, 1, 2), (10, 9, (8, 9), (3, 3), 1, 1)])
@pytest.mark.parametrize("kernels", [dense, sparse])
def test_the_three_are_one_bilinear_form(kernels, shape):
    """<dy, W * x> = <dx, x> = <dw, W>."""
    case = make(*shape, dtype=np.float64)
    y, dx, dw = kernels(case)
    form = (case.dy * y).sum()
    w = case.w if kernels is dense else case.w[case.mask]
    np.testing.assert_allclose([(dx * case.x).sum(), (dw * w).sum()], form, rtol=1e-10)


@pytest.mark.parametrize("kernels", [dense, sparse])
def test_a_mask_that_keeps_nothing_gives_zeros(kernels):
    y, dx, dw = kernels(make(4, 3, (5, 5), (3, 3), padding=1, density=0.0))
    assert not y.any() and not dx.any() and (kernels is dense or not dw.size)


def strided(array):
    return np.repeat(array, 3, axis=-1)[..., ::3]


def batch_first(array):
    return np.moveaxis(np.moveaxis(array, -1, 0).copy(), 0, -1)


def inside(array):
    """A view with wider strides than its shape, contiguous batch."""
    return np.pad(array, ((1, 0), (1, 2), (2, 1), (1, 1)))[1:, 1:-2, 2:-1, 1:-1]


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("layout", [strided, batch_first, inside, read_only, np.asfortranarray])
@pytest.mark.parametrize("shape", [(5, 3, (6, 7), (3, 3), 2), (13, 10, (8, 7), (3, 3), 1)])
@pytest.mark.parametrize("kernels", [dense, sparse])
def test_every_layout_of_the_images_is_accepted(layout, kernels, shape):
    case = make(*shape, 1, n=40)
    expected = kernels(case)
    for found, same in zip(
        kernels(Case(case.geometry, case.mask, layout(case.w), layout(case.x), layout(case.dy))), expected, strict=True
    ):
        assert found.tobytes() == same.tobytes()


def test_repeated_and_unordered_entries_add_up():
    indptr, indices = np.array([0, 4]), np.array([3, 0, 3, 1])
    pattern, values = Pattern(indptr, indices, 4), np.array([1.0, 2.0, 3.0, 4.0])
    w = np.array([2.0, 4.0, 0.0, 4.0]).reshape(1, 1, 2, 2)
    x, dy = np.random.default_rng(0).normal(size=(1, 4, 4, 5)), np.random.default_rng(1).normal(size=(1, 3, 3, 5))
    y = spconv.convolve(pattern, values, x, 2, 2, 1, 0, 1)
    np.testing.assert_allclose(y, conv.convolve(w, x, 1, 0, 1), rtol=1e-12, atol=1e-12)
    dx = spconv.input_gradient(pattern, values, dy, 1, 4, 4, 2, 2, 1, 0, 1)
    np.testing.assert_allclose(dx, conv.input_gradient(w, dy, 4, 4, 1, 0, 1), rtol=1e-12, atol=1e-12)
    dw = spconv.weight_gradient(pattern, dy, x, 2, 2, 1, 0, 1)
    np.testing.assert_allclose(dw, conv.weight_gradient(dy, x, 2, 2, 1, 0, 1).ravel()[indices], rtol=1e-12)


def test_what_a_pattern_keeps_of_one_geometry_does_not_touch_another():
    """One kernel on many sizes, paddings and strides, more than are kept, against a new pattern each time."""
    pattern, values = make(5, 3, (3, 3), (3, 3), density=0.4).sparse
    geometries = [(size, stride, padding) for size in (7, 8) for stride in (1, 2, 3) for padding in (0, 1, 2)]
    for size, stride, padding in geometries + geometries[::-1]:
        case = make(5, 3, (size, size), (3, 3), stride, padding, n=3)
        settings = 3, 3, stride, padding, 1
        found, fresh = (
            (
                spconv.convolve(places, values, case.x, *settings),
                spconv.input_gradient(places, values, case.dy, 3, size, size, *settings),
                spconv.weight_gradient(places, case.dy, case.x, *settings),
            )
            for places in (pattern, Pattern(pattern.indptr, pattern.indices, pattern.columns))
        )
        assert [a.tobytes() for a in found] == [a.tobytes() for a in fresh]
        assert pattern.nbytes < 100 * len(values) + 20_000


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 6, 8, 17])
@pytest.mark.parametrize("height", [1, 2, 3])
def test_every_shape_of_image_is_covered_by_tiles(height, width):
    """Also without any channel to read."""
    for channels in (2, 0):
        case = make(2, channels, (height, width), (3, 3), padding=1, n=40)
        for found, exact in zip(sparse(case)[:2], products(case), strict=False):
            np.testing.assert_allclose(found, exact, atol=1e-5)


# Operands that do not fit

GOOD = {
    "pattern": Pattern(np.array([0, 2, 2, 3]), np.array([0, 17, 4]), 18),
    "values": np.ones(3, np.float32),
    "w": np.ones((3, 2, 3, 3), np.float32),
    "x": np.ones((2, 5, 5, 4), np.float32),
    "dy": np.ones((3, 5, 5, 4), np.float32),
    "channels": 2,
    "height": 5,
    "width": 5,
    "kernel_height": 3,
    "kernel_width": 3,
    "stride": 1,
    "padding": 1,
    "groups": 1,
}
BAD = [
    ("pattern", (np.array([0, 2, 2, 3]), np.array([0, 17, 4]), 18)),
    ("pattern", Pattern(np.array([0, 2, 2, 3]), np.array([0, 17, 4]), 19)),
    ("pattern", Pattern(np.array([0, 1, 1, 2, 2]), np.array([0, 17]), 18)),
    ("values", np.ones(2, np.float32)),
    ("values", np.ones(3, np.int32)),
    ("w", np.ones((3, 2, 3), np.float32)),
    ("w", np.ones((3, 1, 3, 3), np.float32)),
    ("w", np.ones((3, 2, 3, 3), np.complex128)),
    ("x", np.ones((3, 5, 5, 4), np.float32)),
    ("x", np.ones((2, 5, 5), np.float32)),
    ("x", np.ones((2, 5, 5, 4), np.float64)),
    ("x", np.ones((2, 0, 0, 4), np.float32)),
    ("dy", np.ones((3, 4, 5, 4), np.float32)),
    ("dy", np.ones((2, 5, 5, 4), np.float32)),
    ("dy", np.ones((3, 5, 5, 4), np.float16)),
    ("channels", 1),
    ("channels", -2),
    ("height", 6),
    ("width", -1),
    ("kernel_height", 9),
    ("kernel_width", 0),
    ("stride", 0),
    ("stride", 1.0),
    ("padding", -1),
    ("padding", 2**40),
    ("groups", 0),
    ("groups", 2),
]
FITS = {  # nothing else says how many channels there are
    (conv.input_gradient, "w", (3, 1, 3, 3)),
    (conv.weight_gradient, "x", (3, 5, 5, 4)),
    (conv.weight_gradient, "dy", (2, 5, 5, 4)),
}
SIGNATURES = {
    conv.convolve: "w x stride padding groups",
    conv.input_gradient: "w dy height width stride padding groups",
    conv.weight_gradient: "dy x kernel_height kernel_width stride padding groups",
    spconv.convolve: "pattern values x kernel_height kernel_width stride padding groups",
    spconv.input_gradient: "pattern values dy channels height width "
    "kernel_height kernel_width stride padding groups",
    spconv.weight_gradient: "pattern dy x kernel_height kernel_width stride padding groups",
    spconv.gradients: "pattern values dy x kernel_height kernel_width stride padding groups",
}


@pytest.mark.parametrize("function", SIGNATURES, ids=lambda f: f"{f.__module__}.{f.__name__}")
def test_operands_that_do_not_fit_are_refused(function):
    names = SIGNATURES[function].split()
    function(*(GOOD[name] for name in names))
    for operand, value in BAD:
        if operand in names and (function, operand, getattr(value, "shape", None)) not in FITS:
            with pytest.raises(ValueError):
                function(*((GOOD | {operand: value})[name] for name in names))


THREADS = """
import hashlib
import numpy as np
from minisparse._core import conv, spconv
from minisparse._core.pattern import Pattern
generator = np.random.default_rng(0)
for n in (32, 70):
    mask = generator.random((40, 12 * 9)) < 0.2
    indptr = np.concatenate([[0], np.cumsum(mask.sum(1))])
    pattern, values = Pattern(indptr, np.nonzero(mask)[1], 108), generator.normal(size=mask.sum()).astype(np.float32)
    w = generator.normal(size=(40, 12, 3, 3)).astype(np.float32)
    x, dy = (generator.normal(size=s).astype(np.float32) for s in ((12, 21, 19, n), (40, 21, 19, n)))
    results = [conv.convolve(w, x, 1, 1, 1), conv.input_gradient(w, dy, 21, 19, 1, 1, 1)]
    results += [conv.weight_gradient(dy, x, 3, 3, 1, 1, 1)]
    results += [spconv.weight_gradient(pattern, dy, x, 3, 3, 1, 1, 1)]
    results += [*spconv.gradients(pattern, values, dy, x, 3, 3, 1, 1, 1)]
    results += [spconv.convolve(pattern, values, x, 3, 3, 1, 1, 1)]
    results += [spconv.input_gradient(pattern, values, dy, 12, 21, 19, 3, 3, 1, 1, 1)]
    w, dy = (generator.normal(size=s).astype(np.float32) for s in ((50, 20, 5, 5), (50, 8, 8, n)))
    results += [conv.input_gradient(w, dy, 12, 12, 1, 0, 1)]
    print(*(hashlib.sha256(r.tobytes()).hexdigest() for r in results))
"""


@pytest.mark.skipif(BACKEND == "reference", reason="the twins have no threads")
def test_results_are_the_same_whatever_the_number_of_threads():
    def digest(threads):
        environment = os.environ | {"OMP_NUM_THREADS": threads}
        return subprocess.run([sys.executable, "-c", THREADS], env=environment, capture_output=True, check=True).stdout

    assert digest("1") == digest("2") == digest("3")
