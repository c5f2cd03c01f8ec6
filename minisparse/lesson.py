"""What the chapters in notebooks/ share: colours, source beside its equation, figures, claims and exercises.

It needs what `pip install minisparse[notebooks]` installs.
"""

from __future__ import annotations

import inspect
import io
import re
import textwrap
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from minisparse.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY
from minisparse.palette import METHODS as COLOURS

__all__ = ["BLACK", "BLUE", "COLOURS", "GREEN", "GREY", "ORANGE", "PINK", "RED", "SKY"]
STYLE = {
    "figure.dpi": 110,
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
}


def panels(rows: int = 1, columns: int = 1, height: float = 3.2, width: float = 8.0, **keywords):
    """Turn to the book's style; a figure and its axes, as `matplotlib.pyplot.subplots` gives them; sizes in inches."""
    import matplotlib.pyplot as plt

    plt.rcParams.update(STYLE)
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", **keywords)


def figure(drawn, alt: str) -> None:
    """Show a figure and close it; `alt` says in words what it shows, for readers who cannot see it."""
    import matplotlib.pyplot as plt
    from IPython.display import Image, display

    out = io.BytesIO()
    # no date and no version: equal figures are equal bytes
    drawn.savefig(out, format="png", dpi=STYLE["figure.dpi"], metadata={"Software": None})
    plt.close(drawn)
    display(Image(out.getvalue(), alt=alt))


def band(axes, x, runs, colour: str, label: str, marker: str = "") -> None:
    """The mean over runs (seeds, len(x)) as a line, least to largest as a band."""
    runs = np.asarray(runs, float)
    axes.plot(x, runs.mean(axis=0), color=colour, label=label, marker=marker, markersize=4)
    axes.fill_between(x, runs.min(axis=0), runs.max(axis=0), color=colour, alpha=0.18, linewidth=0)


def show(*things: Callable | type) -> None:
    """The library's own source of functions, methods or classes, neighbours of one file under its name together."""
    for file, group in groupby(things, inspect.getsourcefile):
        code = "\n\n".join(textwrap.dedent(inspect.getsource(thing)).rstrip() for thing in group)
        _markdown(f"`{Path(file).relative_to(Path(__file__).parents[1])}`\n\n```python\n{code}\n```")


def card(module) -> None:
    """A module's docstring, which for a method is its card with the numbered equations."""
    _markdown(f"```text\n{inspect.getdoc(module)}\n```")


def table(rows: list[dict[str, Any]]) -> None:
    """Rows with the same keys, numbers to four digits."""
    from minisparse.report import Report

    _markdown(Report(rows, {}).markdown())


def papers(reasons: dict[str, str]) -> None:
    """The paper's figure, ours as docs/results has it, and the reason for the gap: one line a row of `reproduce`.

    Parameters
    ----------
    reasons : {key of the row: reason}; "{epochs}" in a reason is the number that the row's recipe trains for
    """
    from minisparse.reproduce import ROWS, results
    from minisparse.reproduce.report import Outcome

    rows = []
    for row in (row for row in ROWS if row.key in reasons):
        line = Outcome(row, {row.key: results.load(row, results.folder())}).line()
        ours = "not recorded yet" if line["ours"] == "-" else _percent(line["ours"])
        paper = "none to quote" if row.paper is None else _percent(line["paper"])
        reason = reasons[row.key].format(epochs=row.recipe.training.epochs)
        rows.append({"row": row.key, "paper": paper, "ours": ours, "why they differ": reason})
    table(rows)


def _percent(text: str) -> str:
    """1.30 (1.23 to 1.45) -> 1.30 % (1.23 to 1.45)"""
    return re.sub(r"^[\d.]+", r"\g<0> %", text)


def claim(text: str, value: float, low: float, high: float) -> None:
    """What the prose says, held to a band: AssertionError when the value leaves it."""
    assert low <= value <= high, f"{text}: {value:.4g} is outside [{low:g}, {high:g}]"
    _markdown(f"*Checked:* {text}: **{value:.4g}**, must lie in [{low:g}, {high:g}].")


def headline(text: str) -> None:
    """The chapter's measured line, which the index of the book quotes."""
    _markdown(f"**{text}**")


def exercise(name: str) -> Callable[[Callable[[], None]], None]:
    """Run the decorated check and say whether the exercise is solved.

    @exercise("2.1")
    def check():
        assert answer(3) == 9, "3 squared is 9"
    """

    def run(check: Callable[[], None]) -> None:
        try:
            check()
        except (AssertionError, NotImplementedError, TypeError, ValueError) as error:
            _markdown(f"*Exercise {name}: not yet.* {error}")
        else:
            _markdown(f"*Exercise {name}: solved.*")

    return run


def _markdown(text: str) -> None:
    from IPython.display import Markdown, display

    display(Markdown(text))
