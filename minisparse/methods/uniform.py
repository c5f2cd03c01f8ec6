"""Uniform quantisation: b bits over the range of the weights, straight through.

    s = max |w| / (2^(b-1) - 1),   w_ = s round(w / s);   one bit: w_ = mean |w| sign(w)               (1)
    dw = g = dL/dw_                                                                                    (2)

The step follows the weights and takes no gradient. With `activations`, so do the activations' steps, as a running mean
of the batches' ranges (layers/fake_quantise.py, eq. 1).

Stored: for each tensor at most 2^b - 1 values (two for one bit), and which one each weight has.
Does not help: below 4 bits, where one large weight makes the step so wide that most others round to zero.

Source: B. Jacob et al., 2018, arXiv 1712.05877, section 3, without offsets; Y. Bengio et al., 2013, arXiv 1308.3432.
Differs from the papers: the symmetric range for weights, so that zero is a level; one bit is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from minisparse.methods.binary import binarise
from minisparse.methods.quantising import Quantising, by_range
from minisparse.quantisers import BITS
from minisparse.settings import check, setting


@dataclass(frozen=True)
class Uniform(Quantising):
    """Round weights to b bits over their range.

    Parameters
    ----------
    bits : of a weight, 1 to 8
    """

    name: ClassVar[str] = "uniform"
    follow: ClassVar[str] = "range"

    bits: int = setting(8, "of a weight, 1 to 8")

    def __post_init__(self):
        super().__post_init__()
        check(self.bits in BITS, "bits", self.bits, "must be 1 to 8")

    def quantise(self, w):
        return binarise(w) if self.bits == 1 else by_range(w, self.bits)  # eq. 1

    @classmethod
    def examples(cls):
        return [cls(bits=4), cls(bits=3, per="channel", others=8, activations=4, begin=0.5), cls(bits=1)]
