"""One benchmark from its grid to its result, in this process."""

from typing import Any

from tqdm import tqdm

from minisparse.bench import machine
from minisparse.bench.base import Benchmark
from minisparse.bench.harness import SAMPLE_S, SETTLE_S, measure
from minisparse.bench.peers import Peers

QUICK_S = 0.01
"""Seconds to time one row of a quick run."""


def run(
    kind: type[Benchmark],
    quick: bool = False,
    threads: list[int] | None = None,
    progress: bool = True,
    only: dict[str, list] | None = None,
) -> dict[str, Any]:
    """{"rows", "summary", "notes", "machine", "missing"} of one benchmark.

    Parameters
    ----------
    threads : numbers of threads to measure with, 1 and all cores by default (1 in a quick run); the summary is of
        the last one, and holds the others' under keys that end in "_on_1_thread" and so on
    only : {label: values}, the rows of the grid that are measured; then nothing beside the grid is

    Raises
    ------
    ValueError : there is no such row.
    """
    peers = Peers(kind.peer_names)
    benchmark = kind(peers, quick)
    threads = _threads(benchmark, threads)
    rows, grid = [], _chosen(benchmark.grid(), only or {})
    for labels in tqdm(grid, desc=f"bench {kind.__name__.lower()}", disable=not progress, unit="row"):
        rows += _measured(benchmark, labels, threads)
    by_threads = {count: benchmark.summary([row for row in rows if row["threads"] == count]) for count in threads}
    summary = by_threads[threads[-1]]
    if not only:
        rows += benchmark.further_rows()
        summary |= benchmark.closing(rows)
    for count in threads[:-1]:
        summary |= {f"{key}_on_{count}_thread{'s' * (count > 1)}": value for key, value in by_threads[count].items()}
    notes = [*benchmark.notes, *_remarks(benchmark, threads)]
    return {
        "rows": rows,
        "summary": summary,
        "notes": notes,
        "machine": machine.describe(peers) | _ceilings(peers, threads, quick),
        "missing": peers.missing,
    }


def _measured(benchmark: Benchmark, labels: dict[str, Any], threads: list[int]) -> list[dict[str, Any]]:
    """A row a number of threads."""
    rows = []
    for count in threads:
        benchmark.count = count
        with machine.pinned(count, benchmark.peers):
            contestants, facts = benchmark.contestants(**labels)
            budget = QUICK_S if benchmark.quick else benchmark.budget_s
            settle = SETTLE_S if count > 1 and not benchmark.quick else 0.0
            try:
                seconds = measure(contestants, budget, settle, SAMPLE_S if benchmark.quick else benchmark.sample_s)
            finally:
                for contestant in contestants.values():
                    contestant.close()
        times = {f"{name}_s": value for name, value in seconds.items()}
        row = {"case": benchmark.case(labels), "threads": count, **labels, **times, **facts, "checked": True}
        rows.append(row | benchmark.conclusions(row))
    return rows


def _chosen(grid: list[dict[str, Any]], only: dict[str, list]) -> list[dict[str, Any]]:
    for label, values in only.items():
        there = list(dict.fromkeys(labels.get(label) for labels in grid))
        if missing := [value for value in values if value not in there]:
            raise ValueError(f"--{label} {missing[0]} is not measured here: use one of {there}")
    return [labels for labels in grid if all(labels[label] in values for label, values in only.items())]


def _threads(benchmark: Benchmark, wanted: list[int] | None) -> list[int]:
    if not benchmark.threaded:
        if wanted not in (None, [1]):
            raise ValueError(f"--threads {wanted}: this benchmark runs on one thread; leave it out")
        return [1]
    if wanted is not None and (min(wanted) < 1 or sorted(set(wanted)) != wanted):
        raise ValueError(f"--threads {wanted} must be increasing numbers >= 1")
    if "threadpoolctl" in benchmark.peers.missing:
        if wanted is not None:
            raise ValueError("--threads needs the package threadpoolctl: install it, or leave --threads out")
        return [machine.cores()]
    return wanted or sorted({1, 1 if benchmark.quick else machine.cores()})


def _ceilings(peers: Peers, threads: list[int], quick: bool) -> dict[str, float]:
    """Measured limits of the machine, on the most threads."""
    with machine.pinned(threads[-1], peers):
        bandwidth = machine.copy_bandwidth(1 << 24 if quick else 1 << 28)
        return {"dense_gflops": machine.peak_flops() / 1e9, "copy_gbytes_per_s": bandwidth / 1e9}


def _remarks(benchmark: Benchmark, threads: list[int]) -> list[str]:
    remarks = ["Seconds are medians of interleaved samples; every result was checked before anything was timed."]
    if len(threads) > 1:
        remarks.append(f"Keys of the summary without a number of threads are on {threads[-1]} threads.")
    if benchmark.quick:
        remarks.append("A quick run: few, small cases and few samples, which show that it works and nothing else.")
    if missing := benchmark.peers.missing:
        remarks.append(f"Not there, and left out: {', '.join(f'{name} ({why})' for name, why in missing.items())}.")
    if "threadpoolctl" in missing:
        remarks.append("Without threadpoolctl numbers of threads are not controlled.")
    return remarks
