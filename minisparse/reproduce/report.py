"""What came out: a verdict a row, and docs/REPRODUCTIONS.md."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from minisparse.report import Report
from minisparse.reproduce import PAPERS, Row
from minisparse.reproduce.related import DENSITIES, METHODS, NETWORKS
from minisparse.reproduce.rows import MARKS

Runs = Mapping[str, list[dict[str, Any]]]
"""A row's key -> its runs."""

HEAD = f"""\
# Reproductions

What the papers state, and what we measured. This file is generated from `docs/results/` by
`minisparse reproduce --show --record`; `minisparse reproduce KEY` runs a row again.

* Errors are test errors in percent: mean and range over seeds. Every choice was made on a validation split of the
  training data, redrawn with each seed; the test split was read once, at the end of each run.
* A figure without a mark was read in the paper or its code; "{MARKS[1]}" ones stand from memory, not compared with the
  paper.
* On MNIST images are shifted at random by up to one pixel in training, which the papers do not do, dense networks and
  baselines alike; rows that end in `plain` and those of 1,500 values are trained without.
* Bytes are the mean length of the written files with everything in them, which decode to the network that was tested;
  the factor is float32's bytes over these.
* "Asked" is what we set out to reach; a row without it is there for comparison. Minutes are wall-clock, a run.
"""
BASELINES = """\
Mean test errors in percent; the rows below say over how many seeds.
"""


class Table(Report):
    """A report whose summary repeats its rows, for programs alone."""

    def text(self, width: int = 100) -> str:
        return Report(self.rows, {}, self.notes).text(width)


@dataclass(frozen=True)
class Outcome:
    """A row beside its runs, and all others' for those that it is compared with."""

    row: Row
    runs: Runs

    @property
    def errors(self) -> list[float]:
        return _errors(self.runs, self.row.key)

    @property
    def mean(self) -> float | None:
        return fmean(self.errors) if self.errors else None

    @property
    def measured_bytes(self) -> float | None:
        """Of the files, mean over the runs; None if a run did not say."""
        return self._mean("file_bytes")

    @property
    def file_bytes(self) -> float | None:
        """The same; None where the row does not ask."""
        return self.measured_bytes if self.row.weighed else None

    @property
    def ratio(self) -> float | None:
        """Of float32's bytes to the file's, as file_bytes."""
        return self._mean("ratio") if self.row.weighed else None

    @property
    def ours(self) -> str:
        if not self.errors:
            return "-"
        spread = f" ({min(self.errors):.2f} to {max(self.errors):.2f})" if len(self.errors) > 1 else ""
        weight = "" if self.file_bytes is None else f", {self.file_bytes:,.0f} bytes ({self.ratio:.0f}x)"
        return f"{self.mean:.2f}{spread}{weight}"

    @property
    def asked(self) -> str:
        parts = [] if self.row.accept is None else [f"{self.row.accept:g}"]
        if self.row.against:
            other, points = self.row.against
            method = other.partition("/")[0]
            parts.append(f"{method} + {points:g}" if points else f"<= {method}")
        parts += [] if self.row.accept_bytes is None else [f"{self.row.accept_bytes:,} bytes"]
        return ", ".join(parts) or "-"

    @property
    def verdict(self) -> str:
        if not self.errors:
            return "quoted" if self.row.recipe is None else "not run yet"
        gap, excess = self._gap(), self._excess()
        missed = [] if gap is None or gap <= 0 else [f"{gap:.2g}"]
        missed += [] if excess is None or excess <= 0 else [f"{excess:,.0f} bytes"]
        reached = "measured" if gap is None and excess is None else "reached"
        verdict = f"missed by {' and '.join(missed)}" if missed else reached
        missing = len(self.errors) < self.row.seeds
        return verdict + (f" ({len(self.errors)}/{self.row.seeds} seeds)" if missing else "")

    def summary(self) -> dict[str, float]:
        """For programs: the mean error under the row's key, or with the file's bytes under keys of their own."""
        if not self.errors:
            return {}
        if not self.row.weighed:
            return {self.row.key: self.mean}
        figures = {"error": self.mean, "file_bytes": self.file_bytes, "ratio": self.ratio}
        return {f"{self.row.key}/{name}": figure for name, figure in figures.items() if figure is not None}

    def _mean(self, name: str) -> float | None:
        figures = [run.get(name) for run in self.runs.get(self.row.key, [])]
        return fmean(figures) if figures and None not in figures else None

    def _excess(self) -> float | None:
        """Bytes above what is asked; None if nothing is, or nothing is known."""
        if self.row.accept_bytes is None or self.file_bytes is None:
            return None
        return self.file_bytes - self.row.accept_bytes

    def _gap(self) -> float | None:
        """Points above what is asked; None if nothing is, or nothing to compare with has run."""
        limits = [] if self.row.accept is None else [self.row.accept]
        if self.row.against:
            other, points = self.row.against
            errors = _errors(self.runs, other)
            limits += [fmean(errors) + points] if errors else []
        return self.mean - min(limits) if limits else None

    def line(self) -> dict[str, Any]:
        """Of a table."""
        return {
            "row": self.row.key,
            "paper": str(self.row.paper or "-"),
            "ours": self.ours,
            "asked": self.asked,
            "verdict": self.verdict,
        }

    def long_line(self) -> dict[str, Any]:
        """The same with what a run was."""
        runs = self.runs.get(self.row.key, [])
        minutes = f"{fmean(run['minutes'] for run in runs):.1f}" if runs else None
        return {**self.line(), "seeds": len(runs), "epochs": self.row.recipe.training.epochs, "minutes": minutes}


def report(rows: list[Row], runs: Runs, notes: list[str]) -> Table:
    """Verdicts of these rows; for programs the means by key, and every run."""
    outcomes = [Outcome(row, runs) for row in rows]
    summary = {key: figure for outcome in outcomes for key, figure in outcome.summary().items()}
    details = {outcome.row.key: runs[outcome.row.key] for outcome in outcomes if outcome.errors}
    return Table([outcome.line() for outcome in outcomes], summary, notes, {"runs": details})


def markdown(runs: Runs) -> str:
    """docs/REPRODUCTIONS.md."""
    parts = [HEAD, "## Baselines on one budget\n", BASELINES, _baselines(runs)]
    for name, rows in PAPERS.items():
        text = importlib.import_module(f"minisparse.reproduce.{name}").__doc__.strip()
        title, _, words = text.partition("\n\n")
        parts += [f"## {title.rstrip('.')}\n", words + "\n" if words else "", _section(rows, runs)]
    return "\n".join(part for part in parts if part)


def _section(rows: tuple[Row, ...], runs: Runs) -> str:
    """Rows that are run, reasons and deviations, then those that are quoted."""
    outcomes = [Outcome(row, runs) for row in rows]
    ran = [outcome for outcome in outcomes if outcome.row.recipe]
    quoted = [outcome.row for outcome in outcomes if not outcome.row.recipe]
    text = Report([outcome.long_line() for outcome in ran], {}).markdown() + "\n"
    remarks: dict[str, list[str]] = {}
    for row in (outcome.row for outcome in ran):
        for remark in filter(None, (row.reason, row.deviation)):
            remarks.setdefault(remark, []).append(row.key)
    if remarks:
        text += "\n" + "\n".join(f"* {', '.join(keys)}: {remark}." for remark, keys in remarks.items()) + "\n"
    if quoted:
        table = [{"quoted": row.key, "paper": str(row.paper or "-"), "not run": row.reason} for row in quoted]
        text += "\n" + Report(table, {}).markdown() + "\n"
    return text


def _baselines(runs: Runs) -> str:
    """Mean errors: a line a method, a column a network and density."""
    cells = [(network, density) for network in NETWORKS for density in DENSITIES]
    lines = []
    for method in METHODS:
        line: dict[str, Any] = {"method": method}
        for network, density in cells:
            errors = _errors(runs, f"{method}/{network}/{density}")
            line[f"{network}, {density:.0%}"] = f"{fmean(errors):.2f}" if errors else "-"
        lines.append(line)
    return Report(lines, {}).markdown() + "\n"


def _errors(runs: Runs, key: str) -> list[float]:
    return [run["test_error"] for run in runs.get(key, [])]
