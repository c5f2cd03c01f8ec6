import numpy as np
import pytest

from minisparse.loss import mean_squared_error, softmax_cross_entropy


def _random(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def _slope(loss, y, u, step=1e-6):
    return (loss(y + step * u)[0] - loss(y - step * u)[0]) / (2 * step)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize(("classes", "n"), [(1, 1), (2, 5), (10, 3)])
def test_cross_entropy_is_its_definition_and_its_gradient_the_derivative(classes, n, smoothing):
    z, labels = _random((classes, n)), np.random.default_rng(1).integers(classes, size=n)
    target = (1 - smoothing) * np.eye(classes)[:, labels] + smoothing / classes
    loss, dz = softmax_cross_entropy(z, labels, smoothing)
    assert loss == pytest.approx(-(target * np.log(np.exp(z) / np.exp(z).sum(0))).sum() / n, rel=1e-13, abs=1e-13)
    u = _random(z.shape, 2)
    slope = _slope(lambda y: softmax_cross_entropy(y, labels, smoothing), z, u)
    assert np.vdot(dz, u) == pytest.approx(slope, rel=1e-7, abs=1e-9)


def test_a_columns_gradient_sums_to_zero_and_a_shift_of_its_logits_changes_nothing():
    z, labels = _random((4, 6)), np.arange(6) % 4
    loss, dz = softmax_cross_entropy(z, labels)
    np.testing.assert_allclose(dz.sum(0), 0, atol=1e-16)
    shifted, dshifted = softmax_cross_entropy(z + 1000.0, labels)
    assert shifted == pytest.approx(loss, rel=1e-11)
    np.testing.assert_allclose(dshifted, dz, rtol=1e-11)


def test_huge_logits_do_not_overflow():
    z = np.array([[1e4, -1e4], [-1e4, 1e4]], np.float32)
    assert softmax_cross_entropy(z, np.array([0, 1]))[0] == 0
    loss, dz = softmax_cross_entropy(z, np.array([1, 0]))
    assert loss == 2e4 and np.isfinite(dz).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes_stay_and_inputs_are_left_alone(dtype):
    z, labels = _random((3, 4)).astype(dtype), np.array([0, 1, 2, 1], np.uint8)
    z.setflags(write=False)
    loss, dz = softmax_cross_entropy(z, labels, 0.1)
    assert type(loss) is float and dz.dtype == dtype
    loss, dy = mean_squared_error(z, np.zeros((3, 4)))
    assert type(loss) is float and dy.dtype == dtype


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_numbers_give_a_loss_that_is_none(value):
    z = np.zeros((3, 2), np.float32)
    z[1, 1] = value
    assert np.isnan(softmax_cross_entropy(z, np.array([0, 2]))[0])


@pytest.mark.parametrize(
    ("shape", "labels", "smoothing", "named"),
    [
        ((3,), [0], 0.0, "logits has shape"),
        ((3, 0), [], 0.0, "neither may be 0"),
        ((3, 2), [0, 3], 0.0, r"\[0, 3\], outside the 3 classes"),
        ((3, 2), [-1, 0], 0.0, r"\[-1, 0\]"),
        ((3, 2), [0], 0.0, "labels must be 2 integers"),
        ((3, 2), [[0], [1]], 0.0, "labels must be 2 integers"),
        ((3, 2), [0.0, 1.0], 0.0, "float64"),
        ((3, 2), [0, 1], 1.0, "smoothing=1.0"),
        ((3, 2), [0, 1], -0.1, "smoothing=-0.1"),
    ],
)
def test_arguments_out_of_range_are_named(shape, labels, smoothing, named):
    with pytest.raises(ValueError, match=named):
        softmax_cross_entropy(np.zeros(shape), np.array(labels), smoothing)


def test_mean_squared_error_is_its_definition_and_its_gradient_the_derivative():
    y, target, u = _random((3, 4)), _random((3, 4), 1), _random((3, 4), 2)
    loss, dy = mean_squared_error(y, target)
    assert loss == pytest.approx(sum((y - target).ravel() ** 2) / 12, rel=1e-13)
    assert np.vdot(dy, u) == pytest.approx(_slope(lambda z: mean_squared_error(z, target), y, u), rel=1e-8)


def test_mean_squared_error_wants_equal_shapes_and_a_batch():
    with pytest.raises(ValueError, match=r"target has shape \(4, 1\)"):
        mean_squared_error(np.zeros((4, 3)), np.zeros((4, 1)))
    with pytest.raises(ValueError, match="empty batch"):
        mean_squared_error(np.zeros((4, 0)), np.zeros((4, 0)))
