"""Estimated off-chip traffic and energy of an inference or a training step (45 nm model, nothing is measured).

  minisparse cost lenet-300-100
  minisparse cost model.msp --against lenet-300-100      a file beside another model
  minisparse cost RUN --training --batch 100 --buffer 128KiB
  minisparse cost vgg16 --input 3x32x32 --training --figure vgg16.png
  minisparse cost resnet-50 --mbs --buffer 10MiB --batch 32 --bits 16
  minisparse cost --zoo --figure zoo.png                 all recorded reproductions: error, traffic, energy

resnet-50, resnet-101, resnet-152, inception-v3 and alexnet are ImageNet's; with --input they are of the zoo, where it
has them. docs/COST.md says how everything is counted.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from minisparse.cli.common import open_model
from minisparse.compressed import CompressedModel
from minisparse.cost import imagenet, mbs, shapes
from minisparse.cost.energy import EnergyTable
from minisparse.cost.storage import WAYS
from minisparse.cost.traffic import ASSUMPTIONS, inference, total, training
from minisparse.models import NAMES, build
from minisparse.report import Report
from minisparse.reproduce import zoo

HELP = "estimated memory traffic and energy of an inference or a training step"
INPUT, CLASSES = (1, 28, 28), 10
COLUMNS = ("layer", "kept", "dram_bytes", "weights_bytes", "activations_bytes", "gradients_bytes", "state_bytes",
           "compulsory_bytes", "macs", "regenerations", "energy_uj")  # fmt: skip
SUMMARY = ("dram_bytes", "energy_uj", "dram_uj", "sram_uj", "mac_uj", "regeneration_uj", "compulsory_bytes", "macs",
           "weights", "kept", "stored_bytes")  # fmt: skip
UNITS = {"kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6, "gb": 10**9, "b": 1}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = ", ".join((*NAMES, *imagenet.NETWORKS))
    parser.add_argument("model", nargs="?", metavar="MODEL|FILE|RUN", help=f"{names}; a .msp file; or a run's folder")
    parser.add_argument("--input", type=shape, metavar="CxHxW", help="shape of a sample for a MODEL (default 1x28x28)")
    parser.add_argument("--classes", type=int, help=f"outputs of a MODEL (default {CLASSES})")
    parser.add_argument("--training", action="store_true", help="a training step rather than an inference")
    parser.add_argument("--buffer", type=size, default=10 * 2**20, help="on-chip buffer, such as 128KiB (default 10MiB)")
    parser.add_argument("--batch", type=int, help="samples (default 1; 32 with --training or --mbs)")
    parser.add_argument("--bits", type=int, help="of every value outside a file (default 32; 16 with --mbs)")
    parser.add_argument("--slots", type=int, default=1, help="optimiser's values a weight (default 1, momentum)")
    parser.add_argument("--store", choices=WAYS, default="auto", help="how weights are held (default: as they are)")
    parser.add_argument("--density", type=float, help="share of the weights of a MODEL that are kept over zero")
    parser.add_argument("--mbs", action="store_true", help="mini-batch serialisation of a training step")
    parser.add_argument("--against", metavar="OTHER", help="another MODEL, FILE or RUN to compare with")
    parser.add_argument("--table", metavar="JSON", help="a file of other energies (default 45 nm)")
    parser.add_argument("--zoo", action="store_true", help="every recorded reproduction instead of a MODEL")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw it: .png, .pdf or .svg")


@dataclass(frozen=True)
class Subject:
    """What is counted, the bytes a tensor that a file really uses, and a sentence on where they are from."""

    network: shapes.Network
    stored_bytes: dict[str, int] | None
    how: str


def run(args: argparse.Namespace) -> Report:
    if args.zoo or args.model is None:
        if not args.zoo or args.model:
            raise ValueError("give a MODEL, a FILE or a RUN; or --zoo, and none of them")
        return zoo.report(args.buffer, args.figure)
    args.batch = args.batch or (32 if args.training or args.mbs else 1)
    args.bits = args.bits or (16 if args.mbs else 32)
    table = EnergyTable.load(args.table) if args.table else EnergyTable()
    subject = _open(args, args.model)
    if args.mbs:
        return _serialised(args, subject)
    rows = _rows(args, subject, table)
    whole = total(rows)
    doing = "training step" if args.training else "inference"
    summary = {"model": subject.network.name, "estimate": f"45 nm model, {doing} of {args.batch}"}
    summary |= {key: whole[key] for key in SUMMARY}
    notes = [*ASSUMPTIONS, subject.how, *_again(rows)]
    results = {subject.network.name: rows}
    if args.against:
        other = _open(args, args.against)
        results[f"{other.network.name} (against)"] = its_rows = _rows(args, other, table)
        theirs = total(its_rows)
        for key in ("dram_bytes", "energy_uj"):
            summary |= {f"against_{key}": theirs[key], f"{key.split('_')[0]}_ratio": theirs[key] / whole[key]}
        notes.append(f"Against {args.against}: {other.how}")
    if args.figure:
        _draw(lambda figures: figures.draw_cost(results, table, f"{doing} of {args.batch}", args.figure))
    shown = [{key: row[key] for key in COLUMNS} for row in [*rows, {"layer": "total", **whole}]]
    shown = [{key: row[key] for key in COLUMNS if any(r[key] for r in shown)} for row in shown]
    return Report(shown, summary, notes, {"again": [{k: r[k] for k in ("layer", "why")} for r in rows if r["why"]]})


def _rows(args: argparse.Namespace, subject: Subject, table: EnergyTable) -> list[dict[str, Any]]:
    settings = (table, args.buffer, args.batch, args.bits, args.store)
    if args.training:
        return training(subject.network, *settings, args.slots)
    return inference(subject.network, subject.stored_bytes if args.store == "auto" else None, *settings)


def _again(rows: list[dict[str, Any]], most: int = 3) -> list[str]:
    """Where most is moved beyond the compulsory, and why."""
    rows = [row for row in rows if row["why"] and row["dram_bytes"] > row["compulsory_bytes"]]
    rows = sorted(rows, key=lambda row: row["compulsory_bytes"] - row["dram_bytes"])[:most]
    return [f"Again in {row['layer']}: {row['why']}." for row in rows]


def _serialised(args: argparse.Namespace, subject: Subject) -> Report:
    """Mini-batch serialisation: the exact groups as rows, the other ways beside them."""
    kept = mbs.Serialisation(subject.network, args.buffer, args.batch, args.bits)
    apart = mbs.Serialisation(subject.network, args.buffer, args.batch, args.bits, kept=False)
    best, separate, fused = kept.optimal(), kept.baseline(), kept.baseline(fused=True)
    rows = []
    for i, (group, iterations) in enumerate(zip(best.groups, best.iterations, strict=True), start=1):
        units = [kept.units[k].name for k in group]
        rows.append(
            {
                "group": i,
                "units": units[0] if len(units) == 1 else f"{units[0]} to {units[-1]}",
                "iterations": iterations,
                "sub_batch": -(-args.batch // iterations),
                "buffer_bytes": round(-(-args.batch // iterations) * max(kept.needs[k] for k in group)),
                "dram_bytes": round(kept.cost(group.start, group.stop)),
            }
        )
    ways = {
        "mbs": best,
        "greedy": kept.greedy(),
        "initial": kept.initial(),
        "serialised": kept.serialised(),
        "apart": apart.optimal(),
    }
    summary: dict[str, Any] = {"model": subject.network.name, "dram_bytes": round(best.dram_bytes)}
    summary |= {"separate_baseline_bytes": round(separate), "fused_baseline_bytes": round(fused)}
    for name, plan in ways.items():
        summary[f"{name}_reduction"] = round(100 * (1 - plan.dram_bytes / separate), 2)
        summary[f"{name}_reduction_fused"] = round(100 * (1 - plan.dram_bytes / fused), 2)
    notes = [
        "Estimated bytes of one training step. Reductions are percent less traffic than layer by layer on the whole "
        "batch, with norm, ReLU and addition as passes of their own, and (_fused) with ReLU joined to what precedes it.",
        "mbs is the exact grouping with what branches share kept on the chip; greedy, initial (neighbours with equal "
        "iterations) and serialised (one group) are other groupings; apart lets branches share nothing.",
    ]
    if kept.spilling:
        notes.append(f"Not one sample fits in the buffer: {', '.join(kept.spilling)}.")
    if args.figure:
        _draw(lambda figures: figures.draw_serialisation(kept, apart, args.figure))
    return Report(rows, summary, notes)


def _draw(call: Callable) -> None:
    from minisparse.bench import cost_figures  # matplotlib takes a second

    call(cost_figures)


def shape(text: str) -> tuple[int, ...]:
    """(1, 28, 28) of "1x28x28"; ValueError unless all sizes are positive integers."""
    sizes = tuple(map(int, text.split("x")))
    if min(sizes) < 1:
        raise ValueError(f"{text} holds a size below 1")
    return sizes


def size(text: str) -> float:
    """Bytes of "128KiB", "10MiB", "4096" or "inf"; ValueError for another unit or a negative number."""
    lower = text.lower()
    unit = next((unit for unit in UNITS if lower.endswith(unit)), "")
    value = float(lower.removesuffix(unit)) * UNITS.get(unit, 1)
    if not value >= 0:
        raise ValueError(f"{text} must be a number of bytes, at least 0")
    return inf if value == inf else int(value)


def _open(args: argparse.Namespace, name: str) -> Subject:
    path = Path(name)
    if not path.exists() and path.suffix != ".msp" and len(path.parts) == 1:
        return _named(args, name)
    if name == args.model and (args.input is not None or args.classes is not None) and not args.against:
        raise ValueError(f"--input and --classes describe a model of the zoo; {path} has its own: leave them out")
    if args.density is not None and not args.against:
        raise ValueError(f"--density thins a model of the zoo; {path} has masks of its own: leave it out")
    if not path.is_file():
        return Subject(
            shapes.table(open_model(path)), None, "Masked weights are counted as CSR: 4 bytes an index, beside values."
        )
    compressed = CompressedModel.load(path)
    network = shapes.table(compressed.model())
    stored = compressed.bytes_by_tensor()
    left = compressed.file_bytes - sum(stored.values())
    if args.training:
        return Subject(network, None, "Training holds masked weights as CSR, not as the file does.")
    return Subject(network, stored, f"Weights are counted as the file's own bytes, without its {left} of header.")


def _named(args: argparse.Namespace, name: str) -> Subject:
    if name in imagenet.NETWORKS and args.input is None:
        network, how = imagenet.NETWORKS[name](), f"{name} is ImageNet's, 1,000 classes; weights are counted dense."
    else:
        model = build(name, args.input or INPUT, CLASSES if args.classes is None else args.classes)
        network, how = shapes.table(model), "Weights are counted dense, before any training."
    if args.density is not None:
        if not 0 < args.density <= 1:
            raise ValueError(f"density={args.density} must lie in (0, 1]")
        network, how = network.thinned(args.density), f"A share of {args.density:g} of the weights is kept over zero."
    return Subject(network, None, how)
