"""DoReFa: weights squeezed into [-1, 1] by tanh, then rounded to k bits.

    quantise_k(x) = round(n x) / n,   n = 2^k - 1,   x in [0, 1]                                       (1)
    t = tanh(w),   M = max |t|,   w_ = 2 quantise_k(t / (2 M) + 1/2) - 1                               (2)
    with g = dL/dw_, straight through the rounding:
    dw = (1 - t^2) (g - [w is the largest] sign(t) sum(g t) / M) / M                                   (3)
    one bit:  w_ = mean |w| sign(w),   dw = g                                                          (4)

Activations are clipped to [0, 1] and quantised by eq. 1; where they take both signs, to [-1, 1].

Stored: 2^k values a tensor, and which one each weight has. Their number is even and zero is none of them: no weight is
pruned by these.
Does not help: at 2 bits and below, where the largest weight decides the levels of all.

Source: S. Zhou et al., 2016, arXiv 1606.06160, eqs. 5, 7, 9, 11.
Differs from the paper: first and last layer are quantised as the others; gradients are not quantised; unless `scaled`
is off, eq. 2 is multiplied by c = max |w| of the tensor when quantisation begins, without which a network that has no
normalisation does not train.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minisparse.methods.binary import binarise
from minisparse.methods.quantising import Quantising, kept_entries, weights
from minisparse.quantisers import BITS
from minisparse.settings import check, setting


@dataclass(frozen=True)
class DoReFa(Quantising):
    """Round tanh of weights to k bits.

    Parameters
    ----------
    bits : k, 1 to 8
    scaled : whether eq. 2 is multiplied by c
    """

    name: ClassVar[str] = "dorefa"
    follow: ClassVar[str] = "nothing"

    bits: int = setting(8, "of a weight, 1 to 8")
    scaled: bool = setting(True, "keep the range that weights have when quantisation begins, instead of [-1, 1]")

    def __post_init__(self):
        super().__post_init__()
        check(self.bits in BITS, "bits", self.bits, "must be 1 to 8")

    def begin_weights(self, run):
        for p in weights(run).values():
            largest = np.abs(kept_entries(p, p.store.values)).max(initial=0) if self.scaled and self.bits > 1 else 1
            p.notes["step"] = np.array([largest], p.store.values.dtype)

    def transform_weight(self, p, w):
        return super().transform_weight(p, w) * p.notes["step"]

    def pull_weight_back(self, p, g, w):
        return super().pull_weight_back(p, g * p.notes["step"], w)

    def quantise(self, w):
        if self.bits == 1:
            return binarise(w)  # eq. 4
        t = np.tanh(w)
        n, top = (1 << self.bits) - 1, np.abs(t).max()
        x = t / (2 * top) + t.dtype.type(0.5) if top > 0 else np.full_like(t, 0.5)
        return 2 * (np.rint(n * x) / t.dtype.type(n)) - 1  # eqs. 1, 2

    def carry_back(self, g, w):
        if self.bits == 1:
            return g
        t = np.tanh(w)
        largest = np.abs(t).argmax()
        top = np.abs(t[largest])
        if not top > 0:
            return g
        through = g.copy()
        through[largest] -= np.sign(t[largest]) * np.vdot(g, t) / top
        return (1 - t * t) * through / top  # eq. 3

    @classmethod
    def examples(cls):
        return [cls(bits=4), cls(bits=2, per="channel", others=4, activations=3, begin=0.5), cls(bits=1)]
