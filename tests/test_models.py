import json

import numpy as np
import pytest

from minisparse import layers as nn
from minisparse import rng
from minisparse.model import Model
from minisparse.models import FIXED, NAMES, build

MNIST, CIFAR = (1, 28, 28), (3, 32, 32)


@pytest.mark.parametrize(
    ("name", "shape", "size"),
    [
        ("mnist-100-100", MNIST, 89_610),
        ("lenet-300-100", MNIST, 266_610),
        ("lenet-5-caffe", MNIST, 431_080),
        ("resnet-20", CIFAR, 269_722),
        ("resnet-32", CIFAR, 464_154),
        ("resnet-56", CIFAR, 853_018),
        ("wrn-16-8", CIFAR, 10_961_370),
        ("wrn-28-10", CIFAR, 36_479_194),
        ("wrn-40-4", CIFAR, 8_949_210),
        ("densenet-40-12", CIFAR, 1_019_722),
        ("densenet-100-12", CIFAR, 6_979_642),
        ("vgg-s", CIFAR, 14_987_210),
        # 14,728,266 with the 4,224 biases that the normalisation cancels
        ("vgg16", CIFAR, 14_728_266 - 4_224),
    ],
)
def test_parameter_counts_are_the_papers(name, shape, size):
    assert build(name, shape, 10).size == size


@pytest.mark.parametrize(
    ("name", "macs"), [("resnet-20", 40_551_040), ("wrn-28-10", 5_243_328_768), ("lenet-5-caffe", 2_293_000)]
)
def test_multiply_adds_are_the_papers(name, macs):
    shape = MNIST if name == "lenet-5-caffe" else CIFAR
    layers = build(name, shape, 10).net.named_shapes(shape)
    assert sum(layer.macs(its_shape) for _, layer, its_shape in layers) == macs


def test_every_model_has_a_count():
    assert set(FIXED) <= set(NAMES) and len(NAMES) == 14


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("mnist-100-100", (1, 8, 8)),
        ("lenet-300-100", (9,)),
        ("lenet-5-caffe", (2, 16, 18)),
        ("vgg-s", (3, 32, 32)),
        ("vgg16", (1, 32, 64)),
        ("resnet-8", (3, 9, 8)),
        ("wrn-10-1", (3, 8, 8)),
        ("wrn-10-2", (3, 8, 8)),
        ("densenet-7-12", (3, 8, 8)),
    ],
)
def test_a_narrow_model_runs_forward_and_backward_and_survives_its_configuration(name, shape):
    model = build(name, shape, 5, width=0.1, seed=2)
    assert model.name == name and model.output_shape == (5,)
    x = np.random.default_rng(0).normal(size=(*shape, 2)).astype(np.float32)
    y, cache = model.forward(x, training=True)
    dx = model.backward(np.ones_like(y), cache)
    assert y.shape == (5, 2) and dx.shape == x.shape and np.isfinite(y).all() and np.isfinite(dx).all()
    assert all(p.store.grad.any() for p in model.parameters.values() if p.role == "weight")
    twin = Model.from_config(json.loads(json.dumps(model.config())))
    np.testing.assert_array_equal(twin.forward(x, training=True)[0], y)


def test_width_scales_hidden_widths_only_and_none_vanishes():
    assert build("lenet-300-100", MNIST, 10, width=0.5).size == 784 * 150 + 150 + 150 * 50 + 50 + 50 * 10 + 10
    assert build("lenet-300-100", MNIST, 10, width=1e-9).size == 784 + 1 + 1 + 1 + 10 + 10


def test_names_of_parameters_tell_where_they_stand():
    assert list(build("lenet-300-100", MNIST, 10).parameters) == [
        f"fc{i}.{p}" for i in (1, 2, 3) for p in ("weight", "bias")
    ]
    assert "stage2_block1.sum.body.conv1.weight" in build("resnet-20", CIFAR, 10).parameters


@pytest.mark.parametrize(
    ("name", "shape", "named"),
    [
        ("lenet-5-caffe", (1, 8, 8), "lenet-5-caffe does not fit input_shape"),
        ("vgg16", (3, 16, 16), "vgg16 does not fit input_shape"),
        ("densenet-40-12", (3, 2, 2), "densenet-40-12 does not fit input_shape"),
        ("resnet-20", (784,), "takes images"),
        ("resnet-21", CIFAR, "depth 21"),
        ("resnet-2", CIFAR, "depth 2"),
        ("wrn-27-10", CIFAR, "6 n \\+ 4"),
        ("densenet-41-12", CIFAR, "3 n \\+ 4"),
        ("wrn-10-0", CIFAR, "size of 0"),
        ("densenet-7-0", CIFAR, "size of 0"),
        ("lenet-300-10", MNIST, "did you mean 'lenet-300-100'"),
        ("resnet-20-3", CIFAR, "is unknown"),
        ("resnet--20", CIFAR, "is unknown"),
        ("", CIFAR, "wrn-28-10"),
    ],
)
def test_a_model_that_cannot_be_is_refused(name, shape, named):
    with pytest.raises(ValueError, match=named):
        build(name, shape, 10)


def test_classes_and_width_are_checked():
    with pytest.raises(ValueError, match="classes=0"):
        build("mnist-100-100", MNIST, 0)
    for width in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="width="):
            build("mnist-100-100", MNIST, 10, width=width)


def test_the_seed_and_the_name_decide_each_initial_value():
    first, again, other = (build("mnist-100-100", (4,), 3, seed=seed) for seed in (0, 0, 1))
    for name, p in first.parameters.items():
        np.testing.assert_array_equal(p.value(), again.parameters[name].value())
        if p.role == "weight":
            assert (p.value() != other.parameters[name].value()).any()
            assert p.init.key == rng.key(0, "init", name)


def test_initial_weights_have_the_scale_of_their_fan_in():
    lecun = build("lenet-300-100", MNIST, 10).parameters["fc1.weight"].value()
    he = build("resnet-20", CIFAR, 10).parameters["stage3_block2.sum.body.conv1.weight"].value()
    # six standard errors of a sample's standard deviation, kurtosis 2.7
    for w, scale in ((lecun, np.sqrt(1 / 784)), (he, np.sqrt(2 / 576))):
        assert abs(w.std() / scale - 1) < 6 * np.sqrt(0.425 / w.size)


def test_predict_takes_samples_first_and_any_number_of_them():
    model = build("mnist-100-100", (1, 4, 4), 3)
    x = np.random.default_rng(0).normal(size=(7, 1, 4, 4))
    y = model.predict(x, batch=3)
    assert y.shape == (7, 3) and y.dtype == np.float32
    np.testing.assert_allclose(model.predict(x[4:5])[0], y[4], rtol=1e-5)
    assert model.predict(x[:0]).shape == (0, 3)
    with pytest.raises(ValueError, match="takes"):
        model.predict(x[:, 0])


def test_a_models_buffers_have_its_dtype_and_their_path():
    model = Model("m", nn.Sequential({"norm": nn.BatchNorm(2), "drop": nn.Dropout()}), (2,), dtype=np.float64)
    dtypes = {name: array.dtype for name, array in model.buffers.items()}
    assert dtypes == {"norm.mean": np.float64, "norm.var": np.float64, "drop.position": np.int64}


def test_a_configuration_that_is_no_models_is_refused():
    for config in ({}, {"name": "m", "net": ["Nix", {}], "input": [3], "seed": 0}, {"name": "m"}):
        with pytest.raises(ValueError):
            Model.from_config(config)
