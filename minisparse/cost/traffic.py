"""Off-chip traffic and energy of an inference or a training step, layer by layer: a model, never a measurement.

    energy = dram_bytes * DRAM / 4 + sram_bytes * SRAM / 4 + macs * (multiply + add) + regenerations * hash  (1)

* What a layer reads and writes in each pass: `program.py`. What of it crosses the border of the chip: `buffer.py`.
* Weights move as they are stored (`storage.py`): in a file's own bytes where they are given, else dense without a
  mask and CSR with one. Buffers, such as a normalisation's running means, move with them.
* SRAM: each operand passes between buffer and arithmetic once each time that a pass goes over it. Registers and the
  decoding of a compressed file are not counted. A multiply-add is a 32-bit one, whatever `bits` says of storage.
* Multiply-adds: of every weight over a rest value other than zero, since DropBack saves no arithmetic, and of the K
  kept weights alone over zero.
* Regenerations: one a weight at a rest value that comes from the generator, each time it is multiplied. Zeros and
  constants, such as a bias or a gain at rest, cost none.

Source: the energy table of `energy.py`; weights read once and 1.5 pJ a regeneration as counted by Golub et al., 2018
(arXiv 1806.06949). **Differs from the paper:** activations, gradients, indices and arithmetic are counted too, and a
regeneration is that of this library's own hash.
"""

from __future__ import annotations

from math import inf
from typing import Any

from minisparse.cost.buffer import Move, moves
from minisparse.cost.energy import EnergyTable
from minisparse.cost.program import KINDS, Builder, Pass
from minisparse.cost.shapes import Network, Work
from minisparse.cost.shapes import table as shape_table
from minisparse.model import Model

ASSUMPTIONS = (
    "Estimated (45 nm model), never measured: energies of single operations from Horowitz (ISSCC 2014) as quoted by "
    "Han et al. (2015).",
    "The buffer is a scratchpad: an array stays on the chip from one use to the next if all that is touched in between "
    "fits; a pass that does not fit holds one operand in slices of half the buffer and reads the other once a slice.",
    "Weights resting at zero take no arithmetic; those at a regenerated rest take a multiply-add and a regeneration.",
)


def inference(
    model: Model | Network,
    stored_bytes: dict[str, int] | None = None,
    table: EnergyTable | None = None,
    buffer: float = inf,
    batch: int = 1,
    bits: int = 32,
    way: str = "auto",
) -> list[dict[str, Any]]:
    """Counts and energies of one forward pass of a batch, one row a layer that stores, multiplies or moves anything.

    Parameters
    ----------
    stored_bytes : {name of a parameter or buffer: bytes in a file}; those left out are counted as they are held
    table : EnergyTable, default 45 nm
    buffer : bytes on the chip; infinite is compulsory traffic: weights and input once, output once
    batch : samples
    bits : of every value that is not in a file
    way : of storing weights: "auto", "dense", "csr", "codebook"

    Returns
    -------
    Rows of layer, kind, weights, kept, stored_bytes, macs, regenerations; dram_bytes and its parts weights_bytes,
    activations_bytes, gradients_bytes, state_bytes; compulsory_bytes, what an infinite buffer would leave; sram_bytes;
    the estimated dram_uj, sram_uj, mac_uj, regeneration_uj and their sum energy_uj; why, for what moves again.

    Raises
    ------
    ValueError : stored_bytes names an unknown parameter, or a negative size; a setting out of range.
    """
    network = network_of(model)
    builder = Builder(batch, bits, way, file_bytes=_checked(stored_bytes or {}, network))
    return rows(network, builder, builder.inference(network), buffer, table or EnergyTable())


def training(
    model: Model | Network,
    table: EnergyTable | None = None,
    buffer: float = inf,
    batch: int = 32,
    bits: int = 32,
    way: str = "auto",
    slots: int = 1,
) -> list[dict[str, Any]]:
    """The same for one training step: forward, backward, update.

    Parameters
    ----------
    slots : values that the optimiser keeps a weight: 0 for SGD, 1 with momentum, 2 for Adam
    """
    network = network_of(model)
    builder = Builder(batch, bits, way, slots)
    return rows(network, builder, builder.training_step(network), buffer, table or EnergyTable())


def network_of(model: Model | Network) -> Network:
    return model if isinstance(model, Network) else shape_table(model)


def rows(network: Network, builder: Builder, passes: list[Pass], buffer: float, table: EnergyTable) -> list[dict]:
    """One row a layer, of a program that `builder` wrote."""
    layers = {work.name: work for work in network.works}
    by_layer = {work.layer: _row(work.layer, layers.get(work.layer), builder) for work in passes}
    for move in moves(passes, buffer):
        _count(by_layer[move.work.layer], move)
    for move in moves(passes):
        by_layer[move.work.layer]["compulsory_bytes"] += move.dram_bytes
    for work in passes:
        by_layer[work.layer]["macs"] += work.macs
        by_layer[work.layer]["regenerations"] += work.regenerations
    kept = [row for row in by_layer.values() if row["stored_bytes"] or row["macs"] or row["dram_bytes"]]
    for row in kept:
        row |= table.energy(row["dram_bytes"], row["sram_bytes"], row["macs"], row["regenerations"])
        row["why"] = _reason(row["why"])
    return kept


def total(rows: list[dict]) -> dict:
    """The sum of every count and energy over the rows."""
    return {key: sum(row[key] for row in rows) for key in rows[0] if key not in ("layer", "kind", "why")}


def _row(name: str, work: Work | None, builder: Builder) -> dict[str, Any]:
    """Nothing moved yet; a sum of branches, or the loss, is no layer's work."""
    trained = [t for t in work.tensors if t.role != "buffer"] if work else []
    return {
        "layer": name,
        "kind": work.kind if work else "sum",
        "weights": sum(t.size for t in trained),
        "kept": sum(t.stored for t in trained),
        "stored_bytes": builder.stored(work) if work else 0,
        **dict.fromkeys(("macs", "regenerations", "dram_bytes"), 0),
        **dict.fromkeys((*(f"{kind}_bytes" for kind in KINDS), "compulsory_bytes", "sram_bytes"), 0),
        "why": [],
    }


def _count(row: dict[str, Any], move: Move) -> None:
    row["dram_bytes"] += move.dram_bytes
    row[f"{move.array.kind}_bytes"] += move.dram_bytes
    row["sram_bytes"] += move.sram_bytes
    if move.why:
        row["why"].append((move.read, f"{move.array.name} ({move.work.phase}): {move.why}"))


def _reason(again: list[tuple[int, str]]) -> str:
    """The largest of the reads that happen again, and how many more there are."""
    if not again:
        return ""
    more = f"; and {len(again) - 1} more" if len(again) > 1 else ""
    return max(again, key=lambda pair: pair[0])[1] + more


def _checked(stored: dict[str, int], network: Network) -> dict[str, int]:
    names = {tensor.name for work in network.works for tensor in work.tensors}
    for name, size in stored.items():
        if name not in names or size < 0:
            raise ValueError(f"stored_bytes[{name!r}]={size} must be the bytes, >= 0, of a tensor of {network.name}")
    return stored
