"""Products with regenerated weights against dense ones, and the memory of training a network of a billion weights."""

import json
import subprocess
import sys

from minisparse.bench.base import Benchmark, normal, places
from minisparse.bench.harness import Contestant, mean_ratio, ratio
from minisparse.bench.spmm import product
from minisparse.params import Init
from minisparse.rng import key
from minisparse.stores import SparseStore

SHAPES = ((300, 784), (2048, 512), (512, 4608), (4096, 4096))
BATCH = 128
DENSITY = 0.01
BILLION, BUDGET = (784, 30_000, 30_000, 10), 1_000_000
SMALL, SMALL_BUDGET = (784, 300, 300, 10), 10_000


class Regen(Benchmark):
    peer_names = ("threadpoolctl",)
    budget_s = 1.0
    notes = (
        "A sparse store over rest 1: 1 % of the entries stored, the others regenerated inside the product and never "
        "held. numpy_dense multiplies the same matrix, held dense in memory. N = 128.",
        "time_over_dense, transposed_over_dense: geometric mean over the shapes of our time for W x, and for W^T dy, "
        "over NumPy's for the same product.",
        "billion_peak_mb: peak resident memory, in 10^6 bytes, of a process of its own that takes one training step of "
        "a 784-30000-30000-10 network with ReLU (924 million weights, 1 million stored) on a batch of 32: forward, "
        "softmax cross entropy, backward, the gradient at the stored entries, one SGD update of these. The stored "
        "entries are fixed: no candidates compete for a place. Python, NumPy and the library are in it.",
    )

    def grid(self):
        return [{"O": o, "I": i, "N": BATCH} for o, i in (SHAPES[:1] if self.quick else SHAPES)]

    def case(self, labels):
        return "{O}x{I}".format(**labels)

    def contestants(self, O, I, N):  # noqa: E741
        index = places("regen", O * I, round(DENSITY * O * I))
        store = SparseStore((O, I), index, normal("values", len(index)), Init("normal", 1.0, key(0, "bench", "rest")))
        w, x, dy = store.dense(), normal("x", I, N), normal("dy", O, N)
        forward, transposed = product(w, x), product(w.T, dy)
        return {
            "ours": Contestant(lambda: store.matmul(x), forward),
            "numpy_dense": Contestant(lambda: w @ x, forward),
            "transposed": Contestant(lambda: store.rmatmul(dy), transposed),
            "numpy_dense_transposed": Contestant(lambda: w.T @ dy, transposed),
        }, {"flops": 2 * O * I * N}

    def summary(self, rows):
        return {
            "time_over_dense": mean_ratio(rows, ["ours"], "numpy_dense"),
            "time_over_dense_max": max(ratio(rows, ["ours"], "numpy_dense")),
            "transposed_over_dense": mean_ratio(rows, ["transposed"], "numpy_dense_transposed"),
        }

    def further_rows(self):
        return [step_in_child(SMALL, SMALL_BUDGET) if self.quick else step_in_child(BILLION, BUDGET)]

    def closing(self, rows):
        """None after a quick run, which has no billion weights."""
        return {"billion_peak_mb": next((row["peak_mb"] for row in rows if row.get("sizes") == list(BILLION)), None)}


def step_in_child(sizes: tuple[int, ...], budget: int) -> dict:
    """The result of billion.py from a process of its own.

    Raises
    ------
    ValueError : it failed.
    """
    command = [sys.executable, "-m", "minisparse.bench.billion", str(budget), *map(str, sizes)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode:
        raise ValueError(f"the training step of {sizes} failed: {child.stderr.strip().splitlines()[-1:]}")
    return {"case": "step " + "-".join(map(str, sizes)), **json.loads(child.stdout)}
