"""Choosing among more entries than memory could hold, each with a score and a place in the flattened model."""

from __future__ import annotations

import numpy as np

from minisparse._core import topk as kernel

Columns = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Places (M,) int64, gradients (M,) and scores (M,) of some entries."""
ROOM = 1 << 16
"""Entries that may wait beside 2 k before they are cut down to k."""


class Exact:
    """The k largest scores of a stream, ties to the lower place: exact, whatever the order of the stream.

    Of what has come so far, only entries that may be among the k largest are held. Once they fill the room they are
    cut down to the k largest; the last of these is the `bound` that others must pass from then on.

    Parameters
    ----------
    k : int >= 0, at most the number of entries to come
    """

    def __init__(self, k: int):
        self.k = k
        # (score, place) of the last entry to stand: any passes at first, none where there is no place at all
        self._last = (0.0, np.iinfo(np.int64).max) if k else (np.inf, -1)
        self._waiting: list[Columns] = []
        self._count = 0

    def bound(self, start: int) -> tuple[float, int]:
        """(threshold, index): an entry counts beyond it, or equal at a lower index, in an array from `start` on."""
        return self._last[0], self._last[1] - start

    def add(self, place: np.ndarray, gradient: np.ndarray, score: np.ndarray) -> None:
        """More entries. ValueError for a NaN score, at the latest in `chosen`."""
        self._waiting.append((place, gradient, score))
        self._count += len(place)
        if self._count > 2 * self.k + ROOM:
            self.cut()

    def cut(self) -> None:
        """Drop what cannot be chosen any more."""
        self._waiting = [self.chosen()]
        place, _, score = self._waiting[0]
        self._count = len(place)
        if 0 < self.k == len(place):
            least = score.min()
            self._last = float(least), int(place[score == least][-1])

    def chosen(self) -> Columns:
        """The k largest of all that came, places rising; all while they are fewer."""
        place, gradient, score = _by_place(self._waiting)
        (mask,) = kernel.topk([score], min(self.k, len(score)))
        return place[mask], gradient[mask], score[mask]

    def masks(self, scores: list[np.ndarray]) -> list[np.ndarray]:
        """Where the k largest of these stand."""
        return kernel.topk(scores, self.k)


class Above:
    """All scores over a threshold: k on average, where the threshold follows their quantile (`quantile_step`)."""

    def __init__(self, threshold: float):
        self.threshold = threshold
        self._waiting: list[Columns] = []

    def bound(self, start: int) -> tuple[float, int]:
        return self.threshold, -1

    def add(self, place: np.ndarray, gradient: np.ndarray, score: np.ndarray) -> None:
        (over,) = self.masks([score])
        self._waiting.append((place[over], gradient[over], score[over]))

    def cut(self) -> None:
        """There is nothing more to drop."""

    def chosen(self) -> Columns:
        return _by_place(self._waiting)

    def masks(self, scores: list[np.ndarray]) -> list[np.ndarray]:
        if any(np.isnan(score).any() for score in scores):
            raise ValueError("scores hold NaN: a NaN has no rank")
        return [score > score.dtype.type(self.threshold) for score in scores]


def quantile_step(threshold: float, count: int, k: int, gain: float) -> float:
    """The next threshold, > 0, after `count` scores passed this one where k should have.

        theta <- theta exp(gain (count - k) / k)

    DUMIQUE raises theta by (1 + c tau) for each of P scores over it and lowers it by (1 - c (1 - tau)) for each
    other, tau = 1 - k / P. Over all P this is exp(c (count - k)) to first order: gain = c k.

    Source: A. Yazidi, H. Hammer, 2017, as D. Yang et al., 2020, arXiv 2009.10976, apply it.
    """
    step = np.clip(gain * (count - k) / max(k, 1), -1, 1)
    return max(threshold * float(np.exp(step)), float(np.finfo(np.float32).tiny))


def _by_place(waiting: list[Columns]) -> Columns:
    place, gradient, score = (np.concatenate(column) for column in zip(*waiting, strict=True))
    # few runs that rise already: a merge
    order = np.argsort(place, kind="stable")
    return place[order], gradient[order], score[order]
