"""Energy of one operation, 45 nm, 32-bit words.

    energy = sum over operations of count * pJ                                               (1)

A DRAM access costs as much as 128 SRAM accesses or 139 multiply-adds, so the words that cross the
border of the chip decide. The table gives ratios and orders of magnitude of one process node.

Source: M. Horowitz, "Computing's energy problem", ISSCC 2014, as quoted by S. Han et al., NIPS 2015
(arXiv 1506.02626, Fig. 1) and S. Han et al., EIE, ISCA 2016 (arXiv 1602.01528, Table I).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

HAN = "Han et al. 2015, Fig. 1"
BOTH = "Han et al. 2015, Fig. 1; EIE 2016, Table I"

WORD = 4
"""Bytes of a 32-bit word."""


def _entry(picojoules: float, unit: str, source: str):
    return field(default=picojoules, metadata={"unit": unit, "source": source})


@dataclass(frozen=True)
class Operations:
    """What computing one value takes, in 32-bit operations; shifts and logic count as additions."""

    int_adds: int = 0
    int_multiplies: int = 0
    float_adds: int = 0
    float_multiplies: int = 0


XORSHIFT = Operations(int_adds=6, float_adds=1)
"""DropBack's generator, 1.5 pJ: three shifts, three xors, one float operation, which it counts as an addition."""

HASH = Operations(int_multiplies=3, int_adds=18, float_multiplies=1)
"""This library's near-normal value of one index (`_core/rng_ref.py`), 14.8 pJ.

Three multiplications, two additions of the key, three shifts with their xors; then three shifts, three
masks, three sums and one difference for the four bytes; conversion and scale are one float multiplication.
The products with the index's upper half are constants below 2^32 weights a tensor and count nothing.
"""


@dataclass(frozen=True)
class EnergyTable:
    """pJ of one operation; each entry's unit and source stand in its field's metadata.

    Other tables are other values: `EnergyTable(dram_pj=150)` for a newer memory,
    `EnergyTable(regeneration=XORSHIFT)` for DropBack's own generator.
    """

    int_add_pj: float = _entry(0.1, "pJ per 32-bit addition", BOTH)
    float_add_pj: float = _entry(0.9, "pJ per 32-bit addition", BOTH)
    register_pj: float = _entry(1.0, "pJ per 32-bit access", HAN)
    int_multiply_pj: float = _entry(3.1, "pJ per 32-bit multiplication", BOTH)
    float_multiply_pj: float = _entry(3.7, "pJ per 32-bit multiplication", BOTH)
    sram_pj: float = _entry(5.0, "pJ per 32-bit access, 32 KB", BOTH)
    dram_pj: float = _entry(640.0, "pJ per 32-bit access, LPDDR2", BOTH)
    regeneration: Operations = HASH

    @property
    def mac_pj(self) -> float:
        """One float multiply-add."""
        return self.float_multiply_pj + self.float_add_pj

    @property
    def dram_pj_per_byte(self) -> float:
        return self.dram_pj / WORD

    @property
    def sram_pj_per_byte(self) -> float:
        return self.sram_pj / WORD

    @property
    def regeneration_pj(self) -> float:
        """One initial value from its index."""
        count = self.regeneration
        return (
            count.int_adds * self.int_add_pj
            + count.int_multiplies * self.int_multiply_pj
            + count.float_adds * self.float_add_pj
            + count.float_multiplies * self.float_multiply_pj
        )

    @classmethod
    def load(cls, path: str | Path) -> EnergyTable:
        """A table from a JSON file: {"dram_pj": 150, "regeneration": {"int_adds": 6}}; what is left out is 45 nm.

        Raises
        ------
        ValueError : no JSON object, an unknown entry, or one that is no number >= 0.
        """
        try:
            entries = json.loads(Path(path).read_text(encoding="utf-8"))
            known = {f.name for f in fields(cls) if f.metadata}
            operations = _numbers(entries.pop("regeneration", vars(HASH)), set(vars(HASH)))
            return cls(**_numbers(entries, known), regeneration=Operations(**operations))
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is no energy table: {error}") from error

    def energy(self, dram_bytes: float, sram_bytes: float, macs: float, regenerations: float) -> dict[str, float]:
        """Eq. 1 in microjoules: dram_uj, sram_uj, mac_uj, regeneration_uj and energy_uj, their sum."""
        parts = {
            "dram_uj": 1e-6 * dram_bytes * self.dram_pj_per_byte,
            "sram_uj": 1e-6 * sram_bytes * self.sram_pj_per_byte,
            "mac_uj": 1e-6 * macs * self.mac_pj,
            "regeneration_uj": 1e-6 * regenerations * self.regeneration_pj,
        }
        return {**parts, "energy_uj": sum(parts.values())}

    def scaled(self, factor: float) -> EnergyTable:
        """Every entry times `factor`."""
        return replace(self, **{f.name: factor * getattr(self, f.name) for f in fields(self) if f.metadata})

    def rows(self) -> list[dict]:
        """operation, picojoules, unit and source of each entry."""
        return [
            {"operation": f.name.removesuffix("_pj"), "picojoules": getattr(self, f.name), **f.metadata}
            for f in fields(self)
            if f.metadata
        ]


def _numbers(entries: dict, known: set[str]) -> dict:
    """The same entries; ValueError for one that is unknown, or no number >= 0."""
    for name, value in entries.items():
        if name not in known:
            raise ValueError(f"{name!r} is none of {', '.join(sorted(known))}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise ValueError(f"{name}={value!r} must be a number, at least 0")
    return entries
