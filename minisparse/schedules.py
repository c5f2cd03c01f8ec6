"""How a quantity moves over a run: factors of the progress u in [0, 1]."""

import math
from collections.abc import Callable

Schedule = Callable[[float], float]


def constant(u: float) -> float:
    """1 throughout."""
    return 1.0


def step(u: float, drops: tuple[float, ...] = (0.8, 0.93), factor: float = 0.1) -> float:
    """factor^(number of drops passed)."""
    return factor ** sum(u >= drop for drop in drops)


def cosine(u: float) -> float:
    """(1 + cos(pi u)) / 2, from 1 down to 0 (Loshchilov, Hutter, 2017, arXiv 1608.03983, eq. 5)."""
    return 0.5 * (1.0 + math.cos(math.pi * u))


def cubic(u: float) -> float:
    """(1 - u)^3, from 1 down to 0: fast while there is much to prune (Zhu, Gupta, 2017, arXiv 1710.01878, eq. 1)."""
    return (1.0 - u) ** 3


def warm_up(schedule: Schedule, share: float) -> Schedule:
    """A linear rise over the first `share` of the run, in front of the schedule over the rest."""
    if not 0 <= share < 1:
        raise ValueError(f"share={share} must lie in [0, 1): it is the part of the run that warms up")

    def warmed(u: float) -> float:
        return u / share if u < share else schedule((u - share) / (1.0 - share))

    return warmed


SCHEDULES: dict[str, Schedule] = {"constant": constant, "step": step, "cosine": cosine, "cubic": cubic}
