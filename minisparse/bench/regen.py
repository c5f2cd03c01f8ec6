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
WIDTHS = (3_000, 10_000, 30_000)
SMALL, SMALL_BUDGET = (784, 300, 300, 10), 10_000


class Regen(Benchmark):
    peer_names = ("threadpoolctl",)
    budget_s = 1.0
    notes = (
        "A sparse store over rest 1: 1 % of the entries stored, the others regenerated inside the product and never "
        "held. numpy_dense multiplies the same matrix, held dense in memory. N = 128.",
        "time_over_dense, transposed_over_dense: geometric mean over the shapes of our time for W x, and for W^T dy, "
        "over NumPy's for the same product.",
        "Rows of steps: DropBack's training steps as `minisparse train --method dropback --store regenerated` takes "
        "them, each in a process of its own, 784-H-H-10 with ReLU on a batch of 32: forward, softmax cross entropy, "
        "backward, one SGD update, and the whole budget chosen anew from all weights, exactly. first_step_s has "
        "nothing stored yet; step_s is the median of the next two.",
        "billion_peak_mb: peak resident memory, in 10^6 bytes, of H = 30000: 924 million weights, 1 million stored. "
        "Python, NumPy and the library are in it. peak_mb_10x_weights: how many times the peak grows from H = 10000, "
        "of a tenth of the weights, on the same budget.",
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
        if self.quick:
            return [step_in_child(SMALL, SMALL_BUDGET)]
        return [step_in_child((BILLION[0], width, width, BILLION[-1]), BUDGET) for width in WIDTHS]

    def closing(self, rows):
        """None after a quick run, which has no billion weights."""
        peaks = {row["sizes"][1]: row["peak_mb"] for row in rows if "sizes" in row}
        tenth, billion = peaks.get(WIDTHS[-2]), peaks.get(WIDTHS[-1])
        return {"billion_peak_mb": billion, "peak_mb_10x_weights": billion / tenth if billion else None}


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
