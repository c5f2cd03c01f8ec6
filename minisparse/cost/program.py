"""An inference or a training step as passes over data: what each pass reads and writes, in order.

A pass is a nest of two loops, over the rows of a weight and over the samples of the batch. Each operand is indexed by
one of them or by both:

    forward        y[w, n]  = W[w] x[n]          w: rows of W
    data           dx[w, n] = W^T[w] dy[n]       w: rows of W^T
    weights        dW[w]   += dy[w, n] x[n]
    update         W[w], state[w] from dW[w]
    norms, maps and pools: everything by both, since a channel's result needs no other channel

Activations of a batch are `bits * entries * batch / 8` bytes. A norm takes two passes each way, since its sums over
the batch come first; a map goes back by its output (ReLU), a product and a norm by their input. What several layers
read gets the sum of their gradients in a pass of its own. Adding branches is a pass, putting them side by side is
none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from minisparse.cost.shapes import Block, Network, Part, Parts, Work, works

KINDS = ("weights", "activations", "gradients", "state")


@dataclass(eq=False)
class Array:
    """Something that moves.

    Parameters
    ----------
    name : what errors and reasons call it
    kind : one of KINDS
    nbytes : of the whole, all samples
    lasts : whether it must be in DRAM when the program ends, once it was written
    """

    name: str
    kind: str
    nbytes: int
    lasts: bool = False


@dataclass(frozen=True)
class Operand:
    """How a pass touches an array.

    Parameters
    ----------
    array : Array
    mode : "r", "w", "rw" (read, then written), or "+" (sums: written, and read back when they go on)
    loops : "w", "n" or "wn", the loops that index it
    """

    array: Array
    mode: str
    loops: str


@dataclass(frozen=True)
class Pass:
    """One layer's work on the batch.

    Parameters
    ----------
    layer, phase : "inference", "forward", "backward" or "update"
    operands : no array twice
    rows, samples : trips of the two loops at most
    macs, regenerations : of the whole batch
    """

    layer: str
    phase: str
    operands: tuple[Operand, ...]
    rows: int = 1
    samples: int = 1
    macs: int = 0
    regenerations: int = 0


Value = tuple[Array, ...]
"""Activations or gradients as the arrays that stand side by side in them."""
Back = Callable[[Value, bool], Value]


@dataclass
class Builder:
    """Passes of a network for a batch, written down as it would run.

    Parameters
    ----------
    batch : samples, N
    bits : of every value; indices and the bytes of a file are as they are
    way : of storing weights (`storage.WAYS`)
    slots : values that the optimiser keeps a weight: 0 for SGD, 1 with momentum, 2 for Adam
    file_bytes : {tensor's name: bytes} where a file is streamed in
    """

    batch: int = 1
    bits: int = 32
    way: str = "auto"
    slots: int = 1
    file_bytes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self):
        for name, least in (("batch", 1), ("bits", 1), ("slots", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {least}")
        self.passes: list[Pass] = []
        self.training = False
        self._weights: dict[str, Array] = {}
        self._gradients: dict[str, Array] = {}

    def inference(self, network: Network) -> list[Pass]:
        """One forward pass of the batch."""
        self.training = False
        y, _ = self._sequence(network.parts, self._input(network))
        for array in y:
            array.lasts = True
        return self.passes

    def training_step(self, network: Network) -> list[Pass]:
        """Forward, loss, backward and update of one batch."""
        self.training = True
        x = self._input(network)
        y, back = self._sequence(network.parts, x)
        dy = self._like(y)
        self._add("loss", "backward", [*_all(y, "r"), *_all(dy, "w")])
        back(dy, False)
        for work in network.works:
            self._update(work)
        return self.passes

    # Forward; each returns its value and what goes back through it: a function of (dy, whether dx is wanted)

    def _sequence(self, parts: Parts, x: Value) -> tuple[Value, Back]:
        backs: list[Back] = []
        for part in parts:
            x, back = self._block(part, x) if isinstance(part, Block) else self._work(part, x)
            backs.append(back)
        first = next((i for i, part in enumerate(parts) if _trained(part)), len(parts))

        def backward(dy: Value, wanted: bool) -> Value:
            for i in reversed(range(0 if wanted else first, len(parts))):
                dy = backs[i](dy, wanted or i > first)
            return dy

        return x, backward

    def _block(self, block: Block, x: Value) -> tuple[Value, Back]:
        ways = [self._sequence(branch, x) for branch in block.branches]
        y = tuple(array for end, _ in ways for array in end)
        if block.merge == "add":
            terms, y = y, self._value(block.name, sum(array.nbytes for array in ways[0][0]))
            self._add(block.name, self._forward, [*_all(terms, "r"), *_all(y, "w")])

        def backward(dy: Value, wanted: bool) -> Value:
            parts: list[Array] = []
            for end, back in ways:
                part = dy if block.merge == "add" else tuple(dy[y.index(array)] for array in end)
                parts += back(part, wanted)
            dx = self._like(x) if wanted else ()
            if wanted:
                self._add(block.name, "backward", [*_all(tuple(parts), "r"), *_all(dx, "w")])
            return dx

        return y, backward

    def _work(self, work: Work, x: Value) -> tuple[Value, Back]:
        if work.kind == "view" or work.kind == "dropout" and not self.training:
            return x, lambda dy, wanted: dy
        y = self._value(work.name, self._size(work.outputs))
        if work.kind == "norm" and self.training:
            self._add(work.name, self._forward, _all(x, "r"))  # its sums
        operands = [*self._held(work), *_all(x, "r", _loops(work)), *_all(y, "w")]
        self._add(work.name, self._forward, operands, *self._counts(work))
        return y, lambda dy, wanted: self._backward(work, x, y, dy, wanted)

    def _backward(self, work: Work, x: Value, y: Value, dy: Value, wanted: bool) -> Value:
        dx = self._like(x) if wanted else ()
        rows, macs, regenerations = self._counts(work)
        sums = [*self._gradient(work), *_all(dy, "r"), *_all(x, "r", _loops(work))]
        if work.kind == "product" and wanted:
            columns = max(t.size // t.rows for t in work.tensors)
            operands = [*self._held(work), *_all(dy, "r", "n"), *_all(dx, "w")]
            self._add(work.name, "backward", operands, columns, macs, regenerations)
        if work.kind in ("product", "norm"):
            self._add(work.name, "backward", sums, rows, macs)
        if work.kind == "norm" and wanted:
            operands = [*self._held(work), *_all(dy, "r"), *_all(x, "r"), *_all(dx, "w")]
            self._add(work.name, "backward", operands, rows)
        if work.kind in ("map", "dropout", "pool") and wanted:
            saved = () if work.kind == "pool" else y
            self._add(work.name, "backward", [*_all(dy, "r"), *_all(saved, "r"), *_all(dx, "w")])
        return dx

    def _update(self, work: Work) -> None:
        for gradient in self._gradient(work):
            state = Array(f"{work.name} state", "state", self.slots * gradient.array.nbytes, lasts=True)
            weights = replace(self._held(work)[0], mode="rw")
            operands = [weights, replace(gradient, mode="r"), Operand(state, "rw", "w")]
            self._add(work.name, "update", operands, self._counts(work)[0])

    def stored(self, work: Work) -> int:
        """Bytes of all that a layer stores."""
        return sum(self.file_bytes.get(t.name, t.nbytes(self.bits, self.way)) for t in work.tensors)

    # What it touches

    @property
    def _forward(self) -> str:
        return "forward" if self.training else "inference"

    def _size(self, entries: int) -> int:
        return self.bits * entries * self.batch // 8

    def _value(self, name: str, nbytes: int) -> Value:
        return (Array(name, "activations", nbytes),)

    def _like(self, value: Value) -> Value:
        return tuple(Array(f"gradient of {a.name}", "gradients", a.nbytes) for a in value)

    def _input(self, network: Network) -> Value:
        return self._value("input", self._size(network.inputs))

    def _held(self, work: Work) -> list[Operand]:
        """All that a layer stores, as one array."""
        nbytes = self.stored(work)
        held = self._weights.setdefault(work.name, Array(f"{work.name} weights", "weights", nbytes, lasts=True))
        return [Operand(held, "r", "w")] if nbytes else []

    def _gradient(self, work: Work) -> list[Operand]:
        """One value for each stored entry; of entries that compete for a place, those that enter are stored."""
        nbytes = self.bits * sum(t.stored for t in work.tensors if t.role != "buffer") // 8
        array = self._gradients.setdefault(work.name, Array(f"gradient of {work.name} weights", "gradients", nbytes))
        return [Operand(array, "+", "w")] if nbytes else []

    def _counts(self, work: Work) -> tuple[int, int, int]:
        """Rows of the weight; multiply-adds and regenerations of one product with it."""
        rows = max((t.rows for t in work.tensors), default=1)
        return rows, self.batch * work.effective_macs, sum(t.regenerations for t in work.tensors)

    def _add(self, layer, phase, operands, rows=1, macs=0, regenerations=0) -> None:
        once = tuple({o.array: o for o in operands if o.array.nbytes}.values())
        self.passes.append(Pass(layer, phase, once, rows, self.batch, macs, regenerations))


def _loops(work: Work) -> str:
    return "n" if work.kind == "product" else "wn"


def _all(value: Value, mode: str, loops: str = "wn") -> list[Operand]:
    return [Operand(array, mode, loops) for array in value]


def _trained(part: Part) -> bool:
    return any(t.role != "buffer" for work in works((part,)) for t in work.tensors)
