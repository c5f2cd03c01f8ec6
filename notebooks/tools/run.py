"""Run chapters in clean kernels, offline, warnings being errors, and write their outputs: `make notebooks`.

Every exercise is tried twice on the way: its check has to fail on the cell as the reader finds it, and to pass on the
hidden solution. Outputs of cells tagged "timing" stay as they are committed unless --timings asks for new ones.

    python -m notebooks.tools.run [--check] [--timings] [NAMES ...]
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from notebooks.tools import chapters

LIMIT_SECONDS = 60
"""Processor time of a chapter that is written; a check, which any machine may run, only says what took longer."""
CELL_SECONDS = 900
"""Of the clock: a kernel that hangs."""
BEFORE = """
import socket, time, warnings
warnings.simplefilter("error")
def _offline(*args, **keywords):
    raise OSError("chapters run offline")
socket.socket.connect = socket.getaddrinfo = _offline
"""
AFTER = "warnings.simplefilter('ignore'); print(time.process_time())"
COLOUR = re.compile(r"\x1b\[[\d;]*m")
ENVIRONMENT = {
    "MPLBACKEND": "agg",
    # the same sums in the same order on any x86 processor of the last ten years
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MINISPARSE_NUM_THREADS": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}


def run(source: Path) -> tuple[NotebookNode, float]:
    """The chapter with fresh outputs, and the processor time it took in seconds.

    Raises
    ------
    ValueError : a cell failed or warned, or an exercise's check does not tell right from wrong.
    """
    notebook = chapters.read(source)
    tried = _with_solutions(notebook)
    place = {"metadata": {"path": str(source.parent)}}
    client = NotebookClient(tried, timeout=CELL_SECONDS, kernel_name="python3", record_timing=False, resources=place)
    client.extra_arguments = ["--log-level=CRITICAL"]  # of the kernel's own log
    try:
        client.execute(env=_environment(chapters.is_timed(notebook)))
    except (CellExecutionError, CellTimeoutError) as error:
        raise ValueError(f"{source.name}: {COLOUR.sub('', str(error))}") from error
    seconds = float(chapters.text_of(tried.cells[-1].outputs))
    _check_exercises(source, tried)
    notebook.cells = [_clean(cell) for cell in tried.cells if not cell.metadata.pop("added", "")]
    for number, cell in enumerate(_code(notebook), start=1):
        cell.execution_count = number
        if any(output.get("name") == "stderr" for output in cell.outputs):
            raise ValueError(f"{source.name}: cell {number} wrote to stderr:\n{chapters.text_of(cell.outputs)}")
    return notebook, seconds


def _environment(timed: bool) -> dict[str, str]:
    """Of a kernel; NumPy chooses its own way to multiply where a chapter times it."""
    variables = os.environ | ENVIRONMENT
    if timed:
        del variables["OPENBLAS_CORETYPE"]
    return variables


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _with_solutions(notebook: NotebookNode) -> NotebookNode:
    """The chapter with cells added: the setting, behind each hidden solution the solution and its check, the clock."""
    cells, check = [_added(BEFORE, "setting")], None
    for cell in notebook.cells:
        cells.append(deepcopy(cell))
        if chapters.tagged(cell, "check"):
            check = cell.source
        elif code := chapters.solution(cell):
            cells += [_added(code, "solution"), _added(check, "checked again")]
    return nbformat.v4.new_notebook(cells=[*cells, _added(AFTER, "clock")], metadata=deepcopy(notebook.metadata))


def _added(code: str, why: str) -> NotebookNode:
    return new_code_cell(code, metadata={"added": why})


def _check_exercises(source: Path, tried: NotebookNode) -> None:
    """Checks fail before the solution, pass behind it, and there are as many of one as of the other."""
    first = [cell for cell in tried.cells if chapters.tagged(cell, "check")]
    again = [cell for cell in tried.cells if cell.metadata.get("added") == "checked again"]
    if len(first) != len(again) or len(first) < 3:
        raise ValueError(f"{source.name}: {len(first)} checks and {len(again)} solutions; 3 of each are the least")
    for unsolved, solved in zip(first, again, strict=True):
        for cell, word in ((unsolved, "not yet."), (solved, "solved.")):
            if word not in (said := chapters.text_of(cell.outputs)):
                raise ValueError(f"{source.name}: expected {word!r}, the check says: {said}\n{cell.source}")


def _clean(cell: NotebookNode) -> NotebookNode:
    """Without what changes from run to run."""
    if "outputs" in cell:
        cell.outputs = _joined(cell.outputs)
    for output in cell.get("outputs", []):
        output.pop("execution_count", None)
        if output.output_type == "execute_result":
            output.output_type, output.execution_count = "display_data", None
            del output["execution_count"]
    return cell


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Printed text in one piece up to the next figure: a kernel may send a line in two messages."""
    joined: list[NotebookNode] = []
    for output in outputs:
        if joined and output.get("name") == joined[-1].get("name") and output.output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _keep_timings(notebook: NotebookNode, committed: NotebookNode | None) -> None:
    """Take over the committed outputs of cells that time this machine, where their source is the same."""
    if committed is None:
        return
    known = {cell.source: cell.outputs for cell in _code(committed) if chapters.tagged(cell, "timing")}
    for cell in _code(notebook):
        if chapters.tagged(cell, "timing"):
            cell.outputs = known.get(cell.source, cell.outputs)


def _one(source: Path, check: bool, timings: bool) -> tuple[str, bool]:
    """A line about the chapter, and whether all is well."""
    try:
        notebook, seconds = run(source)
    except ValueError as error:
        return str(error), False
    committed = chapters.rendered(source)
    if not timings:
        _keep_timings(notebook, committed)
    text = nbformat.writes(notebook) + "\n"
    line = f"{source.stem:28} {seconds:5.1f} s {len(text) / 1000:6.0f} kB"
    if seconds > LIMIT_SECONDS:
        line += f"  more than {LIMIT_SECONDS} s of processor time"
        if not check:
            return line, False
    if len(text) > chapters.LIMIT_BYTES:
        return f"{line}: larger than {chapters.LIMIT_BYTES / 1000:.0f} kB", False
    if committed is not None and nbformat.writes(committed) == nbformat.writes(notebook):
        return line, True
    if check:
        return f"{line}  outputs differ from the committed ones; `make notebooks` renews them", True
    source.with_suffix(".ipynb").write_text(text, encoding="utf-8")
    return f"{line}  written", True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", help="beginnings of chapters' names, such as 02; all without any")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--timings", action="store_true", help="renew measured times as well")
    args = parser.parse_args()
    found = chapters.sources(args.names)
    timed = [source for source in found if chapters.is_timed(chapters.read(source))]
    good = []
    # two side by side, then those that measure this machine, alone
    for batch, workers in (([s for s in found if s not in timed], 2), (timed, 1)):
        with ThreadPoolExecutor(workers) as pool:
            for line, fine in pool.map(lambda source: _one(source, args.check, args.timings), batch):
                print(line, flush=True)
                good.append(fine)
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
