"""The real data sets: the bundled digits, and those whose files this machine has."""

import importlib.resources
import runpy

import numpy as np
import pytest

from minisparse.data import DATASETS, Batches, load
from minisparse.data.files import locate
from minisparse.data.loader import read

BUNDLED = importlib.resources.files("minisparse.datasets")


def counts(*splits) -> list[int]:
    return sum(np.bincount(split.labels, minlength=10) for split in splits).tolist()


@pytest.fixture(scope="module")
def real():
    """Data sets by name, each read once; skips where the files are not there."""
    read_before = {}

    def get(name):
        if name not in read_before:
            place = locate(DATASETS[name])
            if place is None:
                pytest.skip(f"the files of {name} are not on this machine")
            read_before[name] = read(place)
        return read_before[name]

    return get


def test_digits_come_with_the_library_and_match_their_description():
    data = load("digits")
    assert (data.input_shape, data.classes) == ((1, 8, 8), 10)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [1197, 200, 400]
    # the counts that UCI publishes for this part
    assert counts(data.train, data.validation, data.test) == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    x = data.train.samples()
    assert (x.min(), x.max()) == (0, 1)
    np.testing.assert_array_equal(x * 16, data.train.x)


def test_digits_are_scikit_learns_and_written_again_to_the_same_bytes(tmp_path, capsys):
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    data = load("digits")
    ours = np.concatenate([s.x for s in (data.train, data.validation, data.test)]).reshape(-1, 64)
    labels = np.concatenate([s.labels for s in (data.train, data.validation, data.test)])
    assert sorted(zip(ours.tolist(), labels, strict=True)) == sorted(
        zip(digits.data.astype(int).tolist(), digits.target, strict=True)
    )
    script = runpy.run_path(str(BUNDLED / "make_digits.py"))
    script["main"](tmp_path)
    for file in DATASETS["digits"].files:
        assert (tmp_path / file.name).read_bytes() == (BUNDLED / "digits" / file.name).read_bytes()


def test_the_readmes_say_what_the_code_says():
    text = (BUNDLED / "README.md").read_text()
    for source in DATASETS.values():
        numbers = " / ".join(f"{count:,}" for count in source.counts)
        shape = " x ".join(map(str, source.input_shape))
        assert f"| `{source.name}` | {numbers} | {shape} | {source.classes} |" in text
    digits = (BUNDLED / "digits" / "README.md").read_text()
    for file in DATASETS["digits"].files:
        assert f"`{file.name}`" in digits and file.hash.removeprefix("sha256:") in digits


@pytest.mark.parametrize("source", DATASETS.values(), ids=lambda source: source.name)
def test_a_source_is_described_whole(source):
    files = [*source.files, *source.downloads]
    for algorithm, _, digits in (file.hash.partition(":") for file in files):
        assert len(bytes.fromhex(digits)) == {"md5": 16, "sha256": 32}[algorithm]
    assert len({file.hash for file in source.files}) == len(source.files)
    assert all(mirror.endswith("/") for mirror in source.mirrors)
    assert len(source.mean) == len(source.std) and len(source.mean) in (1, source.input_shape[0])


def test_mnist_has_the_published_label_counts(real):
    data = real("mnist")
    assert counts(data.train, data.validation) == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert counts(data.test) == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert [len(s) for s in (data.train, data.validation)] == [55_000, 5_000]
    assert data.train.samples(slice(0, 500)).max() == 1


def test_cifar10_has_the_published_label_counts_means_and_deviations(real):
    data = real("cifar10")
    assert counts(data.train, data.validation) == [5000] * 10
    assert counts(data.test) == [1000] * 10
    assert [len(s) for s in (data.train, data.validation)] == [45_000, 5_000]
    histogram = sum(
        np.stack([np.bincount(split.x[:, c].ravel(), minlength=256) for c in range(3)])
        for split in (data.train, data.validation)
    )
    values = np.arange(256) / 255
    mean = histogram @ values / histogram.sum(1)
    std = np.sqrt(histogram @ values**2 / histogram.sum(1) - mean**2)
    # the constants are published to four places
    np.testing.assert_allclose(mean, DATASETS["cifar10"].mean, atol=0.5e-4)
    np.testing.assert_allclose(std, DATASETS["cifar10"].std, atol=1.0e-4)
    sample = data.test.samples(slice(0, 1))[0, :, 0, 0]
    np.testing.assert_allclose(sample, (data.test.x[0, :, 0, 0] / 255 - mean) / std, atol=2e-3)


def test_cifar10_pixels_are_the_run_of_bytes_in_the_file(real):
    data, place = real("cifar10"), locate(DATASETS["cifar10"])
    content = next(content for file, content in place.contents() if file.name == "test_batch")
    start = content.index(bytes.fromhex("895400c0d401")) + 6
    np.testing.assert_array_equal(data.test.x.ravel(), np.frombuffer(content, np.uint8, 30_720_000, start))


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_an_augmented_batch_of_real_images_is_standardised_and_batch_last(real, name):
    data = real(name)
    x, y = Batches(data.train, 100, seed=1, augment=True).batch(0, 0)
    assert x.shape == (*data.input_shape, 100) and y.shape == (100,)
    assert np.isfinite(x).all()
