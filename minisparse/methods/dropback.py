"""DropBack: training on a pruned weight budget.

Only the k values that have moved furthest from where they started are stored; every other value *is* its initial
value, regenerated from the seed whenever it is read. With w0 the initial values, eta the learning rate and
rest = rho w0 (rho = 1 unless the initial values are decayed):

    u_i = w_i - eta g_i                       for all i, stored or not                           (1)
    s_i = |u_i - rest_i|                      the accumulated gradient, where w_i was stored     (2)
    T   = the k largest s_i over all tensors, ties to the lower index                            (3)
    w_i = u_i for i in T, else rest_i                                                            (4)

Eq. 1 is the optimiser's step; eqs. 2 to 4 are `after_step`. Biases, gains and offsets of normalisations compete
for the same budget. From `freeze` on, T stays and gradients are computed on it alone.

Stored: k values, their places, one seed. rho = decay^t (Procrustes, variant with absolute stored values) turns
the others into true zeros after `decay_steps` steps, so that their multiplications disappear as well.
Suggested: plain SGD, learning rate 0.4 with two late drops, batches of 50, no momentum: momentum makes eq. 2
differ from the accumulated gradient; it is kept for stored values only and lost with them.
Measured: lenet-300-100 on MNIST, 20,000 of 266,610 values, 30 epochs: 1.98 % test error (1.87 to 2.04 over 5
seeds), where the dense network has 1.63 % (3 seeds).
Does not help: when the budget is far below what the first layer needs (1,500 of 266,610 values cost points).

Source: M. Golub, G. Lemieux, M. Lis, 2018, arXiv 1806.06949; decay: D. Yang et al., 2020, arXiv 2009.10976.
Differs from the papers: exact selection each step where the public code takes a threshold that ties can overrun;
a multiplicative counter hash in place of xorshift (see minisparse/_core/rng_ref.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from minisparse.methods.budget import Budgeted, keep_largest
from minisparse.settings import check, setting


@dataclass(frozen=True)
class DropBack(Budgeted):
    """Store the k values of largest accumulated gradient, regenerate all others.

    Parameters
    ----------
    freeze : progress in [0, 1] after which the stored set no longer changes
    decay : rho shrinks by this factor a step, in (0, 1]; 1 keeps the initial values
    decay_steps : steps after which a decaying rho is set to 0
    """

    name: ClassVar[str] = "dropback"
    recipe: ClassVar[dict[str, Any]] = {"lr": 0.4, "momentum": 0.0, "batch": 50, "schedule": "step"}

    freeze: float = setting(1.0, "progress in [0, 1] after which the stored set no longer changes")
    decay: float = setting(1.0, "factor a step on the initial values of what is not stored, in (0, 1]")
    decay_steps: int = setting(1000, "steps after which decaying initial values are set to zero")

    def __post_init__(self):
        super().__post_init__()
        check(0 <= self.freeze <= 1, "freeze", self.freeze, "must lie in [0, 1]")
        check(0 < self.decay <= 1, "decay", self.decay, "must lie in (0, 1]")
        check(self.decay_steps >= 1, "decay_steps", self.decay_steps, "must be >= 1")

    def candidates(self, model):
        return model.parameters

    def start(self, run):
        self.places(run.model)
        for p in run.model.parameters.values():
            p.rest_scale = 1.0
            p.keep(np.zeros(p.shape, bool), frozen=False)

    def after_step(self, run):
        parameters = run.model.parameters
        rho = self.rest_scale(run.step)
        for p in parameters.values():
            p.rest_scale = rho
        last_choice = max(1, round(self.freeze * run.total_steps))
        if run.step <= last_choice:
            scores = [np.abs(p.store.values - p.rest()) for p in parameters.values()]  # eq. 2
            k = self.places(run.model)
            keep_largest(run, parameters, scores, k, frozen=run.step == last_choice)  # eqs. 3, 4
        elif self.decay < 1:
            for p in parameters.values():
                p.keep(p.mask)

    def rest_scale(self, t: int) -> float:
        """rho after t steps."""
        if self.decay == 1:
            return 1.0
        return self.decay**t if t < self.decay_steps else 0.0

    @classmethod
    def examples(cls):
        return [cls(budget=50), cls(density=0.2, freeze=0.5), cls(budget=40, decay=0.5, decay_steps=3), cls(budget=0)]
