"""SNIP: single-shot network pruning based on connection sensitivity.

How much would the loss change if a connection were removed? With an indicator c_j on every weight, L(c * w), and a
batch of training samples before the first update:

    g_j = dL/dc_j at c = 1,  which is w_j dL/dw_j by the chain rule                                  (1)
    s_j = |g_j| / sum_k |g_k|                                                                        (2)
    c_j = 1 for the k largest s_j over the whole model, ties to the lower index, else 0              (3)

and the sparse network L(c * w) is trained as usual. One forward and one backward pass pay for it; there is no
schedule. Over several batches g is summed with its sign, or |g| batch by batch (`accumulate`): the first is eq. 1 on
one large batch, the second also counts connections whose effect has no constant sign.

Stored: k weights and their places, all biases and gains.
Suggested: a scoring batch of 100 (MNIST) or 128 (CIFAR) samples, more at densities of 10 % and above; momentum 0.9,
weight decay 5e-4, learning rate 0.1 with drops by 10.
Does not help: what it finds is mainly how many weights each layer needs (see `control`), and weights found during or
after training are better ones. At 1 % density and below whole layers collapse; FORCE delays that.

Source: N. Lee, T. Ajanthan, P. Torr, ICLR 2019, arXiv 1810.02340, eqs. 5 and 6, algorithm 1.
Differs from the paper's code: biases are not ranked and always kept; the network trains on from the values that were
scored (`control` redraw gives fresh ones, as the code does); inputs are those of the data set, in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from minisparse.methods.at_start import AtStart
from minisparse.methods.scoring import gradients, scoring_batch
from minisparse.settings import check, setting

if TYPE_CHECKING:
    from minisparse.run import Run

ACCUMULATE = ("signed", "absolute")
Weights = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class SNIP(AtStart):
    """Keep the connections of largest sensitivity |w dL/dw|.

    Parameters
    ----------
    batches, samples : scoring batches, and samples of each; no `samples` takes the training batch's
    accumulate : "signed" for |sum of g over batches|, "absolute" for the sum of |g|
    """

    name: ClassVar[str] = "snip"
    recipe: ClassVar[dict[str, Any]] = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "schedule": "cosine"}

    batches: int = setting(1, "batches on which connections are scored")
    samples: int | None = setting(None, "samples a scoring batch (default: those of a training batch)")
    accumulate: str = setting("signed", "over batches, sum g with its sign or sum |g|", ACCUMULATE)

    def __post_init__(self):
        super().__post_init__()
        check(self.batches >= 1, "batches", self.batches, "must be >= 1")
        check(self.samples is None or self.samples >= 2, "samples", self.samples, "must be >= 2")
        check(self.accumulate in ACCUMULATE, "accumulate", self.accumulate, f"is none of {[*ACCUMULATE]}")

    def masks(self, run):
        parameters = self.candidates(run.model)
        w = {name: p.store.values for name, p in parameters.items()}
        return self.choose([*parameters.values()], self.sensitivity(run, w), self.places(run.model))  # eq. 3

    def sensitivity(self, run: Run, at: Weights, w: Weights | None = None, first: int = 0) -> list[np.ndarray]:
        """s_j of eq. 2 for the weights w, where the loss is taken `at` these weights (w itself): float64.

        The batches are those from number `first` on.
        """
        w = at if w is None else w
        total = [np.zeros(values.shape) for values in w.values()]
        size = self.samples or run.settings.batch
        for number in range(first, first + self.batches):
            batch = scoring_batch(run.data.train, run.settings.seed, number, size)
            for g, values, dw in zip(total, w.values(), gradients(run.model, *batch, at), strict=True):
                # eq. 1
                change = values * dw.astype(np.float64)
                g += change if self.accumulate == "signed" else np.abs(change)
        everything = sum(np.abs(g).sum() for g in total)
        return [np.abs(g) / (everything or 1.0) for g in total]  # eq. 2

    @classmethod
    def examples(cls):
        return [cls(density=0.1), cls(budget=80, batches=2, accumulate="absolute"), cls(density=0.2, control="shuffle")]
