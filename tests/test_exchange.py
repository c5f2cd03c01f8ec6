"""Weights go out to other programs and come back as they were."""

import numpy as np
import pytest

from minisparse import exchange
from minisparse import layers as nn
from minisparse.compressed import compress
from minisparse.model import Model
from minisparse.models import build

safetensors = pytest.importorskip("safetensors.numpy")


def network(seed=0):
    body = nn.Sequential({"conv": nn.Conv2d(4, 4, 3, padding=1, bias=False), "norm": nn.GroupNorm(2, 4)})
    layers = {"conv1": nn.Conv2d(3, 4, 3), "norm1": nn.BatchNorm(4), "relu1": nn.ReLU(), "block": nn.Residual(body)}
    model = Model("net", nn.Sequential(layers | {"flatten": nn.Flatten(), "fc": nn.Linear(64, 5)}), (3, 6, 6), seed)
    generator = np.random.default_rng(seed)
    for p in model.parameters.values():
        p.store.values[...] = generator.normal(size=p.shape)
    for buffer in model.buffers.values():
        buffer[...] = generator.random(buffer.shape) + 0.5
    return model


def pruned(density=0.2, seed=0):
    model = network(seed)
    for p in model.parameters.values():
        if p.role == "weight":
            p.keep(np.random.default_rng(seed).random(p.shape) < density)
    return model


def test_names_are_those_of_a_pytorch_module():
    names = [*exchange.to_state(network())]
    assert names == [
        "conv1.weight", "conv1.bias", "norm1.weight", "norm1.bias", "block.body.conv.weight", "block.body.norm.weight",
        "block.body.norm.bias", "fc.weight", "fc.bias", "norm1.running_mean", "norm1.running_var",
    ]  # fmt: skip


def test_a_file_of_ours_comes_back_without_being_told_what_it_holds(tmp_path):
    model, path = network(), tmp_path / "net.safetensors"
    assert exchange.save_safetensors(model, path) == path.stat().st_size
    again = exchange.load_safetensors(path)
    assert compress(again).data == compress(model).data


def test_a_pruned_network_comes_back_pruned(tmp_path):
    model, path = pruned(), tmp_path / "net.safetensors"
    model.parameters["fc.weight"].store.values.flat[np.flatnonzero(model.parameters["fc.weight"].mask)[0]] = -0.0
    exchange.save_safetensors(model, path)
    assert compress(exchange.load_safetensors(path, sparse=True)).data == compress(model).data
    dense = exchange.load_safetensors(path)
    assert dense.kept == dense.size
    np.testing.assert_array_equal(dense.parameters["fc.weight"].value(), model.parameters["fc.weight"].value())


def test_a_dropback_network_goes_out_with_its_regenerated_weights(tmp_path):
    model = build("mnist-100-100", (1, 8, 8), 10, seed=3)
    for p in model.parameters.values():
        p.rest_scale = 1.0
        p.keep(np.arange(p.size).reshape(p.shape) % 9 == 0)
    exchange.save_safetensors(model, tmp_path / "net.safetensors")
    again = exchange.load_safetensors(tmp_path / "net.safetensors", like=model)
    for name, p in model.parameters.items():
        assert again.parameters[name].value().tobytes() == p.value().tobytes()


def test_a_pytorch_module_of_the_same_shape_loads_the_file_and_agrees(tmp_path):
    torch = pytest.importorskip("torch")
    from collections import OrderedDict

    from safetensors.torch import load_file, save_file

    class Residual(torch.nn.Module):
        def __init__(self, body):
            super().__init__()
            self.body = body

        def forward(self, x):
            return x + self.body(x)

    t = torch.nn
    body = t.Sequential(OrderedDict(conv=t.Conv2d(4, 4, 3, padding=1, bias=False), norm=t.GroupNorm(2, 4)))
    named = OrderedDict(conv1=t.Conv2d(3, 4, 3), norm1=t.BatchNorm2d(4), relu1=t.ReLU(), block=Residual(body))
    named |= OrderedDict(flatten=t.Flatten(), fc=t.Linear(64, 5))
    module = t.Sequential(named).eval()
    model, path = network(), tmp_path / "net.safetensors"
    exchange.save_safetensors(model, path)
    module.load_state_dict(load_file(path), strict=True)
    # and back, with PyTorch's counters of batches
    save_file(module.state_dict(), path)
    again = exchange.load_safetensors(path, like=model)
    assert compress(again).data == compress(model).data
    # float64, so that the two agree to 1e-9 of the largest output
    double = Model("double", network().net, (3, 6, 6), dtype=np.float64)
    exchange.from_state(double, {name: tensor.numpy() for name, tensor in module.double().state_dict().items()})
    x = np.random.default_rng(0).normal(size=(7, 3, 6, 6))
    with torch.no_grad():
        theirs = module(torch.from_numpy(x)).numpy()
    assert np.abs(double.predict(x) - theirs).max() <= 1e-9 * np.abs(theirs).max()


def test_a_sparse_weight_is_a_scipy_matrix():
    pytest.importorskip("scipy")
    for name, p in pruned().parameters.items():
        matrix = exchange.to_csr(p)
        assert matrix.nnz == p.kept and matrix.shape[0] == (p.shape[0] if len(p.shape) > 1 else 1), name
        np.testing.assert_array_equal(matrix.toarray().reshape(p.shape), p.value())
        assert matrix.has_sorted_indices
    p = build("mnist-100-100", (1, 8, 8), 10).parameters["fc1.weight"]
    p.rest_scale = 1.0
    p.keep(np.zeros(p.shape, bool))
    with pytest.raises(ValueError, match=r"rests at 1\.0 times its initial values, not at 0"):
        exchange.to_csr(p)


def test_arrays_of_another_network_are_refused():
    model, state = network(), exchange.to_state(network())
    for change, complaint in [
        (lambda s: s.pop("fc.bias"), "either side lacks fc.bias"),
        (lambda s: s.update(extra=np.zeros(3, np.float32)), "either side lacks extra"),
        (
            lambda s: s.update({"fc.bias": np.zeros(4, np.float32)}),
            r"fc.bias is float32 \(4,\) and must be float32 \(5,\)",
        ),
        (lambda s: s.update({"fc.bias": np.zeros(5)}), "fc.bias is float64"),
    ]:
        other = dict(state)
        change(other)
        with pytest.raises(ValueError, match=complaint):
            exchange.from_state(model, other)


def test_files_that_are_no_safetensors_or_do_not_say_what_they_hold_are_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    exchange.save_safetensors(network(), path)
    data = path.read_bytes()
    for damaged in (b"", data[:4], data[:-1], data + b"\0", b"\xff" * 8 + data[8:], b"PK\3\4" + data):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"net\.safetensors: cannot be read as safetensors"):
            exchange.load_safetensors(path)
    path.write_bytes(safetensors.save(exchange.to_state(network())))
    with pytest.raises(ValueError, match="does not say what network"):
        exchange.load_safetensors(path)
    assert exchange.load_safetensors(path, like=network(1)).size == network().size


def test_a_missing_package_is_named_with_the_remedy(monkeypatch, tmp_path):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(exchange, "import_module", missing)
    with pytest.raises(ValueError, match=r"pip install minisparse\[exchange\]"):
        exchange.save_safetensors(network(), tmp_path / "x")
