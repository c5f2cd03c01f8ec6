"""Every recorded reproduction by what it costs: test error, a training step's traffic, an inference's energy.

Errors are measured; traffic and energy are the model of `minisparse.cost`. Runs are recorded with the number of weights
that they keep, not with which ones: each weight is thinned alike. A method whose weights are thin from the first step
trains thin; the others are counted dense, as their first step is. An inference reads the file that was written, where
its length was recorded, else CSR.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

from minisparse import models
from minisparse.cost import shapes
from minisparse.cost.energy import EnergyTable
from minisparse.cost.traffic import inference, total, training
from minisparse.data import DATASETS
from minisparse.methods import Method
from minisparse.methods.at_start import AtStart
from minisparse.report import Report
from minisparse.reproduce import results
from minisparse.reproduce.rows import Recipe

NOTES = (
    "test_error: measured, mean over seeds, in percent. training_bytes: estimated DRAM traffic of one training step on "
    "the run's batch, per sample. inference_uj: estimated energy (45 nm) of one sample.",
    "Each weight is counted as thinned to the network's density. Methods that thin at the first step train thin; the "
    "others are counted dense, as their first step is. Weights are read in the file's bytes where these were recorded.",
)


def lines(place: Path, buffer: float) -> list[dict[str, Any]]:
    """One line a recorded row, by network and error."""
    found = []
    for path in sorted(place.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("runs"):
            found.append(line(content, buffer))
    return sorted(found, key=lambda row: (row["network"], row["test_error"]))


def line(content: dict[str, Any], buffer: float) -> dict[str, Any]:
    """Error, traffic and energy of one row's runs."""
    recipe, runs = Recipe.from_config(content["recipe"]), content["runs"]
    method, source = Method.from_config(recipe.method), DATASETS[recipe.data]
    model = models.build(content["key"].split("/")[1], source.input_shape, source.classes, width=recipe.width)
    dense, density = shapes.table(model), fmean(run["kept"] / run["size"] for run in runs)
    thin = dense if density == 1 else dense.thinned(density, regenerated=method.regenerates)
    trained = thin if isinstance(method, AtStart) or method.regenerates else dense
    slots = 2 if recipe.training.optimizer == "adam" else int(recipe.training.momentum > 0)
    batch = recipe.training.batch
    step = total(training(trained, buffer=buffer, batch=batch, slots=slots))
    once = total(inference(thin, buffer=buffer))
    energy = once["energy_uj"]
    files = [run["file_bytes"] for run in runs if "file_bytes" in run]
    if files:
        # the weights' share of the traffic is the file
        read = once["dram_bytes"] - once["weights_bytes"] + fmean(files)
        energy += EnergyTable().energy(read, 0, 0, 0)["dram_uj"] - once["dram_uj"]
    return {
        "row": content["key"],
        "network": content["key"].split("/")[1] + ("" if recipe.width == 1 else f" x {recipe.width:g}"),
        "method": recipe.method["name"],
        "test_error": fmean(run["test_error"] for run in runs),
        "density": density,
        "training_bytes": step["dram_bytes"] / batch,
        "inference_uj": energy,
        "file_bytes": round(fmean(files)) if files else None,
    }


def report(buffer: float, figure: Path | None = None, place: Path | None = None) -> Report:
    """All lines as a table, and as a figure.

    Raises
    ------
    ValueError : nothing is recorded.
    """
    rows = lines(place or results.folder(), buffer)
    if not rows:
        raise ValueError("docs/results holds no runs yet: `minisparse reproduce KEY --record` adds some")
    if figure:
        from minisparse.bench.cost_figures import draw_zoo  # matplotlib takes a second

        draw_zoo(rows, figure)
    return Report(rows, {"rows": len(rows)}, list(NOTES))
