"""GraSP: picking winning tickets before training by preserving gradient flow.

Pruning before training should not slow the descent that follows, and its speed is ||g||^2, g = dL/dw. Moving the
weights by d changes it to first order by 2 d^T H g, H the Hessian; removing weight j is d = -w_j e_j. So

    v   = H g                                                                                        (1)
    s_j = w_j v_j                                                                                    (2)
    c_j = 1 for the k largest s_j (signed!), ties to the lower index, else 0                         (3)

What has a large negative score obstructs the flow: without it ||g||^2 grows. The loss is the cross-entropy of the
logits over a temperature T, which evens out the output of the untrained network:

    p = softmax(z / T),   dL/dz = (p - y) / (N T)                                                    (4)

The R-operator R{f} = d/dr f(w + r g) at r = 0 turns the backward pass into H g = R{dL/dw} (Pearlmutter, 1994). Here
it costs no line of code in any layer: layers take complex arrays, and with a tiny real r

    R{dL/dw} = Im dL/dw(w + i r g) / r                                                               (5)

to rounding, without a difference: i r is the dual number whose square (r^2) is below the precision.

Stored: k weights and their places, all biases and gains.
Suggested: T = 200 and a batch of ten samples a class; training as for SNIP.
Does not help: at moderate densities SNIP is as good and needs one pass instead of two, of which one is complex.

Source: C. Wang, G. Zhang, R. Grosse, ICLR 2020, arXiv 2002.07376, eqs. 4 to 8, algorithm 1.
Differs from the paper: where their score is written with a minus and the smallest stay, ours has the sign of eq. 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from minisparse.methods.at_start import AtStart
from minisparse.methods.scoring import holding, scoring_batch
from minisparse.methods.snip import SNIP
from minisparse.model import Model
from minisparse.settings import check, setting

if TYPE_CHECKING:
    from minisparse.run import Run

STEP = 1e-10
"""r of eq. 5: its square is below the precision of float32 and float64, times a gradient still far above zero."""


@dataclass(frozen=True)
class GraSP(AtStart):
    """Keep the connections whose removal would reduce the gradient's norm most.

    Parameters
    ----------
    temperature : T of eq. 4
    batches, samples : scoring batches, and samples of each; no `samples` takes the training batch's
    """

    name: ClassVar[str] = "grasp"
    recipe: ClassVar[dict[str, Any]] = SNIP.recipe

    temperature: float = setting(200.0, "divisor of the logits while connections are scored, > 0")
    batches: int = setting(1, "batches on which connections are scored")
    samples: int | None = setting(None, "samples a scoring batch (default: those of a training batch)")

    def __post_init__(self):
        super().__post_init__()
        check(self.temperature > 0, "temperature", self.temperature, "must be > 0")
        check(self.batches >= 1, "batches", self.batches, "must be >= 1")
        check(self.samples is None or self.samples >= 2, "samples", self.samples, "must be >= 2")

    def masks(self, run):
        parameters = self.candidates(run.model)
        return self.choose([*parameters.values()], self.scores(run), self.places(run.model))  # eq. 3

    def scores(self, run: Run) -> list[np.ndarray]:
        """s_j of eq. 2 for each candidate."""
        w = {name: p.store.values for name, p in self.candidates(run.model).items()}
        g = dict(zip(w, self._mean(run, w), strict=True))
        # eq. 5
        moved = {name: w[name] + w[name].dtype.type(STEP) * 1j * g[name] for name in w}
        v = [dw.imag / w[name].dtype.type(STEP) for name, dw in zip(w, self._mean(run, moved), strict=True)]
        return [values * its_v for values, its_v in zip(w.values(), v, strict=True)]  # eq. 2

    def _mean(self, run: Run, w: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """dL/dw at these weights, the mean over the scoring batches."""
        size = self.samples or run.settings.batch
        batches = (scoring_batch(run.data.train, run.settings.seed, i, size) for i in range(self.batches))
        gradients = [softened_gradients(run.model, *batch, w, self.temperature) for batch in batches]
        return [sum(of_batches) / self.batches for of_batches in zip(*gradients, strict=True)]

    @classmethod
    def examples(cls):
        return [cls(density=0.3), cls(budget=80, batches=2, allocation="erk"), cls(density=0.3, temperature=1.0)]


def softened_gradients(
    model: Model, x: np.ndarray, labels: np.ndarray, w: Mapping[str, np.ndarray], temperature: float
) -> list[np.ndarray]:
    """dL/dw at the weights w, real or complex, for the loss of eq. 4."""
    with holding(model, w):
        z, caches = model.forward(x.astype(model.dtype, copy=False), training=True)
        # eq. 4
        e = np.exp((z - z.max(axis=0)) / temperature)
        p = e / e.sum(axis=0)
        p[labels, np.arange(len(labels))] -= 1
        model.backward(p / (len(labels) * temperature), caches)
        return [model.parameters[name].store.grad for name in w]
