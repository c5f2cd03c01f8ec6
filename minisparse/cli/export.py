"""Write the weights of a model, expanded, as a .safetensors file that a PyTorch module of the same shape loads.

minisparse export model.msp -o model.safetensors
"""

from __future__ import annotations

import argparse

from minisparse import exchange
from minisparse.cli.common import open_model
from minisparse.report import Report

HELP = "write a model's weights as safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="RUN|FILE", help="folder of a training run, or a .msp file")
    parser.add_argument("-o", "--out", metavar="FILE", required=True, help="the file to write: model.safetensors")


def run(args: argparse.Namespace) -> Report:
    model = open_model(args.model)
    size = exchange.save_safetensors(model, args.out)
    rows = [{"name": name, "shape": "x".join(map(str, a.shape))} for name, a in exchange.to_state(model).items()]
    return Report(rows, {"model": model.name, "file_bytes": size}, [f"Wrote {args.out}."])
