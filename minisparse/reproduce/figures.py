"""Figures of committed results, drawn beside docs/REPRODUCTIONS.md."""

from __future__ import annotations

from pathlib import Path
from string import ascii_lowercase

import numpy as np

from minisparse.palette import BLACK, GREY, MARKERS, METHODS, PALETTE, label_plainly, pyplot
from minisparse.reproduce import bits
from minisparse.reproduce.report import Outcome, Runs
from minisparse.reproduce.rows import Row

NETWORKS = {"lenet-300-100": 266_610, "lenet-5-caffe": 431_080}
"""Networks whose errors are drawn against bytes -> their values."""
WORST = 8
"""Percent, above which no point is drawn."""
DIFFUSION = {
    "8 epochs in batches of 100": "short",
    "30 epochs in batches of 50": "plain",
}
"""Trainings in which movement is compared -> how their rows' keys end; none of them shifts images."""
MOVING = {
    "dense/lenet-300-100/266610": "dense, 266,610 values",
    "dropback/lenet-300-100/50000": "DropBack, 50,000",
    "dropback/lenet-300-100/20000": "DropBack, 20,000",
}
"""How these keys begin -> their labels; the others are compared with the first."""


def draw(rows: tuple[Row, ...], runs: Runs, folder: Path) -> None:
    """Write every figure whose rows have run into `folder`."""
    plt = pyplot()
    drawings = {"diffusion": weight_diffusion, "bytes": error_against_bytes, "bits": error_against_bits}
    for name, drawing in drawings.items():
        figure = drawing(plt, rows, runs)
        if figure:
            # no date and no version: equal figures are equal bytes
            figure.savefig(folder / f"{name}.png", dpi=120, metadata={"Software": None})
            plt.close(figure)


def weight_diffusion(plt, rows: tuple[Row, ...], runs: Runs):
    """|w - w(0)| over the epochs, and its ratio to the dense network's, a line of panels a training."""
    found = {what: [_distances(runs.get(f"{key}/{end}", [])) for key in MOVING] for what, end in DIFFUSION.items()}
    if any(of_network.size == 0 for distances in found.values() for of_network in distances):
        return None
    figure, panels = plt.subplots(len(found), 2, figsize=(9.6, 3.5 * len(found)), layout="constrained")
    for (left, right), (what, distances) in zip(panels, found.items(), strict=True):
        _diffusion(left, right, distances)
        left.set(ylabel="|w - w(0)|", title=f"lenet-300-100 on MNIST, {what}")
        right.set(ylabel="the same, over the dense network's", title="seed by seed")
    figure.suptitle("Weight diffusion, mean and range over seeds")
    return figure


def _diffusion(left, right, distances: list[np.ndarray]) -> None:
    """Of one training, (seeds, epochs) for each of MOVING."""
    seeds, labels = min(map(len, distances)), [*MOVING.values()]
    for i, (of_network, label) in enumerate(zip(distances, labels, strict=True)):
        _band(left, of_network, PALETTE[i], MARKERS[i], label)
        if i:
            _band(right, of_network[:seeds] / distances[0][:seeds], PALETTE[i], MARKERS[i], label)
    right.axhspan(0.97, 1.03, color="grey", alpha=0.15, linewidth=0, label="within 3 %")
    for axes in (left, right):
        axes.set_xlabel("epochs")
        axes.legend(fontsize=8)


def _distances(ran: list[dict]) -> np.ndarray:
    """(seeds, epochs)"""
    return np.array([run["distances"] for run in ran if "distances" in run])


def _band(axes, lines: np.ndarray, colour: str, marker: str, label: str) -> None:
    epochs = np.arange(1, lines.shape[1] + 1)
    axes.plot(epochs, lines.mean(axis=0), marker + "-", color=colour, markersize=4, label=label)
    axes.fill_between(epochs, lines.min(axis=0), lines.max(axis=0), color=colour, alpha=0.2, linewidth=0)


def error_against_bytes(plt, rows: tuple[Row, ...], runs: Runs):
    """Test error against the bytes of the file, a panel a network; papers' figures as letters."""
    panels = {network: _weighed(network, rows, runs) for network in NETWORKS}
    if not all(panels.values()):
        return None
    figure, places = plt.subplots(1, len(NETWORKS), figsize=(12, 6.4), layout="constrained")
    for axes, (network, points) in zip(places, panels.items(), strict=True):
        for method, its in points.items():
            kib, error = zip(*sorted(its), strict=True)
            axes.plot(kib, error, _marker(method), color=_colour(method), markersize=6, label=method)
        _published(axes, [row for row in rows if row.network == network], 4 * NETWORKS[network])
        axes.set(xscale="log", yscale="log", xlabel="size of the file (KiB)", title=f"{network} on MNIST")
        axes.set_ylabel(f"test error (%), mean over seeds; up to {WORST} %")
        axes.margins(x=0.1)
        axes.set_ylim(top=min(axes.get_ylim()[1], WORST))
        for axis in (axes.xaxis, axes.yaxis):
            label_plainly(axis)
        axes.tick_params(which="both", labelsize=7)
        axes.legend(fontsize=7, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.06), frameon=False)
    return figure


def _weighed(network: str, rows: tuple[Row, ...], runs: Runs) -> dict[str, list[tuple[float, float]]]:
    """Method -> (KiB, error) of each of its rows whose files' lengths are known; those of bits.py have their own."""
    points: dict[str, list[tuple[float, float]]] = {}
    for outcome in (Outcome(row, runs) for row in rows if row.network == network and row not in bits.ROWS):
        if outcome.measured_bytes is not None:
            points.setdefault(_method(outcome.row), []).append((outcome.measured_bytes / 1024, outcome.mean))
    return points


def _published(axes, rows: list[Row], dense_bytes: int) -> None:
    """Figures of papers that state how many times smaller their networks are stored, as letters."""
    stated = {_method(row): row.paper for row in rows if row.paper and row.paper.ratio}
    for letter, (method, paper) in zip(ascii_lowercase, stated.items(), strict=False):
        kib, error = dense_bytes / paper.ratio / 1024, paper.error
        look = {"marker": f"${letter}$", "color": _colour(method), "markersize": 7, "linestyle": "none"}
        axes.plot(kib, error, label=f"{method}, published", **look)


def _method(row: Row) -> str:
    return row.key.partition("/")[0].replace("_", "-")


def _colour(method: str) -> str:
    return METHODS.get(method, GREY)


def _marker(method: str) -> str:
    return MARKERS[[*METHODS].index(method) % len(MARKERS)] if method in METHODS else "."


def error_against_bits(plt, rows: tuple[Row, ...], runs: Runs):
    """Test error of lenet-5-caffe against the bits of its weights, and of its weights and activations."""
    outcomes = {row.key: Outcome(row, runs).mean for row in rows}
    if any(outcomes.get(row.key) is None for row in bits.ROWS):
        return None
    figure, panels = plt.subplots(1, 2, figsize=(9.6, 4), layout="constrained", sharey=True)
    for activations, axes, title in zip((False, True), panels, ("weights", "weights and activations"), strict=True):
        for i, (method, its) in enumerate(bits.BITS.items()):
            errors = [outcomes[bits.key(method, width, activations)] for width in its]
            axes.plot(its, errors, MARKERS[i] + "-", color=PALETTE[i], markersize=6, label=method)
        axes.axhline(outcomes[bits.DENSE.key], color=BLACK, linestyle="--", linewidth=1, label="neither, float32")
        axes.set(yscale="log", xlabel="bits", title=title)
        label_plainly(axes.yaxis)
        axes.invert_xaxis()
    panels[0].set_ylabel("test error (%)")
    panels[0].legend(fontsize=8)
    figure.suptitle("lenet-5-caffe on MNIST, quantised from 30 % of its training on")
    return figure
