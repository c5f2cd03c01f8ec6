"""Our kernels against other libraries, side by side on this machine, checked before they are timed.

  minisparse bench spmm
  minisparse bench conv --figure conv.png
  minisparse bench huffman --json

  spmm     sparse products: SciPy, MKL, PyTorch, and dense ones
  conv     convolutions with both gradients: PyTorch
  regen    products that regenerate their weights: NumPy's dense ones; memory of a billion weights
  topk     selection of the largest of 10 million: NumPy, PyTorch
  quant    fake quantisation: PyTorch, and the speed of copying
  huffman  entropy coding: zlib, zstandard, constriction, dahuffman
  train    training steps of whole networks, dense and sparse: PyTorch

Peers that are not installed are named and left out; `make peers` installs them. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from minisparse.bench import BENCHES
from minisparse.bench.figures import SUFFIXES, draw
from minisparse.bench.process import run_in_child
from minisparse.report import Report

HELP = "our kernels against other libraries, on this machine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", choices=BENCHES, help=", ".join(BENCHES))
    parser.add_argument("--quick", action="store_true", help="a few small cases: shows that it works, measures nothing")
    parser.add_argument("--threads", type=int, nargs="+", help="numbers of threads (default 1 and all cores)")
    parser.add_argument("--model", nargs="+", help="of train: these networks alone")
    parser.add_argument("--density", type=float, nargs="+", help="of train: these densities alone")
    parser.add_argument("--figure", metavar="FILE", help=f"draw the result ({', '.join(SUFFIXES)})")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> Report:
    if args.figure:
        _check_figure(Path(args.figure))
    only = {label: values for label in ("model", "density") if (values := getattr(args, label))}
    found = run_in_child(args.name, args.quick, args.threads, not args.quiet, only)
    if args.figure:
        draw(args.name, found, Path(args.figure))
    machine = ", ".join(f"{key} {_short(value)}" for key, value in found["machine"].items())
    extra = {key: found[key] for key in ("machine", "missing", "notes")}
    notes = [*found["notes"], f"Machine: {machine}."]
    return Report(found["rows"], found["summary"], notes, {"benchmark": args.name, **extra})


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(item)}" for key, item in value.items()).join("()")
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _check_figure(path: Path) -> None:
    """ValueError for a place that a figure cannot be written to, before minutes of measuring."""
    if path.suffix not in SUFFIXES:
        raise ValueError(f"--figure {path} must end in {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise ValueError(f"--figure {path}: there is no folder {path.parent}")
