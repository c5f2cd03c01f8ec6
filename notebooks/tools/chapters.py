"""A chapter's two files: NN_name.py in the percent format, which is the source, and NN_name.ipynb with its outputs."""

from __future__ import annotations

import re
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

FOLDER = Path(__file__).parents[1]
LIMIT_BYTES = 500_000
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def sources(names: list[str] | None = None) -> list[Path]:
    """The chapters' .py files in order, or those whose names begin with one of `names`."""
    found = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
    chosen = [path for path in found if not names or any(path.stem.startswith(name) for name in names)]
    if not chosen:
        raise ValueError(f"no chapter begins with {names}: there are {', '.join(path.stem for path in found)}")
    return chosen


def read(source: Path) -> NotebookNode:
    """The chapter without outputs; cells are named by their number, so that equal sources give equal files."""
    notebook = jupytext.reads(source.read_text(encoding="utf-8"), fmt="py:percent")
    notebook.metadata = nbformat.from_dict(METADATA)
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i:03}"
        cell.metadata = nbformat.from_dict({"tags": tags(cell)} if tags(cell) else {})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def rendered(source: Path) -> NotebookNode | None:
    """The committed chapter with its outputs, if there is one."""
    file = source.with_suffix(".ipynb")
    return nbformat.read(file, as_version=4) if file.exists() else None


def content(notebook: NotebookNode) -> list[tuple[str, str, list[str]]]:
    """What both files of a chapter must agree in: kind, source and tags of each cell."""
    return [(cell.cell_type, cell.source, tags(cell)) for cell in notebook.cells]


def tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def tagged(cell: NotebookNode, tag: str) -> bool:
    return tag in tags(cell)


def is_timed(notebook: NotebookNode) -> bool:
    """Whether a cell's output tells how fast this machine is."""
    return any(tagged(cell, "timing") for cell in notebook.cells)


def solution(cell: NotebookNode) -> str:
    """The code inside a folded solution; empty for any other cell."""
    return "\n".join(FENCE.findall(cell.source)) if tagged(cell, "solution") else ""


def text_of(outputs: list[NotebookNode]) -> str:
    """What outputs say, figures left out."""
    parts = []
    for output in outputs:
        data = output.get("data", {})
        parts.append(output.get("text", "") or data.get("text/markdown", "") or data.get("text/plain", ""))
    return "\n".join(parts)


def title(notebook: NotebookNode) -> str:
    """The first heading."""
    return notebook.cells[0].source.splitlines()[0].lstrip("# ")
