"""The lottery ticket hypothesis: a dense network holds a sparse one that trains as well, from the same start.

To find it, train, prune, and go back. With R rounds, m weights and k to keep in the end,

    train from w_0 (or go on from w_s) to w_T under the mask c_r                                     (1)
    k_{r+1} = round(m (k / m)^((r + 1) / R))                                                         (2)
    c_{r+1} = the k_{r+1} largest |w_T| of those in c_r                                              (3)
    w       = c_{r+1} * w_s, the values at step s, everything else as at step s too                  (4)

R times, then once more eq. 1: R + 1 trainings share the steps of the run, each with its own learning rate schedule.
Eq. 2 removes the same share of what is left each round: (k/m)^(1/R) = 0.8 is the paper's 20 %. With s > 0 (late
rewinding, for deep networks) the trainings after the first begin at step s of their schedule.

Stored: k weights and their places, all biases and gains. While it searches, one copy of the network for s > 0; for
s = 0 none, since the initial values are regenerated from the seed.
Suggested: k / m = 0.8^R; s = 0 for lenet-300-100, 2 to 5 % of a training for residual networks.
Does not help: when time counts - R + 1 trainings for one network. Fresh initial values in place of w_s (`control`
redraw) lose what was won: that is the paper's point.

Source: J. Frankle, M. Carbin, ICLR 2019, arXiv 1803.03635, section 1; late rewinding: arXiv 1903.01611, section 3.
Differs from the paper: one global cut where theirs is layer by layer with half the rate for the output (see
`allocation`); running statistics of normalisations are not rewound, they follow the batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from minisparse.methods.pruning import Pruning, magnitude
from minisparse.methods.rewind import forget, redraw, remember, rewind
from minisparse.settings import check, setting

CONTROLS = ("none", "redraw")


@dataclass(frozen=True)
class LotteryTicket(Pruning):
    """Train, prune, rewind; again.

    Parameters
    ----------
    rounds : R
    rewind_to : s, as a share of one training in [0, 1)
    control : "redraw" gives fresh initial values instead of eq. 4
    """

    name: ClassVar[str] = "lottery"

    rounds: int = setting(5, "times that the network is pruned and rewound; rounds + 1 trainings share the run")
    rewind_to: float = setting(0.0, "share of a training, in [0, 1), to whose end survivors are rewound; 0: the start")
    control: str = setting("none", "redraw what survives instead of rewinding it, to test it", CONTROLS)

    def __post_init__(self):
        super().__post_init__()
        check(self.rounds >= 1, "rounds", self.rounds, "must be >= 1")
        check(0 <= self.rewind_to < 1, "rewind_to", self.rewind_to, "must lie in [0, 1)")
        check(self.control in CONTROLS, "control", self.control, f"is none of {[*CONTROLS]}")

    def start(self, run):
        self.places(run.model)
        _, later = self.lengths(run.total_steps)
        check(later >= 1, "rounds", self.rounds, f"leaves no step for each training of {run.total_steps}")

    def lengths(self, total: int) -> tuple[int, int]:
        """Steps of the first training and of each later one, which begins at s."""
        later = round(total * (1 - self.rewind_to) / (1 + self.rounds * (1 - self.rewind_to)))
        return total - self.rounds * later, later

    def round_and_step(self, step: int, total: int) -> tuple[int, int, int]:
        """r, the step within that training, and its length."""
        first, later = self.lengths(total)
        if step < first:
            return 0, step, first
        r, within = divmod(step - first, later)
        return r + 1, first - later + within, first

    def pace(self, run):
        _, step, length = self.round_and_step(run.step, run.total_steps)
        return run.settings.learning_rate(step / length), run.settings.weight_decay

    def after_step(self, run):
        first, later = self.lengths(run.total_steps)
        if run.step == first - later and self.rewind_to:
            remember(run)
        if run.step < run.total_steps and run.step >= first and (run.step - first) % later == 0:
            self.next_ticket(run, (run.step - first) // later + 1)

    def next_ticket(self, run, r: int) -> None:
        """c_r by eqs. 2 and 3, then eq. 4."""
        parameters = self.candidates(run.model)
        m, k = sum(p.size for p in parameters.values()), self.places(run.model)
        scores = [magnitude(p) for p in parameters.values()]
        rewind(run)
        if self.control == "redraw":
            for name, p in parameters.items():
                redraw(p, run.settings.seed, name, r)
        self.cut(run, scores, round(m * (k / m) ** (r / self.rounds)))
        if r == self.rounds:
            forget(run)

    @classmethod
    def examples(cls):
        late = cls(budget=80, rounds=3, rewind_to=0.4)
        return [cls(density=0.2, rounds=2), late, cls(density=0.3, rounds=1, control="redraw")]
