"""Ternary weights: -alpha, 0 or alpha.

    Delta = 0.7 mean |w|                                                                               (1)
    w_ = alpha sign(w) where |w| > Delta, else 0;   alpha = mean of |w| where |w| > Delta              (2)
    dw = g = dL/dw_                                                                                    (3)

For these places alpha minimises |w - w_|^2; eq. 1 is near the best threshold for normal and uniform weights. Both are
constants to the gradient.

Stored: for each tensor, or channel, alpha; less than log2(3) bits a weight.

Source: F. Li, B. Liu, 2016, arXiv 1605.04711, eqs. 3 to 6.
Differs from the paper: one threshold for weights of any distribution, as in the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minisparse.methods.quantising import Quantising


@dataclass(frozen=True)
class Ternary(Quantising):
    """Three levels a weight."""

    name: ClassVar[str] = "ternary"

    def quantise(self, w):
        size = np.abs(w)
        delta = 0.7 * size.mean(dtype=np.float64)  # eq. 1
        large = size > delta
        alpha = w.dtype.type(size[large].mean(dtype=np.float64) if large.any() else 0)
        return np.where(large, np.copysign(alpha, w), w.dtype.type(0))  # eq. 2

    @classmethod
    def examples(cls):
        return [cls(), cls(per="channel", others=4, activations=2, begin=0.5)]
