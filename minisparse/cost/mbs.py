"""Mini-batch serialisation: off-chip traffic of a training step that runs groups of layers on sub-batches.

A group of consecutive units runs on a sub-batch whose activations fit in the buffer, then on the next, so that what
passes between its layers stays on the chip. Per unit, sample and step, with I inputs, O outputs and A bytes a value:

    need       = max over layers (I + O) A + retained                                          (1)
    sub-batch  = clamp(floor(buffer / need), 1, N),   iterations n = ceil(N / sub-batch)       (2)
    weights    : P (2 A n + A (2 n - 1))       read forward and backward; sums written, read back   (3)

`retained` is what branches keep: the input, for all but the first layer of a branch, while another one still needs it;
and the finished outputs of earlier branches ("branches kept", the paper's MBS2). With "branches apart" (MBS1) nothing is
retained and both go through DRAM. Inside a group a step moves only what the backward pass needs: inputs of products and
norms and one bit a value for ReLU, each written once and read once a layer that needs it; at the border of a group its
input, and the gradients of its input and output (`unit_traffic`).

Two baselines run layer by layer on the whole batch and move every tensor: "separate", where norm, ReLU and addition
are passes of their own, and "fused", where ReLU joins the layer before it and goes back by its bits.

    best[j] = min over i < j of best[i] + cost(units i to j - 1)                               (4)

is the exact grouping; the greedy one merges neighbours, whichever saves most.

Source: Lym et al., 2019 (arXiv 1810.00307). **Differs from the paper:** the accounting is rebuilt from the abstract and
first principles; all of the buffer is charged to activations; gradients of weights have the activations' bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import ceil

from minisparse.cost.shapes import Block, Network, Parts, Unit, outputs, works

@dataclass(frozen=True)
class Plan:
    """Units grouped for serialisation.

    Parameters
    ----------
    borders : first unit of each group, and the number of units
    iterations : sub-batches that each group runs
    dram_bytes : a step
    """

    borders: tuple[int, ...]
    iterations: tuple[int, ...]
    dram_bytes: float

    @property
    def groups(self) -> list[range]:
        return [range(first, last) for first, last in pairwise(self.borders)]


@dataclass(frozen=True)
class Serialisation:
    """The accounting of one network.

    Parameters
    ----------
    network : shape table
    buffer : bytes on the chip
    batch : samples, N
    bits : of activations, weights and their gradients
    kept : whether what branches share stays on the chip (MBS2); else it goes through DRAM (MBS1)
    """

    network: Network
    buffer: float = 10 * 2**20
    batch: int = 32
    bits: int = 16
    kept: bool = True

    def __post_init__(self):
        for name, least in (("buffer", 0), ("batch", 1), ("bits", 1)):
            if not getattr(self, name) >= least:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {least}")

    @property
    def units(self) -> tuple[Unit, ...]:
        return self.network.units

    @cached_property
    def shapes(self) -> list[tuple[int, int]]:
        """(I, O) of each unit."""
        found, size = [], self.network.inputs
        for unit in self.units:
            found.append((size, outputs(unit.parts, size)))
            size = found[-1][1]
        return found

    @cached_property
    def needs(self) -> list[float]:
        """Bytes of one sample in the buffer, eq. 1."""
        return [
            self.bits / 8 * need(u.parts, i, 0, self.kept) for u, (i, _) in zip(self.units, self.shapes, strict=True)
        ]

    @cached_property
    def unit_iterations(self) -> list[int]:
        """Eq. 2."""
        fits = [self.batch if n == 0 else min(self.batch, max(1, int(self.buffer // n))) for n in self.needs]
        return [ceil(self.batch / sub) for sub in fits]

    @property
    def spilling(self) -> list[str]:
        """Units of which not one sample fits."""
        return [unit.name for unit, n in zip(self.units, self.needs, strict=True) if n > self.buffer]

    def baseline(self, fused: bool = False) -> float:
        """Bytes of a step, layer by layer."""
        mask = 1 / self.bits
        values = sum(
            _layerwise(u.parts, i, fused, mask) for u, (i, _) in zip(self.units, self.shapes, strict=True)
        )
        return self.bits / 8 * (self.batch * values + 3 * sum(_weights(u.parts) for u in self.units))

    def cost(self, first: int, last: int) -> float:
        """Bytes of a step in the group of these units, `last` excluded."""
        n, mask = max(self.unit_iterations[first:last]), 1 / self.bits
        inside = sum(
            _inside(self.units[i].parts, self.shapes[i][0], self.kept, mask) for i in range(first, last)
        )
        # the input is read (forward), its gradient written, the output's gradient read
        border = 2 * self.shapes[first][0] + self.shapes[last - 1][1]
        weights = sum(_weights(self.units[i].parts) for i in range(first, last))
        # eq. 3
        return self.bits / 8 * (self.batch * (inside + border) + weights * (4 * n - 1))

    def plan(self, borders: tuple[int, ...]) -> Plan:
        """These groups."""
        groups = list(pairwise(borders))
        iterations = tuple(max(self.unit_iterations[a:b]) for a, b in groups)
        return Plan(borders, iterations, sum(self.cost(a, b) for a, b in groups))

    def initial(self) -> Plan:
        """Runs of units with the same number of iterations."""
        n = self.unit_iterations
        return self.plan((0, *(i for i in range(1, len(n)) if n[i] != n[i - 1]), len(n)))

    def serialised(self) -> Plan:
        """One group."""
        return self.plan((0, len(self.units)))

    def greedy(self) -> Plan:
        """The initial groups, neighbours merged while that saves, the largest saving first."""
        plan = self.initial()
        while len(plan.borders) > 2:
            merged = [self.plan(plan.borders[:i] + plan.borders[i + 1 :]) for i in range(1, len(plan.borders) - 1)]
            best = min(merged, key=lambda p: p.dram_bytes)
            if best.dram_bytes >= plan.dram_bytes:
                break
            plan = best
        return plan

    def optimal(self) -> Plan:
        """Eq. 4."""
        best: list[tuple[float, tuple[int, ...]]] = [(0.0, (0,))]
        for j in range(1, len(self.units) + 1):
            ways = ((best[i][0] + self.cost(i, j), best[i][1]) for i in range(j))
            value, borders = min(ways)
            best.append((value, (*borders, j)))
        return self.plan(best[-1][1])


def need(parts: Parts, inputs: int, retained: int, kept: bool) -> int:
    """Eq. 1 in values of one sample: the most that any layer of these parts needs; norm and ReLU work in place."""
    most = 0
    for i, part in enumerate(parts):
        held = retained if i else 0  # the first layer's own input is what is retained of it
        if isinstance(part, Block):
            most = max(most, _block_need(part, inputs, kept) + held)
        else:
            most = max(most, inputs + (part.outputs if part.kind in ("product", "pool") else 0) + held)
        inputs = outputs((part,), inputs)
    return most


def _block_need(block: Block, inputs: int, kept: bool) -> int:
    if not kept:
        return max(need(branch, inputs, 0, kept) for branch in block.branches)
    finished = most = 0
    identity = () in block.branches
    for i, branch in enumerate(block.branches):
        shared = inputs if identity or i + 1 < len(block.branches) else 0
        most = max(most, need(branch, inputs, shared, kept) + finished)
        finished += outputs(branch, inputs) if branch else 0
    return max(most, 2 * outputs((block,), inputs)) if block.merge == "add" else most


def _weights(parts: Parts) -> int:
    return sum(work.weights for work in works(parts))


def _layerwise(parts: Parts, inputs: int, fused: bool, mask: float) -> float:
    """Values of one sample that a step layer by layer moves."""
    moved = 0.0
    for part in parts:
        after = outputs((part,), inputs)
        if isinstance(part, Block):
            moved += sum(_layerwise(branch, inputs, fused, mask) for branch in part.branches)
            # forward: the branches' outputs and their sum; backward: the branches' gradients and their sum
            moved += 3 * after if part.merge == "add" else 0
            moved += (len(part.branches) + 1) * inputs
        elif part.kind == "product":
            moved += 3 * (inputs + after)
        elif part.kind == "pool":
            moved += 2 * (inputs + after)
        elif part.kind == "norm":
            moved += 8 * after
        elif part.kind in ("map", "dropout"):
            moved += mask * after if fused else 5 * after
        inputs = after
    return moved


def _inside(parts: Parts, inputs: int, kept: bool, mask: float, fresh: bool = True) -> float:
    """Values of one sample that a step moves inside a group; `fresh`: nobody else has written the input."""
    moved = 0.0
    for part in parts:
        after = outputs((part,), inputs)
        if isinstance(part, Block):
            for branch in part.branches:
                moved += _inside(branch, inputs, kept, mask, fresh)
                fresh = fresh and not _saves_input(branch)
            if not kept:
                others = len(part.branches) - 1
                moved += others * inputs + (2 if part.merge == "add" else 1) * after + others * after + 2 * inputs
        elif part.kind in ("product", "norm"):
            moved += (1 + fresh) * inputs
        elif part.kind in ("map", "dropout"):
            moved += 2 * mask * after
        fresh = True
        inputs = after
    return moved


def _saves_input(parts: Parts) -> bool:
    """Whether the backward pass of these parts needs what comes in."""
    if not parts:
        return False
    first = parts[0]
    return any(map(_saves_input, first.branches)) if isinstance(first, Block) else first.kind in ("product", "norm")
