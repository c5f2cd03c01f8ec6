"""One training step of a wide network on a budget, in this process, and the peak of its memory.

python -m minisparse.bench.billion BUDGET I H1 H2 ... O

No layer-sized array exists at any time: weights are sparse stores over rest 1, made from the places of the
stored entries, and every product regenerates the other weights as it needs them.
"""

import json
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from minisparse.bench.base import normal, places
from minisparse.loss import softmax_cross_entropy
from minisparse.params import Init
from minisparse.rng import Stream, key
from minisparse.stores import SparseStore

BATCH = 32
LR = 0.1


def stores_on_budget(sizes: tuple[int, ...], budget: int) -> list[SparseStore]:
    """A store a layer, its share of the budget proportional to its weights, each with He's initial values."""
    weights = np.array([inputs * outputs for inputs, outputs in pairwise(sizes)])
    shares = np.diff(np.cumsum(weights) * budget // weights.sum(), prepend=0)
    stores = []
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        index = places(f"layer{layer}", inputs * outputs, int(shares[layer]))
        init = Init("normal", (2 / inputs) ** 0.5, key(0, "bench", "layer", layer))
        stores.append(SparseStore((outputs, inputs), index, init.at(index), init))
    return stores


def step(stores: list[SparseStore], x: np.ndarray, labels: np.ndarray) -> float:
    """One step of SGD on the stored entries; the loss before it."""
    inputs, z = [], x
    for store in stores:
        inputs.append(z)
        z = store.matmul(z)
        if store is not stores[-1]:
            np.maximum(z, 0, out=z)
    loss, dz = softmax_cross_entropy(z, labels)
    for store, below in zip(reversed(stores), reversed(inputs), strict=True):
        store.accumulate(dz, below)
        if store is not stores[0]:
            # the ReLU below passes the gradient where its output is positive
            dz = store.rmatmul(dz) * (below > 0)
        store.values -= np.float32(LR) * store.grad
    return loss


def peak_bytes() -> int:
    """Highest resident memory of this process so far.

    Linux hands the peak of the process that started this one down in getrusage, so its own count is read there.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    import resource  # absent on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(budget: int, *sizes: int) -> None:
    start = peak_bytes()
    began = time.perf_counter()
    stores = stores_on_budget(sizes, budget)
    x, labels = normal("x", sizes[0], BATCH), Stream(0, "bench", "labels").integers(sizes[-1], BATCH)
    loss = step(stores, x, labels)
    print(
        json.dumps(
            {
                "sizes": sizes,
                "weights": sum(store.rows * store.columns for store in stores),
                "stored": sum(store.kept for store in stores),
                "step_s": time.perf_counter() - began,
                "loss": loss,
                "peak_mb": peak_bytes() / 1e6,
                "peak_before_mb": start / 1e6,
            }
        )
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
