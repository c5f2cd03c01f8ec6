"""Where the bytes of a .msp file go: the rows add up to the file's size exactly.

  minisparse inspect model.msp
"""

from __future__ import annotations

import argparse

from minisparse.compressed import CompressedModel
from minisparse.report import Report

COLUMNS = ("name", "shape", "kept", "density", "codec", "mask_bytes", "value_bytes", "bytes", "bits_per_weight")
HELP = "where the bytes of a .msp file go"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="FILE", help="a .msp file")


def run(args: argparse.Namespace) -> Report:
    compressed = CompressedModel.load(args.model)
    rows = [{column: row[column] for column in COLUMNS} for row in compressed.ledger()]
    return Report(rows, compressed.summary())
