"""Pruning after training: learn which connections matter, remove the others, retrain those that stay.

The network is trained in full, until `cut_at` of the run is over. Then small weights go - the k largest |w| of the
whole model stay, or, with `scale` deviation, those that are small for their layer l go,

    |w| < q sigma_l,   sigma_l the standard deviation of the layer's weights                         (1)

the quality factor q being the one that meets the budget - and the survivors go on from their values at `retrain`
times the learning rate.

Stored: k weights and their places, all biases and gains.
Suggested: cut_at 0.5, retrain 0.1; each of the two phases runs through the whole learning rate schedule.
Does not help: when there is no time to train twice; gradual pruning (magnitude) is better then. Eq. 1 with one q for
all layers empties small layers at 2 % density: wide layers have more outliers, in units of sigma, to spend it on.

Source: S. Han, J. Pool, J. Tran, W. Dally, NIPS 2015, arXiv 1506.02626, sections 3 and 3.5.
Differs from the paper: q follows from the budget and is one for all layers; one threshold on |w| by default; one cut
instead of several; dropout is not adapted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minisparse.methods.pruning import Pruning
from minisparse.settings import check, setting

SCALES = ("none", "deviation")


@dataclass(frozen=True)
class PruneRetrain(Pruning):
    """Train, keep the largest |w|, retrain.

    Parameters
    ----------
    cut_at : progress in (0, 1] at which the network is pruned
    retrain : factor on the learning rate afterwards
    scale : "none" for one threshold on |w| over all layers, "deviation" for eq. 1
    """

    name: ClassVar[str] = "prune-retrain"

    cut_at: float = setting(0.5, "progress in (0, 1] at which the trained network is pruned")
    retrain: float = setting(0.1, "factor on the learning rate afterwards, > 0")
    scale: str = setting("none", "compare |w| itself, or over its layer's standard deviation", SCALES)

    def __post_init__(self):
        super().__post_init__()
        check(0 < self.cut_at <= 1, "cut_at", self.cut_at, "must lie in (0, 1]")
        check(self.retrain > 0, "retrain", self.retrain, "must be > 0")
        check(self.scale in SCALES, "scale", self.scale, f"is none of {[*SCALES]}")

    def start(self, run):
        self.places(run.model)

    def pace(self, run):
        first, last = self._cut_step(run), run.total_steps
        settings = run.settings
        if run.step < first:
            return settings.learning_rate(run.step / first), settings.weight_decay
        return self.retrain * settings.learning_rate((run.step - first) / (last - first)), settings.weight_decay

    def after_step(self, run):
        if run.step == self._cut_step(run):
            parameters = self.candidates(run.model).values()
            self.cut(run, [self._score(p.value()) for p in parameters], self.places(run.model))
            run.renew_optimizer()

    def _cut_step(self, run) -> int:
        return max(1, round(self.cut_at * run.total_steps))

    def _score(self, w: np.ndarray) -> np.ndarray:
        """|w| / sigma of eq. 1; |w| in a layer of equal weights."""
        sigma = w.std() if self.scale == "deviation" else 0.0
        return np.abs(w) / (sigma or w.dtype.type(1))

    @classmethod
    def examples(cls):
        return [cls(density=0.1), cls(budget=60, cut_at=0.7, floor=3), cls(density=0.2, cut_at=1.0, scale="deviation")]
