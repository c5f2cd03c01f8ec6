"""Where the bytes of a .msp file go: the rows add up to the file's size exactly.

  minisparse inspect model.msp
  minisparse inspect model.msp --why       what each encoding that was weighed would have taken
  minisparse inspect model.msp --stages    the same weights in Deep Compression's format, stage by stage

floor_bytes is the entropy of the gaps between kept entries and of the entries, each on its own; a coder that looks at
neighbours can go below it. Beside the file stand .npz, gzip -9 and xz -9e of the same weights.
"""

from __future__ import annotations

import argparse

from minisparse import ledger
from minisparse.compressed import CompressedModel
from minisparse.report import Report

COLUMNS = ("name", "shape", "kept", "density", "codec", "mask_bytes", "value_bytes", "bytes", "bits_per_weight")
HELP = "where the bytes of a .msp file go"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="FILE", help="a .msp file")
    rows = parser.add_mutually_exclusive_group()
    rows.add_argument("--why", action="store_true", help="a row for each encoding that was weighed")
    rows.add_argument("--stages", action="store_true", help="what pruning, sharing and Huffman coding each leave")
    parser.add_argument("--no-others", action="store_true", help="leave out .npz, gzip and xz, slow for large models")


def run(args: argparse.Namespace) -> Report:
    compressed = CompressedModel.load(args.model)
    model = compressed.model()
    floors = ledger.floors(model)
    rows = [
        {column: row[column] for column in COLUMNS} | {"floor_bytes": floors.get(row["name"])}
        for row in compressed.ledger()
    ]
    summary = compressed.summary() | {"floor_bytes": sum(floors.values())}
    if not args.no_others:
        summary |= ledger.others(model)
    if args.why or args.stages:
        rows = ledger.costs(model, compressed.version) if args.why else ledger.stages(model)
    return Report(rows, summary)
