"""Batches and augmentation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minisparse.data import Batches, from_arrays
from minisparse.data.augment import crop_and_flip
from minisparse.rng import Stream

GENERATOR = np.random.default_rng(0)
X = GENERATOR.integers(0, 256, (64, 3, 8, 6), dtype=np.uint8)
CHANNELS = {"shift": np.array([9.0, 0.0, 5.0])[:, None, None], "scale": np.array([0.5, 0.3, 0.1])[:, None, None]}
IMAGES = from_arrays("images", (X, np.arange(64)), validation=4, test=10, **CHANNELS).train
VECTORS = from_arrays("vectors", (GENERATOR.normal(size=(64, 7)), np.arange(64)), validation=4, test=10).train


def same(a, b) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(a, b, strict=True))


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), min_size=1, max_size=12), st.booleans())
def test_a_batch_does_not_depend_on_what_was_asked_for_before(asked, augment):
    used = Batches(IMAGES, 7, seed=5, augment=augment)
    for epoch, step in asked:
        assert same(used.batch(epoch, step), Batches(IMAGES, 7, seed=5, augment=augment).batch(epoch, step))


def test_seed_epoch_and_step_each_change_the_batch():
    batches = Batches(IMAGES, 10, seed=0)
    others = [batches.batch(1, 0), batches.batch(0, 1), Batches(IMAGES, 10, seed=1).batch(0, 0)]
    assert not any(same(batches.batch(0, 0), other) for other in others)


@pytest.mark.parametrize("split", [IMAGES, VECTORS])
@pytest.mark.parametrize("size", [1, 7, 50])
def test_a_batch_is_the_samples_of_its_labels_with_the_batch_last(split, size):
    batches = Batches(split, size, seed=2)
    x, y = batches.batch(3, len(batches) - 1)
    assert (x.shape, x.dtype, x.flags.c_contiguous) == ((*split.x.shape[1:], size), np.float32, True)
    assert (y.shape, y.dtype) == ((size,), np.int64)
    rows = [int(np.flatnonzero(split.labels == label)[0]) for label in y]
    np.testing.assert_array_equal(x, np.moveaxis(split.samples(np.array(rows)), 0, -1))


@pytest.mark.parametrize(("size", "steps"), [(1, 50), (7, 7), (25, 2), (26, 1), (50, 1)])
def test_an_epoch_visits_each_sample_at_most_once_and_leaves_less_than_a_batch(size, steps):
    batches = Batches(IMAGES, size, seed=0)
    assert len(batches) == steps
    seen = np.concatenate([batches.batch(0, step)[1] for step in range(steps)])
    assert len(np.unique(seen)) == len(seen) == steps * size > len(IMAGES) - size


def test_what_one_epoch_leaves_out_another_visits():
    batches = Batches(IMAGES, 26, seed=0)
    seen = np.concatenate([batches.batch(epoch, 0)[1] for epoch in range(12)])
    assert set(seen) == set(IMAGES.labels)


def test_changing_a_batch_changes_neither_data_nor_the_next_batch():
    batches = Batches(VECTORS, 10, seed=0)
    x, y = batches.batch(0, 0)
    before = x.copy(), y.copy()
    x[:], y[:] = 0, 0
    assert same(batches.batch(0, 0), before)


@pytest.mark.parametrize("size", [0, -1, 51])
def test_a_batch_size_out_of_range_is_refused_with_the_range(size):
    with pytest.raises(ValueError, match=f"batch_size={size} must lie in 1 to 50"):
        Batches(IMAGES, size, seed=0)


@pytest.mark.parametrize(("epoch", "step"), [(0, 7), (0, -1), (-1, 0)])
def test_a_step_or_epoch_out_of_range_is_refused(epoch, step):
    with pytest.raises(ValueError, match="must"):
        Batches(IMAGES, 7, seed=0).batch(epoch, step)


def test_vectors_are_not_augmented():
    with pytest.raises(ValueError, match="augment=True needs images"):
        Batches(VECTORS, 7, seed=0, augment=True)
    with pytest.raises(ValueError, match="shift=2 needs images"):
        Batches(VECTORS, 7, seed=0, shift=2)


def test_shifted_images_are_crops_of_the_padded_ones_and_all_of_them_occur():
    black_is_0 = from_arrays("images", (X, np.arange(64)), validation=4, test=10).train
    (x, labels), (plain, same_labels) = (Batches(black_is_0, 26, seed=1, shift=n).batch(0, 0) for n in (1, 0))
    padded = np.pad(plain, ((0, 0), (1, 1), (1, 1), (0, 0)))
    _, height, width, n = plain.shape
    crops = {(i, j): padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)}
    found = [next(place for place, crop in crops.items() if np.array_equal(crop[..., k], x[..., k])) for k in range(n)]
    assert len(set(found)) > 4
    np.testing.assert_array_equal(labels, same_labels)


@given(st.integers(0, 2**63 - 1), st.integers(0, 5))
def test_every_augmented_image_is_a_crop_of_the_padded_one_or_its_mirror(seed, pad):
    out = crop_and_flip(X[:6], Stream(seed, "augment", 0, 0), pad)
    assert (out.shape, out.dtype) == (X[:6].shape, X.dtype)
    height, width = X.shape[2:]
    for image, crop in zip(X, out, strict=False):
        padded = np.zeros((3, height + 2 * pad, width + 2 * pad), np.uint8)
        padded[:, pad : pad + height, pad : pad + width] = image
        shifts = [(i, j) for i in range(2 * pad + 1) for j in range(2 * pad + 1)]
        crops = [padded[:, i : i + height, j : j + width] for i, j in shifts]
        assert any(np.array_equal(crop, c) or np.array_equal(crop, c[:, :, ::-1]) for c in crops)


def test_offsets_and_mirrors_are_drawn_evenly():
    n = 16_200
    image = np.zeros((n, 1, 9, 9), np.uint8)
    image[:, :, 4, 4], image[:, :, 4, 5] = 1, 2  # a dot, and one beside it that tells the mirror
    image[:, :, 3, 4] = 3
    out = crop_and_flip(image, Stream(0, "augment", 0, 0), 3)
    where = np.array([divmod(int(np.argmax(one == 1)), 9) for one in out[:, 0]])
    right = np.array([one[i, j + 1] == 2 for one, (i, j) in zip(out[:, 0], where, strict=True)])
    # binomial(16200, 1/2): standard deviation 63.6; multinomial with 49 cells: mean 330.6, 18.0; six of them
    assert abs(right.sum() - n / 2) < 382
    cells = np.histogram2d(where[:, 0], where[:, 1], bins=7, range=[[0.5, 7.5], [0.5, 7.5]])[0]
    assert cells.sum() == n
    assert np.abs(cells - n / 49).max() < 108


def test_augmentation_leaves_the_data_as_it_was():
    before = IMAGES.x.copy()
    crop_and_flip(IMAGES.x, Stream(0, "augment", 0, 0))
    Batches(IMAGES, 7, seed=0, augment=True).batch(0, 0)
    np.testing.assert_array_equal(IMAGES.x, before)
