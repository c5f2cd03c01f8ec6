"""Write the model of a training run as a .msp file.

  minisparse compress RUN -o model.msp
"""

from __future__ import annotations

import argparse

from minisparse.cli.common import open_model
from minisparse.compressed import compress
from minisparse.report import Report

HELP = "write a model as a small file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="RUN|FILE", help="folder of a training run, or another .msp file")
    parser.add_argument("-o", "--out", metavar="FILE", required=True, help="the file to write, such as model.msp")


def run(args: argparse.Namespace) -> Report:
    model = open_model(args.model)
    compressed = compress(model)
    compressed.save(args.out)
    summary = compressed.summary()
    return Report([{"model": model.name, **summary}], summary, [f"Wrote {args.out}."])
