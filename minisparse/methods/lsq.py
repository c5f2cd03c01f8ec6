"""LSQ: learned step size quantisation.

    w_ = s round(clip(w / s, -Qn, Qp)),   Qn = 2^(b-1), Qp = 2^(b-1) - 1                               (1)
    with g = dL/dw_:   dw = g where -Qn < w / s < Qp, else 0                                           (2)
    ds = sum g e / sqrt(n Qp),   e = round(w / s) - w / s inside, -Qn or Qp beyond                     (3)

by the run's optimiser, without weight decay, n the number of weights that share s. It begins at 2 mean |w| / sqrt(Qp).
One bit is s sign(w). Activations likewise, unsigned behind a ReLU.

Stored: for each tensor, or channel, at most 2^b values, and which one each weight has.
Suggested: `begin` behind a phase of training without quantisation, since the paper starts from trained networks.

Source: S. Esser et al., ICLR 2020, arXiv 1902.08153, eqs. 1 to 3, sections 2.1 and 2.2.
Differs from the paper: first and last layer take b bits, not 8; s shrinks at most 1,024-fold, so it stays positive; one
bit is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minisparse.methods.quantising import SHRINK, Quantising, kept_entries, parts, weights
from minisparse.quantisers import BITS, bounds, first_step, gradient_scale, quantise, quantise_backward
from minisparse.settings import check, setting


@dataclass(frozen=True)
class LSQ(Quantising):
    """Learn the step between levels beside the weights.

    Parameters
    ----------
    bits : b, 1 to 8
    """

    name: ClassVar[str] = "lsq"

    bits: int = setting(4, "of a weight, 1 to 8")

    def __post_init__(self):
        super().__post_init__()
        check(self.bits in BITS, "bits", self.bits, "must be 1 to 8")

    def begin_weights(self, run):
        for p in weights(run).values():
            begin_steps(p, self.per, bounds(self.bits, True)[1])

    def transform_weight(self, p, w):
        used, steps = np.empty_like(w), p.notes["step"]
        for i, part in parts(self.per, p):
            used[part] = quantise(w[part], steps[i], self.bits)  # eq. 1
        return used

    def pull_weight_back(self, p, g, w):
        dw, steps = np.empty_like(g), p.notes["step"]
        slope, high = np.zeros_like(steps), bounds(self.bits, True)[1]
        for i, part in parts(self.per, p):
            dw[part], ds = quantise_backward(g[part], w[part], steps[i], self.bits)  # eqs. 2, 3
            slope[i] = ds * gradient_scale(part.stop - part.start, high)
        p.notes["dstep"] = slope
        return dw

    def update(self, run):
        for name, p in weights(run).items():
            move_steps(run, name, p, run.lr)

    @classmethod
    def examples(cls):
        return [cls(bits=3), cls(bits=2, per="channel", others=4, activations=3, begin=0.5), cls(bits=1)]


def begin_steps(p, per: str, high: int) -> None:
    """notes: s of each part of a parameter, and the least that it may become; 1 where a part is empty."""
    count = 1 if per == "tensor" else p.shape[0]
    steps, w = np.ones(count, p.store.values.dtype), kept_entries(p, p.store.values)
    for i, part in parts(per, p):
        steps[i] = first_step(w[part], high)
    p.notes["step"], p.notes["least"] = steps, steps * steps.dtype.type(SHRINK)


def move_steps(run, name: str, p, rate: float) -> None:
    """A step of the optimiser on s, by eq. 3."""
    steps = p.notes["step"]
    run.optimizer.update(f"{name}.step", steps, p.notes.pop("dstep"), rate)
    np.maximum(steps, p.notes["least"], out=steps)
