"""What a command found: rows, a summary and notes, written as text, JSON, Markdown or CSV."""

import csv
import io
import json
import math
import textwrap
from dataclasses import dataclass, field
from typing import Any

GAP = "  "
NARROWEST = 16
"""Characters that a text column always keeps."""


@dataclass
class Report:
    """A table with what follows from it.

    Parameters
    ----------
    rows : one {column: value} a line; columns stand in the order of their first appearance
    summary : {key: value} of the whole
    notes : sentences that belong beside the figures, such as assumptions
    extra : {key: value} that only JSON shows, beside rows and summary; no key of these
    """

    rows: list[dict[str, Any]]
    summary: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """Every key of the rows, in the order of first appearance."""
        return list(dict.fromkeys(key for row in self.rows for key in row))

    def text(self, width: int = 100) -> str:
        """Aligned columns within `width` characters, then summary and notes.

        Long text is shortened in its middle where that makes all columns fit; where not, they continue
        in a second table, beside the first column once more.
        """
        parts = []
        if self.rows:
            parts += ["\n".join(table) for table in _tables(self.columns, self.rows, width)]
        if self.summary:
            parts.append("\n".join(f"{_show(key)}: {_show(value)}" for key, value in self.summary.items()))
        parts += [textwrap.fill(_show(note), max(width, NARROWEST)) for note in self.notes]
        return "\n\n".join(parts)

    def json(self, command: str) -> str:
        """{"command", "rows", "summary", **extra} as strict JSON; NaN and infinities become null."""
        content = {"command": command, "rows": self.rows, "summary": self.summary, **self.extra}
        return json.dumps(_plain(content), allow_nan=False, ensure_ascii=False)

    def markdown(self) -> str:
        """A table, the summary as a list, the notes as paragraphs."""
        parts = []
        if self.rows:
            rules = ["---:" if _is_numeric(self.rows, column) else "---" for column in self.columns]
            lines = [[_show(column) for column in self.columns], rules]
            lines += [[_show(row.get(column)) for column in self.columns] for row in self.rows]
            escaped = [[cell.replace("|", r"\|") for cell in line] for line in lines]
            parts.append("\n".join(f"| {' | '.join(line)} |" for line in escaped))
        if self.summary:
            parts.append("\n".join(f"* {_show(key)}: {_show(value)}" for key, value in self.summary.items()))
        return "\n\n".join(parts + [_show(note) for note in self.notes])

    def csv(self) -> str:
        """The rows alone: numbers unrounded, empty for None and NaN."""
        out = io.StringIO()
        writer = csv.DictWriter(out, self.columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(_plain(self.rows))
        return out.getvalue()


def _tables(columns: list[str], rows: list[dict], width: int) -> list[list[str]]:
    """The rows as one table of lines, or as several side by side when they are wider than `width`."""
    numeric = {column: _is_numeric(rows, column) for column in columns}
    cells = {column: [_show(row.get(column)) for row in rows] for column in columns}
    widths = {column: max(len(_show(column)), *map(len, cells[column])) for column in columns}
    widths = _narrowed(widths, [column for column in columns if not numeric[column]], width)

    tables = []
    for part in _parts(columns, widths, width):
        lines = [[_show(column) for column in part], ["-" * widths[column] for column in part]]
        lines += [[cells[column][i] for column in part] for i in range(len(rows))]
        tables.append([_line(part, line, widths, numeric) for line in lines])
    return tables


def _narrowed(widths: dict[str, int], texts: list[str], width: int) -> dict[str, int]:
    """Widths with text columns shortened, the widest first, until all fit or each has at most half the width."""
    narrowed, over = dict(widths), sum(widths.values()) + len(GAP) * (len(widths) - 1) - width
    while over > 0:
        widest = max(texts, key=narrowed.get, default=None)
        if widest is None or narrowed[widest] <= NARROWEST:
            break
        narrowed[widest] -= 1
        over -= 1
    limit = max(NARROWEST, width // 2)
    return narrowed if over <= 0 else widths | {c: min(widths[c], limit) for c in texts}


def _line(columns: list[str], cells: list[str], widths: dict[str, int], numeric: dict[str, bool]) -> str:
    padded = []
    for column, cell in zip(columns, cells, strict=True):
        short = _shorten(cell, widths[column])
        padded.append(short.rjust(widths[column]) if numeric[column] else short.ljust(widths[column]))
    return GAP.join(padded).rstrip()


def _parts(columns: list[str], widths: dict[str, int], width: int) -> list[list[str]]:
    """Columns of each table: as many as fit, at least one, the first column in front of all."""
    first, *others = columns
    parts, used = [[first]], widths[first]
    for column in others:
        needed = len(GAP) + widths[column]
        if used + needed > width and len(parts[-1]) > 1:
            parts.append([first])
            used = widths[first]
        parts[-1].append(column)
        used += needed
    return parts


def _shorten(text: str, length: int) -> str:
    """Both ends of a text that is too long: "minis...arse"."""
    if len(text) <= length:
        return text
    head = (length - 2) // 2
    return text[:head] + "..." + text[len(text) - (length - 3 - head) :]


def _is_numeric(rows: list[dict], column: str) -> bool:
    """Whether numbers, and nothing but numbers, stand in this column; None goes with both."""
    values = [row[column] for row in rows if row.get(column) is not None]
    values = [value.item() if _is_numpy_scalar(value) else value for value in values]
    return bool(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _show(value: Any) -> str:
    """For people: 12,345 and 0.01235, '-' for None, text on one line without control characters."""
    value = value.item() if _is_numpy_scalar(value) else value
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return _show_float(value)
    return "".join(c if c.isprintable() else "?" for c in " ".join(str(value).split()))


def _show_float(value: float) -> str:
    """Four significant digits, all digits before the point; powers of ten beyond [1e-4, 1e9)."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if not 1e-4 <= abs(value) < 1e9:
        return f"{value:.3e}"
    return f"{value:,.{max(0, 3 - math.floor(math.log10(abs(value))))}f}"


def _plain(value: Any) -> Any:
    """The same value of Python's own types, fit for strict JSON."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if _is_numpy_scalar(value) or hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


def _is_numpy_scalar(value: Any) -> bool:
    return hasattr(value, "dtype") and getattr(value, "shape", None) == ()
