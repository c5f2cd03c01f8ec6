"""Every layer, by merely existing."""

import pkgutil
from importlib import import_module

import numpy as np
import pytest

import minisparse.layers
from minisparse import layers as nn
from minisparse.gradcheck import check_gradients
from minisparse.layers import Layer
from minisparse.model import Model
from minisparse.stores import DenseStore
from minisparse.testing import check_layer

OURS = [cls for cls in Layer.registry.values() if cls.__module__.startswith("minisparse.")]
EXAMPLES = [
    pytest.param(layer, shape, id=f"{cls.__name__}-{i}")
    for cls in OURS
    for i, (layer, shape) in enumerate(cls.examples())
]


@pytest.mark.parametrize(("layer", "shape"), EXAMPLES)
def test_a_layer_keeps_the_contract(layer, shape):
    check_layer(layer, shape)


@pytest.mark.parametrize("cls", OURS, ids=lambda cls: cls.__name__)
def test_a_layer_has_examples_and_a_docstring_with_its_equation(cls):
    assert cls.examples()
    assert cls.__doc__ and "=" in cls.__doc__


@pytest.mark.parametrize("module", [m.name for m in pkgutil.iter_modules(minisparse.layers.__path__)])
def test_every_module_exports_its_layers(module):
    members = vars(import_module(f"minisparse.layers.{module}")).values()
    own = [m for m in members if isinstance(m, type) and issubclass(m, Layer) and m.__module__.endswith(f".{module}")]
    assert own
    assert {cls.__name__ for cls in own} <= set(nn.__all__)


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: nn.Linear(0, 3), "inputs=0"),
        (lambda: nn.Linear(3, 2.0), "outputs=2.0"),
        (lambda: nn.Conv2d(2, 3, 0), "kernel=0"),
        (lambda: nn.Conv2d(2, 3, 3, stride=0), "stride=0"),
        (lambda: nn.Conv2d(2, 3, 3, padding=-1), "padding=-1"),
        (lambda: nn.Conv2d(2, 4, 3, groups=4), "groups=4"),
        (lambda: nn.Conv2d(4, 2, 3, groups=4), "groups=4"),
        (lambda: nn.BatchNorm(0), "channels=0"),
        (lambda: nn.BatchNorm(2, momentum=1.5), "momentum=1.5"),
        (lambda: nn.BatchNorm(2, eps=0.0), "eps=0.0"),
        (lambda: nn.GroupNorm(3, 4), "groups=3"),
        (lambda: nn.GroupNorm(2, 4, eps=-1.0), "eps=-1.0"),
        (lambda: nn.LeakyReLU(1.5), "slope=1.5"),
        (lambda: nn.Dropout(1.0), "p=1.0"),
        (lambda: nn.Dropout(-0.1), "p=-0.1"),
        (lambda: nn.MaxPool2d(0), "kernel=0"),
        (lambda: nn.MaxPool2d(2, stride=0), "stride=0"),
        (lambda: nn.AvgPool2d(3, padding=2), "padding=2"),
        (lambda: nn.PaddedShortcut(3, stride=0), "stride=0"),
        (lambda: nn.Sequential({"a.b": nn.ReLU()}), "a.b"),
    ],
)
def test_a_setting_out_of_range_is_named(build, named):
    with pytest.raises(ValueError, match=named):
        build()


@pytest.mark.parametrize(
    ("layer", "shape", "named"),
    [
        (nn.Linear(4, 3), (5,), "4 features"),
        (nn.Conv2d(3, 4, 3), (2, 5, 5), "3 channels"),
        (nn.Conv2d(3, 4, 3), (3,), "3 channels"),
        (nn.Conv2d(3, 4, 5), (3, 4, 4), "does not fit"),
        (nn.BatchNorm(3), (2,), "3 channels"),
        (nn.GroupNorm(1, 3), (3, 4), "3 channels"),
        (nn.MaxPool2d(2), (4,), "images"),
        (nn.AvgPool2d(5), (1, 4, 4), "does not fit"),
        (nn.GlobalAvgPool(), (4,), "images"),
        (nn.PaddedShortcut(2), (3, 4, 4), "at most 2 channels"),
        (nn.Residual(nn.Linear(4, 3)), (4,), "cannot add"),
        (nn.Concat(nn.Conv2d(1, 1, 3)), (1, 4, 4), "beside"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(layer, shape, named):
    with pytest.raises(ValueError, match=named):
        layer.output_shape(shape)


def test_a_configuration_that_describes_no_layer_is_refused():
    for config in (["Lineaa", {}], ["Linear", {"input": 3}], ["Linear"], 7, [[], {}]):
        with pytest.raises(ValueError, match="does not describe a layer"):
            Layer.from_config(config)


def test_named_shapes_follow_the_forward_pass():
    net = nn.Sequential({"conv": nn.Conv2d(1, 2, 3), "sum": nn.Residual(nn.Conv2d(2, 2, 1)), "flat": nn.Flatten()})
    shapes = {path: shape for path, _, shape in net.named_shapes((1, 5, 5))}
    assert shapes == {"": (1, 5, 5), "conv": (1, 5, 5), "sum": (2, 3, 3), "sum.body": (2, 3, 3), "flat": (2, 3, 3)}


def test_macs_of_a_convolution_count_every_weight_at_every_output_pixel():
    assert nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2).macs((4, 6, 6)) == 6 * 2 * 9 * 3 * 3
    assert nn.Linear(5, 3).macs((5,)) == 15


def test_relu_has_slope_zero_at_its_kink_and_hands_on_nan():
    x = np.array([[-1.0, 0.0, 2.0, np.nan]])
    y, cache = nn.ReLU().forward(x)
    np.testing.assert_array_equal(y, [[0, 0, 2, np.nan]])
    np.testing.assert_array_equal(nn.ReLU().backward(np.ones((1, 4)), cache), [[0, 0, 1, 0]])


def test_sigmoid_neither_overflows_nor_loses_small_values():
    y, _ = nn.Sigmoid().forward(np.array([[-800.0, -40.0, 0.0, 800.0]]))
    np.testing.assert_allclose(y, [[0, np.exp(-40), 0.5, 1]], rtol=1e-15)


def test_a_tie_in_max_pooling_gives_the_gradient_to_one_pixel_and_nan_is_handed_on():
    layer, x = nn.MaxPool2d(2), np.zeros((1, 2, 4, 1))
    x[0, 1, 2] = np.nan
    y, cache = layer.forward(x)
    np.testing.assert_array_equal(y.ravel(), [0, np.nan])
    assert layer.backward(np.ones((1, 1, 2, 1)), cache).ravel().tolist() == [1, 0, 0, 0, 0, 0, 1, 0]


def test_max_pooling_never_takes_the_padding():
    y, _ = nn.MaxPool2d(3, stride=2, padding=1).forward(-np.ones((1, 4, 4, 2)))
    assert (y == -1).all()


def test_batch_normalisation_refuses_to_train_on_one_value_a_channel():
    with pytest.raises(ValueError, match="at least 2"):
        nn.BatchNorm(3).forward(np.zeros((3, 1)), training=True)
    nn.BatchNorm(3).forward(np.zeros((3, 1)))


def test_dropout_drops_the_share_p_and_keeps_the_mean():
    x = np.ones((100, 1000), np.float32)
    for p in (0.1, 0.5, 0.9):
        y, _ = nn.Dropout(p).forward(x, training=True)
        # six standard deviations of a binomial share
        assert abs((y == 0).mean() - p) < 6 * np.sqrt(p * (1 - p) / x.size)
        np.testing.assert_allclose(y[y != 0], 1 / (1 - p), rtol=1e-6)


def _dropout_masks(model, passes):
    return [model.forward(np.ones((50, 2), np.float32), training=True)[0] for _ in range(passes)]


def test_dropout_draws_anew_each_pass_and_the_same_again_after_a_resume():
    def build(seed=3):
        return Model("m", nn.Sequential([nn.Dropout(0.5), nn.Dropout(0.3)]), (50,), seed=seed)

    model = build()
    whole = _dropout_masks(model, 4)
    assert not np.array_equal(whole[0], whole[1])
    resumed = build()
    _dropout_masks(resumed, 2)
    saved, resumed = resumed.buffers, build()
    for name, array in resumed.buffers.items():
        array[...] = saved[name]
    np.testing.assert_array_equal(_dropout_masks(resumed, 2), whole[2:])
    assert not np.array_equal(_dropout_masks(build(seed=4), 1)[0], whole[0])


def test_dropouts_of_one_model_draw_different_masks():
    first, second = (Model("m", net, (50,)).net for net in (nn.Sequential([nn.Dropout(), nn.Dropout()]),) * 2)
    x = np.ones((50, 2), np.float32)
    ones = [layer.forward(x, training=True)[0] for layer in first.layers.values()]
    assert first is second and not np.array_equal(*ones)


def test_an_option_a_shortcut_keeps_every_second_pixel_and_adds_channels_of_zeros():
    x = np.arange(1.0, 10).reshape(1, 3, 3, 1)
    y, _ = nn.PaddedShortcut(2).forward(x)
    assert y[0, ..., 0].tolist() == [[1, 3], [7, 9]] and not y[1].any()


def test_training_asks_nobody_for_a_gradient_of_the_data(monkeypatch):
    net = nn.Sequential([nn.Flatten(), nn.Sequential([nn.Linear(6, 4), nn.ReLU()]), nn.Linear(4, 2)])
    model = Model("m", net, (2, 3, 1))
    asked = []
    rmatmul = DenseStore.rmatmul
    monkeypatch.setattr(DenseStore, "rmatmul", lambda store, dy: asked.append(store.shape) or rmatmul(store, dy))
    y, cache = model.forward(np.ones((2, 3, 1, 5), np.float32), training=True)
    model.accumulate(y, cache)
    assert asked == [(2, 4)] and model.parameters["1.0.weight"].store.grad.any()


def test_gradients_pass_through_a_deep_mixture_of_layers():
    block = nn.Residual(nn.Sequential([nn.BatchNorm(4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.Dropout(0.3)]))
    net = [
        nn.Conv2d(2, 4, 3),
        block,
        nn.MaxPool2d(2),
        nn.Concat(nn.Conv2d(4, 2, 1)),
        nn.GlobalAvgPool(),
        nn.Linear(6, 3),
    ]
    model = Model("deep", nn.Sequential(net), (2, 8, 8), dtype=np.float64)
    for training in (False, True):
        assert check_gradients(model, training=training, method="complex") < 1e-12
