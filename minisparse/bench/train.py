"""Training steps, dense and sparse, against PyTorch's dense ones on the same network."""

import json

import numpy as np

from minisparse.bench.base import Benchmark
from minisparse.bench.harness import Expected
from minisparse.bench.remote import Remote
from minisparse.models import build

BATCH = 128
MNIST, CIFAR10 = (1, 28, 28), (3, 32, 32)
NETWORKS = {
    "lenet-300-100": (MNIST, 1.0),
    "lenet-5-caffe": (MNIST, 1.0),
    "resnet-20": (CIFAR10, 1.0),
    "vgg16": (CIFAR10, 0.25),
}
"""Model -> shape of a sample and width."""
CLASSES = 10
CHECKED = 3
"""Steps whose losses are compared, and in which memory is measured."""
DENSITIES = (1.0, 0.1, 0.02)
TORCH = ["torch", "torch_channels_last"]


class Train(Benchmark):
    peer_names = ("torch", "threadpoolctl")
    budget_s = 1.5
    notes = (
        "One training step, SGD with momentum 0.9: forward, backward, update; N = 128, on one batch that is there "
        "already. Same initial values. At a density below 1 ours trains the weights that SNIP keeps, and PyTorch all: "
        "its eager mode, fused optimiser, ReLU in place, in both of its memory layouts; the faster one is "
        "torch_dense_s. Everybody has a process of his own, and takes turns with the others.",
        f"Before anything is timed, the losses of the first {CHECKED} steps of each contestant are compared with "
        "PyTorch's in float64 (at a density below 1 ours with those of the masked network, and PyTorch's with the "
        "dense one's): apart by at most eps times the terms of all sums on the way.",
        "ratio, and the keys of the summary, are torch_dense_s / ours_s. Peaks are those of resident memory in these "
        "steps over what was resident after the imports; of PyTorch's layouts the lower one counts.",
        "epoch_over_steps: an epoch of lenet-300-100 on MNIST with its evaluation, over the sum of its steps' times, "
        "the median of three. Rows with `growing` are our dense steps alone.",
    )

    def __init__(self, peers, quick):
        super().__init__(peers, quick)
        self._right: dict[str, np.ndarray] = {}

    def grid(self):
        if self.quick:
            return [{"model": "lenet-5-caffe", "width": 0.2, "density": d, "N": 16} for d in (1.0, 0.1)]
        return [
            {"model": model, "width": width, "density": density, "N": BATCH}
            for model, (_, width) in NETWORKS.items()
            for density in DENSITIES
        ]

    def case(self, labels):
        return "{model} at {density:g}".format(**labels)

    def contestants(self, model, width, density, N):
        shape = NETWORKS[model][0]
        work, dense = (json.dumps([model, shape, width, d, N]) for d in (density, 1.0))
        entrants = {"ours": self._enter("ours", work)}
        if self.peers.get("torch"):
            entrants |= {name: self._enter(name, dense) for name in TORCH}
            for name, entrant in entrants.items():
                entrant.expected = self._expected(model, width, work if name == "ours" else dense)
        peaks = {name: entrant.found["peak_mb"] for name, entrant in entrants.items()}
        theirs = min((peaks[name] for name in TORCH if name in peaks), default=None)
        return entrants, {"ours_peak_mb": peaks["ours"], "torch_peak_mb": theirs}

    def _enter(self, library: str, work: str) -> Remote:
        # a PyTorch that is timed loads the OpenMP that it comes with, none of our kernels'
        variables = {} if library in ("ours", "torch_float64") else {"MINISPARSE_BACKEND": "reference"}
        return Remote("minisparse.bench.stepper", [library, work], self.count, **variables)

    def _expected(self, model: str, width: float, work: str) -> Expected:
        """Losses in float64, and n eps of them for the n terms of the sums that follow on one another."""
        if work not in self._right:
            reference = self._enter("torch_float64", work)
            self._right[work] = np.array(reference.found["losses"])
            reference.close()
        parameters = build(model, NETWORKS[model][0], CLASSES, width).parameters.values()
        terms = sum(p.size // p.shape[0] for p in parameters if p.role == "weight")
        return Expected(self._right[work], terms * float(np.finfo(np.float32).eps) * self._right[work])

    def conclusions(self, row):
        times = [row[f"{name}_s"] for name in TORCH if f"{name}_s" in row]
        return {"torch_dense_s": min(times), "ratio": min(times) / row["ours_s"]} if times else {}

    def summary(self, rows):
        return {f"{row['model']}_{row['density']:g}": row.get("ratio") for row in rows}

    def further_rows(self):
        # growth.py asks stepper.py, which asks this module
        from minisparse.bench.growth import epoch, growth

        return [epoch(self.quick), *growth(self.quick)]

    def closing(self, rows):
        (found,) = (row for row in rows if "epoch_s" in row)
        return {"epoch_over_steps": found["epoch_s"] / found["steps_s"]}
