"""The papers' tables again: their figures beside ours.

  minisparse reproduce --list
  minisparse reproduce --show                              what we measured, without running anything
  minisparse reproduce dropback/lenet-300-100 --workers 2  all rows whose key begins so
  minisparse reproduce "*/lenet-5-caffe/0.01" --seeds 1    all rows that fit the pattern
  minisparse reproduce --quick                             every row in seconds: shows that it works, measures nothing

Runs go on where they were stopped; finished ones are not repeated. Without a NAME all rows are run, which takes days.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

from minisparse.fileformat import write_atomically
from minisparse.report import Report
from minisparse.reproduce import ROWS, Row, figures, results, select, sweep
from minisparse.reproduce.report import Outcome, markdown, report
from minisparse.reproduce.run import Work

HELP = "run the papers' tables again, or show what came out"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="a row's key, its beginning, or a pattern")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="name the rows and what they run")
    what.add_argument("--show", action="store_true", help="the committed results, without running")
    what.add_argument("--quick", action="store_true", help="two epochs on digits: shows that it works, nothing else")
    parser.add_argument("--seeds", type=int, metavar="N", help="runs a row (default: the row's, mostly 5)")
    parser.add_argument("--workers", type=int, default=1, metavar="W", help="processes of one thread each (default 1)")
    parser.add_argument("--out", default="runs/reproduce", metavar="FOLDER", help="of the runs (default %(default)s)")
    parser.add_argument("--record", action="store_true", help="write docs/results and docs/REPRODUCTIONS.md")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def run(args: argparse.Namespace) -> Report:
    if args.seeds is not None and args.seeds < 1:
        raise ValueError(f"--seeds {args.seeds} must be >= 1")
    if args.record and (args.quick or args.list):
        raise ValueError("--record keeps measurements: leave out --quick and --list")
    rows = select(ROWS, args.names)
    if args.list:
        return Report([_listed(row) for row in rows], {"rows": len(rows)})
    if args.quick:
        return _quick(rows, args)
    runs = _committed() if args.show else _run(rows, args)
    if args.record:
        write_atomically(results.checkout() / "REPRODUCTIONS.md", markdown(_committed()).encode())
        figures.draw(ROWS, _committed(), results.checkout() / "results")
    return report(rows, runs, ["Test errors in percent: mean and range over seeds. Minutes are wall-clock, a run."])


def _listed(row: Row) -> dict[str, Any]:
    recipe = row.recipe
    return {
        "row": row.key,
        "paper": str(row.paper or "-"),
        "asked": Outcome(row, {}).asked,
        "seeds": row.seeds if recipe else None,
        "data": recipe.data if recipe else "-",
        "epochs": recipe.training.epochs if recipe else None,
        "runs": "quoted" if recipe is None else "not yet" if _obstacle(row) else "yes",
    }


def _obstacle(row: Row) -> str:
    """Why a row cannot run, if so."""
    try:
        row.method()
    except ValueError as error:
        return str(error)
    return ""


def _committed() -> dict[str, list[dict[str, Any]]]:
    place = results.folder()
    return {row.key: results.load(row, place) for row in ROWS}


def _run(rows: list[Row], args: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    place = results.checkout() / "results" if args.record else None
    works = [
        Work(row, seed, args.out, progress=args.workers == 1 and not args.quiet)
        for row in _runnable(rows)
        for seed in range(args.seeds or row.seeds)
    ]

    def keep(work: Work, result: dict[str, Any]) -> None:
        if place and "error" not in result:
            results.save(work.row, [result], place)

    try:
        found = sweep(works, args.workers, progress=not args.quiet, found=keep)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on") from None
    return _by_key(works, found)


def _quick(rows: list[Row], args: argparse.Namespace) -> Report:
    with tempfile.TemporaryDirectory() as folder:
        works = [Work(row, 0, folder, quick=True) for row in _runnable(rows)]
        runs = _by_key(works, sweep(works, args.workers, progress=not args.quiet))
    shown = [{"row": work.row.key, "works": True, "kept": runs[work.row.key][0]["kept"]} for work in works]
    summary = {key: ran[0]["test_error"] for key, ran in runs.items()}
    notes = ["A quick run: two epochs on a few enlarged digits, which show that it works. Its errors measure nothing."]
    return Report(shown, summary, notes, {"measurement": False})


def _runnable(rows: list[Row]) -> list[Row]:
    """Those that can run; ValueError if none can."""
    runnable = [row for row in rows if not _obstacle(row)]
    if not runnable:
        raise ValueError(_obstacle(rows[0]))
    return runnable


def _by_key(works: list[Work], found: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Runs by row; ValueError if one of them failed."""
    failed = [(work, result["error"]) for work, result in zip(works, found, strict=True) if "error" in result]
    if failed:
        work, error = failed[0]
        more = f"; and {len(failed) - 1} more of {len(works)}" if len(failed) > 1 else ""
        raise ValueError(f"{work.row.key}, seed {work.seed}: {error}{more}; the runs that finished are kept")
    runs: dict[str, list[dict[str, Any]]] = {}
    for work, result in zip(works, found, strict=True):
        runs.setdefault(work.row.key, []).append(result)
    return runs
