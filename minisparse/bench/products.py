"""What runs under cachegrind: products on one set of operands after the other, and as little else as can be.

    python products.py KERNEL O I N EACH CALLS SETS

The package around the kernels is left out, since importing it takes valgrind longer than the products.
"""

import os
import sys
import types
from importlib import import_module
from pathlib import Path

import numpy as np

PACKAGE = Path(__file__).parents[1]


def kernel(name: str):
    """A compiled kernel, without the package that it stands in."""
    package = types.ModuleType("minisparse")
    package.__path__ = [str(PACKAGE), str(PACKAGE.parent)]
    sys.modules.setdefault("minisparse", package)
    return import_module(f"minisparse._core.{name}")


def product(name: str, rows: int, columns: int, batch: int, each: int):
    """One set of operands, `each` entries a row of the weight, as a function without arguments."""
    # on the border of a line, as results of the library are; else kernels begin with a copy
    room = np.ones(columns * batch + 16, np.float32)
    first = -room.ctypes.data % 64 // 4
    x = room[first : first + columns * batch].reshape(columns, batch)
    if name == "dense":
        w, y = np.ones((rows, columns), np.float32), np.zeros((rows, batch), np.float32)
        return lambda: np.matmul(w, x, out=y)
    spmm, regen, pattern = kernel("spmm"), kernel("regen"), kernel("pattern")
    # one in each of `each` runs of columns, at a place that changes from row to row; no sort, for valgrind's sake
    run = columns // each
    places = np.arange(each) * run + (np.arange(rows)[:, None] * 40503 + np.arange(each) * 9973) % run
    places = pattern.Pattern(np.arange(rows + 1) * each, places.ravel(), columns)
    values = np.ones(rows * each, np.float32)
    if name == "sparse":
        return lambda: spmm.matmul(places, values, x)
    return lambda: regen.matmul("normal", 1, 0.1, 1.0, places, values, x)


def main(name: str, rows: int, columns: int, batch: int, each: int, calls: int, sets: int) -> None:
    products = [product(name, rows, columns, batch, each) for _ in range(sets)]
    results = [call() for call in products]  # held, so that memory is not handed out again at once
    for k in range(calls):
        results[k % sets] = products[k % sets]()


if __name__ == "__main__":
    os.environ.setdefault("MINISPARSE_BACKEND", "reference")  # of the other kernels, which nobody calls
    main(sys.argv[1], *map(int, sys.argv[2:]))
