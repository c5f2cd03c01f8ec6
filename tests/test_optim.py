"""Optimisers: their equations, and what must stay at rest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisparse.optim import SGD, Adam
from minisparse.params import Init, Parameter

OPTIMIZERS = {
    "sgd": lambda wd: SGD(weight_decay=wd),
    "momentum": lambda wd: SGD(momentum=0.9, weight_decay=wd),
    "nesterov": lambda wd: SGD(momentum=0.8, nesterov=True, weight_decay=wd),
    "adam": lambda wd: Adam(weight_decay=wd),
}


def parameter(seed: int, shape=(4, 6), dtype=np.float64) -> Parameter:
    p = Parameter(shape, Init("normal", 0.5))
    p.name = "w"
    p.initialise(seed, dtype)
    return p


def gradients(seed: int, shape, steps: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(steps, *shape))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_steps_agree_with_pytorch(name, weight_decay):
    torch = pytest.importorskip("torch")
    p = parameter(3)
    theirs = torch.nn.Parameter(torch.tensor(p.value().copy()))
    peer = {
        "sgd": lambda: torch.optim.SGD([theirs], 0.1, weight_decay=weight_decay),
        "momentum": lambda: torch.optim.SGD([theirs], 0.1, momentum=0.9, weight_decay=weight_decay),
        "nesterov": lambda: torch.optim.SGD([theirs], 0.1, momentum=0.8, nesterov=True, weight_decay=weight_decay),
        "adam": lambda: torch.optim.Adam([theirs], 0.1, weight_decay=weight_decay),
    }[name]()
    ours = OPTIMIZERS[name](weight_decay)
    for g in gradients(0, p.shape, 20):
        p.store.grad[...] = g
        theirs.grad = torch.tensor(g)
        ours.step({"w": p}, 0.1)
        peer.step()
    np.testing.assert_allclose(p.value(), theirs.detach().numpy(), rtol=1e-9, atol=1e-12)


def test_momentum_is_the_geometric_sum_of_gradients():
    p, optimizer = parameter(0), SGD(momentum=0.5)
    start, g = p.value().copy(), gradients(1, p.shape, 3)
    for one in g:
        p.store.grad[...] = one
        optimizer.step({"w": p}, 0.1)
    total = g[0] + (g[1] + 0.5 * g[0]) + (g[2] + 0.5 * g[1] + 0.25 * g[0])
    np.testing.assert_allclose(p.value(), start - 0.1 * total, rtol=1e-12)


def test_first_step_of_adam_is_the_learning_rate_in_size():
    p, optimizer = parameter(0), Adam(eps=1e-12)
    start, g = p.value().copy(), gradients(2, p.shape, 1)[0]
    p.store.grad[...] = g
    optimizer.step({"w": p}, 0.01)
    np.testing.assert_allclose(p.value(), start - 0.01 * np.sign(g), rtol=1e-6)


@given(
    seed=st.integers(0, 2**20),
    name=st.sampled_from(sorted(OPTIMIZERS)),
    rest_scale=st.sampled_from([0.0, 0.25, 1.0]),
    steps=st.integers(1, 5),
)
def test_entries_off_a_frozen_mask_stay_at_rest_to_the_bit(seed, name, rest_scale, steps):
    p, optimizer = parameter(seed, dtype=np.float32), OPTIMIZERS[name](0.1)
    p.rest_scale = rest_scale
    for g in gradients(seed, p.shape, steps):  # state gathers everywhere before the cut
        p.store.add_gradient(g.astype(np.float32))
        optimizer.step({"w": p}, 0.1)
    mask = np.random.default_rng(seed).random(p.shape) < 0.5
    p.keep(mask)
    optimizer.forget("w", mask)
    for g in gradients(seed + 1, p.shape, steps):
        p.store.grad.fill(0)
        p.store.add_gradient(g.astype(np.float32))
        optimizer.step({"w": p}, 0.1)
    assert p.value()[~mask].tobytes() == p.rest()[~mask].tobytes()
    for slot, state in optimizer.state.items():
        assert slot == "t" or not state[~mask].any()


@given(seed=st.integers(0, 2**20), name=st.sampled_from(sorted(OPTIMIZERS)), rest_scale=st.sampled_from([0.0, 1.0]))
def test_sparse_and_dense_stores_take_the_same_steps(seed, name, rest_scale):
    mask = np.random.default_rng(seed).random((4, 6)) < 0.4
    pair = [parameter(seed), parameter(seed)]
    for p in pair:
        p.rest_scale = rest_scale
        p.keep(mask)
    pair[1].to_sparse()
    for p in pair:
        optimizer = OPTIMIZERS[name](0.1)
        for g in gradients(seed, p.shape, 4):
            p.store.grad.fill(0)
            p.store.add_gradient(g)
            optimizer.step({"w": p}, 0.1)
    assert pair[0].value().tobytes() == pair[1].value().tobytes()


@pytest.mark.parametrize(
    "build",
    [
        lambda: SGD(momentum=1.0),
        lambda: SGD(momentum=-0.1),
        lambda: SGD(nesterov=True),
        lambda: SGD(weight_decay=-1.0),
        lambda: SGD(weight_decay=float("nan")),
        lambda: Adam(betas=(0.9, 1.0)),
        lambda: Adam(eps=0.0),
    ],
)
def test_settings_out_of_range_are_refused(build):
    with pytest.raises(ValueError, match=r"momentum|nesterov|weight_decay|betas|eps"):
        build()
