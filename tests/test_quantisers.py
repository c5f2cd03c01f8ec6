"""Quantisers and their declared gradients: values, bounds, steps; for weights by method, for activations by layer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minisparse.compressed import compress
from minisparse.layers import (
    Conv2d,
    Dropout,
    FakeQuantise,
    Flatten,
    Linear,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
)
from minisparse.methods import LSQ, Binary, Compose, DoReFa, DropBack, Magnitude, Ternary, Uniform
from minisparse.methods.activations import insert_quantisers
from minisparse.methods.quantising import SHRINK, by_range, kept_entries, parts
from minisparse.model import Model
from minisparse.quantisers import bounds, first_step, quantise, quantise_backward
from minisparse.run import Run, TrainSettings
from minisparse.testing.methods import SETTINGS, small_data, small_model
from minisparse.train import fit, train_step

ONE_STEP = TrainSettings(epochs=1, batch=10, lr=0.1)
BITS = st.integers(1, 8)
FLOATS = st.floats(-8, 8, width=32)


def vectors(least=1):
    return arrays(np.float32, st.integers(least, 30), elements=FLOATS)


# The quantiser


@given(x=vectors(), step=st.floats(1e-3, 4), bits=BITS, signed=st.booleans())
def test_b_bits_give_at_most_2_to_the_b_levels_within_the_bounds(x, step, bits, signed):
    low, high = bounds(bits, signed)
    used, step = quantise(x, step, bits, signed), np.float32(step)
    k = np.rint(used / step)
    np.testing.assert_array_equal(used, k * step)
    assert low <= k.min() and k.max() <= high
    assert len(np.unique(k)) <= 2**bits
    # half a step, and the rounding of x / s and of s k
    error = np.abs(used - x)
    inside = (low * step <= x) & (x <= high * step)
    width = step if signed and bits == 1 else step / 2
    assert (error[inside] <= width + 3 * np.finfo(np.float32).eps * np.abs(x[inside])).all()


@given(x=vectors(), step=st.floats(0.01, 4), bits=BITS, signed=st.booleans())
def test_the_gradient_goes_straight_through_inside_and_stops_at_the_bounds_and_beyond(x, step, bits, signed):
    low, high = bounds(bits, signed)
    step = np.float32(step)
    x = np.concatenate([x, np.array([low, high, 2 * low - 1, 2 * high + 1], np.float32) * step])
    dy = np.linspace(-1, 1, len(x), dtype=np.float32)
    dx, ds = quantise_backward(dy, x, step, bits, signed)
    u = x / step
    np.testing.assert_array_equal(dx, np.where((low < u) & (u < high), dy, 0))
    sign = np.where(u < 0, -1, 1)
    rounded = sign if signed and bits == 1 else np.rint(u)
    e = np.where(u <= low, low, np.where(u >= high, high, rounded - u))
    size = np.abs(dy * e).sum() + 1
    assert abs(ds - np.dot(dy.astype(float), e)) <= 4 * len(x) * np.finfo(np.float32).eps * size


@pytest.mark.parametrize("bits", [1, 2, 3, 8])
@pytest.mark.parametrize("signed", [True, False])
def test_the_steps_gradient_is_the_derivative_with_the_residual_of_rounding_held(bits, signed):
    generator = np.random.default_rng(bits)
    x, dy, step = generator.normal(size=200) * 2, generator.normal(size=200), 0.37
    low, high = bounds(bits, signed)
    residual = quantise(x, step, bits, signed) / step - np.clip(x / step, low, high)

    def surrogate(s):
        return np.dot(dy, s * (np.clip(x / s, low, high) + residual))

    _, ds = quantise_backward(dy, x, step, bits, signed)
    slope = (surrogate(step + 1e-6) - surrogate(step - 1e-6)) / 2e-6
    assert abs(ds - slope) < 1e-8 * np.abs(dy).sum() * high


def test_one_signed_bit_is_a_sign_and_a_scale():
    x = np.array([-3, -0.1, -0.0, 0, 2], np.float32)
    np.testing.assert_array_equal(quantise(x, 0.5, 1), [-0.5, -0.5, 0.5, 0.5, 0.5])


@given(x=vectors(), step=st.floats(0.01, 4), bits=st.integers(2, 8))
def test_the_step_has_no_gradient_where_every_weight_is_a_level_inside_the_range(x, step, bits):
    high = bounds(bits, True)[1]
    x = np.clip(np.rint(x), 1 - high, high - 1) * np.float32(step)
    _, ds = quantise_backward(np.ones_like(x), x, step, bits)
    assert abs(ds) <= len(x) * high * np.finfo(np.float32).eps


@pytest.mark.parametrize("bits", [0, 9, -1])
def test_bits_out_of_range_are_named(bits):
    with pytest.raises(ValueError, match=f"bits={bits}"):
        quantise(np.ones(2), 1.0, bits)
    with pytest.raises(ValueError, match=f"bits={bits}"):
        FakeQuantise(bits)
    for cls in (Uniform, LSQ, DoReFa):
        with pytest.raises(ValueError, match=f"bits={bits}"):
            cls(bits=bits)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: LSQ(per="row"), "per"),
        (lambda: LSQ(others=1), "others"),
        (lambda: LSQ(activations=9), "activations"),
        (lambda: LSQ(begin=1.0), "begin"),
        (lambda: FakeQuantise(4, follow="me"), "follow"),
        (lambda: FakeQuantise(4, momentum=2.0), "momentum"),
    ],
)
def test_a_setting_out_of_range_is_named(build, name):
    with pytest.raises(ValueError, match=name):
        build()


# Weights


@given(w=vectors())
def test_ternary_weights_are_zero_or_the_mean_of_the_large_ones(w):
    used = Ternary().quantise(w)
    large = np.abs(w) > 0.7 * np.abs(w).mean(dtype=np.float64)
    assert len(np.unique(np.abs(used[large]))) <= 1
    assert not used[~large].any()
    if large.any():
        assert np.abs(used[large][0]) == pytest.approx(np.abs(w[large]).mean(dtype=np.float64), rel=1e-6)
    assert (used * w >= 0).all()


@given(w=vectors())
def test_the_scale_of_binary_weights_is_the_best_one(w):
    used = Binary().quantise(w)
    alpha = float(np.abs(used).max())
    assert (np.abs(used) == np.float32(alpha)).all()

    def error(scale):
        return np.square(w - scale * np.where(w < 0, -1.0, 1.0)).sum(dtype=np.float64)

    assert error(alpha) <= min(error(alpha * 1.01), error(alpha * 0.99), error(alpha + 1e-3)) + 1e-4


def test_binary_weights_beyond_1_get_no_gradient():
    w = np.array([-1.5, -1, 0.3, 1, 1.01])
    np.testing.assert_array_equal(Binary().carry_back(np.full(5, 2.0), w), [0, 2, 2, 2, 0])


@given(w=vectors(), bits=st.integers(2, 8))
def test_dorefa_weights_lie_in_minus_1_to_1_and_reach_it_on_a_grid_without_zero(w, bits):
    used, n = DoReFa(bits=bits).quantise(w), 2**bits - 1
    k = (used.astype(float) + 1) / 2 * n
    np.testing.assert_allclose(k, np.rint(k), atol=1e-4)
    assert np.abs(used).max() <= 1 and len(np.unique(used)) <= 2**bits
    if np.tanh(np.abs(w).max()) > 0:
        assert np.abs(used).max() == 1
        assert used.all()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_dorefas_gradient_is_the_derivative_with_the_residual_of_rounding_held(bits):
    generator = np.random.default_rng(bits)
    w, g, direction = generator.normal(size=(3, 40))
    method = DoReFa(bits=bits)

    def smooth(w):
        t = np.tanh(w)
        return t / np.abs(t).max()

    residual = method.quantise(w) - smooth(w)
    slope = (
        np.dot(g, smooth(w + 1e-6 * direction) + residual) - np.dot(g, smooth(w - 1e-6 * direction) + residual)
    ) / 2e-6
    assert np.dot(method.carry_back(g, w), direction) == pytest.approx(slope, rel=1e-7)


@given(w=vectors(), bits=st.integers(2, 8))
def test_the_uniform_quantiser_covers_the_range(w, bits):
    used, top = Uniform(bits=bits).quantise(w), np.abs(w).max()
    step = top / np.float32(bounds(bits, True)[1])
    assert np.abs(used - w).max() <= step / 2 + 4 * np.finfo(np.float32).eps * top
    assert len(np.unique(used)) <= 2**bits - 1


def test_lsq_starts_at_twice_the_mean_size_over_the_root_of_the_largest_level():
    run = Run(small_model(), small_data(), LSQ(bits=4, per="channel"), SETTINGS)
    run.method.start(run)
    p = run.model.parameters["fc1.weight"]
    np.testing.assert_allclose(p.notes["step"], 2 * np.abs(p.value()).mean(axis=1) / np.sqrt(7), rtol=1e-6)
    assert first_step(np.zeros(3), 7) == pytest.approx(1 / 7)


@given(slopes=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_a_learned_step_stays_positive_for_any_gradients(slopes):
    run = Run(small_model(), small_data(), LSQ(bits=4), SETTINGS)
    run.method.start(run)
    run.lr = 1.0
    first = {name: p.notes["step"].copy() for name, p in run.model.parameters.items() if p.role == "weight"}
    for slope in slopes:
        for name in first:
            run.model.parameters[name].notes["dstep"] = np.array([slope], np.float32)
        run.method.update(run)
        assert all(run.model.parameters[n].notes["step"] >= s * np.float32(SHRINK) > 0 for n, s in first.items())


def test_the_step_moves_by_its_scaled_gradient():
    run = Run(small_model(), small_data(), LSQ(bits=3), TrainSettings(epochs=1, batch=10, lr=0.1, momentum=0.0))
    run.method.start(run)
    p = run.model.parameters["fc1.weight"]
    g, before = np.random.default_rng(0).normal(size=p.shape).astype(np.float32), p.notes["step"].copy()
    run.method.pullback(p, g, kept_entries(p, p.store.values))
    _, ds = quantise_backward(g, p.value(), before[0], 3)
    run.lr = 0.1
    run.model.parameters["fc2.weight"].notes["dstep"] = np.zeros(1, np.float32)
    run.method.update(run)
    assert p.notes["step"] - before == pytest.approx(-0.1 * ds / np.sqrt(80 * 3), rel=1e-4)


def test_a_frozen_dataclass_of_every_quantiser_takes_channels_as_tensors_of_their_own():
    run = Run(small_model(), small_data(), Ternary(per="channel"), SETTINGS)
    run.method.start(run)
    p = run.model.parameters["fc1.weight"]
    used, _ = run.method.transform(p, p.store.values)
    for row, w in zip(used, p.value(), strict=True):
        np.testing.assert_array_equal(row, Ternary().quantise(w))


@pytest.mark.parametrize("sparse", [False, True])
def test_channels_of_a_masked_weight_are_quantised_by_their_kept_entries_alone(sparse):
    run = Run(small_model(), small_data(), Binary(per="channel"), SETTINGS)
    run.method.start(run)
    p = run.model.parameters["fc1.weight"]
    mask = np.random.default_rng(0).random(p.shape) < 0.4
    mask[3] = False
    p.keep(mask)
    before = p.value().copy()
    if sparse:
        p.to_sparse()
    assert [i for i, _ in parts("channel", p)] == [i for i in range(10) if mask[i].any()]
    p.store.values = run.method.transform(p, p.store.values)[0]
    for row, w, on in zip(p.value(), before, mask, strict=True):
        assert not row[~on].any()
        if on.any():
            np.testing.assert_array_equal(row[on], Binary().quantise(w[on]))


@given(w=vectors(), bits=st.integers(2, 8))
def test_biases_keep_their_largest_value_and_zeros(w, bits):
    used = by_range(w, bits)
    assert np.abs(used).max() == pytest.approx(np.abs(w).max(), rel=1e-6)
    assert not used[w == 0].any() and not np.signbit(used[w == 0]).any()


METHODS = [
    Uniform(bits=3),
    LSQ(bits=3, begin=0.4),
    LSQ(bits=2, per="channel"),
    DoReFa(bits=2, others=4),
    Ternary(others=3),
    Binary(activations=2),
]


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_the_file_decodes_to_what_the_network_was_trained_on_with_no_more_levels_than_declared(method):
    data, model = small_data(), small_model()
    run = Run(model, data, method, SETTINGS)
    method.start(run)
    for _ in range(run.total_steps):
        train_step(run)
    used = {name: method.transform(p, p.store.values)[0].copy() for name, p in model.parameters.items()}
    method.finish(run)
    decoded = compress(model).model()
    for name, p in decoded.parameters.items():
        assert p.value().tobytes() == used[name].tobytes()
    most = {"ternary": 3, "binary": 2}.get(method.name) or 2**method.bits
    for p in (p for p in decoded.parameters.values() if p.role == "weight"):
        rows = p.value() if method.per == "channel" else p.value().reshape(1, -1)
        assert all(len(np.unique(row.view(np.uint32))) <= most for row in rows)
    x = data.test.samples()
    assert decoded.predict(x).tobytes() == model.predict(x).tobytes()
    assert not any(p.notes for p in model.parameters.values())


@pytest.mark.parametrize("quantiser", [LSQ(bits=2), Ternary(per="channel"), DoReFa(bits=2)], ids=repr)
def test_behind_dropback_only_stored_values_are_quantised_and_the_others_stay_initial(quantiser):
    model = small_model()
    fit(model, small_data(), Compose(DropBack(budget=70), quantiser), SETTINGS)
    assert model.kept == 70
    for p in model.parameters.values():
        np.testing.assert_array_equal(p.value()[~p.mask], p.initial()[~p.mask])
        if p.role == "weight":
            rows = [kept_entries(p, p.value())[part] for _, part in parts(quantiser.per, p)]
            assert all(len(np.unique(row)) <= 4 for row in rows)


def test_behind_magnitude_pruning_the_thin_weights_that_are_held_sparse_are_quantised():
    model, held = small_model(), []
    method = Compose(Magnitude(density=0.2, begin=0.1, end=0.4, every=1), LSQ(bits=3))
    run = Run(model, small_data(), method, SETTINGS)
    method.start(run)
    for _ in range(run.total_steps):
        train_step(run)
        held.append(type(model.parameters["fc1.weight"].store).__name__)
    assert held[0] == "DenseStore" and held[-1] == "SparseStore"
    method.finish(run)
    weights = [p for p in model.parameters.values() if p.role == "weight"]
    assert sum(p.kept for p in weights) == 24
    assert all(len(np.unique(p.value())) <= 8 + 1 for p in weights)


# Activations


def step_of(layer, step):
    layer.step[...] = step
    return layer


def test_a_quantiser_without_a_step_hands_everything_on():
    layer, x = FakeQuantise(3), np.random.default_rng(0).normal(size=(4, 5))
    y, cache = layer.forward(x, training=True)
    assert y is x and layer.backward(x, cache) is x


@pytest.mark.parametrize(("bits", "signed"), [(1, True), (1, False), (3, True), (8, False)])
def test_activations_and_their_gradients_are_the_quantisers(bits, signed):
    x, dy = np.random.default_rng(bits).normal(size=(2, 6, 5, 7))
    model = Model("m", FakeQuantise(bits, signed), (6, 5), dtype=np.float64)
    step_of(model.net, 0.3)
    y, cache = model.forward(x, training=True)
    np.testing.assert_array_equal(y, quantise(x, 0.3, bits, signed))
    dx, ds = quantise_backward(dy, x, 0.3, bits, signed)
    np.testing.assert_array_equal(model.backward(dy, cache), dx)
    # 30 features a sample
    assert model.parameters["step"].store.grad[0] == pytest.approx(ds / np.sqrt(30 * bounds(bits, signed)[1]))


def test_a_step_can_follow_the_range_of_the_batches():
    layer = step_of(FakeQuantise(2, follow="range", momentum=0.25), 1.0)
    x = np.array([[0.5, 9.0]])
    layer.forward(x)
    assert layer.step[0] == 1
    layer.forward(x, training=True)
    assert layer.step[0] == 0.75 + 0.25 * 9 / 3


def test_the_step_of_a_quantiser_does_not_decay():
    net = Sequential({"q": FakeQuantise(4), "fc": Linear(3, 2)})
    model = Model("m", net, (3,))
    step_of(net.layers["q"], 0.5)
    TrainSettings(weight_decay=0.1).make_optimizer().step(model.parameters, 1.0)
    assert model.parameters["q.step"].value()[0] == 0.5


def test_quantisers_stand_before_every_layer_with_weights_but_the_first_and_are_signed_where_they_must_be():
    block = Residual(Sequential({"conv": Conv2d(4, 4, 3, padding=1), "relu": ReLU()}))
    net = Sequential(
        {
            "conv1": Conv2d(1, 4, 3),
            "pool": MaxPool2d(2),
            "block": Sequential({"conv": Conv2d(4, 4, 1), "relu": ReLU()}),
            "drop": Dropout(0.1),
            "sum": block,
            "flatten": Flatten(),
            "fc1": Linear(4 * 9, 5),
            "relu": ReLU(),
            "fc2": Linear(5, 2),
        }
    )
    insert_quantisers(net, 3, "gradient")
    insert_quantisers(net, 3, "gradient")
    found = {path: layer.signed for path, layer in net.named_layers() if isinstance(layer, FakeQuantise)}
    expected = {"block.conv_input": True, "sum.body.conv_input": False, "fc1_input": True, "fc2_input": False}
    assert found == expected
    assert list(net.layers)[:4] == ["conv1", "pool", "block", "drop"]
    assert list(net.layers)[-4:] == ["fc1", "relu", "fc2_input", "fc2"]


@pytest.mark.parametrize("method", [LSQ(activations=3), Uniform(activations=3), DoReFa(activations=3)], ids=repr)
def test_what_enters_a_layer_takes_few_values_once_quantisation_has_begun(method):
    model = small_model()
    fit(model, small_data(), method, SETTINGS)
    quantiser = dict(model.net.named_layers())["fc2_input"]
    x, _ = model.net.layers["fc1"].forward(small_data().test.samples().T.copy())
    for name in ("bn", "relu", "fc2_input"):
        x, _ = model.net.layers[name].forward(x)
    assert quantiser.step[0] > 0 and not quantiser.signed
    assert 2 < len(np.unique(x)) <= 8
