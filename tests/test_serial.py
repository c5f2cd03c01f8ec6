"""Groups of layers in sub-batches: the gradient of the whole batch, in less memory."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minisparse import TrainSettings, build, evaluate, fit, load
from minisparse import layers as nn
from minisparse.loss import softmax_cross_entropy
from minisparse.model import Model
from minisparse.serial import Group, backpropagate, fitting, split


def network(dtype=np.float64):
    """A small group-norm network with residual and dense blocks."""
    body = nn.Sequential([nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.GroupNorm(2, 4)])
    stack = {
        "conv1": nn.Conv2d(1, 4, 3, padding=1),
        "norm1": nn.GroupNorm(1, 4),
        "relu1": nn.ReLU(),
        "block1": nn.Sequential({"sum": nn.Residual(body), "relu": nn.ReLU()}),
        "pool1": nn.MaxPool2d(2),
        "block2": nn.Concat(nn.Conv2d(4, 3, 3, padding=1)),
        "pool2": nn.GlobalAvgPool(),
        "fc1": nn.Linear(7, 5),
    }
    return Model("small", nn.Sequential(stack), (1, 6, 6), seed=1, dtype=dtype)


def samples(count, dtype=np.float64):
    generator = np.random.default_rng(count)
    return generator.standard_normal((1, 6, 6, count)).astype(dtype), generator.integers(0, 5, count)


def whole(model, x, labels, smoothing=0.0):
    model.zero_grad()
    logits, caches = model.forward(x, training=True)
    loss, dlogits = softmax_cross_entropy(logits, labels, smoothing)
    model.accumulate(dlogits, caches)
    return loss, {name: p.store.grad.copy() for name, p in model.parameters.items()}


@settings(max_examples=100)
@given(st.data(), st.integers(1, 7), st.sampled_from([0.0, 0.1]))
def test_any_grouping_gives_the_gradient_of_the_whole_batch(data, count, smoothing):
    model = network()
    names = list(model.net.layers)
    cuts = data.draw(st.sets(st.sampled_from(names[1:])))
    firsts = [name for name in names if name in cuts or name == names[0]]
    sizes = [data.draw(st.integers(1, count + 1)) for _ in firsts]
    x, labels = samples(count)
    loss, gradients = whole(model, x, labels, smoothing)
    model.zero_grad()
    assert abs(backpropagate(split(model, firsts, sizes), x, labels, smoothing) - loss) < 1e-12
    for name, p in model.parameters.items():
        scale = np.abs(gradients[name]).max()
        assert np.abs(p.store.grad - gradients[name]).max() <= 1e-10 * max(scale, 1e-3), name


def test_one_group_of_the_whole_batch_is_the_plain_step_to_the_bit():
    model = network(np.float32)
    x, labels = samples(6, np.float32)
    loss, gradients = whole(model, x, labels)
    model.zero_grad()
    assert backpropagate(fitting(model, 6, 0), x, labels) == loss
    assert all(p.store.grad.tobytes() == gradients[name].tobytes() for name, p in model.parameters.items())


def test_batch_normalisation_in_sub_batches_gives_another_gradient_and_is_refused():
    stack = {"conv1": nn.Conv2d(1, 3, 3), "norm1": nn.BatchNorm(3), "pool": nn.GlobalAvgPool(), "fc1": nn.Linear(3, 5)}
    model = Model("batchnorm", nn.Sequential(stack), (1, 6, 6), dtype=np.float64)
    x, labels = samples(6)
    _, gradients = whole(model, x, labels)
    model.zero_grad()
    backpropagate([Group(model.net, 3)], x, labels)
    assert np.abs(model.parameters["conv1.weight"].store.grad - gradients["conv1.weight"]).max() > 1e-6
    with pytest.raises(ValueError, match="norm1 .*GroupNorm"):
        fitting(model, 6, 1000)


@pytest.mark.parametrize("firsts, sizes", [(["fc1"], [1]), (["conv1", "fc2"], [1, 1]), (["conv1"], [0]), (["conv1"], [])])
def test_groups_that_are_none_are_refused(firsts, sizes):
    with pytest.raises(ValueError, match="firsts|sizes"):
        split(network(), firsts, sizes)


def peak(call):
    tracemalloc.start()
    call()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    call()
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return highest - before


def test_sub_batches_take_less_memory():
    model = build("gnresnet-8", (3, 16, 16), 10, width=0.5)
    x = np.ones((3, 16, 16, 32), np.float32)
    labels = np.arange(32) % 10
    groups = fitting(model, 32, 64 * 1024)
    assert len(groups) > 1 and min(group.batch for group in groups) < 8
    whole_batch = peak(lambda: backpropagate(fitting(model, 32, 0), x, labels))
    assert peak(lambda: backpropagate(groups, x, labels)) < 0.5 * whole_batch


def trained(width, epochs, buffer, **settings):
    data = load("digits")
    model = build("gnresnet-8", data.input_shape, data.classes, width=width)
    run = fit(model, data, settings=TrainSettings(epochs=epochs, buffer=buffer, **settings))
    assert (len(run.groups) > 1) == (buffer > 0)
    return model, evaluate(model, data.test).error


def test_a_run_in_sub_batches_ends_where_the_plain_one_does():
    (plain, _), (serial, _) = (trained(0.125, 1, buffer, batch=500, lr=0.01) for buffer in (0, 4096))
    for p, q in zip(plain.parameters.values(), serial.parameters.values(), strict=True):
        assert np.allclose(p.value(), q.value(), rtol=1e-3, atol=1e-5), p.name


@pytest.mark.deep
def test_training_in_sub_batches_learns_the_same():
    errors = [trained(0.5, 8, buffer, batch=50, lr=0.05)[1] for buffer in (0, 8192)]
    assert abs(errors[0] - errors[1]) < 1.5 and max(errors) < 6
