"""What a program moves between DRAM and an on-chip buffer of S bytes: two rules, in closed form.

Everything begins and must end in DRAM. The buffer is a scratchpad, filled and emptied by a compiler that knows the
program.

1. Between passes. An array stays on the chip from one pass to the next that touches it if all that is touched from
   the one to the other, both included, fits in S. A value that stays until its last use is never written.
2. Within a pass that does not fit. One operand is cut into slices of at most S / 2 (a row, or a sample, where that is
   more), each is fetched once and stays while the others stream past it:

       slices of the weight's rows      x is read once a slice
       slices of the batch's samples    W is read once a slice, and sums over the batch are written and read back

   whichever moves fewer bytes; what is indexed by both loops moves once.

An infinite buffer leaves the compulsory traffic: what is used is read once, what lasts is written once. Larger
buffers never move more: both rules only get wider. `simulator.py` replays the loops access by access and must agree.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from minisparse.cost.program import Array, Operand, Pass

LOOPS = ("w", "n")


@dataclass(frozen=True)
class Move:
    """What one operand of one pass moves.

    Parameters
    ----------
    read, written : bytes from and to DRAM
    times : how often the pass goes over the operand
    why : why more is read than the first time that the program needs it; empty if no more is
    """

    work: Pass
    operand: Operand
    read: int
    written: int
    times: int
    why: str

    @property
    def array(self) -> Array:
        return self.operand.array

    @property
    def dram_bytes(self) -> int:
        return self.read + self.written

    @property
    def sram_bytes(self) -> int:
        """Bytes between the buffer and the arithmetic: each time, one way or, for sums and updates, both."""
        return self.times * self.array.nbytes * (2 if self.operand.mode == "rw" else 1)


def moves(passes: list[Pass], buffer: float = inf) -> list[Move]:
    """What every operand of every pass moves through a buffer of that many bytes.

    Raises
    ------
    ValueError : buffer < 0.
    """
    if not buffer >= 0:
        raise ValueError(f"buffer={buffer} must be a number of bytes, at least 0")
    since = _since(passes, buffer)
    uses: dict[Array, list[tuple[int, Operand]]] = {}
    for i, work in enumerate(passes):
        for operand in work.operands:
            uses.setdefault(operand.array, []).append((i, operand))
    found = []
    for i, work in enumerate(passes):
        outer, slices = (LOOPS[0], 1) if since[i] <= i else order(work, buffer)
        for operand in work.operands:
            before = [use for use, _ in uses[operand.array] if use < i]
            leaves = since[i] > i or _leaves(operand.array, [use for use in uses[operand.array] if use[0] >= i], since)
            times = 1 if outer in operand.loops else slices
            found.append(_move(work, operand, times, before[-1] if before else None, since[i], leaves, buffer))
    return found


def _leaves(array: Array, uses: list[tuple[int, Operand]], since: list[int]) -> bool:
    """Whether what the first of these passes writes is read from DRAM later, or lasts."""
    for (earlier, _), (later, operand) in pairwise(uses):
        if since[later] > earlier:
            return True
        if operand.mode != "r":
            return False
    return array.lasts


def order(work: Pass, buffer: float) -> tuple[str, int]:
    """Rule 2: the outer loop, and its number of slices."""
    ways = [(loop, slices(work, loop, buffer)) for loop in LOOPS]
    return min(ways, key=lambda way: sum(_moved(o, 1 if way[0] in o.loops else way[1]) for o in work.operands))


def slices(work: Pass, loop: str, buffer: float) -> int:
    """Slices of the operands that this loop alone indexes, of at most half the buffer, or a single row or sample."""
    parts = work.rows if loop == "w" else work.samples
    nbytes = sum(operand.array.nbytes for operand in work.operands if operand.loops == loop)
    if 2 * nbytes <= buffer:
        return 1
    return -(-parts // max(1, int(buffer) // 2 * parts // nbytes))


def _moved(operand: Operand, times: int) -> int:
    """Bytes of a pass that begins and ends in DRAM."""
    return operand.array.nbytes * {"r": times, "w": times, "rw": 2 * times, "+": 2 * times - 1}[operand.mode]


def _since(passes: list[Pass], buffer: float) -> list[int]:
    """Rule 1: for each pass j the earliest i such that all that passes i to j touch fits; j + 1 if j alone does not."""
    touched: Counter[Array] = Counter()
    first = total = 0
    since = []
    for j, work in enumerate(passes):
        for operand in work.operands:
            total += 0 if touched[operand.array] else operand.array.nbytes
            touched[operand.array] += 1
        while total > buffer:
            for operand in passes[first].operands:
                touched[operand.array] -= 1
                total -= 0 if touched[operand.array] else operand.array.nbytes
            first += 1
        since.append(first)
    return since


def _move(work, operand, times, before, since, leaves, buffer) -> Move:
    size, mode = operand.array.nbytes, operand.mode
    there = before is not None and before >= since
    read = {"r": times, "rw": times, "w": 0, "+": times - 1}[mode] * size - (size if there and "r" in mode else 0)
    written = (times - 1 + leaves) * size if mode != "r" else 0
    reasons = []
    if "r" in mode and before is not None and not there:
        reasons.append(f"not kept since its last use: more than {_size(buffer)} is touched in between")
    if times > 1:
        reasons.append(f"read {times} times: the operand that stays has {times} slices of {_size(buffer / 2)}")
    return Move(work, operand, read, written, times, "; ".join(reasons))


def _size(nbytes: float) -> str:
    return f"{nbytes:,.0f} bytes"
