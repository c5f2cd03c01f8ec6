"""What a benchmark says: its grid, its contestants at a point of it, and what follows from the rows."""

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from minisparse.bench.harness import SAMPLE_S, Contestant
from minisparse.bench.peers import Peers
from minisparse.rng import Stream

SEED = 0


class Benchmark(ABC):
    """One command `minisparse bench NAME`.

    Attributes
    ----------
    peer_names : libraries it compares with
    threaded : whether anyone in it uses several threads
    count : threads that contestants may use, set before they are asked for
    budget_s : seconds to time one row
    sample_s : shortest sample, in seconds
    notes : how the keys of the summary are computed, and what is compared with what
    """

    peer_names: tuple[str, ...] = ()
    threaded = True
    count = 1
    budget_s = 0.5
    sample_s = SAMPLE_S
    notes: tuple[str, ...] = ()

    def __init__(self, peers: Peers, quick: bool):
        self.peers = peers
        self.quick = quick

    @abstractmethod
    def grid(self) -> list[dict[str, Any]]:
        """Labels of the rows, {column: value}."""

    @abstractmethod
    def contestants(self, **labels: Any) -> tuple[dict[str, Contestant], dict[str, Any]]:
        """Contestants of a row, ours under the name "ours", and further facts for its columns."""

    @abstractmethod
    def summary(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Keys that follow from rows of one number of threads."""

    def conclusions(self, row: dict[str, Any]) -> dict[str, Any]:
        """Further columns that follow from a row."""
        return {}

    def case(self, labels: dict[str, Any]) -> str:
        """What tells a row from the others, short."""
        return " ".join(f"{key}={value}" for key, value in labels.items())

    def further_rows(self) -> list[dict[str, Any]]:
        """Rows that are measured in another way, without contestants."""
        return []

    def closing(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Keys that follow from all rows."""
        return {}


def normal(name: str, *shape: int) -> np.ndarray:
    """Normal float32 values of mean 0 and variance 1, with no more ties than float32 has, the same in every run."""
    # Box and Muller (1958), with 1 - u in (0, 1]
    u, v = Stream(SEED, "bench", name).uniform(2 * math.prod(shape)).reshape(2, *shape)
    return (np.sqrt(-2 * np.log1p(-u)) * np.cos(2 * np.pi * v)).astype(np.float32)


def places(name: str, size: int, count: int) -> np.ndarray:
    """`count` of `size` flat indices, increasing, one in each of `count` equal stretches: (count,) int64."""
    # stretch j is [j size / count, (j + 1) size / count); nothing of length `size` is held
    borders = np.arange(count + 1, dtype=np.int64) * size // max(count, 1)
    within = Stream(SEED, "bench", name).uniform(count) * np.diff(borders)
    return borders[:-1] + within.astype(np.int64)
