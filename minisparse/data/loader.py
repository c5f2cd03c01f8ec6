"""From a name to a data set."""

import math
from pathlib import Path

import numpy as np

from minisparse.data.dataset import Dataset, from_arrays
from minisparse.data.files import Folder, Place, download, locate
from minisparse.data.npz import load_npz
from minisparse.data.sources import DATASETS, Source


def load(name: str | Path, folder: Folder = None, seed: int = 0) -> Dataset:
    """A data set by name, or a user's own from an .npz file.

    Parameters
    ----------
    name : "digits" (bundled), "mnist", "fashion-mnist", "kmnist", "cifar10", "cifar100", or the path of an .npz
        file with x_train, y_train and, if there is a test set, x_test and y_test
    folder : looked in first, and where a download goes; then $MINISPARSE_DATA, ../shared/datasets and the cache
        of downloads are looked in. Not used by "digits" and .npz files.
    seed : draws the validation set from the official training data; the test set does not depend on it

    Raises
    ------
    ValueError : the name is unknown, a file is damaged, or nothing was found and no mirror answered.
    """
    if str(name).endswith(".npz"):
        return load_npz(name, seed)
    source = source_named(str(name))
    place = locate(source, folder) or download(source, folder)
    return read(place, seed)


def source_named(name: str) -> Source:
    """ValueError if there is none."""
    if name not in DATASETS:
        raise ValueError(f"name={name!r} is unknown: use one of {', '.join(DATASETS)}, or the path of an .npz file")
    return DATASETS[name]


def read(place: Place, seed: int = 0) -> Dataset:
    """The data set at a place, every file checked against its hash."""
    source, parts = place.source, {}
    for file, content in place.contents():
        try:
            parts[file.name] = source.format.parse(content)
        except ValueError as error:
            raise ValueError(f"{place.path}/{file.name}: {error}") from error
    training = _images(source, [parts.pop(file.name) for file in source.train])
    testing = _images(source, [parts.pop(file.name) for file in source.test]) if source.test else None
    return from_arrays(
        source.name,
        training,
        testing,
        seed=seed,
        validation=source.counts[1],
        test=source.counts[2],
        classes=source.classes,
        shift=_per_channel(source.mean) * source.peak,
        scale=1 / (_per_channel(source.std) * source.peak),
    )


def _images(source: Source, parts: list) -> tuple[np.ndarray, np.ndarray]:
    x, y = source.format.join(parts)
    if math.prod(x.shape[1:]) != math.prod(source.input_shape):
        raise ValueError(f"{source.name}: samples of shape {x.shape[1:]} where {source.input_shape} is expected")
    return x.reshape(len(x), *source.input_shape), y


def _per_channel(numbers: tuple[float, ...]) -> np.ndarray:
    return np.array(numbers).reshape(-1, 1, 1)
