"""The papers' tables as rows that are declared once and can be run again: one file a paper."""

from minisparse.reproduce import (
    bits,
    deep_compression,
    dropback,
    espn,
    quantised_sparse,
    record,
    related,
    snip,
    soft_weight_sharing,
)
from minisparse.reproduce.rows import Figure, Recipe, Row, select
from minisparse.reproduce.sweep import sweep

PAPERS = {"dropback": dropback.ROWS, "snip": snip.ROWS, "espn": espn.ROWS}
PAPERS |= {"soft_weight_sharing": soft_weight_sharing.ROWS, "deep_compression": deep_compression.ROWS}
PAPERS |= {"quantised_sparse": quantised_sparse.ROWS, "record": record.ROWS, "bits": bits.ROWS}
PAPERS["related"] = related.rows({row.key for rows in PAPERS.values() for row in rows})
"""Name of a paper's file -> its rows."""
ROWS = tuple(row for rows in PAPERS.values() for row in rows)

__all__ = ["PAPERS", "ROWS", "Figure", "Recipe", "Row", "select", "sweep"]
