"""Iterative SNIP and FORCE: progressive skeletonisation, to sparsities at which a single cut would break the network.

SNIP scores a connection as if all others stayed. Here T cuts follow one another at the densities

    rho_t = rho^(t/T),   t = 1 ... T                                                                 (1)

and each one scores at the masked weights w_ = c_{t-1} * w, with g_ = dL/dw at w_:

    s = |w_ g_|,  what was removed below every score: it never returns                  (iterative SNIP, 2)
    s = |w g_|,   what was removed competes as if it stood in its place                 (FORCE, 3)
    c_t = the k_t = round(rho_t m) largest of m                                                      (4)

FORCE maximises the sensitivity that is left *after* pruning, so a connection may return when its neighbours have
gone. After T steps the network trains with c_T from the original w.

Stored: k weights and their places, all biases and gains.
Suggested: T = 60 steps of one batch each; as SNIP otherwise.
Does not help: above 5 % density SNIP finds masks as good for one sixtieth of the work.

Source: P. de Jorge et al., ICLR 2021, arXiv 2006.09081, eqs. 6 to 8 and algorithm 1.
Differs from the paper: weights only, and g_ is the mean over `batches` with its sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minisparse.methods.snip import SNIP
from minisparse.settings import check, setting


@dataclass(frozen=True)
class IterativeSNIP(SNIP):
    """SNIP in T cuts; what is removed never returns.

    Parameters
    ----------
    steps : T
    """

    name: ClassVar[str] = "iterative-snip"
    returns: ClassVar[bool] = False

    steps: int = setting(60, "cuts, each at a lower density than the one before")

    def __post_init__(self):
        super().__post_init__()
        check(self.steps >= 1, "steps", self.steps, "must be >= 1")

    def masks(self, run):
        parameters = self.candidates(run.model)
        w = {name: p.store.values for name, p in parameters.items()}
        masks = [np.ones(p.shape, bool) for p in parameters.values()]
        for t, k in enumerate(self.counts(sum(p.size for p in parameters.values()), self.places(run.model))):
            scores = self.scores(run, w, masks, t * self.batches)
            masks = self.choose([*parameters.values()], scores, k)  # eq. 4
        return masks

    def counts(self, m: int, k: int) -> list[int]:
        """k_1 to k_T of eq. 4; k_T = k."""
        rho = k / m
        return [round(m * rho ** (t / self.steps)) for t in range(1, self.steps + 1)]

    def scores(self, run, w: dict[str, np.ndarray], masks: list[np.ndarray], first: int) -> list[np.ndarray]:
        """Eq. 2 or 3 for the masks so far, on the scoring batches from `first` on: float64."""
        masked = {name: values * mask for (name, values), mask in zip(w.items(), masks, strict=True)}
        scores = self.sensitivity(run, masked, w if self.returns else masked, first)
        if self.returns:
            return scores
        return [np.where(mask, s, -1.0) for s, mask in zip(scores, masks, strict=True)]

    @classmethod
    def examples(cls):
        return [cls(density=0.1, steps=5), cls(budget=100, steps=3, batches=2, allocation="erk")]


@dataclass(frozen=True)
class FORCE(IterativeSNIP):
    """SNIP in T cuts on the sensitivity that is left after pruning; what is removed may return."""

    name: ClassVar[str] = "force"
    returns: ClassVar[bool] = True
