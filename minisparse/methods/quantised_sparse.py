"""Quantised sparse training: places, values and the step between them learned together, from scratch, in one run.

The optimiser moves shadow weights w; the network runs on masked and rounded ones, Q magnitudes a tensor:

    u = |w| / s,   k = clip(round(u), 1, Q),   w_ = sign(w) s k m                                      (1)

Zero belongs to the mask m alone: rounding has no dead zone of its own. With g = dL/dw_, dense, also where m = 0,

    dw = g, also where m = 0; 0 where m = 1 and u >= Q, unless it takes w back towards the range       (2)
    ds = sum g sign(w) m e / sqrt(|m|_0 Q),   e = k - u where 1/2 <= u < Q, else k                     (3)

    s >= mean of the |w| with m = 1, over 2 Q                                                          (4)

so that a pruned weight keeps learning and can return, and s, once too small, cannot drag all weights along with its
range. Two ways to the mask:

    m = 1 for the K largest |w| of the model, ties to the lower index, K falling from all n to rho n
        n (rho + (1 - rho) (1 - v)^3),   v = progress / end                     (QuantisedSparse, 5)
    m = 1[|w| > t] with a threshold t >= 0 a tensor, learned under the penalty lambda exp(-t):
        dt = -sum g sign(w) s k h(|w| - t) - lambda exp(-t)                     (QuantisedSparseLearned, 6)
        h(x) = 2 - 4 |x| for |x| <= 0.4, 0.4 for 0.4 < |x| <= 1, else 0                                (7)

From `freeze` on m stays: weights off it go to rest and the others are trained alone, in the sparse store.

**What is a reconstruction.** Of the paper only the abstract was at hand: pruning and quantisation in one gradient-based
optimisation through straight-through estimators, from scratch. Its thresholds, quantiser, penalty and schedules are not
known here. Eqs. 1 to 7 rebuild it from what it cites: eqs. 2, 3 after LSQ (arXiv 1902.08153), eqs. 6, 7 after dynamic
sparse training (arXiv 2005.06870), eq. 5 after Zhu and Gupta (arXiv 1710.01878); eq. 4 is ours. None of its results is
quoted.

Stored: for each tensor at most 2 Q values, the places of the kept weights and a level each; biases and gains, with
`others` on a grid too (quantising.py, eq. 1).
Behind a method that chooses masks (`Compose(DropBack(...), QuantisedSparse(...))`) m picks among the entries on its
mask, which stays its own; those that m leaves out are stored zeros. That mask should be fixed by `freeze`.
Suggested: a fifth of the learning rate that suits the dense network, since weights that flip between levels are noise.
Measured, test errors of lenet-300-100 on MNIST, 5 seeds: 5 % of the weights, Q = 7, 40 epochs: 0.94 % (0.88 to 0.99)
in 10,635 bytes; 3.4 %, Q = 3: 1.24 % (1.11 to 1.41) in 6,532. Behind ESPN, 1.7 %, Q = 7, 120 epochs: 1.68 % (1.59 to
1.78) in 4,633 bytes, 230 times smaller than float32's; lenet-5-caffe, 0.3 %, 60 epochs: 0.95 % (0.93 to 1.00) in 2,066.
Does not help: where few bits are wanted without zeros; then LSQ has a level more.

Source: J.-H. Park, K.-M. Kim, S. Lee, ACM TECS 21(5), 2022, 3524066.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from minisparse._core import joint as kernel
from minisparse.methods.lsq import begin_steps, move_steps
from minisparse.methods.pruning import Pruning
from minisparse.methods.quantising import Quantising, kept_entries, parts, places, weights
from minisparse.params import Parameter
from minisparse.quantisers import gradient_scale
from minisparse.schedules import cubic
from minisparse.settings import check, setting

if TYPE_CHECKING:
    from minisparse.run import Run


@dataclass(frozen=True)
class JointQuantiser(Quantising):
    """Eqs. 1 to 4, whatever chooses the mask; notes: s as "step", m as "on", of the parameter's shape.

    Parameters
    ----------
    levels : Q, magnitudes a kept weight can take, 1 to 127; there are as many negative ones
    step_rate : factor on the learning rate for s
    freeze : progress after which the mask stays
    """

    levels: int = setting(3, "magnitudes that a kept weight can take, 1 to 127, with either sign")
    step_rate: float = setting(1.0, "factor on the learning rate for the steps between levels")
    freeze: float = setting(0.7, "progress in (0, 1] after which the mask stays")

    def __post_init__(self):
        super().__post_init__()
        check(1 <= self.levels <= 127, "levels", self.levels, "must be 1 to 127")
        check(self.step_rate >= 0, "step_rate", self.step_rate, "must be >= 0")
        check(self.begin < self.freeze <= 1, "freeze", self.freeze, f"must lie in (begin={self.begin}, 1]")

    # What the two ways to the mask define

    def move_masks(self, run: Run) -> None:
        """notes["on"] of every weight for the coming step."""
        raise TypeError(f"{type(self).__name__} defines no move_masks")

    # Eqs. 1 to 4

    def begin_weights(self, run):
        for p in weights(run).values():
            begin_steps(p, self.per, self.levels)
        self.move_masks(run)

    def transform_weight(self, p, w):
        used, steps, on = np.empty_like(w), p.notes["step"], self.chosen(p)
        for i, part in parts(self.per, p):
            used[part] = kernel.quantise(w[part], on[part], steps[i], self.levels)
        return used

    def pull_weight_back(self, p, g, w):
        dw, steps, on = np.empty_like(g), p.notes["step"], self.chosen(p)
        slope = np.zeros_like(steps)
        for i, part in parts(self.per, p):
            dw[part], ds = kernel.quantise_backward(g[part], w[part], on[part], steps[i], self.levels)
            slope[i] = ds * gradient_scale(np.count_nonzero(on[part]), self.levels)
        p.notes["dstep"] = slope
        return dw

    def chosen(self, p: Parameter) -> np.ndarray:
        """m of the kept entries (K,)."""
        on, index = p.notes.get("on"), places(p)
        if on is None:
            return np.ones(p.kept, bool)
        return on.ravel() if index is None else on.ravel()[index]

    def update(self, run):
        for name, p in weights(run).items():
            move_steps(run, name, p, self.step_rate * run.lr)
        last = round(self.freeze * run.total_steps)
        if run.step <= last:
            self.move_masks(run)
        if run.step == last:
            self.settle(run)

    def choose_entries(self, p: Parameter, on: np.ndarray) -> None:
        """m of a parameter, of which `chosen` takes what is on its mask; from it the bound of eq. 4."""
        p.notes["on"] = on
        size, on = np.abs(kept_entries(p, p.store.values)), self.chosen(p)
        for i, part in parts(self.per, p):
            mean = np.vdot(size[part], on[part]) / max(1, np.count_nonzero(on[part]))
            p.notes["least"][i] = max(mean / (2 * self.levels), np.finfo(size.dtype).tiny)

    def settle(self, run: Run) -> None:
        """From now on m is the parameter's own mask, unless that is another method's."""
        for name, p in weights(run).items():
            if p.mask is None:
                run.keep(name, p.notes.pop("on"))


@dataclass(frozen=True)
class QuantisedSparse(JointQuantiser, Pruning):
    """Train masked and rounded weights within a budget.

    Parameters
    ----------
    end : progress at which the budget is met
    every : steps between two choices of the mask
    """

    name: ClassVar[str] = "quantised-sparse"

    end: float = setting(0.5, "progress at which the budget is met")
    every: int = setting(10, "steps between two choices of the mask")

    def __post_init__(self):
        JointQuantiser.__post_init__(self)
        Pruning.__post_init__(self)
        check(self.begin < self.end <= self.freeze, "end", self.end, f"must lie in ({self.begin}, {self.freeze}]")
        check(self.every >= 1, "every", self.every, "must be >= 1")

    def start(self, run):
        self.places(run.model)
        super().start(run)

    def move_masks(self, run):
        last = run.step in (round(share * run.total_steps) for share in (self.end, self.freeze))
        if run.step % self.every and not last and all("on" in p.notes for p in weights(run).values()):
            return
        parameters = weights(run)
        scores = [available(p) for p in parameters.values()]
        for p, mask in zip(
            parameters.values(), self.choose([*parameters.values()], scores, self.count(run)), strict=True
        ):
            self.choose_entries(p, mask)

    def count(self, run: Run) -> int:
        """K, eq. 5."""
        k, total = self.places(run.model), sum(p.size for p in weights(run).values())
        first, last = (round(share * run.total_steps) for share in (self.begin, self.end))
        v = min(1.0, (run.step - first) / max(1, last - first))
        return k + round((total - k) * cubic(v))

    @classmethod
    def examples(cls):
        small = cls(budget=64, levels=1, per="channel", begin=0.2, freeze=1.0, others=3, activations=4, floor=1)
        return [cls(density=0.2), small]


def available(p: Parameter) -> np.ndarray:
    """|w|, -1 off another method's mask."""
    size = np.abs(p.value())
    return size if p.mask is None else np.where(p.mask, size, size.dtype.type(-1))


@dataclass(frozen=True)
class QuantisedSparseLearned(JointQuantiser):
    """Train masked and rounded weights under thresholds that are learned.

    Parameters
    ----------
    strength : lambda
    floor : a tensor that would keep fewer weights begins again with t = 0
    """

    name: ClassVar[str] = "quantised-sparse-learned"

    strength: float = setting(1e-4, "weight of the penalty exp(-t) that drives the thresholds t up")
    floor: int = setting(10, "weights below which a tensor's threshold begins again at 0")

    def __post_init__(self):
        super().__post_init__()
        check(self.strength >= 0, "strength", self.strength, "must be >= 0")
        check(self.floor >= 1, "floor", self.floor, "must be >= 1")

    def begin_weights(self, run):
        for p in weights(run).values():
            p.notes["threshold"] = np.zeros(1, p.store.values.dtype)
        super().begin_weights(run)

    def pull_weight_back(self, p, g, w):
        t = p.notes.get("threshold")
        if t is not None:
            p.notes["dthreshold"] = np.array([self.threshold_slope(p, g, w, t[0])], w.dtype)
        return super().pull_weight_back(p, g, w)

    def threshold_slope(self, p: Parameter, g: np.ndarray, w: np.ndarray, t: float) -> float:
        """dt, eqs. 6 and 7."""
        full, steps = np.empty_like(w), p.notes["step"]
        for i, part in parts(self.per, p):
            full[part] = kernel.quantise(w[part], np.ones(part.stop - part.start, bool), steps[i], self.levels)
        x = np.abs(np.abs(w) - t)
        h = np.where(x <= 0.4, 2 - 4 * x, np.where(x <= 1, 0.4, 0))
        return -np.vdot(g.astype(np.float64), full * h) - self.strength * np.exp(-t)

    def update(self, run):
        for name, p in weights(run).items():
            if "threshold" in p.notes:
                t = p.notes["threshold"]
                run.optimizer.update(f"{name}.threshold", t, p.notes.pop("dthreshold"), run.lr)
                np.maximum(t, 0, out=t)
        super().update(run)

    def move_masks(self, run):
        for p in weights(run).values():
            t = p.notes["threshold"]
            if np.count_nonzero(available(p) > t) < min(self.floor, p.kept):
                t[...] = 0
            self.choose_entries(p, available(p) > t)

    def settle(self, run):
        super().settle(run)
        for p in weights(run).values():
            del p.notes["threshold"]

    @classmethod
    def examples(cls):
        return [cls(strength=0.3, floor=3), cls(levels=1, per="channel", begin=0.2, freeze=1.0, others=3)]
