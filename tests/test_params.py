import numpy as np
import pytest

from minisparse.params import Init, Parameter
from minisparse.stores import DenseStore, SparseStore


def _parameter(kind="normal", shape=(4, 5), scale=0.5, role="weight", dtype=np.float32) -> Parameter:
    p = Parameter(shape, Init(kind, scale), role)
    p.initialise(7, dtype)
    return p


@pytest.mark.parametrize("kind", ["normal", "uniform", "constant"])
@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0])
def test_values_at_any_places_are_those_of_the_range(kind, factor):
    init = Init(kind, 0.5, 123, factor)
    values = init.range(0, 50)
    index = np.array([49, 0, 7, 7], np.int64)
    np.testing.assert_array_equal(init.at(index), values[index])
    np.testing.assert_array_equal(init.range(10, 20), values[10:20])
    assert values.dtype == init.at(index).dtype == np.float32


def test_a_factor_is_one_float32_multiplication_and_zero_gives_plus_zero():
    plain, scaled = Init("normal", 0.5, 1), Init("normal", 0.5, 1, 0.3)
    np.testing.assert_array_equal(scaled.range(0, 99), plain.range(0, 99) * np.float32(0.3))
    assert not np.signbit(Init("normal", 0.5, 1, 0.0).range(0, 99)).any()


def test_settings_of_an_init_and_a_role_are_checked():
    with pytest.raises(ValueError, match="kind='gaussian'"):
        Init("gaussian", 1.0)
    for factor in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="factor="):
            Init("normal", 1.0, factor=factor)
    with pytest.raises(ValueError, match="role='scale'"):
        Parameter((2,), Init("normal", 1.0), "scale")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_fresh_parameter_is_dense_at_its_initial_values_with_rest_zero(dtype):
    p = _parameter(dtype=dtype)
    assert isinstance(p.store, DenseStore) and p.mask is None and p.kept == p.size == 20 and p.rest_scale == 0
    assert p.value().dtype == p.store.grad.dtype == dtype
    np.testing.assert_array_equal(p.value(), p.initial())
    assert not p.rest().any() and not p.store.grad.any()


def test_values_are_made_only_when_they_are_asked_for():
    p = Parameter((10**6, 10**6), Init("normal", 1.0))
    p.initialise(3)
    assert p.size == 10**12 and "store" not in vars(p)


def test_initialise_begins_anew():
    p = _parameter()
    p.rest_scale = 1.0
    p.keep(np.zeros(p.shape, bool))
    p.initialise(8)
    assert p.mask is None and p.rest_scale == 0 and p.init.key == 8
    assert (p.value() != _parameter().value()).any()


@pytest.mark.parametrize("rest_scale", [0.0, 0.5, 1.0])
def test_keep_returns_every_entry_off_the_mask_to_rest_and_leaves_the_others(rest_scale):
    p = _parameter()
    p.store.values += 1
    before, mask = p.value().copy(), np.arange(20).reshape(p.shape) % 3 == 0
    p.rest_scale = rest_scale
    p.keep(mask)
    np.testing.assert_array_equal(p.value()[mask], before[mask])
    np.testing.assert_array_equal(p.value()[~mask], (p.initial() * np.float32(rest_scale))[~mask])
    assert p.kept == 7 and p.rest_scale == rest_scale
    np.testing.assert_array_equal(p.mask, mask)


def test_a_mask_must_be_boolean_and_of_the_weights_shape_and_a_sparse_one_is_fixed():
    p = _parameter()
    for mask in (np.ones((5, 4), bool), np.ones((4, 5))):
        with pytest.raises(ValueError, match=r"mask must be bool \(4, 5\)"):
            p.keep(mask)
    p.to_sparse()
    p.keep(np.ones((4, 5), bool))
    for mask, frozen in ((np.zeros((4, 5), bool), True), (np.ones((4, 5), bool), False)):
        with pytest.raises(ValueError, match="to_dense"):
            p.keep(mask, frozen)


@pytest.mark.parametrize("frozen", [False, True])
def test_entries_off_a_frozen_mask_get_no_gradient(frozen):
    p = _parameter()
    mask = np.arange(20).reshape(p.shape) % 2 == 0
    p.keep(mask, frozen)
    p.store.add_gradient(np.ones(p.shape, np.float32))
    p.store.accumulate(np.ones((4, 3), np.float32), np.ones((5, 3), np.float32))
    np.testing.assert_array_equal(p.store.grad, np.where(mask | (not frozen), 4, 0))


def test_changing_the_store_is_idempotent():
    p = _parameter()
    p.to_dense()
    p.to_sparse()
    store = p.store
    p.to_sparse()
    assert p.store is store and isinstance(store, SparseStore)
    assert "kept=20" in repr(p)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distance_is_the_norm_of_what_moved_whatever_holds_it(dtype):
    p = _parameter(dtype=dtype)
    assert p.distance() == 0
    p.regenerate()
    assert p.distance() == 0
    p.hold(np.array([2, 9]), np.array([p.initial().flat[2] + 3, p.initial().flat[9] - 4], dtype))
    assert p.distance() == pytest.approx(5, rel=1e-6)
    p.to_dense()
    assert p.distance() == pytest.approx(5, rel=1e-6)
    p.rest_scale = 0.0
    p.keep(p.mask)
    pruned = np.linalg.norm(p.value() - p.initial())
    p.to_sparse()
    assert p.distance() == pytest.approx(pruned, rel=1e-6) and pruned > 5
