"""Committed results: one JSON file a row, in docs/results of a checkout, inside an installed package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from minisparse.fileformat import write_atomically
from minisparse.reproduce.rows import Recipe, Row

PACKAGE = Path(__file__).parents[1]
DOCS = PACKAGE.parent / "docs"


def folder() -> Path:
    """Where committed results are.

    Raises
    ------
    ValueError : neither this package nor a checkout around it has any.
    """
    for place in (PACKAGE / "results", DOCS / "results"):
        if place.is_dir():
            return place
    raise ValueError("this installation holds no results: call it from a checkout of minisparse, in docs/results")


def checkout() -> Path:
    """docs/, where results are recorded; ValueError outside a checkout."""
    if not (DOCS / "ARCHITECTURE.md").exists():
        raise ValueError("--record writes into docs/ of a checkout, and this is an installed package: leave it out")
    return DOCS


def path(row: Row, place: Path) -> Path:
    return place / f"{row.key.replace('/', '_')}.json"


def load(row: Row, place: Path) -> list[dict[str, Any]]:
    """The runs of a row by seed; none where its recipe has changed since."""
    file = path(row, place)
    if row.recipe is None or not file.exists():
        return []
    content = json.loads(file.read_text(encoding="utf-8"))
    return content["runs"] if _same(row.recipe, content["recipe"]) else []


def save(row: Row, runs: list[dict[str, Any]], place: Path) -> None:
    """Put runs beside those of other seeds, in place of those of the same ones."""
    by_seed = {run["seed"]: run for run in [*load(row, place), *runs]}
    runs = [by_seed[seed] for seed in sorted(by_seed)]
    content = {
        "key": row.key,
        "command": f"minisparse reproduce {row.key} --seeds {len(runs)}",
        "recipe": row.recipe.config(),
        "runs": runs,
    }
    place.mkdir(parents=True, exist_ok=True)
    write_atomically(path(row, place), (json.dumps(content, indent=1) + "\n").encode())


def _same(recipe: Recipe, config: dict[str, Any]) -> bool:
    """Whether a recorded recipe trains as this one does; a setting that is newer than it had its default."""
    try:
        return Recipe.from_config(config).config() == recipe.config()
    except ValueError:
        return False
