"""Ways of storing a tensor, in bytes read from DRAM to use it once.

    dense       b P / 8                                    P values of b bits
    csr         (b + 32) K / 8 + 4 (O + 1)                 K values, their columns, O + 1 row borders
    regenerated as csr; the other P - K are made anew      K is the budget
    codebook    c K / 8 + b L / 8 (+ the places of csr)    K names of c = ceil(log2 L) bits, L shared values
    file        the tensor's own bytes in a .msp file      streamed in and decoded on the way
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, log2

INDEX = 4
"""Bytes of a column and of a row border of CSR, which is what the sparse store holds below 2^31 entries."""
LEVELS = 256
"""Most shared values of a code book."""
WAYS = ("auto", "dense", "csr", "codebook")


@dataclass(frozen=True)
class Tensor:
    """What storing a tensor depends on.

    Parameters
    ----------
    name : path in the model
    size, rows : P entries in O rows
    kept : K stored entries; None without a mask
    regenerated : whether entries off the mask come from the generator, rather than being zero or a constant
    resting : whether entries off the mask rest at zero, and take no part in products
    role : "weight", "bias", "gain", or "buffer", which is not trained
    levels : distinct stored values
    """

    name: str
    size: int
    rows: int = 1
    kept: int | None = None
    regenerated: bool = False
    resting: bool = True
    role: str = "weight"
    levels: int = LEVELS

    @property
    def stored(self) -> int:
        """Entries that are stored."""
        return self.size if self.kept is None else self.kept

    @property
    def multiplied(self) -> int:
        """Entries that take part in products."""
        return self.stored if self.resting else self.size

    @property
    def regenerations(self) -> int:
        """Entries that a product makes anew."""
        return self.size - self.stored if self.regenerated else 0

    def thinned(self, density: float, regenerated: bool = False) -> Tensor:
        """The same weight with that share of its entries kept, over zero or regenerated values; others stay."""
        if self.role != "weight":
            return self
        return replace(self, kept=round(density * self.size), regenerated=regenerated, resting=not regenerated)

    def nbytes(self, bits: int, way: str = "auto") -> int:
        """Bytes of this tensor as it is held: "auto" is csr with a mask, and dense without."""
        if way not in WAYS:
            raise ValueError(f"way={way!r} of storing a weight is unknown: use one of {', '.join(WAYS)}")
        if self.role == "buffer" or way == "dense" or self.kept is None and way == "auto":
            return bits * self.size // 8
        places = 0 if self.kept is None and way == "codebook" else INDEX * (self.stored + self.rows + 1)
        if way == "codebook" and self.role == "weight":
            return places + ceil(self.stored * name_bits(self.levels) / 8) + bits * self.levels // 8
        return places + bits * self.stored // 8


def name_bits(levels: int) -> int:
    """Bits that tell this many shared values apart."""
    return ceil(log2(levels)) if levels > 1 else 0
