"""Trained quantisation: the weights of a layer share few values, found by k-means and trained on.

The kept weights x_1 ... x_n of each layer are clustered by k-means, which starts from k centroids

    linear     c_j = min + (max - min) j / (k - 1)                                                     (1)
    density    at even steps of the cumulative distribution of x
    random     k of the x

and repeats, until nothing moves or 300 times,

    I_i = the nearest centroid,   c_j = the mean of all x_i with I_i = j; an empty one stays           (2)

From then on every weight is its centroid, w_i = c_j with j = I_i, and I stays. With g_i = dL/dw_i,

    dL/dc_j = sum_{i: I_i = j} g_i,   c_j <- c_j - eta dL/dc_j                                         (3)

The layers' own values do this: each takes the gradient of its cluster, so equal ones stay equal, whatever the
optimiser. Weights off a mask have no part in it and stay at rest.

Stored: 2^b levels a layer at most, zero included where a mask leaves zeros, and which one each weight has.
Suggested: the linear start, which leaves large weights, rare but important, their own centroids. The rate must be
small: eq. 3 sums thousands of gradients.
Does not help: at 1 or 2 bits; quantisation that is trained from scratch is better there.

Source: S. Han, H. Mao, W. Dally, 2016, arXiv 1510.00149, section 3.
Differs from the paper: with zeros there are 2^b - 1 centroids beside them, so that a code of b bits can say zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minisparse import rng
from minisparse._core import quant
from minisparse.methods.base import Method
from minisparse.model import Model
from minisparse.params import Parameter
from minisparse.settings import check, setting

STARTS = ("linear", "density", "random")
MOST = 300
"""Repetitions of eq. 2."""


@dataclass(frozen=True)
class TrainedQuantisation(Method):
    """Cluster the weights of each layer by k-means, then train what they share.

    Parameters
    ----------
    begin : progress at which the weights are clustered
    bits, conv_bits : b of linear and of convolution layers
    centroids : their start, "linear", "density" or "random"
    tune : factor on the learning rate from then on
    """

    name: ClassVar[str] = "trained-quantisation"

    begin: float = setting(0.9, "progress in (0, 1] at which the weights are clustered")
    bits: int = setting(6, "2^bits values a layer at most, 1 to 16")
    conv_bits: int = setting(8, "the same of convolutions")
    centroids: str = setting("linear", "where the centroids start", STARTS)
    tune: float = setting(1e-3, "factor on the learning rate from then on, for the shared values, >= 0")

    def __post_init__(self):
        check(0 < self.begin <= 1, "begin", self.begin, "must lie in (0, 1]")
        check(1 <= self.bits <= 16, "bits", self.bits, "must lie in [1, 16]")
        check(1 <= self.conv_bits <= 16, "conv_bits", self.conv_bits, "must lie in [1, 16]")
        check(self.centroids in STARTS, "centroids", self.centroids, f"is none of {[*STARTS]}")
        check(0 <= self.tune < np.inf, "tune", self.tune, "must be >= 0")

    def pullback(self, p, g, cache):
        """Eq. 3, the factor on the rate included."""
        index = p.notes.get("cluster")
        if index is None:
            return g
        kept = _kept(p, g)
        sums, _ = quant.centroid_sums(g[kept].ravel(), index, int(index.max(initial=0)) + 1)
        g[kept] = (self.tune * sums)[index].reshape(g[kept].shape)
        return g

    def after_step(self, run):
        if run.step == self.first(run):
            for name, p in candidates(run.model).items():
                if run.settings.weight_decay and not p.store.rest.is_zero:
                    raise ValueError(
                        f"weight_decay={run.settings.weight_decay} pulls the weights of {name} to rest values of their "
                        "own, and equal ones would part: set weight_decay=0"
                    )
                self._share(p, rng.Stream(run.settings.seed, "kmeans", name))
            run.renew_optimizer()

    def finish(self, run):
        for p in candidates(run.model).values():
            p.notes.pop("cluster", None)

    def first(self, run) -> int:
        """The first step with shared values."""
        return max(1, round(self.begin * run.total_steps))

    def _share(self, p: Parameter, stream: rng.Stream) -> None:
        if p.mask is not None and not p.store.frozen:
            raise ValueError(f"begin={self.begin} is too early: the mask of {p.name} is still open; share values later")
        kept = _kept(p, p.store.values)
        x = p.store.values[kept].ravel()
        levels = 2 ** (self.conv_bits if len(p.shape) > 2 else self.bits) - (p.kept < p.size)
        codebook = kmeans(x, starting_points(x, levels, self.centroids, stream))
        p.notes["cluster"] = quant.assign(x, codebook) if len(x) else np.zeros(0, np.uint32)
        p.store.values[kept] = codebook[p.notes["cluster"]].reshape(p.store.values[kept].shape)

    @classmethod
    def examples(cls):
        return [cls(begin=0.5, bits=3), cls(begin=0.7, bits=2, centroids="random"), cls(begin=1.0, centroids="density")]


def candidates(model: Model) -> dict[str, Parameter]:
    """What is clustered: the weights."""
    return {name: p for name, p in model.parameters.items() if p.role == "weight"}


def _kept(p: Parameter, values: np.ndarray):
    """Where the kept entries stand in an array like the store's values, in the order of their flat places."""
    return p.mask if p.mask is not None and values.shape == p.shape else slice(None)


def starting_points(x: np.ndarray, levels: int, start: str, stream: rng.Stream) -> np.ndarray:
    """Centroids (L,) float64, increasing, L <= levels, for x (n,); all values where these are few enough."""
    distinct = np.unique(x).astype(np.float64) + 0.0  # no -0
    if len(distinct) <= levels:
        return distinct
    j = np.arange(levels)
    if start == "linear":  # eq. 1; written so that -x gives -c
        return (distinct[0] * (levels - 1 - j) + distinct[-1] * j) / max(levels - 1, 1)
    if start == "density":
        return np.unique(np.sort(x.astype(np.float64))[((2 * j + 1) * len(x)) // (2 * levels)])
    return np.sort(distinct[stream.permutation(len(distinct))[:levels]])


def kmeans(x: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Eq. 2 from these centroids: (L,) of the dtype of x, increasing; equal ones become one.

    On a line clusters are intervals: x is sorted once, borders are midpoints and means differences of its running sum.
    """
    ordered = np.sort(x.astype(np.float64))
    running, ends = np.append(0.0, np.cumsum(ordered)), None
    for _ in range(MOST):
        midpoints = centroids[:-1] / 2 + centroids[1:] / 2
        borders = np.searchsorted(ordered, midpoints, side="right")
        if ends is not None and np.array_equal(borders, ends):
            break
        ends, edges = borders, np.concatenate([[0], borders, [len(x)]])
        count = np.diff(edges)
        means = np.diff(running[edges]) / np.maximum(count, 1)
        centroids = np.where(count > 0, means, centroids)
    return np.unique(centroids.astype(x.dtype))
