"""Figures of measured rows; they say nothing that the rows do not."""

from pathlib import Path
from statistics import geometric_mean
from typing import Any

import numpy as np

from minisparse.palette import MARKERS, PALETTE, pyplot

SUFFIXES = (".png", ".pdf", ".svg")
ROOFLINES = {"spmm": ("ours",), "conv": ("dense",)}
"""Benchmarks with a roofline, and the contestants that do all the work of a row's `flops`."""
REPEATED = {"train": "torch_dense"}
"""Benchmarks with a column that repeats the faster of two others, which is not drawn."""
SHOWN = {"O": 512, "I": 512, "N": 128}
"""The product whose time against density is drawn, if it was measured."""


def draw(name: str, found: dict[str, Any], path: Path) -> None:
    """The result of one benchmark as a figure, from the rows with the most threads."""
    plt = pyplot()
    steps = [row for row in found["rows"] if "peak_mb" in row]
    rows = [row for row in found["rows"] if "threads" in row]
    rows = [row for row in rows if row["threads"] == max(row["threads"] for row in rows)]
    growing = [row for row in found["rows"] if "growing" in row]
    panels = 2 if name in ROOFLINES or steps or growing else 1
    figure, axes = plt.subplots(1, panels, figsize=(6.4 * panels, 4.4), layout="constrained", squeeze=False)
    if name == "spmm":
        _against_density(axes[0, 0], rows)
    else:
        _bars(axes[0, 0], rows, [c for c in contestants_of(rows) if c != REPEATED.get(name)])
    if name in ROOFLINES:
        _roofline(axes[0, 1], rows, ROOFLINES[name], found["machine"])
    if steps:
        _memory(axes[0, 1], steps)
    if growing:
        _growth(axes[0, 1], growing)
    machine = found["machine"]
    figure.suptitle(f"{name}, {rows[0]['threads']} thread(s), {machine['processor']}", fontsize=10)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def contestants_of(rows: list[dict[str, Any]]) -> list[str]:
    """Names in the columns of seconds."""
    return list(dict.fromkeys(key[:-2] for row in rows for key in row if key.endswith("_s")))


def _against_density(axes, rows) -> None:
    """Time of a product against density, and the density at which it crosses the fastest dense one."""
    chosen = [row for row in rows if all(row[key] == size for key, size in SHOWN.items())]
    chosen = chosen or [row for row in rows if all(row[key] == rows[-1][key] for key in SHOWN)]
    chosen = sorted(chosen, key=lambda row: row["density"])
    densities = [row["density"] for row in chosen]
    for i, name in enumerate(n for n in contestants_of(chosen) if n not in ("transposed", "sampled")):
        times = [1e6 * row[f"{name}_s"] for row in chosen]
        style = "--" if name.endswith("dense") else "-"
        axes.plot(densities, times, style, color=PALETTE[i], marker=MARKERS[i], markersize=5, label=name)
    ours = np.array([row["ours_s"] for row in chosen])
    dense = np.array([min(row[f"{n}_s"] for n in contestants_of(chosen) if n.endswith("dense")) for row in chosen])
    if (where := crossing(densities, ours, dense)) is not None:
        axes.axvline(where, color="grey", linewidth=1, linestyle=":", label=f"break-even at {where:.2g}")
    axes.set(xscale="log", yscale="log", xlabel="density of W", ylabel="time of W x (µs)")
    axes.set_title("W ({O}, {I}) sparse, x ({I}, {N})".format(**chosen[0]), fontsize=10)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)


def crossing(densities: list[float], ours: np.ndarray, dense: np.ndarray) -> float | None:
    """Density at which our time meets the dense one, on a straight line between measured logarithms; or None."""
    gap = np.log(ours) - np.log(dense)
    for i in range(len(gap) - 1):
        if gap[i] <= 0 < gap[i + 1]:
            low, high = np.log(densities[i]), np.log(densities[i + 1])
            return float(np.exp(low + (high - low) * -gap[i] / (gap[i + 1] - gap[i])))
    return None


def _bars(axes, rows, names: list[str]) -> None:
    """A group of bars a row, one a contestant of these names."""
    labels = [row["case"] for row in rows]
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        times = [1e3 * (row.get(f"{name}_s") or np.nan) for row in rows]
        axes.bar(np.arange(len(rows)) + (i - (len(names) - 1) / 2) * width, times, width, color=PALETTE[i], label=name)
    axes.set(yscale="log", ylabel="time (ms)")
    turned = {"rotation": 45, "ha": "right"} if len(rows) > 4 else {}
    axes.set_xticks(range(len(rows)), labels, fontsize=7, **turned)
    axes.grid(alpha=0.3, axis="y")
    axes.set_axisbelow(True)
    axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(len(names), 5), frameon=False)


def _memory(axes, steps) -> None:
    """Peak memory of training steps against the number of weights, beside that of the weights alone."""
    weights = np.array([row["weights"] for row in steps])
    peaks = [row["peak_mb"] for row in steps]
    axes.plot(weights, peaks, MARKERS[0] + "-", color=PALETTE[0], label="peak of the whole process")
    axes.plot(weights, 8e-6 * weights, "--", color=PALETTE[1], label="weights and their gradient, held dense")
    axes.set(xscale="log", yscale="log", xlabel="weights", ylabel="memory (10$^6$ bytes)")
    axes.set_title("DropBack, {:,} values stored".format(steps[-1]["stored"]), fontsize=10)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)


def _growth(axes, rows) -> None:
    """Time of a step against its multiply-adds; a straight line of slope 1 is linear growth."""
    lines: dict[str, list] = {}
    for row in rows:
        network = "resnet" if row["growing"] == "depth" else row["model"]
        lines.setdefault(f"{network}, {row['growing']}", []).append(row)
    for i, (label, chosen) in enumerate(lines.items()):
        macs, times = [row["macs"] for row in chosen], [1e3 * row["step_s"] for row in chosen]
        axes.plot(macs, times, MARKERS[i] + "-", color=PALETTE[i], markersize=5, label=label)
        axes.plot(macs, [times[-1] * m / macs[-1] for m in macs], ":", color=PALETTE[i], linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="multiply-adds of a forward pass", ylabel="time of a step (ms)")
    axes.set_title("What grows, our dense steps; dotted: in proportion to the largest", fontsize=10)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)


def _roofline(axes, rows, names, machine) -> None:
    """Arithmetic done a second against arithmetic a byte, under what was measured of this machine."""
    peak, copy = machine["dense_gflops"], machine["copy_gbytes_per_s"]
    intensity = np.array([row["flops"] / row["bytes"] for row in rows])
    for i, name in enumerate(names):
        speed = [row["flops"] / row[f"{name}_s"] / 1e9 for row in rows]
        mean = geometric_mean(speed)
        label = f"{name}, mean {mean:,.0f} GFLOP/s"
        axes.plot(intensity, speed, MARKERS[i], color=PALETTE[i], markersize=5, markerfacecolor="none", label=label)
    across = np.geomspace(intensity.min() / 2, max(intensity.max() * 2, 2 * peak / copy), 100)
    label = f"measured: dense product {peak:,.0f} GFLOP/s, copying {copy:,.0f} GB/s"
    axes.plot(across, np.minimum(peak, copy * across), color="black", linewidth=1.5, label=label)
    axes.set(xscale="log", yscale="log", xlabel="arithmetic a byte of operands (FLOP/byte)", ylabel="GFLOP/s")
    axes.set_title("Roofline; small operands stay in cache, above the slope", fontsize=10)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8, loc="lower right")
