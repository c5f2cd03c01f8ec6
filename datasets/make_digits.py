"""Writes digits/ from scikit-learn's copy of the UCI optical digits, and prints the hashes of what it wrote.

    python datasets/make_digits.py [FOLDER]

Needs scikit-learn. FOLDER is datasets/digits by default. The bytes depend on nothing but the data and zlib.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np

from minisparse.data import idx


def main(folder: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"images-idx3-ubyte.gz": digits.images, "labels-idx1-ubyte.gz": digits.target}
    for name, array in arrays.items():
        content = idx.encode(array.astype(np.uint8))
        (folder / name).write_bytes(content)
        print(f"{hashlib.sha256(content).hexdigest()}  {name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).with_name("digits"))
