"""Training steps, dense and sparse, against PyTorch's dense ones on the same network."""

import json
import math
from typing import Any

import numpy as np

from minisparse.bench.base import Benchmark
from minisparse.bench.harness import Expected
from minisparse.bench.remote import Remote
from minisparse.data import load
from minisparse.model import Model
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
MASKS = ((1.0, "none"), (0.1, "global"), (0.1, "uniform"), (0.02, "global"), (0.02, "uniform"))
"""Density, and how SNIP spends it: on the weights of the largest scores wherever they are, or alike in all layers."""
TORCH = ["torch", "torch_channels_last"]


class Train(Benchmark):
    peer_names = ("torch", "threadpoolctl")
    budget_s = 12.0
    sample_s = 0.05  # training is one step after the other
    notes = (
        "One training step, SGD with momentum 0.9: forward, backward, update; N = 128, on one batch that is there "
        "already. Same initial values, all in float32; our dense convolutions of 3 x 3 and 5 x 5 taps at stride 1 are "
        "Winograd's, in which a tile of results takes fewer products. At a density below 1 ours trains the weights "
        "that SNIP keeps, and PyTorch all: its eager mode, fused optimiser, ReLU in place, in both of its memory "
        "layouts; the faster one is torch_dense_s. Everybody has a process of his own, and takes turns with the "
        "others: 50 ms of steps, whose median counts.",
        "allocation: SNIP spends the density on the largest scores of the whole network (global), which are in the "
        "first convolutions, where most of the arithmetic is; or alike in every layer (uniform).",
        f"Before anything is timed, the losses of the first {CHECKED} steps of each contestant are compared with "
        "PyTorch's in float64 (at a density below 1 ours with those of the masked network, and PyTorch's with the "
        "dense one's): apart by at most eps times the terms of all sums on the way, those of gradients included from "
        "the second loss on.",
        "ratio, and the keys of the summary, are torch_dense_s / ours_s; keys that do not say uniform are of global "
        "masks. Peaks are those of resident memory in these steps over what was resident after the imports; of "
        "PyTorch's layouts the lower one counts.",
        "epoch_over_steps: an epoch of lenet-300-100 on MNIST with its evaluation, over the sum of its steps' times, "
        "the median of three. Rows with `growing` are our dense steps alone.",
    )

    def __init__(self, peers, quick):
        super().__init__(peers, quick)
        self._right: dict[str, np.ndarray] = {}

    def grid(self):
        if self.quick:
            return [_labels("lenet-5-caffe", 0.2, *mask, 16) for mask in MASKS[:3]]
        return [_labels(model, width, *mask, BATCH) for model, (_, width) in NETWORKS.items() for mask in MASKS]

    def case(self, labels):
        return _name(labels, " at ")

    def contestants(self, model, width, density, allocation, N):
        shape = NETWORKS[model][0]
        work, dense = (json.dumps([model, shape, width, *mask, N]) for mask in ((density, allocation), MASKS[0]))
        entrants = {"ours": self._enter("ours", work)}
        if self.peers.get("torch"):
            entrants |= {name: self._enter(name, dense) for name in TORCH}
            for name, entrant in entrants.items():
                entrant.expected = self._expected(model, width, N, work if name == "ours" else dense)
        peaks = {name: entrant.found["peak_mb"] for name, entrant in entrants.items()}
        theirs = min((peaks[name] for name in TORCH if name in peaks), default=None)
        return entrants, {"ours_peak_mb": peaks["ours"], "torch_peak_mb": theirs}

    def _enter(self, library: str, work: str) -> Remote:
        # a PyTorch that is timed loads the OpenMP that it comes with, none of our kernels'
        variables = {} if library in ("ours", "torch_float64") else {"MINISPARSE_BACKEND": "reference"}
        return Remote("minisparse.bench.stepper", [library, work], self.count, **variables)

    def _expected(self, model: str, width: float, N: int, work: str) -> Expected:
        """Losses in float64, and n eps of them for the n terms of the sums that follow on one another."""
        if work not in self._right:
            reference = self._enter("torch_float64", work)
            self._right[work] = np.array(reference.found["losses"])
            reference.close()
        forward, gradients = _terms(build(model, NETWORKS[model][0], CLASSES, width), N)
        # the first loss is of the initial values, which no gradient has moved yet
        terms = np.array([forward] + [forward + gradients] * (CHECKED - 1))
        return Expected(self._right[work], terms * float(np.finfo(np.float32).eps) * self._right[work])

    def conclusions(self, row):
        times = [row[f"{name}_s"] for name in TORCH if f"{name}_s" in row]
        return {"torch_dense_s": min(times), "ratio": min(times) / row["ours_s"]} if times else {}

    def summary(self, rows):
        return {_name(row, "_"): row.get("ratio") for row in rows}

    def further_rows(self):
        # growth.py asks stepper.py, which asks this module
        from minisparse.bench.growth import epoch, growth

        try:
            data = [load("digits" if self.quick else "mnist")]
        except ValueError as error:  # no MNIST here: what has been measured is not lost for it
            self.peers.missing["mnist"], data = str(error), []
        return [*map(epoch, data), *growth(self.quick)]

    def closing(self, rows):
        found = [row["epoch_s"] / row["steps_s"] for row in rows if "epoch_s" in row]
        return {"epoch_over_steps": found[0]} if found else {}


def _terms(model: Model, N: int) -> tuple[int, int]:
    """Terms of the sums on the way to a loss, over inputs, and to the gradients, over pixels and the batch."""
    forward = gradients = 0
    for _, layer, shape in model.net.named_shapes(model.input_shape):
        weights = [p for p in layer.params.values() if p.role == "weight"]
        forward += sum(p.size // p.shape[0] for p in weights)
        if layer.params:
            gradients += N * math.prod(layer.output_shape(shape)[1:])
    return forward, gradients


def _labels(model: str, width: float, density: float, allocation: str, batch: int) -> dict[str, Any]:
    return {"model": model, "width": width, "density": density, "allocation": allocation, "N": batch}


def _name(labels: dict[str, Any], between: str) -> str:
    """Such as "vgg16 at 0.1", where masks are global, and "vgg16 at 0.1 uniform"."""
    name = f"{labels['model']}{between}{labels['density']:g}"
    return name + f"{between[0]}uniform" * (labels["allocation"] == "uniform")
