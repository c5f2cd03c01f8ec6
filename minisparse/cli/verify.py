"""Check a file, or the checkpoint of a training run, in every way there is; exit with 0 if it is as it should be.

  minisparse verify model.msp

Checksums and digest are right, the model can be built, and the file is the one encoding of that model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from minisparse.checkpoint import RunFolder
from minisparse.compressed import MAX_VALUES, verify
from minisparse.report import Report

HELP = "check a .msp file in every way"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE|RUN", nargs="+", help="a .msp file, or the folder of a training run")
    help = f"refuse a file that describes more parameters (default {MAX_VALUES:,})"
    parser.add_argument("--max-values", metavar="INT", type=int, default=MAX_VALUES, help=help)


def run(args: argparse.Namespace) -> Report:
    rows = []
    for path in map(Path, args.files):
        if path.is_dir():
            model, size = RunFolder(path).model(), RunFolder(path).checkpoint.stat().st_size
        else:
            compressed = verify(path, args.max_values)
            model, size = compressed.model(), compressed.file_bytes
        rows.append({"file": str(path), "model": model.name, "kept": model.kept, "file_bytes": size})
    return Report(rows, {"verified": len(rows)})
