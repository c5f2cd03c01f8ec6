"""A row of a paper's table: its figure, our recipe for it, and what we ask of the result."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from minisparse.methods import Method
from minisparse.run import TrainSettings
from minisparse.settings import from_config, to_config

MARKS = ("verified", "recalled", "pilot")
"""How a paper's figure is known: read in the paper or its code; from memory; from a small run of ours."""


@dataclass(frozen=True)
class Figure:
    """What a paper states.

    Parameters
    ----------
    error : test error in percent
    mark : one of MARKS
    source : paper and table
    ratio : how many times smaller than float32 its network is stored, if it says so
    """

    error: float
    mark: str
    source: str
    ratio: float | None = None

    def __post_init__(self):
        if self.mark not in MARKS:
            raise ValueError(f"mark={self.mark!r} is unknown: use one of {', '.join(MARKS)}")

    def __str__(self) -> str:
        ratio = "" if self.ratio is None else f", {self.ratio:g}x"
        return f"{self.error:.2f}{ratio}" + ("" if self.mark == "verified" else f" ({self.mark})")


@dataclass(frozen=True)
class Recipe:
    """How we train: everything that decides a run, its seed and its network's name apart.

    Parameters
    ----------
    method : its name and settings, as in `Method.config`; only looked up when the row is run
    training : its seed is replaced by the run's
    data : name of a data set
    width : factor on the network's hidden widths
    standardised : whether pixels get mean 0 and standard deviation 1
    """

    method: dict[str, Any]
    training: TrainSettings = TrainSettings()  # noqa: RUF009 - frozen
    data: str = "mnist"
    width: float = 1.0
    standardised: bool = False

    def config(self) -> dict[str, Any]:
        """Plain JSON values, defaults included; two recipes with equal ones give equal runs."""
        training = to_config(replace(self.training, seed=0))
        method = json.loads(json.dumps(Method.from_config(self.method).config()))
        return {**vars(self), "method": method, "training": training}

    @staticmethod
    def from_config(config: dict[str, Any]) -> Recipe:
        """ValueError if it describes no recipe of today."""
        return from_config(Recipe, {**config, "training": from_config(TrainSettings, config["training"])})


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Parameters
    ----------
    key : "method/network/budget", "method/network/density", or either with "/variant" behind it; "method/network" is
        enough where the bytes of the file are reported
    paper : None where the figure could not be read
    recipe : None for a figure that is quoted only; `reason` says why
    accept : the mean error to reach, in percent
    against : (key of another row, points): the mean error to stay within that many points of; 0 is "not above"
    seeds : runs, with seeds 0, 1, ...
    reason : for not running it, or for the gap that remains
    deviation : from the paper's procedure, beyond what the method's file says
    accept_bytes : the mean length of the written files to reach
    weighed : whether the bytes of the files are reported beside the error; where they are asked for, they are
    """

    key: str
    paper: Figure | None = None
    recipe: Recipe | None = None
    accept: float | None = None
    against: tuple[str, float] | None = None
    seeds: int = 5
    reason: str = ""
    deviation: str = ""
    accept_bytes: int | None = None
    weighed: bool = False
    network: str = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "weighed", self.weighed or self.accept_bytes is not None)
        parts = self.key.split("/")
        if len(parts) < 3 - self.weighed or not all(parts):
            raise ValueError(f"key={self.key!r} must read method/network/budget or method/network/density")
        if self.recipe is None and not self.reason:
            raise ValueError(f"row {self.key} has no recipe: give the reason for not running it")
        object.__setattr__(self, "network", parts[1])

    def method(self) -> Method:
        """ValueError if there is no method of this name, or not with these settings."""
        if self.recipe is None:
            raise ValueError(f"{self.key} is quoted, not run: {self.reason}")
        try:
            return Method.from_config(self.recipe.method)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{self.key} cannot run: {error}") from error


def select(rows: tuple[Row, ...], names: list[str]) -> list[Row]:
    """The rows of these names, all without any: a key, its beginning up to a slash, or a pattern such as "*/0.02".

    Raises
    ------
    ValueError : a name that fits no row.
    """
    if not names:
        return list(rows)
    chosen = {name: [row for row in rows if row.key == name] for name in names}
    for name in names:
        chosen[name] = chosen[name] or [row for row in rows if _fits(row.key, name)]
    for name, found in chosen.items():
        if not found:
            raise ValueError(f"no row is called {name!r}: `minisparse reproduce --list` names them all")
    wanted = {row.key for found in chosen.values() for row in found}
    return [row for row in rows if row.key in wanted]


def _fits(key: str, name: str) -> bool:
    return key.startswith(name.rstrip("/") + "/") or fnmatchcase(key, name)
