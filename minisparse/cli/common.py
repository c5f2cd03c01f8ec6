"""What several commands share: flags made from settings, and opening whatever holds a model."""

from __future__ import annotations

import argparse
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from minisparse.checkpoint import RunFolder
from minisparse.compressed import CompressedModel
from minisparse.model import Model


def add_settings(group: argparse._ArgumentGroup, cls: type) -> None:
    """A flag for each setting of a dataclass; only flags that are given are parsed."""
    for field in fields(cls):
        if "help" in field.metadata:
            add_setting(group, cls, field.name, help_text(field))


def add_setting(group: argparse._ArgumentGroup, cls: type, name: str, text: str) -> None:
    """A flag for one setting of a dataclass."""
    field, hint = cls.__dataclass_fields__[name], get_type_hints(cls)[name]
    kind = next((t for t in get_args(hint) if t is not type(None)), hint)
    options: dict[str, Any] = {"help": text.replace("%", "%%"), "default": argparse.SUPPRESS}
    if kind is bool:
        options["action"] = argparse.BooleanOptionalAction
    else:
        options |= {"type": kind, "choices": field.metadata["choices"]}
        options["metavar"] = None if options["choices"] else kind.__name__.upper()
    group.add_argument("--" + name.replace("_", "-"), **options)


def help_text(field: Field) -> str:
    """The sentence of a setting, with its default."""
    return field.metadata["help"] + ("" if field.default is None else f" (default {field.default})")


def given(args: argparse.Namespace, names: set[str]) -> dict[str, Any]:
    """The settings among `names` that the user gave."""
    return {name: value for name, value in vars(args).items() if name in names}


def add_data(parser: argparse.ArgumentParser, default: str | None = "digits") -> None:
    parser.add_argument("--data", default=default, help="data set: digits (bundled), mnist, ... or a .npz file")
    parser.add_argument("--folder", help="where its files are, beside the usual places (see `minisparse data`)")


def open_model(path: str | Path) -> Model:
    """The model in a .msp file or in the folder of a training run.

    Raises
    ------
    ValueError : there is neither, or it is damaged.
    """
    path = Path(path)
    if path.is_dir():
        return RunFolder(path).model()
    if not path.exists():
        raise ValueError(f"{path} does not exist: give a .msp file or the folder of a training run")
    return CompressedModel.load(path).model()
