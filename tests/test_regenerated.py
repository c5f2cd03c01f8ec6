"""DropBack in true memory: the run of the dense store, with nothing of the size of a layer."""

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisparse import models
from minisparse.data import Dataset, from_arrays
from minisparse.layers import BatchNorm, Conv2d, GlobalAvgPool, Linear, ReLU, Sequential
from minisparse.methods import Compose, DropBack, Method
from minisparse.model import Model
from minisparse.params import Init
from minisparse.run import Run, TrainSettings
from minisparse.stores import DenseStore, Geometry, RegeneratedStore
from minisparse.testing.methods import small_data, small_model
from minisparse.train import train_step

STORES = "dense", "regenerated"


def conv_model() -> Model:
    """450 values: a 3x3, a grouped one with stride 2, a 1x1 convolution and a linear layer."""
    net = {"conv1": Conv2d(2, 6, 3, padding=1), "norm": BatchNorm(6), "relu1": ReLU()}
    net |= {"conv2": Conv2d(6, 8, 3, stride=2, padding=1, groups=2, bias=False), "relu2": ReLU()}
    net |= {"conv3": Conv2d(8, 8, 1), "pool": GlobalAvgPool(), "fc": Linear(8, 4)}
    return Model("conv", Sequential(net), (2, 6, 6), 3)


def images() -> Dataset:
    generator, y = np.random.default_rng(0), np.arange(80) % 4
    x = generator.normal(size=(80, 2, 6, 6)) + y[:, None, None, None]
    return from_arrays("images", (x.astype(np.float32), y), classes=4)


SETUPS = {"linear": (small_model, small_data), "conv": (conv_model, images)}


def started(setup: str, method: Method, **settings) -> Run:
    model, data = SETUPS[setup]
    plain = {"epochs": 2, "batch": 10, "lr": 0.2, "momentum": 0.0, "seed": 5}
    run = Run(model(), data(), method, TrainSettings(**plain | settings))
    method.start(run)
    return run


def check_runs_agree() -> None:
    """The two stores give equal losses, values and masks, to the bit, after every step; for the twins."""
    choices = [{"budget": 50}, {"budget": 0}, {"density": 1.0}, {"density": 0.2, "freeze": 0.5}]
    choices += [{"density": 0.2, "decay": 0.5, "decay_steps": 5}, {"density": 0.2, "selection": "quantile"}]
    for setup in SETUPS:
        for choice in choices:
            for settings in ({}, {"momentum": 0.9, "weight_decay": 0.01}):
                runs = [started(setup, DropBack(**choice), store=store, **settings) for store in STORES]
                for _ in range(runs[0].total_steps):
                    losses = [train_step(run) for run in runs]
                    assert losses[0] == losses[1], (setup, choice, settings)
                    for ours, theirs in zip(*(run.model.parameters.values() for run in runs), strict=True):
                        assert ours.value().tobytes() == theirs.value().tobytes(), (setup, choice, settings, ours)
                        assert (ours.mask == theirs.mask).all()


def test_the_run_is_that_of_the_dense_store_to_the_bit_on_the_twins():
    code = f"import runpy; runpy.run_path({__file__!r})['check_runs_agree']()"
    environment = os.environ | {"MINISPARSE_BACKEND": "reference"}
    child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr


@pytest.mark.parametrize("setup", SETUPS)
def test_a_run_ends_where_that_of_the_dense_store_does(setup):
    ends = []
    for store in STORES:
        run = started(setup, DropBack(density=0.3), epochs=4, store=store)
        losses = [train_step(run) for _ in range(run.total_steps)]
        ends.append(np.mean(losses[-5:]))
    assert ends[0] < 1.2 and ends[1] == pytest.approx(ends[0], rel=0.02)


@st.composite
def weights(draw):
    """(shape, geometry or None, x, dy) of a product."""
    generator, n, groups = np.random.default_rng(draw(st.integers(0, 99))), draw(st.integers(1, 5)), 1
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    if draw(st.booleans()):
        shape, geometry = (draw(st.integers(1, 9)), draw(st.integers(1, 30))), None
        sizes = (shape[1], n), (shape[0], n)
    else:
        groups, kernel = draw(st.integers(1, 2)), (draw(st.integers(1, 3)),) * 2
        shape = (groups * draw(st.integers(1, 4)), draw(st.integers(1, 3)), *kernel)
        geometry = Geometry(kernel, draw(st.integers(1, 2)), draw(st.integers(0, 1)), groups)
        sizes = (groups * shape[1], 5, 4, n), (shape[0], *geometry.output_size(5, 4), n)
    return shape, geometry, *(generator.normal(size=size).astype(dtype) for size in sizes)


@given(weights(), st.floats(0, 1), st.sampled_from([1, 40, 1 << 19]))
def test_candidates_are_one_dense_step_from_rest_within_the_bound_of_a_product(case, density, tile):
    shape, geometry, x, dy = case
    size, rest, rate = int(np.prod(shape)), Init("normal", 0.5, 7), 0.25
    index = np.flatnonzero(np.random.default_rng(0).random(size) < density)
    store = RegeneratedStore(shape, index, np.ones(len(index), x.dtype), rest)
    dense, terms = DenseStore(np.zeros(shape), rest), dy.size // len(dy)
    bound = DenseStore(np.zeros(shape), rest)
    for other, a, b in ((store, dy, x), (dense, dy.astype(float), x.astype(float)), (bound, abs(dy), abs(x))):
        if other is bound:
            a, b = a.astype(float), b.astype(float)
        if geometry is None:
            other.accumulate(a, b)
        else:
            other.accumulate_convolution(a, b, geometry)
    eps = np.finfo(x.dtype).eps
    allowed = (2 * terms * eps * bound.grad.ravel(), dense.grad.ravel())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minisparse.stores.sparse.TILE", tile)
        found = [np.concatenate(parts) for parts in zip(*store.candidates(rate, lambda: (0.0, size)), strict=True)]
    at, gradient, score = found
    np.testing.assert_array_equal(at, np.setdiff1d(np.arange(size), index))
    assert gradient.dtype == score.dtype == x.dtype
    assert (np.abs(gradient - allowed[1][at]) <= allowed[0][at]).all()
    assert (np.abs(store.grad - allowed[1][index]) <= allowed[0][index]).all()
    r = rest.at(at).astype(x.dtype)
    np.testing.assert_array_equal(score, np.abs((r - x.dtype.type(rate) * gradient) - r))


def test_gradients_of_several_products_and_of_a_given_one_add_up():
    x, dy, given_one = (np.random.default_rng(i).normal(size=s) for i, s in enumerate([(6, 3), (4, 3), (4, 6)]))
    store = RegeneratedStore((4, 6), np.array([3, 20]), np.ones(2), Init("normal", 1.0))
    store.accumulate(dy, x)
    store.accumulate(2 * dy, x)
    store.add_gradient(given_one)
    expected = (3 * dy @ x.T + given_one).ravel()
    ((at, gradient, _),) = store.candidates(0.1, lambda: (0.0, 24))
    np.testing.assert_allclose(gradient, expected[at], rtol=1e-12)
    np.testing.assert_allclose(store.grad, expected[[3, 20]], rtol=1e-12)
    store.zero_grad()
    ((at, gradient, _),) = store.candidates(0.1, lambda: (0.0, 24))
    assert not gradient.any() and not store.grad.any() and len(at) == 22


def test_a_step_holds_nothing_of_the_size_of_a_layer(monkeypatch):
    monkeypatch.setattr("minisparse._core.regen_ref.TILE", 1 << 15)
    monkeypatch.setattr("minisparse.stores.sparse.TILE", 1 << 15)
    data = from_arrays("random", (np.random.default_rng(0).random((40, 1000), np.float32), np.arange(40) % 10))
    model = models.mlp("wide", (1500, 1500), (1000,), 10)
    settings = TrainSettings(epochs=1, batch=5, momentum=0.9, store="regenerated")
    run = Run(model, data, DropBack(budget=5000), settings)
    tracemalloc.start()
    run.method.start(run)
    for _ in range(3):
        train_step(run)
        assert model.kept == 5000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * model.parameters["fc1.weight"].size


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("name", models.NAMES)
def test_the_budget_is_exact_after_every_step_of_every_model_also_when_all_scores_tie(name, store):
    shape = (1, 28, 28) if name.startswith(("mnist", "lenet")) else (3, 32, 32)
    generator = np.random.default_rng(0)
    data = from_arrays("noise", (generator.random((12, *shape), np.float32), np.arange(12) % 3), classes=3)
    model = models.build(name, shape, 3, width=0.05)
    k = model.size // 7
    settings = TrainSettings(epochs=2, batch=2, lr=0.1, momentum=0.0, store=store)
    run = Run(model, data, DropBack(budget=k), settings)
    run.method.start(run)
    for _ in range(2):
        train_step(run)
        assert model.kept == k
        check_rest(run)
    # all at rest and no gradient: every score is 0
    run.method.start(run)
    model.zero_grad()
    run.method.after_step(run)
    places = np.concatenate([p.mask.ravel() for p in model.parameters.values()])
    assert places[:k].all() and not places[k:].any()


def check_rest(run: Run) -> None:
    for p in run.model.parameters.values():
        off = ~p.mask
        assert p.value()[off].tobytes() == p.initial()[off].tobytes()


def test_a_frozen_set_stays_and_no_gradient_of_others_is_asked_for():
    run = started("linear", DropBack(budget=40, freeze=0.5), store="regenerated", momentum=0.9)
    for _ in range(run.total_steps // 2):
        train_step(run)
    frozen = {name: p.store.index for name, p in run.model.parameters.items()}
    for _ in range(run.total_steps // 2):
        train_step(run)
        for name, p in run.model.parameters.items():
            assert p.store.frozen and not p.store._gradients
            np.testing.assert_array_equal(p.store.index, frozen[name])


@pytest.mark.parametrize("settings", [{"optimizer": "adam"}, {"momentum": 0.9, "nesterov": True}])
def test_an_optimiser_with_more_state_than_a_velocity_is_refused(settings):
    with pytest.raises(ValueError, match="store=regenerated needs plain SGD or momentum"):
        started("linear", DropBack(budget=50), store="regenerated", **settings)


@pytest.mark.parametrize("method", [Method(), Compose(DropBack(budget=50), Method())])
def test_a_method_that_moves_all_weights_cannot_regenerate_them(method):
    with pytest.raises(ValueError, match="store=regenerated is not for"):
        started("linear", method, store="regenerated")


def test_a_nan_gradient_is_refused():
    run = started("linear", DropBack(budget=50), store="regenerated")
    train_step(run)
    run.model.parameters["fc1.weight"].store.accumulate(np.full((10, 2), np.nan, np.float32), np.ones((8, 2), "f"))
    with pytest.raises(ValueError, match="NaN"):
        run.method.after_step(run)


@pytest.mark.parametrize("store", STORES)
def test_the_running_threshold_keeps_k_on_average_and_k_exactly_in_the_end(store):
    run = started("conv", DropBack(budget=90, selection="quantile"), store=store, epochs=20)
    kept = []
    for _ in range(run.total_steps):
        train_step(run)
        kept.append(run.model.kept)
        assert run.model.parameters["conv1.weight"].notes["theta"][0] > 0
    assert kept[0] == kept[-1] == 90
    assert 0.7 * 90 < np.mean(kept) < 1.4 * 90
