"""Splits and normalisation of a data set, and a user's own data."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minisparse.data import from_arrays, load
from minisparse.data.dataset import hold_out
from minisparse.rng import Stream

SPLITS = ("train", "validation", "test")


def distinct(count: int, start: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Samples that are told apart by their values, and labels that follow from them."""
    x = np.arange(start, start + count, dtype=np.float32)[:, None]
    return x, (x[:, 0] % 3).astype(np.int64)


def members(data) -> list[np.ndarray]:
    return [getattr(data, name).x[:, 0] for name in SPLITS]


@given(st.data())
def test_splits_are_disjoint_and_cover_everything(draw):
    count = draw.draw(st.integers(5, 60))
    validation = draw.draw(st.integers(1, count - 3))
    test = draw.draw(st.integers(1, count - validation - 1))
    seed = draw.draw(st.integers(0, 2**63 - 1))
    data = from_arrays("own", distinct(count), validation=validation, test=test, seed=seed)
    parts = members(data)
    assert [len(part) for part in parts] == [count - validation - test, validation, test]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(count))
    for name in SPLITS:
        split = getattr(data, name)
        np.testing.assert_array_equal(split.labels, split.x[:, 0] % 3)


def test_a_given_test_set_stays_as_it_is():
    data = from_arrays("own", distinct(50), distinct(7, start=50), validation=5)
    train, validation, test = members(data)
    np.testing.assert_array_equal(test, np.arange(50, 57))
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), np.arange(50))


def test_the_seed_draws_the_validation_set_and_never_the_test_set():
    a, b, c = (members(from_arrays("own", distinct(200), seed=seed)) for seed in (1, 1, 2))
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(a[2], c[2])
    assert not np.array_equal(a[1], c[1])


def test_a_fifth_is_held_out_for_test_and_a_tenth_of_the_rest_for_validation():
    assert [len(part) for part in members(from_arrays("own", distinct(100)))] == [72, 8, 20]


def test_every_sample_is_held_out_about_equally_often():
    times = np.zeros(10)
    for seed in range(2000):
        times[hold_out(10, 3, Stream(seed, "validation"))[1]] += 1
    # binomial(2000, 0.3): mean 600, standard deviation 20.5; six of them
    assert np.abs(times - 600).max() < 123


@pytest.mark.parametrize("count", [0, 10, 11])
def test_a_split_that_leaves_nothing_is_refused(count):
    with pytest.raises(ValueError, match="held out"):
        hold_out(10, count, Stream(0, "validation"))


def test_samples_are_raw_minus_shift_times_scale_by_channel():
    x = np.random.default_rng(0).integers(0, 256, (30, 3, 2, 2), dtype=np.uint8)
    shift, scale = np.array([1.0, 2.0, 3.0])[:, None, None], np.array([0.5, 0.25, 2.0])[:, None, None]
    data = from_arrays("own", (x, np.zeros(30, int)), shift=shift, scale=scale)
    for index in (slice(None), slice(3, 9), np.array([4, 0, 4])):
        samples = data.train.samples(index)
        assert samples.dtype == np.float32
        np.testing.assert_array_equal(samples, (data.train.x[index] - shift) * scale)


def test_bytes_are_scaled_to_one_and_floats_left_alone():
    x = np.arange(40, dtype=np.uint8).reshape(20, 2)
    y = np.zeros(20, int)
    data = from_arrays("own", (x, y))
    assert data.train.x.dtype == np.uint8
    np.testing.assert_allclose(data.train.samples() * 255, data.train.x, rtol=2**-22)
    data = from_arrays("own", (x.astype(np.float64) - 7.5, y))
    assert data.train.x.dtype == np.float32
    np.testing.assert_array_equal(data.train.samples(), data.train.x)


def test_what_samples_returns_is_the_callers_to_change():
    data = from_arrays("own", distinct(20))
    before = data.train.x.copy()
    data.train.samples()[:] = -1
    np.testing.assert_array_equal(data.train.x, before)


def test_images_without_channels_get_one():
    data = from_arrays("own", (np.zeros((20, 4, 5), np.uint8), np.arange(20) % 7))
    assert (data.input_shape, data.classes) == ((1, 4, 5), 7)
    assert data.test.samples(slice(0, 2)).shape == (2, 1, 4, 5)


X, Y = np.arange(40, dtype=np.uint8).reshape(20, 2), np.arange(20) % 4


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_an_npz_file_gives_the_arrays_in_it(tmp_path):
    path = npz(tmp_path / "own.npz", x_train=X, y_train=Y, x_test=X[:3], y_test=Y[:3].astype(np.uint8))
    data = load(path, seed=3)
    assert (data.name, data.input_shape, data.classes) == (str(path), (2,), 4)
    np.testing.assert_array_equal(data.test.x, X[:3])
    np.testing.assert_array_equal(data.test.labels, Y[:3])
    for seed in range(5):
        expected = from_arrays("own", (X, Y), (X[:3], Y[:3]), seed=seed)
        np.testing.assert_array_equal(load(data.name, seed=seed).validation.x, expected.validation.x)


def test_an_npz_file_without_a_test_set_is_split(tmp_path):
    data = load(npz(tmp_path / "own.npz", x_train=X, y_train=Y))
    assert sum(len(getattr(data, name)) for name in SPLITS) == len(X)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"y_train": None}, "y_train missing"),
        ({"x_train": None, "y_train": None}, "x_train and y_train missing"),
        ({"y_test": None}, "y_test missing"),
        ({"y_train": Y[:-1]}, "20 samples and y_train 19 labels"),
        ({"x_train": X[:0], "y_train": Y[:0]}, "0 samples"),
        ({"y_train": Y - 1}, "labels from -1"),
        ({"y_train": Y.astype(float)}, "whole numbers"),
        ({"y_train": Y[:, None]}, "whole numbers"),
        ({"y_train": Y.astype(np.uint64) + 2**63}, "number the classes from 0"),
        ({"x_train": X.astype(int)}, "x_train is int64; use uint8 or float32"),
        ({"x_train": X[:, 0]}, "shape"),
        ({"x_test": np.where(X[:3] == 1, np.nan, X[:3])}, "x_test holds NaN"),
        ({"x_train": X * 1e300}, "beyond float32"),
        ({"x_test": X[:3, :1]}, "make them alike"),
        ({"x_test": X[:3].astype(np.float32)}, "make them alike"),
        ({"x_train": X.astype(object)}, "allow_pickle"),
        ({"x_train": X[:1], "y_train": Y[:1]}, "held out"),
    ],
)
def test_an_npz_file_that_does_not_fit_is_refused_with_path_and_reason(tmp_path, changes, reason):
    arrays = {"x_train": X, "y_train": Y, "x_test": X[:3], "y_test": Y[:3]} | changes
    path = npz(tmp_path / "own.npz", **{key: array for key, array in arrays.items() if array is not None})
    with pytest.raises(ValueError, match=reason) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))


def test_a_label_beyond_the_classes_is_refused():
    with pytest.raises(ValueError, match="label 3"):
        from_arrays("own", (X, Y), classes=3)


def test_every_truncated_npz_file_is_refused(tmp_path):
    stream = io.BytesIO()
    np.savez_compressed(stream, x_train=X, y_train=Y)
    content, path = stream.getvalue(), tmp_path / "own.npz"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"own\.npz"):
            load(path)


@settings(max_examples=100)
@given(st.data())
def test_a_changed_npz_file_is_refused_or_still_a_data_set(tmp_path_factory, data):
    stream = io.BytesIO()
    np.savez_compressed(stream, x_train=X, y_train=Y)
    content = bytearray(stream.getvalue())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "changed.npz"
    path.write_bytes(content)
    try:
        assert len(load(path).train) == 15
    except ValueError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("content", [None, b"", b"text", b"\x93NUMPY"])
def test_a_file_that_is_no_npz_is_refused(tmp_path, content):
    path = tmp_path / "own.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"own\.npz: "):
        load(path)


def test_a_single_array_and_an_archive_of_other_things_are_refused(tmp_path):
    single, other = tmp_path / "single.npz", tmp_path / "other.npz"
    with single.open("wb") as stream:
        np.save(stream, X)
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("x_train.npy", b"text")
        archive.writestr("y_train", b"text")
    for path in (single, other):
        with pytest.raises(ValueError, match=path.name):
            load(path)
