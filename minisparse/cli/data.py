"""The data sets, where their files are, and whether their hashes are right.

  minisparse data
  minisparse data mnist cifar10 --download
  minisparse data fashion-mnist --download --folder DATA

Looks in DATA, $MINISPARSE_DATA, ../shared/datasets and the cache of downloads, in this order; in each of
them for NAME/FILE and FILE. Nothing is downloaded unless --download is given.
"""

from __future__ import annotations

import argparse
from typing import Any

from minisparse.data import DATASETS
from minisparse.data.files import Place, download, locate
from minisparse.data.loader import source_named
from minisparse.data.sources import Source
from minisparse.report import Report

HELP = "list the data sets, check their files, download them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(DATASETS)}; all if none is named")
    parser.add_argument("--download", action="store_true", help="download what is not found, with its hash checked")
    parser.add_argument("--folder", help="looked in first, and where downloads go instead of the cache")


def run(args: argparse.Namespace) -> Report:
    """A row a data set. ValueError if a name is unknown, a file is damaged, or a download fails."""
    sources = [source_named(name) for name in args.names] or list(DATASETS.values())
    rows, missing = [], []
    for source in sources:
        place = locate(source, args.folder)
        if place is None and args.download:
            place = download(source, args.folder)
        rows.append(_row(source, place))
        if place is None:
            missing.append(source.name)
    notes = [f"To download: minisparse data {' '.join(missing)} --download"] if missing else []
    return Report(rows, {"found": len(sources) - len(missing), "datasets": len(sources)}, notes)


def _row(source: Source, place: Place | None) -> dict[str, Any]:
    """Facts of a source and the place of its files, whose hashes are checked here."""
    where, checked = "not found", ""
    if place is not None:
        place.verify()
        where, checked = str(place.path) if source.mirrors else "bundled", "hash ok"
    return {
        "name": source.name,
        **dict(zip(("train", "validation", "test"), source.counts, strict=True)),
        "shape": "x".join(map(str, source.input_shape)),
        "classes": source.classes,
        "found": where,
        "checked": checked,
    }
