"""The error of a model on a data set.

  minisparse evaluate model.msp --data mnist
  minisparse evaluate RUN --data mnist --split validation
"""

from __future__ import annotations

import argparse

from minisparse.cli.common import add_data, open_model
from minisparse.data import load
from minisparse.report import Report
from minisparse.train import evaluate

HELP = "the error of a model on a data set"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="RUN|FILE", help="folder of a training run, or a .msp file")
    add_data(parser)
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"), help="default test")


def run(args: argparse.Namespace) -> Report:
    model = open_model(args.model)
    split = getattr(load(args.data, args.folder, seed=model.seed), args.split)
    result = evaluate(model, split)
    row = {"model": model.name, "split": args.split, "samples": len(split), "error": result.error, "loss": result.loss}
    summary = {f"{args.split}_error": result.error, "kept": model.kept, "density": model.kept / model.size}
    return Report([row], summary, ["Errors in percent."])
