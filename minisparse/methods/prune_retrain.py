"""Pruning after training: learn which connections matter, remove the others, retrain those that stay.

The network is trained in full, until `cut_at` of the run is over. Then small weights go - the k largest |w| of the
whole model stay, or, with `scale` deviation, those that are small for their layer l go,

    |w| < q sigma_l,   sigma_l the standard deviation of the layer's weights                         (1)

the quality factor q being the one that meets the budget - and the survivors go on from their values at `retrain`
times the learning rate. With R rounds the rest of the run is R equal parts, and of n weights round r keeps

    k_r = n (k / n)^(r / R)                                                                          (2)

Stored: k weights and their places, all biases and gains.
Suggested: cut_at 0.5, retrain 0.1; each phase runs through the whole learning rate schedule.
Does not help: when there is no time to train twice; gradual pruning (magnitude) is better then. Eq. 1 with one q for
all layers empties small layers at 2 % density: wide layers have more outliers, in units of sigma, to spend it on.

Source: S. Han, J. Pool, J. Tran, W. Dally, NIPS 2015, arXiv 1506.02626, sections 3 and 3.5.
Differs from the paper: q follows from the budget and is one for all layers; one threshold on |w| and one round by
default; dropout is not adapted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minisparse.methods.pruning import Pruning, magnitude
from minisparse.params import Parameter
from minisparse.settings import check, setting

SCALES = ("none", "deviation")


@dataclass(frozen=True)
class PruneRetrain(Pruning):
    """Train, keep the largest |w|, retrain.

    Parameters
    ----------
    cut_at : progress in (0, 1] at which the network is pruned
    retrain : factor on the learning rate afterwards
    rounds : of pruning and retraining
    scale : "none" for one threshold on |w| over all layers, "deviation" for eq. 1
    """

    name: ClassVar[str] = "prune-retrain"

    cut_at: float = setting(0.5, "progress in (0, 1] at which the trained network is pruned")
    retrain: float = setting(0.1, "factor on the learning rate afterwards, > 0")
    rounds: int = setting(1, "times that the network is pruned and retrained, >= 1")
    scale: str = setting("none", "compare |w| itself, or over its layer's standard deviation", SCALES)

    def __post_init__(self):
        super().__post_init__()
        check(0 < self.cut_at <= 1, "cut_at", self.cut_at, "must lie in (0, 1]")
        check(self.retrain > 0, "retrain", self.retrain, "must be > 0")
        check(self.rounds >= 1, "rounds", self.rounds, "must be >= 1")
        check(self.scale in SCALES, "scale", self.scale, f"is none of {[*SCALES]}")

    def start(self, run):
        self.places(run.model)

    def pace(self, run):
        cuts, settings = self.cut_steps(run), run.settings
        past = sum(run.step >= step for step in cuts)
        first, last = [0, *cuts][past], [*cuts, self.last_step(run)][past]
        factor = self.retrain if past else 1.0
        return factor * settings.learning_rate((run.step - first) / max(1, last - first)), settings.weight_decay

    def after_step(self, run):
        cuts = self.cut_steps(run)
        if run.step in cuts:
            weights = self.candidates(run.model).values()
            n, k, past = sum(p.size for p in weights), self.places(run.model), sum(run.step >= step for step in cuts)
            # eq. 2
            self.cut(run, [self._score(p) for p in weights], round(n * (k / n) ** (past / self.rounds)))
            run.renew_optimizer()

    def cut_steps(self, run) -> list[int]:
        """The steps after which the network is pruned."""
        first, last = max(1, round(self.cut_at * run.total_steps)), self.last_step(run)
        return [first + r * (last - first) // self.rounds for r in range(self.rounds)]

    def last_step(self, run) -> int:
        """Of retraining."""
        return run.total_steps

    def _score(self, p: Parameter) -> np.ndarray:
        """|w| / sigma of eq. 1; |w| in a layer of equal weights."""
        w = magnitude(p)
        sigma = p.value()[w >= 0].std() if self.scale == "deviation" else 0.0
        return w / (sigma or w.dtype.type(1))

    @classmethod
    def examples(cls):
        deviation = {"scale": "deviation", "rounds": 3}
        whole = cls(density=0.2, cut_at=1.0, scale="deviation")
        return [cls(density=0.1), cls(budget=60, cut_at=0.7, floor=3), whole, cls(density=0.2, cut_at=0.4, **deviation)]
