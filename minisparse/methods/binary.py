"""Binary weights: a sign each, and a scale for all.

    w_ = alpha sign(w),   alpha = mean |w|,   sign(0) = 1                                              (1)
    dw = g = dL/dw_ where |w| <= 1, else 0                                                             (2)

alpha minimises |w - alpha sign(w)|^2 and is a constant to the gradient. With `activations` = 1, signs as well.

Stored: for each tensor, or channel, alpha; a bit a weight.
Suggested: `per` channel, as in the paper; a normalisation behind each layer.
Does not help: as compression of large layers, where a few levels on a thin mask are smaller and more accurate.

Source: M. Courbariaux et al., 2015, arXiv 1511.00363 (eq. 2); M. Rastegari et al., 2016, arXiv 1603.05279, eqs. 5, 6.
Differs from the papers: arXiv 1603.05279 adds alpha's own gradient; first and last layer are binary here as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minisparse.methods.quantising import Quantising


@dataclass(frozen=True)
class Binary(Quantising):
    """One bit a weight."""

    name: ClassVar[str] = "binary"

    def quantise(self, w):
        return binarise(w)

    def carry_back(self, g, w):
        return np.where(np.abs(w) <= 1, g, 0).astype(g.dtype, copy=False)  # eq. 2

    @classmethod
    def examples(cls):
        return [cls(), cls(per="channel", others=4, activations=1, begin=0.5)]


def binarise(w: np.ndarray) -> np.ndarray:
    """Eq. 1."""
    alpha = w.dtype.type(np.abs(w).mean(dtype=np.float64))
    return np.where(w < 0, -alpha, alpha)
