"""Contestants measured side by side: first each must be right, then all are timed in turns."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import geometric_mean, median
from typing import Any

import numpy as np

SAMPLE_S = 1e-3
"""Shortest sample of a kernel, in seconds."""
ROUNDS = (3, 15)
"""Fewest and most samples a contestant."""
SETTLE_S = 0.03
"""Pause before a sample on several threads, in seconds: idle threads of the contestant before spin a while."""
WARM_S = 0.01
"""Calls before such a sample that are not counted, in seconds: threads that slept have to find processors again."""


@dataclass(frozen=True)
class Expected:
    """A right result: an array, and how far from it each entry may be."""

    value: np.ndarray
    bound: np.ndarray | float = 0.0

    @classmethod
    def of_sums(cls, value: np.ndarray, magnitude: np.ndarray, terms: int) -> "Expected":
        """Sums of `terms` float32 products, `magnitude` those of absolute values.

        Each of two such sums is off by at most n u / (1 - n u) * sum |terms|, u = eps / 2, so that they differ
        by at most n eps / (1 - n eps) * sum |terms| (Higham, 2002, eq. 3.5).
        """
        rounding = terms * float(np.finfo(np.float32).eps)
        return cls(value, rounding / (1 - rounding) * np.asarray(magnitude, np.float64))

    def require(self, name: str, result: Any) -> None:
        """ValueError unless the result is right."""
        result = np.asarray(result)
        if result.size != self.value.size:
            raise ValueError(f"{name} gives {result.shape}, not {self.value.shape}: it is not timed")
        off = np.abs(result.reshape(self.value.shape).astype(np.float64) - self.value)
        # a NaN is not within any bound
        wrong = np.count_nonzero(~(off <= self.bound))
        if wrong:
            raise ValueError(f"{name} is wrong in {wrong} of {off.size} entries, by {off.max():.3g}: it is not timed")


@dataclass(frozen=True)
class Contestant:
    """What is timed, and what it has to give.

    Parameters
    ----------
    run : the call, without preparation of its operands
    expected : of one result or, for several, a tuple
    read : what `run` returns -> array, or tuple of arrays, to compare
    """

    run: Callable[[], Any]
    expected: Expected | tuple[Expected, ...]
    read: Callable[[Any], Any] = np.asarray

    def require(self, name: str) -> None:
        """ValueError unless its result is right."""
        results = self.read(self.run())
        if isinstance(self.expected, Expected):
            self.expected.require(name, results)
            return
        for expected, result in zip(self.expected, results, strict=True):
            expected.require(name, result)

    def sample(self, count: int, clock: Callable[[], float]) -> float:
        """Seconds a call, mean of `count` calls."""
        began = clock()
        for _ in range(count):
            self.run()
        return (clock() - began) / count

    def warm_up(self, seconds: float, clock: Callable[[], float]) -> None:
        """At least one call."""
        began = clock()
        self.run()
        while clock() - began < seconds:
            self.run()

    def close(self) -> None:
        """Give up what it holds."""


def measure(
    contestants: dict[str, Contestant],
    budget_s: float = 1.0,
    settle_s: float = 0.0,
    sample_s: float = SAMPLE_S,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds a call of each, all checked first, then timed in turns.

    Parameters
    ----------
    budget_s : time for all together, in seconds; it settles the number of rounds within ROUNDS
    settle_s : pause before each sample, in seconds
    sample_s : shortest sample, in seconds: a call that is faster is repeated

    Raises
    ------
    ValueError : a contestant's result is wrong.
    """
    for name, contestant in contestants.items():
        contestant.require(name)
    repeats = {name: _repeats(contestant, sample_s, clock) for name, contestant in contestants.items()}
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    began, fewest, most = clock(), *ROUNDS
    for turn in range(most):
        if turn >= fewest and (clock() - began) * (turn + 1) / turn > budget_s:
            break
        names = list(contestants)
        # each round starts one further, so that nobody always follows the same one first
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            time.sleep(settle_s)
            contestants[name].warm_up(WARM_S if settle_s else 0.0, clock)
            samples[name].append(contestants[name].sample(repeats[name], clock))
    return {name: median(found) for name, found in samples.items()}


def _repeats(contestant: Contestant, sample_s: float, clock: Callable[[], float]) -> int:
    """Calls a sample, so that it lasts that long."""
    count = 1
    while (seconds := count * contestant.sample(count, clock)) < sample_s:
        count = max(2 * count, min(100 * count, int(sample_s / max(seconds / count, 1e-9))))
    return count


def ratio(rows: list[dict], over: list[str], under: str = "ours") -> list[float]:
    """Of each row, the fastest of `over` (contestants that it has) divided by `under`; rows without are left out."""
    found = []
    for row in rows:
        times = [row[f"{name}_s"] for name in over if row.get(f"{name}_s") is not None]
        if times and row.get(f"{under}_s"):
            found.append(min(times) / row[f"{under}_s"])
    return found


def mean_ratio(rows: list[dict], over: list[str], under: str = "ours") -> float | None:
    """Geometric mean of `ratio`; None without a row."""
    found = ratio(rows, over, under)
    return geometric_mean(found) if found else None
