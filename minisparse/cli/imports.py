"""Make a .msp file of the weights in a .safetensors file.

  minisparse import model.safetensors -o model.msp
  minisparse import weights.safetensors --like other.msp --sparse -o model.msp

A file from `minisparse export` says what network it holds; for others name a model like it. Names are PyTorch's.
"""

from __future__ import annotations

import argparse

from minisparse import exchange
from minisparse.cli.common import open_model
from minisparse.compressed import compress
from minisparse.report import Report

HELP = "make a model of the weights in a safetensors file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("weights", metavar="FILE", help="a .safetensors file")
    parser.add_argument("-o", "--out", metavar="FILE", required=True, help="the file to write, such as model.msp")
    parser.add_argument("--like", metavar="RUN|FILE", help="a run or a .msp file of the same architecture")
    parser.add_argument("--sparse", action="store_true", help="entries that are +0 are pruned")


def run(args: argparse.Namespace) -> Report:
    like = open_model(args.like) if args.like else None
    model = exchange.load_safetensors(args.weights, like, args.sparse)
    compressed = compress(model)
    compressed.save(args.out)
    summary = compressed.summary()
    return Report([{"model": model.name, **summary}], summary, [f"Wrote {args.out}."])
