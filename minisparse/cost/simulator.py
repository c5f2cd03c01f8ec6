"""The buffer of `buffer.py` played access by access: the slow oracle that its closed form must equal to the byte.

The loops of each pass run over rows and samples; a cell is what one turn touches of an operand. The buffer holds cells
and counts what it fetches and writes back; it never holds more than S.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import product

from minisparse.cost.program import Array, Operand, Pass

Cell = tuple[int, int]
"""Row and sample, -1 for a loop that does not index the operand."""


class Buffer:
    """Cells on the chip by array; `dirty` arrays differ from what DRAM holds of them."""

    def __init__(self, size: float):
        self.size = size
        self.used = 0
        self.cells: dict[Array, dict[Cell, int]] = {}
        self.dirty: set[Array] = set()
        self.read: Counter[Array] = Counter()
        self.written: Counter[Array] = Counter()

    def touch(self, work: Pass, operand: Operand, at: Cell, from_dram: bool) -> None:
        """Have a cell on the chip, from DRAM or with room for what is computed."""
        cell, held = _cell(operand, *at), self.cells.setdefault(operand.array, {})
        if cell not in held:
            held[cell] = _nbytes(work, operand, cell)
            self.used += held[cell]
            self.read[operand.array] += held[cell] if from_dram else 0
        if operand.mode != "r":
            self.dirty.add(operand.array)

    def drop(self, array: Array, needed: bool = True) -> None:
        """Forget all cells of an array; dirty ones that are needed again go to DRAM."""
        for nbytes in self.cells.pop(array, {}).values():
            self.used -= nbytes
            self.written[array] += nbytes if needed and array in self.dirty else 0
        self.dirty.discard(array)


def simulate(passes: list[Pass], size: float) -> tuple[Counter, Counter]:
    """Bytes read and written of each array by a program that runs on a buffer of `size` bytes."""
    buffer, last = Buffer(size), {}
    for i, work in enumerate(passes):
        operands = {o.array for o in work.operands}
        coming = {o.array for p in passes[i:] for o in p.operands}
        # room: what was touched longest ago goes, a pass at a time; all of it where the operands alone do not fit
        while buffer.cells and sum(a.nbytes for a in operands | buffer.cells.keys()) > size:
            oldest = min(last[array] for array in buffer.cells)
            for array in [a for a in buffer.cells if last[a] == oldest]:
                buffer.drop(array, array in coming or array.lasts)
        if sum(array.nbytes for array in operands) <= size:
            _resident(buffer, work)
            last |= dict.fromkeys(operands, i)
        else:
            _streamed(buffer, work)
    for array in list(buffer.cells):
        buffer.drop(array, array.lasts)
    return buffer.read, buffer.written


def _resident(buffer: Buffer, work: Pass) -> None:
    """Every operand whole, fetched cell by cell unless it is there."""
    there = set(buffer.cells)
    buffer.dirty |= {o.array for o in work.operands if o.mode != "r"}
    for at in product(range(work.rows), range(work.samples)):
        for o in work.operands:
            if o.array not in there:
                buffer.touch(work, o, at, o.mode in ("r", "rw"))
        assert buffer.used <= buffer.size


def _streamed(buffer: Buffer, work: Pass) -> None:
    """The better of both orders of the loops, each on a buffer of its own."""
    trials = [_nest(Buffer(buffer.size), work, loop) for loop in ("w", "n")]
    best = min(trials, key=lambda trial: trial.read.total() + trial.written.total())
    buffer.read += best.read
    buffer.written += best.written


def _nest(buffer: Buffer, work: Pass, outer: str) -> Buffer:
    staying = [o for o in work.operands if o.loops == outer]
    passing = [o for o in work.operands if o.loops != outer]
    trips = {"w": work.rows, "n": work.samples}
    inner = "n" if outer == "w" else "w"
    begun: set[tuple[Array, Cell]] = set()
    for part in _slices(staying, trips[outer], buffer.size // 2):
        for i in range(trips[inner]):
            for k in part:
                for o in work.operands:
                    at = (k, i) if outer == "w" else (i, k)
                    key = o.array, _cell(o, *at)
                    buffer.touch(work, o, at, o.mode in ("r", "rw") or o.mode == "+" and key in begun)
            begun |= {(o.array, cell) for o in work.operands for cell in buffer.cells[o.array]}
            for o in passing:
                buffer.drop(o.array)
        for o in staying:
            buffer.drop(o.array)
    return buffer


def _slices(staying: list[Operand], parts: int, room: float) -> Iterator[range]:
    """Whole parts of the operands that stay, as many as fit in `room`, at least one."""
    nbytes = sum(o.array.nbytes for o in staying)
    first = 0
    while first < parts:
        last = first + 1
        # a slice of k parts takes k / parts of the operands
        while last < parts and (last + 1 - first) * nbytes <= room * parts:
            last += 1
        yield range(first, last)
        first = last


def _cell(operand: Operand, row: int, sample: int) -> Cell:
    return row if "w" in operand.loops else -1, sample if "n" in operand.loops else -1


def _nbytes(work: Pass, operand: Operand, cell: Cell) -> int:
    """Bytes of a cell: the array's, spread as evenly as whole bytes allow."""
    row, sample = cell
    count = (work.rows if row >= 0 else 1) * (work.samples if sample >= 0 else 1)
    place = max(row, 0) * (work.samples if sample >= 0 else 1) + max(sample, 0)
    return operand.array.nbytes * (place + 1) // count - operand.array.nbytes * place // count
