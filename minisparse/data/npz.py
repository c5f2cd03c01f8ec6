"""A user's own data: one .npz file of arrays."""

from pathlib import Path

import numpy as np

from minisparse.data.dataset import Dataset, from_arrays

TRAINING = ("x_train", "y_train")
TESTING = ("x_test", "y_test")


def load_npz(path: str | Path, seed: int = 0) -> Dataset:
    """The data set in a file with x_train and y_train, and x_test and y_test or neither; see `from_arrays`.

    Raises
    ------
    ValueError : no such file, damaged, arrays missing or holding objects, or as `from_arrays`.
    """
    path = Path(path)
    try:
        arrays = _read(path)
        testing = None
        if any(key in arrays for key in TESTING):
            testing = _pair(arrays, TESTING)
        return from_arrays(str(path), _pair(arrays, TRAINING), testing, seed=seed)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in (*TRAINING, *TESTING) if key in archive}
    except Exception as error:  # a damaged archive raises a dozen kinds, from zipfile, zlib and NumPy's header
        raise ValueError(f"not a readable .npz file ({error}); write it with numpy.savez") from error


def _pair(arrays: dict[str, np.ndarray], keys: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    missing = [key for key in keys if key not in arrays]
    if missing:
        raise ValueError(f"{' and '.join(missing)} missing; numpy.savez(path, x_train=..., y_train=..., ...)")
    return arrays[keys[0]], arrays[keys[1]]
