"""Estimated off-chip traffic and energy of one inference, layer by layer (45 nm model, nothing is measured).

  minisparse cost lenet-300-100
  minisparse cost vgg16 --input 3x32x32
  minisparse cost model.msp
  minisparse cost RUN
"""

from __future__ import annotations

import argparse
from pathlib import Path

from minisparse.cli.common import open_model
from minisparse.compressed import CompressedModel
from minisparse.cost.traffic import ASSUMPTIONS, inference, total
from minisparse.model import Model
from minisparse.models import NAMES, build
from minisparse.report import Report

HELP = "estimated memory traffic and energy of one inference"
INPUT, CLASSES = (1, 28, 28), 10
COLUMNS = ("layer", "weights", "kept", "macs", "dram_bytes", "energy_uj", "regenerations")
SUMMARY = ("dram_bytes", "energy_uj", "dram_uj", "mac_uj", "regeneration_uj", "macs", "weights", "kept", "stored_bytes")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL|FILE|RUN", help=f"{', '.join(NAMES)}; a .msp file; or a run's folder")
    parser.add_argument("--input", type=shape, metavar="CxHxW", help="shape of a sample for a MODEL (default 1x28x28)")
    parser.add_argument("--classes", type=int, help=f"outputs of a MODEL (default {CLASSES})")


def run(args: argparse.Namespace) -> Report:
    model, stored_bytes, how = _open(args)
    rows = inference(model, stored_bytes)
    whole = total(rows)
    summary = {"model": model.name, "estimate": "45 nm model, one sample"}
    summary |= {key: whole[key] for key in SUMMARY}
    rows = [{key: row[key] for key in COLUMNS} for row in [*rows, {"layer": "total", **whole}]]
    return Report(rows, summary, [*ASSUMPTIONS, how])


def shape(text: str) -> tuple[int, ...]:
    """(1, 28, 28) of "1x28x28"; ValueError unless all sizes are positive integers."""
    sizes = tuple(map(int, text.split("x")))
    if min(sizes) < 1:
        raise ValueError(f"{text} holds a size below 1")
    return sizes


def _open(args: argparse.Namespace) -> tuple[Model, dict[str, int] | None, str]:
    """The model, the bytes a tensor that a file really uses, and a sentence on where they are from."""
    path = Path(args.model)
    if not path.exists() and path.suffix != ".msp" and len(path.parts) == 1:
        model = build(args.model, args.input or INPUT, CLASSES if args.classes is None else args.classes)
        return model, None, "Weights are counted dense, before any training."
    if args.input is not None or args.classes is not None:
        raise ValueError(f"--input and --classes describe a model of the zoo; {path} has its own: leave them out")
    if not path.is_file():
        return open_model(path), None, "Masked weights are counted as CSR: 4 bytes a value, 4 an index."
    compressed = CompressedModel.load(path)
    model = compressed.model()
    known = model.parameters.keys() | model.buffers.keys()
    stored = {row["name"]: row["bytes"] for row in compressed.ledger() if row["name"] in known}
    left = compressed.file_bytes - sum(stored.values())
    return model, stored, f"Weights are counted as the file's own bytes, without its {left} of header and checksum."
