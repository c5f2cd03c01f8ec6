"""The chapters as a static site that opens from disk, without network and without scripts: `make book`.

python -m notebooks.tools.book [FOLDER]       default build/book
"""

from __future__ import annotations

import base64
import html
import re
import shutil
import sys
from pathlib import Path

from nbformat import NotebookNode

from notebooks.tools import chapters
from notebooks.tools.markup import highlighted, markup

HERE = Path(__file__).parent
LINK = re.compile(r'href="(\d\d_\w+)\.ipynb"')
"""To another chapter."""
PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><link rel="icon" href="data:,"><link rel="stylesheet" href="book.css"></head>
<body>
<nav>{nav}</nav>
<main>
{body}
</main>
<nav>{nav}</nav>
</body>
</html>
"""
CARD = """<a class="card" href="{page}">{picture}<div><h2>{title}</h2><p>{question}</p>{line}</div></a>"""


def build(folder: Path) -> list[Path]:
    """Write a page a chapter and the index; their paths."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(HERE / "book.css", folder)
    found = {source.stem: chapters.rendered(source) for source in chapters.sources()}
    missing = [name for name, notebook in found.items() if notebook is None]
    if missing:
        raise ValueError(f"{', '.join(missing)} have no outputs yet: `make notebooks` writes them")
    names, pages, cards = list(found), [], []
    for i, (name, notebook) in enumerate(found.items()):
        figures = _figures(notebook, folder, name)
        around = {"before": names[i - 1] if i else None, "after": names[i + 1] if i + 1 < len(names) else None}
        body = "\n".join(_cell(cell, figures) for cell in notebook.cells)
        title = chapters.title(notebook)
        pages.append(_write(folder / f"{name}.html", title, _navigation(found, **around), body))
        cards.append(_card(name, notebook, figures))
    opening = markup((HERE / "index.md").read_text(encoding="utf-8"))
    body = f'{opening}\n<div class="cards">\n' + "\n".join(cards) + "\n</div>"
    return [_write(folder / "index.html", "minisparse: the notebooks", "", body), *pages]


def _write(path: Path, title: str, nav: str, body: str) -> Path:
    path.write_text(PAGE.format(title=html.escape(title), nav=nav, body=body), encoding="utf-8")
    return path


def _navigation(found: dict[str, NotebookNode], before: str | None, after: str | None) -> str:
    links = [_link(found, before, "← "), '<a href="index.html">all chapters</a>', _link(found, after, "", " →")]
    return "".join(links)


def _link(found: dict[str, NotebookNode], name: str | None, left: str = "", right: str = "") -> str:
    if name is None:
        return "<span></span>"
    return f'<a href="{name}.html">{left}{html.escape(chapters.title(found[name]))}{right}</a>'


def _figures(notebook: NotebookNode, folder: Path, name: str) -> dict[str, list[str]]:
    """Write every figure to a file of its own; cell id -> <img> elements."""
    found: dict[str, list[str]] = {}
    for cell in notebook.cells:
        for number, output in enumerate(cell.get("outputs", [])):
            if png := output.get("data", {}).get("image/png"):
                alt = output.metadata.get("image/png", {}).get("alt") or output.metadata.get("alt")
                if not alt:
                    raise ValueError(f"{name}, {cell.id}: a figure without alternative text; use lesson.figure")
                file = folder / f"{name}-{cell.id}-{number}.png"
                file.write_bytes(base64.b64decode(png))
                found.setdefault(cell.id, []).append(f'<img src="{file.name}" alt="{html.escape(alt)}">')
    return found


def _cell(cell: NotebookNode, figures: dict[str, list[str]]) -> str:
    if cell.cell_type == "markdown":
        return LINK.sub(r'href="\1.html"', markup(cell.source))
    code = highlighted(cell.source, "python")
    if chapters.tagged(cell, "folded"):
        code = f"<details><summary>code</summary>{code}</details>"
    outputs, drawn = [], iter(figures.get(cell.id, []))
    for output in cell.outputs:
        data = output.get("data", {})
        if "image/png" in data:
            outputs.append(f"<figure>{next(drawn)}</figure>")
        elif "text/html" in data:
            outputs.append(data["text/html"])
        elif "text/markdown" in data:
            outputs.append(markup(data["text/markdown"]))
        else:
            outputs.append(f"<pre>{html.escape(chapters.text_of([output]).rstrip())}</pre>")
    kind = "output check" if chapters.tagged(cell, "check") else "output"
    return code + (f'<div class="{kind}">{"".join(outputs)}</div>' if outputs else "")


def _card(name: str, notebook: NotebookNode, figures: dict[str, list[str]]) -> str:
    """The index's entry: thumbnail, title, question, measured line."""
    chosen = [cell.id for cell in notebook.cells if chapters.tagged(cell, "thumbnail") and cell.id in figures]
    picture = figures[[*chosen, *figures][0]][0] if figures else ""
    lines = [chapters.text_of(cell.outputs) for cell in notebook.cells if chapters.tagged(cell, "headline")]
    if not lines:
        raise ValueError(f"{name} has no cell tagged headline, which says what was measured")
    question = notebook.cells[0].source.split("\n\n")[1].replace("\n", " ")
    parts = {"title": html.escape(chapters.title(notebook)), "question": markup(question, inline=True)}
    return CARD.format(page=f"{name}.html", picture=picture, line=markup(lines[0].strip("*")), **parts)


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/book")
    pages = build(folder)
    print(f"{len(pages)} pages; open {pages[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
