"""Soft weight-sharing: a mixture of Gaussians as a learned prior, which prunes and quantises at once.

A trained network is trained on; what it would cost to send its weights w_1 ... w_I under the prior is a second loss
beside its cross-entropy L_E, a mean over the N samples. Components j = 0 ... J have means mu_j, log precisions gamma_j
and shares pi_j, beta_j = exp(gamma_j), d_ij = w_i - mu_j, and mu_0 = 0 takes most weights:

    L = L_E + (tau / N) C                                                                              (1)
    C = -sum_i log sum_j pi_j N(w_i | mu_j, 1 / beta_j)                                                (2)
        + sum_j (1 - alpha_j) gamma_j + b_j beta_j                   Gamma(alpha_j, b_j) over beta_j   (3)
        - (A - 1) log pi_0 - (B - 1) log(1 - pi_0)                   Beta(A, B) over pi_0, if learned  (4)
    pi_0 = 1 / (1 + exp(-a)),   pi_j = (1 - pi_0) q_j,   q = softmax(rho)                              (5)

With r_ij the share of component j in w_i and N_j = sum_i r_ij, the gradients are

    dC/dw_i = sum_j r_ij beta_j d_ij,   dC/dmu_j = -sum_i r_ij beta_j d_ij                             (6)
    dC/dgamma_j = -1/2 sum_i r_ij (1 - beta_j d_ij^2) + (1 - alpha_j) + b_j beta_j                     (7)
    dC/drho_j = -(N_j - q_j sum_{k > 0} N_k)                                                           (8)
    dC/da = -(N_0 - pi_0 I) - (A - 1) (1 - pi_0) + (B - 1) pi_0                                        (9)

In the end components that are nearly one are merged, and each weight takes the mean of its component:

    KL(i || j) = (gamma_i - gamma_j) / 2 + beta_j / 2 (1 / beta_i + (mu_i - mu_j)^2) - 1 / 2          (10)
    pi = sum_i pi_i,   mu = sum_i pi_i mu_i / pi,   sigma^2 = sum_i pi_i sigma_i^2 / pi               (11)
    w_i <- mu_k,   k = argmax_j log pi_j + gamma_j / 2 - beta_j d_ij^2 / 2;   k = 0 is pruned         (12)

Stored: J means at most, which one each non-zero weight has, and its place; all biases and gains.
Suggested: Adam, late drops of the rates; tau between 0.005 and 0.05, the larger the shorter the run. Watch the sigmas:
hard assignment hurts as long as they are wide, and a component moves by no more than its rate a step. What a short run
loses there comes back when shared values are trained: Compose(SoftWeightSharing(end=0.85),
TrainedQuantisation(begin=0.85)).
Measured, so composed, tau 0.04, test errors on MNIST, 5 seeds: lenet-300-100 1.19 % (1.07 to 1.34) in 14,063 bytes,
lenet-5-caffe 0.75 % (0.66 to 0.86) in 10,236.
Does not help: in a hurry. Weights need thousands of steps into their clusters.

Source: K. Ullrich, E. Meeds, M. Welling, 2017, arXiv 1702.04008; S. Nowlan, G. Hinton, 1992.
Differs from the paper: biases are outside; means start over a given reach, since outliers would stretch it; all rates
follow the run's schedule; pi_j is normalised in eq. 12, where the authors' code takes rho_j for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from minisparse._core import mixture as kernel
from minisparse._core import update
from minisparse.methods.base import Method
from minisparse.model import Model
from minisparse.params import Parameter
from minisparse.settings import check, setting

BETAS, EPS = (0.9, 0.999), 1e-8
"""Adam's, for the mixture."""
BLOCK = 1 << 14


class Mixture(NamedTuple):
    """Components: mean, gamma, share, (J + 1,) float64 each; the first has mean 0."""

    mean: np.ndarray
    gamma: np.ndarray
    share: np.ndarray


@dataclass(frozen=True)
class SoftWeightSharing(Method):
    """Train, then train on under a mixture prior, which clusters the weights.

    Parameters
    ----------
    begin : progress at which the prior begins
    end : progress at which the weights are assigned; 1 is the paper's, earlier leaves time to train what they share
    retrain : factor on the learning rate from `begin` on
    components : J, those beside the one at zero
    tau : weight of the prior, eq. 1
    reach, sigma : means begin evenly over [-reach, reach], all with this standard deviation
    zero_share : pi_0, where it is learned at first
    learn_share, beta_a, beta_b : whether pi_0 is learned, and A and B of eq. 4; 1 and 1 are no hyper-prior
    zero_alpha, zero_b, other_alpha, other_b : of eq. 3 for j = 0 and j > 0; 1 and 0 are no hyper-prior
    mean_rate, gamma_rate, share_rate : learning rates of mu, gamma, and rho and a at their highest
    merge : components with a smaller divergence (eq. 10) are one
    record : steps between two records of the mixture, which `moving_mixture` gives; 0 keeps none
    """

    name: ClassVar[str] = "soft-weight-sharing"
    recipe: ClassVar[dict[str, Any]] = {"optimizer": "adam", "lr": 1e-3, "schedule": "step"}

    begin: float = setting(0.4, "progress in [0, 1) at which the prior begins")
    end: float = setting(1.0, "progress in (begin, 1] at which each weight takes its Gaussian's mean")
    retrain: float = setting(1.0, "factor on the learning rate from then on, > 0")
    components: int = setting(16, "Gaussians beside the one at zero, 1 to 255")
    tau: float = setting(0.03, "weight of the prior, >= 0")
    reach: float = setting(0.6, "means begin evenly from minus this to this, > 0")
    sigma: float = setting(0.25, "standard deviation with which every Gaussian begins, > 0")
    zero_share: float = setting(0.99, "share of the Gaussian at zero, in (0, 1)")
    learn_share: bool = setting(False, "learn the share of the Gaussian at zero")
    beta_a: float = setting(1.0, "A of its hyper-prior Beta(A, B), > 0")
    beta_b: float = setting(1.0, "B of its hyper-prior Beta(A, B), > 0")
    zero_alpha: float = setting(5000.0, "alpha of the hyper-prior over the precision at zero, > 0")
    zero_b: float = setting(2.0, "b of the hyper-prior over the precision at zero, >= 0")
    other_alpha: float = setting(250.0, "alpha of the hyper-prior over the other precisions, > 0")
    other_b: float = setting(0.1, "b of the hyper-prior over the other precisions, >= 0")
    mean_rate: float = setting(5e-4, "learning rate of the means, >= 0")
    gamma_rate: float = setting(1e-2, "learning rate of the log precisions, >= 0")
    share_rate: float = setting(3e-3, "learning rate of the shares, >= 0")
    merge: float = setting(1e-10, "divergence below which two Gaussians are one, >= 0")
    record: int = setting(0, "steps between two records of the mixture; 0 keeps none")

    def __post_init__(self):
        check(0 <= self.begin < 1, "begin", self.begin, "must lie in [0, 1)")
        check(self.begin < self.end <= 1, "end", self.end, f"must lie in (begin={self.begin}, 1]")
        check(1 <= self.components <= 255, "components", self.components, "must lie in [1, 255]")
        check(0 < self.zero_share < 1, "zero_share", self.zero_share, "must lie in (0, 1)")
        for name in ("retrain", "reach", "sigma", "beta_a", "beta_b", "zero_alpha", "other_alpha"):
            check(0 < getattr(self, name) < np.inf, name, getattr(self, name), "must be > 0")
        for name in ("tau", "zero_b", "other_b", "mean_rate", "gamma_rate", "share_rate", "merge", "record"):
            check(0 <= getattr(self, name) < np.inf, name, getattr(self, name), "must be >= 0")

    # The phases

    def start(self, run):
        if self._first(run) == 0:
            self.begin_sharing(run)

    def pace(self, run):
        settings, steps = run.settings, (0, self._first(run), self._last(run), run.total_steps)
        phase = max(i for i in range(3) if run.step >= steps[i])
        rate = settings.learning_rate((run.step - steps[phase]) / max(1, steps[phase + 1] - steps[phase]))
        return (self.retrain * rate, 0.0) if phase else (rate, settings.weight_decay)

    def after_step(self, run):
        first, last = self._first(run), self._last(run)
        if first < run.step <= last:
            self.update_mixture(run, run.step - first)
        elif run.step == first:
            self.begin_sharing(run)
        if run.step == last:
            self.assign(run)

    def begin_sharing(self, run) -> None:
        """Every weight's notes hold the mixture - rows mu, gamma, and a before rho - and the price of C in eq. 1."""
        rows = np.zeros((3, self.components + 1))
        rows[0, 1:] = np.linspace(-self.reach, self.reach, self.components)
        rows[1] = -2 * np.log(self.sigma)
        rows[2, 0] = np.log(self.zero_share / (1 - self.zero_share))
        for p in candidates(run.model).values():
            p.notes["mixture"], p.notes["price"] = rows.copy(), np.array([self.tau / len(run.data.train)])
            if self.record:
                p.notes["before"] = p.value().copy()
        run.renew_optimizer()
        self._record(run)

    # Under the prior

    def penalty(self, p):
        if "mixture" not in p.notes:
            return 0.0, 0.0
        w, (price,) = p.store.values, p.notes["price"]
        kept = p.store.mask if p.store.mask is not None and w.shape == p.shape else slice(None)
        loss, dw, p.notes["sums"] = kernel.prior(w[kept], *log_mixture(p.notes["mixture"]))  # eqs. 2 and 6
        gradient = np.zeros_like(w)
        gradient[kept] = dw * w.dtype.type(price)
        return price * loss, gradient

    def update_mixture(self, run, t: int) -> None:
        """Step t of Adam on the mixture, by the gradients at the weights before their step."""
        weights = [*candidates(run.model).values()]
        notes = weights[0].notes
        rows, sums = notes["mixture"], sum(p.notes.pop("sums") for p in weights)
        mean, square = (notes.setdefault(f"mixture.{name}", np.zeros_like(rows)) for name in ("mean", "square"))
        pace = run.lr / (self.retrain * run.settings.lr)
        rates = self.mean_rate, self.gamma_rate, self.share_rate
        for row, g, m, s, rate in zip(rows, self.gradient(rows, sums), mean, square, rates, strict=True):
            update.adam(row, g, None, m, s, pace * rate, 0.0, BETAS, EPS, t)
        for p in weights:
            p.notes["mixture"] = rows.copy()
        self._record(run)

    def gradient(self, rows: np.ndarray, sums: np.ndarray) -> np.ndarray:
        """dC in (mu, gamma, a and rho), (3, J + 1), from the sums over i of r_ij, r_ij d_ij and r_ij d_ij^2."""
        (n, d, q), mixture = sums, mixture_of(rows)
        pi_0, beta, zero = mixture.share[0], np.exp(mixture.gamma), np.arange(len(n)) == 0
        alpha, b = np.where(zero, self.zero_alpha, self.other_alpha), np.where(zero, self.zero_b, self.other_b)
        g = np.empty_like(rows)
        g[0] = np.where(zero, 0.0, -beta * d)  # eq. 6
        g[1] = -0.5 * (n - beta * q) + (1 - alpha) + b * beta  # eq. 7
        g[2] = -(n - mixture.share / (1 - pi_0) * n[1:].sum())  # eq. 8
        g[2, 0] = -(n[0] - pi_0 * n.sum()) - (self.beta_a - 1) * (1 - pi_0) + (self.beta_b - 1) * pi_0  # eq. 9
        g[2, 0] *= self.learn_share
        return g

    # The end

    def assign(self, run) -> None:
        """Eqs. 10 to 12."""
        weights = candidates(run.model)
        mixture = merged(mixture_of(next(iter(weights.values())).notes["mixture"]), self.merge)
        for name, p in weights.items():
            run.hold_dense(name)
            k = assign(p.value(), mixture)  # eq. 12
            kept = np.ones(p.shape, bool) if p.mask is None else p.mask
            if p.store.rest.is_zero:  # over another rest value a zero is stored
                kept = kept & (k > 0)
            np.copyto(p.store.values, mixture.mean[k], where=kept, casting="same_kind")
            run.keep(name, kept)
            for note in {"mixture", "price", "mixture.mean", "mixture.square"} & set(p.notes):
                del p.notes[note]
        run.renew_optimizer()

    def _first(self, run) -> int:
        """Steps before the prior begins."""
        return round(self.begin * run.total_steps)

    def _last(self, run) -> int:
        """Steps before weights are assigned."""
        return max(self._first(run) + 1, round(self.end * run.total_steps))

    def _record(self, run) -> None:
        notes = next(iter(candidates(run.model).values())).notes
        if self.record and (run.step - self._first(run)) % self.record == 0:
            for name, value in ("steps", np.array(run.step)), ("mixtures", notes["mixture"]):
                before = notes.get(name, np.empty((0, *value.shape), value.dtype))
                notes[name] = np.concatenate([before, value[None]])

    @classmethod
    def examples(cls):
        quick = {"tau": 1e-3, "sigma": 0.1, "gamma_rate": 0.05}
        return [cls(begin=0.2, **quick), cls(begin=0.0, end=0.8, components=3, learn_share=True, record=5, **quick)]


def candidates(model: Model) -> dict[str, Parameter]:
    """What shares the mixture: the weights."""
    return {name: p for name, p in model.parameters.items() if p.role == "weight"}


def mixture_of(rows: np.ndarray) -> Mixture:
    """Eq. 5."""
    e = np.exp(rows[2, 1:] - rows[2, 1:].max())
    pi_0 = 1 / (1 + np.exp(-rows[2, 0]))
    return Mixture(rows[0], rows[1], np.append(pi_0, (1 - pi_0) * e / e.sum()))


def log_mixture(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """mu, gamma and log pi."""
    mean, gamma, share = mixture_of(rows)
    return mean, gamma, np.log(share)


def divergences(mixture: Mixture) -> np.ndarray:
    """KL(i || j) of all pairs, (J + 1, J + 1), eq. 10."""
    (mean, gamma, _), beta = mixture, np.exp(mixture.gamma)
    apart = mean[:, None] - mean
    return (gamma[:, None] - gamma) / 2 + beta / 2 * (1 / beta[:, None] + apart**2) - 0.5


def merged(mixture: Mixture, threshold: float) -> Mixture:
    """Components with a divergence below the threshold in one (eq. 11), until none is left; the first keeps mean 0."""
    order = np.append(0, 1 + np.lexsort([part[1:] for part in mixture]))
    mean, gamma, share = (part[order] for part in mixture)
    near = divergences(Mixture(mean, gamma, share)) < threshold
    near |= near.T | np.eye(len(mean), dtype=bool)
    for _ in mean:  # neighbours of neighbours
        near = near @ near
    groups = np.unique(near, axis=0)[::-1]  # that of component 0 comes first
    if len(groups) == len(mean):
        return Mixture(mean, gamma, share)
    pi = groups @ share
    mu, variance = groups @ (share * mean) / pi, groups @ (share * np.exp(-gamma)) / pi
    mu[0] = 0
    return merged(Mixture(mu, -np.log(variance), pi), threshold)


def assign(w: np.ndarray, mixture: Mixture) -> np.ndarray:
    """k of eq. 12, the lowest of equals, like w."""
    constant, beta = np.log(mixture.share) + mixture.gamma / 2, np.exp(mixture.gamma)
    k = np.empty(w.size, np.int64)
    for first in range(0, w.size, BLOCK):
        d = w.ravel()[first : first + BLOCK, None] - mixture.mean
        k[first : first + BLOCK] = (constant - beta / 2 * d**2).argmax(axis=1)
    return k.reshape(w.shape)


def moving_mixture(model: Model) -> dict[str, np.ndarray]:
    """What was recorded: steps (R,), the mixture at each, mean, sigma and share (R, J + 1), and all weights, (I,)
    each, before the prior began and as they are, for the figure of weights that move into clusters.

    Raises
    ------
    ValueError : nothing was recorded.
    """
    weights = [*candidates(model).values()]
    notes = weights[0].notes
    if "mixtures" not in notes:
        raise ValueError("no mixture was recorded: train with record=100, say, and look into the run's model")
    mixtures = [mixture_of(rows) for rows in notes["mixtures"]]
    return {
        "steps": notes["steps"],
        "mean": np.stack([mixture.mean for mixture in mixtures]),
        "sigma": np.exp(-0.5 * np.stack([mixture.gamma for mixture in mixtures])),
        "share": np.stack([mixture.share for mixture in mixtures]),
        "before": np.concatenate([p.notes["before"].ravel() for p in weights]),
        "after": np.concatenate([p.value().ravel() for p in weights]),
    }
