"""Figures of what a network costs: estimates, and labelled so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minisparse.cost.energy import EnergyTable
from minisparse.cost.mbs import Serialisation
from minisparse.cost.program import KINDS
from minisparse.cost.traffic import total
from minisparse.palette import MARKERS as FEW
from minisparse.palette import PALETTE, label_plainly, pyplot

MARKERS = FEW + "<>phd8"
MOST = 24
"""Layers that have a bar of their own."""
PARTS = {"dram_uj": "DRAM", "sram_uj": "SRAM", "mac_uj": "multiply-adds", "regeneration_uj": "regeneration"}


def draw_cost(results: dict[str, list[dict[str, Any]]], table: EnergyTable, doing: str, path: Path) -> None:
    """Traffic of each layer of the first network by kind; energy of all networks by part."""
    plt = pyplot()
    rows = _merged(next(iter(results.values())))
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(12, max(4.2, 0.24 * len(rows) + 1.6)), layout="constrained", width_ratios=(3, 2)
    )
    labels, start = [row["layer"] for row in rows], [0.0] * len(rows)
    for kind, colour in zip(KINDS, PALETTE, strict=False):
        values = [row[f"{kind}_bytes"] / 2**20 for row in rows]
        if any(values):
            left.barh(labels, values, left=start, color=colour, label=kind)
            start = [a + b for a, b in zip(start, values, strict=True)]
    floor = [row["compulsory_bytes"] / 2**20 for row in rows]
    left.plot(floor, labels, "k|", markersize=9, label="compulsory")
    left.invert_yaxis()
    left.set(xlabel="bytes to and from DRAM (MiB)")
    left.set_title(f"{next(iter(results))}: traffic of one {doing}", fontsize=10)
    left.legend(fontsize=8)
    _energy(right, results, table)
    for axes in (left, right):
        axes.grid(alpha=0.3, axis="x" if axes is left else "y")
        axes.set_axisbelow(True)
    figure.suptitle("estimated by a model of a scratchpad accelerator, not measured", fontsize=9, color="grey")
    _save(figure, path)


def _energy(axes, results: dict[str, list[dict[str, Any]]], table: EnergyTable) -> None:
    names, start = list(results), [0.0] * len(results)
    for (key, label), colour in zip(PARTS.items(), PALETTE, strict=False):
        values = [total(rows)[key] for rows in results.values()]
        if any(values):
            axes.bar(names, values, 0.5, bottom=start, color=colour, label=label)
            start = [a + b for a, b in zip(start, values, strict=True)]
    for i, value in enumerate(start):
        axes.annotate(
            f"{value:,.0f} µJ" if value >= 1000 else f"{value:.4g} µJ", (i, value), ha="center", va="bottom", fontsize=8
        )
    axes.margins(x=0.3, y=0.1)
    axes.set(ylabel="energy (µJ)")
    assumed = f"DRAM {table.dram_pj:g}, SRAM {table.sram_pj:g} pJ a 32-bit word; multiply-add {table.mac_pj:.2g} pJ;"
    axes.set_title(f"{assumed}\nregeneration {table.regeneration_pj:.3g} pJ; nothing else is counted", fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.legend(fontsize=8)


def _merged(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that move anything; where there are many, those of one outermost layer together, then the smallest."""
    rows = [row for row in rows if row["dram_bytes"]]
    if len(rows) > MOST:
        blocks: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            blocks.setdefault(row["layer"].partition(".")[0], []).append(row)
        rows = [{**total(its), "layer": name} for name, its in blocks.items()]
    if len(rows) > MOST:
        least = sorted(rows, key=lambda row: row["dram_bytes"])[: len(rows) - MOST + 1]
        rows = [row for row in rows if row not in least] + [{**total(least), "layer": f"{len(least)} smaller ones"}]
    return rows


def draw_serialisation(kept: Serialisation, apart: Serialisation, path: Path) -> None:
    """A step's traffic of each way of grouping, beside both baselines."""
    plt = pyplot()
    ways = {
        "layer by layer": kept.baseline(),
        "layer by layer,\nfused ReLU": kept.baseline(fused=True),
        "one group": kept.serialised().dram_bytes,
        "branches apart": apart.optimal().dram_bytes,
        "initial groups": kept.initial().dram_bytes,
        "greedy": kept.greedy().dram_bytes,
        "exact": kept.optimal().dram_bytes,
    }
    figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
    colours = [PALETTE[1]] * 2 + [PALETTE[0]] * 5
    axes.bar(list(ways), [value / 2**30 for value in ways.values()], 0.6, color=colours)
    for i, value in enumerate(ways.values()):
        axes.annotate(
            f"{1 - value / kept.baseline():.1%} less", (i, value / 2**30), ha="center", va="bottom", fontsize=8
        )
    axes.set(ylabel="bytes to and from DRAM a step (GiB)")
    size = f"{kept.buffer / 2**20:g} MiB, {kept.batch} samples, {kept.bits} bit"
    axes.set_title(f"{kept.network.name}: mini-batch serialisation, {size} (estimated)", fontsize=10)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(alpha=0.3, axis="y")
    axes.set_axisbelow(True)
    _save(figure, path)


def draw_zoo(rows: list[dict[str, Any]], path: Path) -> None:
    """A panel a network: error against a training step's traffic, coloured by the energy of an inference."""
    from matplotlib.colors import LogNorm

    plt = pyplot()
    networks = list(dict.fromkeys(row["network"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    columns = min(3, len(networks))
    lines = -(-len(networks) // columns)
    size = (4.6 * columns + 2.2, 3.6 * lines + 0.9)
    figure, axes = plt.subplots(lines, columns, figsize=size, layout="constrained", squeeze=False)
    energies = [row["inference_uj"] for row in rows]
    norm = LogNorm(min(energies), max(energies) * 1.001)
    for place, name in zip(axes.flat, networks, strict=False):
        its = [row for row in rows if row["network"] == name]
        for row in its:
            marker = MARKERS[methods.index(row["method"]) % len(MARKERS)]
            place.scatter(row["training_bytes"] / 1024, row["test_error"], 60, [row["inference_uj"]], marker=marker,
                          cmap="viridis", norm=norm, edgecolors="black", linewidths=0.6)  # fmt: skip
        place.set(xscale="log", yscale="log", xlabel="DRAM traffic a sample of a training step (KiB)")
        place.set_ylabel("test error (%)")
        for axis, key in ((place.xaxis, "training_bytes"), (place.yaxis, "test_error")):
            _widen(axis, [row[key] for row in its])
            label_plainly(axis)
        place.tick_params(which="both", labelsize=7)
        place.set_title(name, fontsize=10)
        place.grid(alpha=0.3)
    for place in axes.flat[len(networks) :]:
        place.axis("off")
    handles = [
        plt.Line2D([], [], color="grey", marker=MARKERS[i % len(MARKERS)], linestyle="", label=method)
        for i, method in enumerate(methods)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(7, len(methods)), fontsize=8, frameon=False)
    colours = plt.cm.ScalarMappable(norm, "viridis")
    figure.colorbar(colours, ax=axes, label="energy of one inference (µJ)", shrink=0.8)
    figure.suptitle("errors measured; traffic and energy estimated (45 nm model)", fontsize=9, color="grey")
    _save(figure, path)


def _widen(axis, values: list[float]) -> None:
    """At least a factor of 4 on a logarithmic axis, so that ticks have room where all values are close."""
    low, high = axis.get_view_interval()
    spare = 2 / max(1, (max(values) / min(values)) ** 0.5)
    if spare > 1:
        axis.set_view_interval(low / spare, high * spare, ignore=True)


def _save(figure, path: Path) -> None:
    figure.savefig(path, dpi=130)
    pyplot().close(figure)
