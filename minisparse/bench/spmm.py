"""Sparse products against SciPy, MKL and PyTorch, and where they break even with dense ones."""

import warnings
from statistics import geometric_mean

import numpy as np

from minisparse.bench.base import Benchmark, normal, places
from minisparse.bench.harness import Contestant, Expected, mean_ratio, ratio
from minisparse.params import Init
from minisparse.stores import SparseStore

SHAPES = ((300, 784), (512, 512), (2048, 512), (512, 4608), (64, 576))
BATCHES = (1, 64, 128, 256, 1024)
DENSITIES = (0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01)
SPARSE = ["scipy", "mkl", "torch"]
DENSE = ["numpy_dense", "torch_dense"]
ZERO = Init("constant", 0.0)


class Spmm(Benchmark):
    peer_names = ("scipy", "mkl", "torch", "threadpoolctl")
    notes = (
        "y = W x for W (O, I) in float32, batch N last. SciPy, MKL (sparse_dot_mkl) and PyTorch multiply their CSR; "
        "numpy_dense and torch_dense multiply the dense matrix with its zeros.",
        "vs_best_sparse_peer: geometric mean over the rows with N >= 64 of the fastest sparse peer's time over ours, "
        "_min its minimum; n1_vs_best_sparse_peer: the same mean at N = 1, density 0.1 and below.",
        "break_even_density: the highest density of the grid such that at it and at every lower one the geometric mean "
        "over shapes and N >= 64 of the fastest dense product's time over ours is above 1; _every_row: such that every "
        "row is above 1. 0 if there is none.",
        "transposed_over_forward, sampled_over_forward: geometric mean over N >= 64 of our time for W^T dy, and for "
        "dy x^T at the entries of W, over that for W x.",
    )

    def grid(self):
        shapes, batches = (SHAPES[-1:], (1, 64)) if self.quick else (SHAPES, BATCHES)
        densities = DENSITIES[::3] if self.quick else DENSITIES
        return [
            {"O": o, "I": i, "N": n, "density": density} for o, i in shapes for n in batches for density in densities
        ]

    def case(self, labels):
        return "{O}x{I} N={N} {density}".format(**labels)

    def contestants(self, O, I, N, density):  # noqa: E741
        index = places("spmm", O * I, round(density * O * I))
        store = SparseStore((O, I), index, normal("values", len(index)), ZERO)
        w, x, dy = store.dense(), normal("x", I, N), normal("dy", O, N)

        def sampled():
            store.grad[:] = 0
            store.accumulate(dy, x)
            return store.grad

        forward, transposed = product(w, x), product(w.T, dy)
        on_mask = Expected(*(part.ravel()[index] for part in vars(product(dy, x.T)).values()))
        entrants = {
            "ours": Contestant(lambda: store.matmul(x), forward),
            "transposed": Contestant(lambda: store.rmatmul(dy), transposed),
            "sampled": Contestant(sampled, on_mask),
            "numpy_dense": Contestant(lambda: w @ x, forward),
        }
        csr = store.values, (index % I).astype(np.int32), np.searchsorted(index, np.arange(O + 1) * I).astype(np.int32)
        for name, run in {**self._sparse(csr, (O, I), x), **self._dense(w, x)}.items():
            entrants[name] = Contestant(run, forward)
        facts = {"flops": 2 * len(index) * N, "bytes": 8 * len(index) + 4 * (O + 1) + 4 * (O + I) * N}
        return entrants, facts

    def _sparse(self, csr, shape, x):
        """The sparse peers' calls for a matrix of (values, indices, indptr)."""
        # a vector where the batch is one: everybody has a product of its own for it
        x = np.ascontiguousarray(x[:, 0]) if x.shape[1] == 1 else x
        runs = {}
        if scipy := self.peers.get("scipy"):
            matrix = scipy.csr_matrix(csr, shape)
            runs["scipy"] = lambda: matrix @ x
            if mkl := self.peers.get("mkl"):
                runs["mkl"] = lambda: mkl.dot_product_mkl(matrix, x)
        if torch := self.peers.get("torch"):
            values, indices, indptr = map(torch.from_numpy, csr)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that its CSR is in beta state
                tensor = torch.sparse_csr_tensor(indptr, indices, values, shape, check_invariants=True)
            dense = torch.from_numpy(x)
            runs["torch"] = lambda: tensor @ dense
        return runs

    def _dense(self, w, x):
        torch = self.peers.get("torch")
        if not torch:
            return {}
        a, b = torch.from_numpy(w), torch.from_numpy(x)
        return {"torch_dense": lambda: a @ b}

    def summary(self, rows):
        batched = [row for row in rows if row["N"] >= 64]
        single = [row for row in rows if row["N"] == 1 and row["density"] <= 0.1]
        return {
            "vs_best_sparse_peer": mean_ratio(batched, SPARSE),
            "vs_best_sparse_peer_min": min(ratio(batched, SPARSE), default=None),
            "n1_vs_best_sparse_peer": mean_ratio(single, SPARSE),
            "break_even_density": break_even(batched, lambda found: geometric_mean(found) > 1),
            "break_even_density_every_row": break_even(batched, lambda found: min(found) > 1),
            "transposed_over_forward": mean_ratio(batched, ["transposed"]),
            "sampled_over_forward": mean_ratio(batched, ["sampled"]),
        }


def product(a: np.ndarray, b: np.ndarray) -> Expected:
    """a b in float64, with the bound of a float32 product."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return Expected.of_sums(a @ b, np.abs(a) @ np.abs(b), a.shape[1])


def break_even(rows: list[dict], wins) -> float:
    """The highest density below which, and at which, `wins` holds of the dense products' times over ours."""
    highest = 0.0
    for density in sorted({row["density"] for row in rows}):
        if not wins(ratio([row for row in rows if row["density"] == density], DENSE)):
            break
        highest = density
    return highest
