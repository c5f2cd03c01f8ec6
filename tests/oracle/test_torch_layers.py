"""PyTorch computes the same: outputs and all gradients, float64, to a relative 1e-9."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from minisparse import layers as nn
from minisparse.model import Model

torch = pytest.importorskip("torch")
SIZES = st.integers(1, 4)


def to_torch(x: np.ndarray):
    """Batch last to batch first, with a gradient."""
    return torch.tensor(np.moveaxis(x, -1, 0).copy(), requires_grad=True)


def to_numpy(tensor) -> np.ndarray:
    return np.moveaxis(tensor.detach().numpy(), 0, -1)


def close(ours, theirs):
    """To 1e-9 of the largest entry."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max(initial=0) <= 1e-9 * max(1.0, np.abs(theirs).max(initial=0))


def agree(layer, peer, x, training=True, names=None):
    """Forward, dx and the gradients of the parameters; `names` maps ours to the peer's."""
    peer = peer.double().train(training)
    model = Model("m", layer, x.shape[:-1], dtype=np.float64)
    names, theirs = names or {}, dict(peer.named_parameters())
    assert len(theirs) == len(model.parameters)
    generator = np.random.default_rng(1)
    for name, p in model.parameters.items():
        p.store.values += 0.3 * generator.normal(size=p.shape)
        theirs[names.get(name, name)].data = torch.tensor(p.value())
    inputs = to_torch(x)
    y, cache = model.forward(x, training)
    z = peer(inputs)
    close(y, to_numpy(z))
    dy = generator.normal(size=y.shape)
    z.backward(torch.tensor(np.moveaxis(dy, -1, 0).copy()))
    close(model.backward(dy, cache), to_numpy(inputs.grad))
    for name, p in model.parameters.items():
        close(p.store.grad, theirs[names.get(name, name)].grad.numpy())
    return model, peer


def random(shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@st.composite
def images(draw, channels=SIZES, least=1):
    """x (C, H, W, N)"""
    size = st.integers(least, 7)
    return random((draw(channels), draw(size), draw(size), draw(SIZES)), draw(st.integers(0, 9)))


@given(SIZES, SIZES, SIZES, st.booleans())
def test_linear(inputs, outputs, n, bias):
    agree(nn.Linear(inputs, outputs, bias), torch.nn.Linear(inputs, outputs, bias), random((inputs, n)))


@given(st.data(), SIZES, SIZES, SIZES, st.integers(1, 3), st.booleans())
def test_conv2d(data, inputs, outputs, kernel, groups, bias):
    stride, padding = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 3))
    x = data.draw(images(st.just(groups * inputs)))
    assume(min(x.shape[1:3]) + 2 * padding >= kernel)
    settings = groups * inputs, groups * outputs, kernel, stride, padding
    agree(nn.Conv2d(*settings, groups=groups, bias=bias), torch.nn.Conv2d(*settings, groups=groups, bias=bias), x)


@given(images(), st.booleans(), st.booleans(), st.floats(0, 1), st.floats(1e-6, 0.1))
def test_batch_normalisation_and_its_running_statistics(x, flat, training, momentum, eps):
    if flat:
        x = x.reshape(-1, x.shape[-1])
    assume(x[0].size > 1)
    peer = (torch.nn.BatchNorm1d if flat else torch.nn.BatchNorm2d)(len(x), eps, momentum)
    layer = nn.BatchNorm(len(x), momentum, eps)
    names = {"gain": "weight", "bias": "bias"}
    model, peer = agree(layer, peer, x, True, names)
    close(model.buffers["mean"], peer.running_mean.numpy())
    close(model.buffers["var"], peer.running_var.numpy())
    if not training:
        running = {name: array.copy() for name, array in model.buffers.items()}
        layer, fresh = nn.BatchNorm(len(x), momentum, eps), type(peer)(len(x), eps, momentum)
        layer.buffers |= running
        fresh.running_mean, fresh.running_var = torch.tensor(running["mean"]), torch.tensor(running["var"])
        model, _ = agree(layer, fresh, x, False, names)
        close(model.buffers["mean"], running["mean"])


@given(st.data(), st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_group_normalisation(data, groups, each, flat):
    x = data.draw(images(st.just(groups * each)))
    x = random((groups * each, x.shape[-1])) if flat else x
    assume(x.size > groups)  # PyTorch refuses one value a group
    agree(nn.GroupNorm(groups, len(x)), torch.nn.GroupNorm(groups, len(x)), x, names={"gain": "weight"})


@given(images(), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), st.booleans())
def test_pools_with_padding_which_the_mean_counts_as_zeros(x, kernel, stride, padding, default):
    assume(2 * padding <= kernel and min(x.shape[1:3]) + 2 * padding >= kernel)
    stride = None if default else stride
    agree(nn.MaxPool2d(kernel, stride, padding), torch.nn.MaxPool2d(kernel, stride, padding), x)
    peer = torch.nn.AvgPool2d(kernel, stride, padding, count_include_pad=True)
    agree(nn.AvgPool2d(kernel, stride, padding), peer, x)


@given(images())
def test_global_average_pool(x):
    agree(nn.GlobalAvgPool(), torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()), x)


@given(images(), st.floats(0, 1))
def test_activations_and_flatten(x, slope):
    x = 5 * x
    agree(nn.ReLU(), torch.nn.ReLU(), x)
    agree(nn.LeakyReLU(slope), torch.nn.LeakyReLU(slope), x)
    agree(nn.Tanh(), torch.nn.Tanh(), x)
    agree(nn.Sigmoid(), torch.nn.Sigmoid(), x)
    agree(nn.Flatten(), torch.nn.Flatten(), x)


class Block(torch.nn.Module):
    """A residual block with option A's shortcut, then a dense block."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(2, 4, 3, 2, 1)
        self.second = torch.nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x):
        zeros = (0, 0, 0, 0, 0, 2)
        y = torch.relu(self.first(x) + torch.nn.functional.pad(x[:, :, ::2, ::2], zeros))
        return torch.cat([y, self.second(y)], 1)


@given(images(st.just(2)))
def test_residual_and_dense_blocks(x):
    sum_ = nn.Residual(nn.Conv2d(2, 4, 3, 2, 1), nn.PaddedShortcut(4))
    net = nn.Sequential({"sum": sum_, "relu": nn.ReLU(), "dense": nn.Concat(nn.Conv2d(4, 3, 3, padding=1))})
    names = {
        f"{ours}.body.{p}": f"{peer}.{p}"
        for ours, peer in (("sum", "first"), ("dense", "second"))
        for p in ("weight", "bias")
    }
    agree(net, Block(), x, names=names)


def test_dropout_has_the_scale_of_its_peer():
    torch.manual_seed(0)
    y, _ = nn.Dropout(0.3).forward(np.ones((10, 100)), training=True)
    z = torch.nn.functional.dropout(torch.ones(10, 100, dtype=torch.float64), 0.3)
    np.testing.assert_allclose(np.unique(y), np.unique(z.numpy()), rtol=1e-15)
