"""The main job in a minute: train, prune, write, read back, compare.

On the bundled digits, a dense network, a magnitude-pruned one and a DropBack one are trained from the same seeds;
each is written to a .msp file, read back, and checked to answer bit for bit as before. The table shows what each
costs, the figure shows test error against the bytes of the file.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from minisparse import cost, models
from minisparse.compressed import CompressedModel, compress
from minisparse.data import Dataset, load
from minisparse.methods import DropBack, Magnitude, Method
from minisparse.palette import BLACK, BLUE, MARKERS, ORANGE, pyplot
from minisparse.report import Report
from minisparse.run import TrainSettings
from minisparse.train import evaluate, fit

HELP = "train, prune, write, read back and compare, in a minute"

MODEL = "mnist-100-100"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default="demo-output", metavar="FOLDER", help="of its files (default demo-output)")
    parser.add_argument("--budget", type=int, default=1500, help="stored values of the pruned networks (default 1500)")
    parser.add_argument("--epochs", type=int, default=40, help="passes over the training split (default 40)")
    parser.add_argument("--seeds", type=int, default=3, help="runs a method, with seeds 0, 1, ... (default 3)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def run(args: argparse.Namespace) -> Report:
    if args.seeds < 1:
        raise ValueError(f"--seeds {args.seeds} must be >= 1")
    out = Path(args.out)
    methods = [Method(), Magnitude(budget=args.budget), DropBack(budget=args.budget)]
    runs = {m.name: [_one(m, seed, args, out) for seed in range(args.seeds)] for m in methods}
    dense_bytes = np.mean([one["file_bytes"] for one in runs["dense"]])
    rows = [_row(name, ones, dense_bytes) for name, ones in runs.items()]
    figure = out / "error-against-bytes.png"
    _draw(rows, figure)
    summary = {"figure": str(figure), "files": str(out / "*.msp"), "seeds": args.seeds, "round_trip": "bit-identical"}
    notes = [
        f"{MODEL} on the bundled digits, mean of {args.seeds} seeds; test_error in percent (400 test images: steps of "
        "0.25), spread is max - min.",
        "file_bytes, ratio and seconds are measured; dram_bytes and energy_uj of one inference are estimated "
        "(45 nm model).",
    ]
    return Report(rows, summary, notes)


def _one(method: Method, seed: int, args: argparse.Namespace, out: Path) -> dict[str, float]:
    """Train, write, read back, measure."""
    began = time.perf_counter()
    data = load("digits", seed=seed)
    model = models.build(MODEL, data.input_shape, data.classes, seed=seed)
    settings = TrainSettings(**{"epochs": args.epochs, "batch": 50, "seed": seed, **method.recipe})
    fit(model, data, method, settings, progress=not args.quiet)
    seconds = time.perf_counter() - began
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{method.name}-{seed}.msp"
    compress(model).save(path)
    compressed = CompressedModel.load(path)
    decoded = compressed.model()
    _require_same_answers(model, decoded, data, path)
    bill = cost.inference(decoded, compressed.bytes_by_tensor())
    return {
        "test_error": evaluate(decoded, data.test).error,
        "kept": decoded.kept,
        "density": decoded.kept / decoded.size,
        "file_bytes": path.stat().st_size,
        "dram_bytes": sum(layer["dram_bytes"] for layer in bill),
        "energy_uj": sum(layer["energy_uj"] for layer in bill),
        "seconds": seconds,
    }


def _require_same_answers(model, decoded, data: Dataset, path: Path) -> None:
    x = data.test.samples(slice(None))
    if model.predict(x).tobytes() != decoded.predict(x).tobytes():
        raise ValueError(f"{path} answers differently from the network that was written to it")


def _row(name: str, ones: list[dict[str, float]], dense_bytes: float) -> dict[str, Any]:
    mean = {key: float(np.mean([one[key] for one in ones])) for key in ones[0]}
    errors = [one["test_error"] for one in ones]
    return {
        "method": name,
        "test_error": mean["test_error"],
        "spread": max(errors) - min(errors),
        "kept": round(mean["kept"]),
        "density": mean["density"],
        "file_bytes": round(mean["file_bytes"]),
        "ratio": dense_bytes / mean["file_bytes"],
        "dram_bytes": round(mean["dram_bytes"]),
        "energy_uj": mean["energy_uj"],
        "seconds": mean["seconds"],
    }


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for row, colour, marker in zip(rows, (BLACK, ORANGE, BLUE), MARKERS[:3], strict=True):
        kib, error = row["file_bytes"] / 1024, row["test_error"]
        label = f"{row['method']}: {row['kept']:,} values, {kib:,.1f} KiB"
        hollow = {"marker": marker, "markersize": 10, "markerfacecolor": "none", "markeredgewidth": 2}
        axes.errorbar(kib, error, row["spread"] / 2, capsize=4, color=colour, linestyle="none", label=label, **hollow)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("size of the file (KiB)")
    axes.set_ylabel("test error (%), mean and spread over seeds")
    axes.set_title("The same network, stored three ways")
    axes.set_ylim(0, 1.6 * max(row["test_error"] for row in rows) + 0.5)
    axes.margins(x=0.2)
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="upper right")
    figure.savefig(path, dpi=130)
    plt.close(figure)
