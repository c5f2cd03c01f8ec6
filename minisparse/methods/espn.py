"""ESPN: extremely sparse pruned networks, by masks that are learned beside the weights.

Every weight gets a real mask m, 1 at first, and the network runs on their product; an L1 penalty on m, against which
the loss must defend each connection, drives the others to zero:

    w_ = m * w                                                                                       (1)
    min over w, m, b of  L(w_, b) + alpha sum |m|                                                    (2)
    with G = dL/dw_:  dL/dw = G * m,   dL/dm = G * w + alpha sign(m)                                 (3)

by the run's own optimiser, without weight decay. As soon as

    #{j : |m_j| > eps} <= k                                                                          (4)
    c_j = 1 for the k largest |m_j| over the whole model, ties to the lower index, else 0            (5)

and, with a fresh optimiser, the network trains on under c from

    w <- w * m * c                      where the search has left it                 (ESPN-Finetune, 6)
    w <- c * w_s                        the values at step s, where the search began  (ESPN-Rewind, 7)

Where the loss is flat in m_j, momentum beta takes it from 1 to 0 in (1 - beta) / (eta alpha) steps, eta the learning
rate. Connections that are defended a little take longer, so T steps of search call for

    alpha = HASTE (1 - beta) / (eta T)                                                               (8)

Phases, as progress of the run: dense training until `begin`, search until eq. 4 holds or until `end`, then training
under c. The search runs at the learning rate's height; the phases before and after have each a whole schedule.

Stored: k weights and their places, all biases and gains. While it searches, m and its optimiser state, and for
ESPN-Rewind one copy of the network.
Does not help: when time is short. The search alone takes about twice what SNIP's whole training does.

Source: M. Cho, A. Joshi, C. Hegde, 2020, arXiv 2006.15741, algorithms 1 and 2.
Differs from the authors' code: |m| in eq. 4 as in eq. 5, where they count m > eps; eq. 4 is looked at every `every`
steps, not once an epoch; alpha follows from the steps unless it is given; the validation split, not the test split,
is watched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minisparse.methods.pruning import Pruning
from minisparse.methods.rewind import forget, remember, rewind
from minisparse.settings import check, setting

HASTE = 1.25


@dataclass(frozen=True)
class ESPN(Pruning):
    """Learn masks under an L1 penalty; fine-tune what is left.

    Parameters
    ----------
    begin, end : progress at which the search begins, and at which it is over at the latest
    alpha : weight of the penalty, or None for eq. 8
    eps : a mask counts as gone below it
    every : steps between two looks at eq. 4
    tune : factor on the learning rate after the search
    """

    name: ClassVar[str] = "espn"

    begin: float = setting(0.25, "progress in [0, 1) at which the search for masks begins")
    end: float = setting(0.75, "progress at which the search is over at the latest")
    alpha: float | None = setting(None, "weight of the penalty on the masks (default: from the steps of the search)")
    eps: float = setting(1e-2, "size below which a mask counts as gone")
    every: int = setting(100, "steps between two counts of the masks that are left")
    tune: float = setting(0.2, "factor on the learning rate after the search")

    def __post_init__(self):
        super().__post_init__()
        check(0 <= self.end <= 1, "end", self.end, "must lie in [0, 1]")
        check(0 <= self.begin < self.end, "begin", self.begin, f"must lie in [0, end={self.end})")
        check(self.alpha is None or self.alpha >= 0, "alpha", self.alpha, "must be >= 0")
        check(self.eps >= 0, "eps", self.eps, "must be >= 0")
        check(self.every >= 1, "every", self.every, "must be >= 1")
        check(self.tune > 0, "tune", self.tune, "must be > 0")

    # The phases

    def start(self, run):
        self.places(run.model)
        first, _ = self._steps(run)
        check(first < run.total_steps, "begin", self.begin, f"leaves no step to the search in {run.total_steps}")
        if self.alpha is None and run.settings.optimizer != "sgd":
            raise ValueError(f"alpha=None follows from SGD's steps: give {self.name} an alpha for other optimizers")
        if first == 0:
            self.begin_search(run)

    def pace(self, run):
        (first, last), settings = self._steps(run), run.settings
        if self._searching(run):
            return settings.lr, 0.0
        if run.step < first:
            return self.first_rate(settings, run.step / first), settings.weight_decay
        # a search that stops early leaves the rate at its height until it was due to stop
        progress = max(0, run.step - last) / max(1, run.total_steps - last)
        return self.tune * settings.learning_rate(progress), settings.weight_decay

    def after_step(self, run):
        first, last = self._steps(run)
        if self._searching(run):
            self.update_masks(run)
            if run.step >= last or (run.step % self.every == 0 and self.few_left(run)):
                self.end_search(run)
        elif run.step == first:
            self.begin_search(run)

    # The search

    def begin_search(self, run) -> None:
        for p in self.candidates(run.model).values():
            p.notes["m"] = np.ones_like(p.store.values)
        run.renew_optimizer()

    def transform(self, p, w):
        m = p.notes.get("m")
        return (w, None) if m is None else (m * w, m)  # eq. 1

    def pullback(self, p, g, cache):
        m = cache
        if m is None:
            return g
        # eq. 3
        p.notes["dm"] = g * p.store.values
        return g * m

    def update_masks(self, run) -> None:
        """One step of the optimiser on m, by eq. 3."""
        alpha = self.penalty_weight(run)
        for name, p in self.candidates(run.model).items():
            m = p.notes["m"]
            gradient = p.notes.pop("dm") + alpha * np.sign(m)
            run.optimizer.update(f"{name}.m", m, gradient, run.lr)

    def few_left(self, run) -> bool:
        """Eq. 4."""
        left = sum(np.count_nonzero(np.abs(p.notes["m"]) > self.eps) for p in self.candidates(run.model).values())
        return left <= self.places(run.model)

    def penalty_weight(self, run) -> float:
        """alpha, by eq. 8 where it is not given."""
        if self.alpha is not None:
            return self.alpha
        first, last = self._steps(run)
        return HASTE * (1 - run.settings.momentum) / (run.settings.lr * (last - first))

    def end_search(self, run) -> None:
        candidates = self.candidates(run.model)
        masks = [p.notes.pop("m") for p in candidates.values()]
        self.take_up(run, masks)
        run.renew_optimizer()
        self.cut(run, [np.abs(m) for m in masks], self.places(run.model))  # eq. 5

    # Where ESPN-Finetune and ESPN-Rewind differ

    def first_rate(self, settings, progress: float) -> float:
        """Learning rate of the dense training."""
        return settings.learning_rate(progress)

    def take_up(self, run, masks: list[np.ndarray]) -> None:
        """Eq. 6, but for the cut."""
        for p, m in zip(self.candidates(run.model).values(), masks, strict=True):
            p.store.values *= m

    def _searching(self, run) -> bool:
        return any("m" in p.notes for p in self.candidates(run.model).values())

    def _steps(self, run) -> tuple[int, int]:
        """The first step of the search, and that after its last."""
        first = round(self.begin * run.total_steps)
        return first, max(first + 1, round(self.end * run.total_steps))

    @classmethod
    def examples(cls):
        quick = cls(density=0.3, alpha=0.5, eps=0.3, every=1, begin=0.1, end=0.9)
        return [cls(density=0.1), cls(budget=80, begin=0.0, end=1.0, floor=2), quick]


@dataclass(frozen=True)
class ESPNRewind(ESPN):
    """Learn masks under an L1 penalty; train what is left from where the search began."""

    name: ClassVar[str] = "espn-rewind"

    begin: float = setting(0.02, "progress in [0, 1) at which the search for masks begins")
    end: float = setting(0.5, "progress at which the search is over at the latest")
    tune: float = setting(1.0, "factor on the learning rate after the search")

    def begin_search(self, run):
        super().begin_search(run)
        remember(run)

    def first_rate(self, settings, progress):
        """The warm-up is no training of its own: the rate stays at its height."""
        return settings.lr

    def take_up(self, run, masks):
        """Eq. 7, but for the cut."""
        rewind(run)
        forget(run)
