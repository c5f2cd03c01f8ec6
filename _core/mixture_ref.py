"""A mixture of Gaussians as the prior of all weights: minus its log-likelihood, and the gradient, in one pass.

With weights w_i, i = 1..I, and components j = 0..J of means mu_j, precisions beta_j = exp(gamma_j) and shares pi_j,

    d_ij = w_i - mu_j,   l_ij = log pi_j + gamma_j / 2 - log(2 pi) / 2 - beta_j d_ij^2 / 2               (1)
    loss = -sum_i log sum_j exp(l_ij)                                                                    (2)
    r_ij = exp(l_ij) / sum_k exp(l_ik)                  responsibilities                                 (3)
    dloss/dw_i = sum_j r_ij beta_j d_ij                                                                  (4)
    N_j = sum_i r_ij,   D_j = sum_i r_ij d_ij,   Q_j = sum_i r_ij d_ij^2                                 (5)

The gradients in the components' parameters follow from eq. 5. The largest l_ij of a row is taken off before exp, and
what then lies below exp(-708) counts as 0. Arithmetic is in float64 whatever the dtype of w; results do not depend on
the number of threads.

Source: S. Nowlan, G. Hinton (1992); K. Ullrich, E. Meeds, M. Welling (2017), arXiv 1702.04008, section 4.
"""

import numpy as np

BLOCK = 1 << 14
MOST = 256
"""Components."""
LEAST = -708.0


def prior(
    w: np.ndarray, mean: np.ndarray, gamma: np.ndarray, log_share: np.ndarray
) -> tuple[np.float64, np.ndarray, np.ndarray]:
    """loss (eq. 2), its gradient in w (eq. 4, like w), and N, D, Q (3, J + 1) float64 (eq. 5).

    Parameters
    ----------
    w : float32 or float64, of any shape
    mean, gamma, log_share : (J + 1,) float64: mu, log precisions and log pi; 1 to 256 components

    Raises
    ------
    ValueError : arrays of another dtype, or vectors that do not fit.
    """
    beta, constant = check_mixture(w, mean, gamma, log_share)
    dw, sums, loss = np.empty(w.size, w.dtype), np.zeros((3, len(mean))), np.float64(0)
    flat = w.ravel().astype(np.float64)
    for first in range(0, w.size, BLOCK):
        block = slice(first, first + BLOCK)
        d, r, evidence = _responsibilities(flat[block], mean, beta, constant)
        dw[block] = (r * d) @ beta  # eq. 4
        sums += r.sum(axis=0), (r * d).sum(axis=0), (r * d * d).sum(axis=0)  # eq. 5
        loss -= evidence.sum()  # eq. 2
    return loss, dw.reshape(w.shape), sums


def _responsibilities(w: np.ndarray, mean: np.ndarray, beta: np.ndarray, constant: np.ndarray):
    """d and r of eqs. 1 and 3, (I, J + 1), and log sum_j exp(l_ij), (I,)."""
    with np.errstate(all="ignore"):
        d = w[:, None] - mean
        terms = constant - beta / 2 * d * d  # eq. 1
        largest = terms.max(axis=1, keepdims=True)
        off = terms - largest
        e = np.where(off < LEAST, 0, np.exp(off))
        total = e.sum(axis=1, keepdims=True)
        return d, e / total, (largest + np.log(total)).ravel()


def check_mixture(w: np.ndarray, mean: np.ndarray, gamma: np.ndarray, log_share: np.ndarray):
    """beta, and what eq. 1 adds to the quadratic term, (J + 1,) each; ValueError unless these are a mixture."""
    if w.dtype not in (np.float32, np.float64):
        raise ValueError(f"w is {w.dtype}, expected float32 or float64")
    for name, vector in (("mean", mean), ("gamma", gamma), ("log_share", log_share)):
        if vector.dtype != np.float64 or vector.shape != mean.shape or vector.ndim != 1:
            raise ValueError(f"{name} is {vector.dtype} {vector.shape}, expected a vector of float64 like mean")
    if not 1 <= len(mean) <= MOST:
        raise ValueError(f"{len(mean)} components: a mixture has 1 to {MOST}")
    return np.exp(gamma), log_share + gamma / 2 - np.log(2 * np.pi) / 2


def magnitudes(function: str, w: np.ndarray, mean: np.ndarray, gamma: np.ndarray, log_share: np.ndarray):
    """sum |terms| of the results of `prior`, each term times its condition.

    Where l_ij is off by u |l|_ij, |l|_ij the sum of the absolute terms of eq. 1, r_ij is off by less than
    u r_ij (|l|_ij + sum_k r_ik |l|_ik).
    """
    beta, constant = check_mixture(w, mean, gamma, log_share)
    d, r, _ = _responsibilities(w.ravel().astype(np.float64), mean, beta, constant)
    size = np.abs(log_share) + np.abs(gamma) / 2 + 1 + beta / 2 * d * d
    row = (r * size).sum(axis=1, keepdims=True)
    r = r * (1 + size + row)
    d = np.abs(d)
    sums = np.stack([r.sum(axis=0), (r * d).sum(axis=0), (r * d * d).sum(axis=0)])
    return np.float64((1 + row).sum()), ((r * d) @ beta).reshape(w.shape), sums


def cases(generator: np.random.Generator):
    """Calls with their number of terms: (function, arguments, terms)."""

    def mixture(components: int, precision: float):
        mean, share = np.sort(generator.normal(size=components)), generator.dirichlet(np.ones(components))
        mean[components // 2] = 0
        return mean, np.log(precision) + generator.normal(size=components), np.log(share)

    for dtype in (np.float32, np.float64):
        for components, precision in ((1, 1.0), (2, 16.0), (17, 16.0), (17, 1e6), (65, 1e3), (256, 4.0)):
            for shape in ((0,), (1,), (7,), (3, 5), (9_001,)):
                w = generator.normal(size=shape).astype(dtype)
                # an entry of w has J + 1 terms, a sum one a weight; besides, each term is the last of 24 operations
                yield "prior", (w, *mixture(components, precision)), w.size + components + 24
        # at a mean, and where all components are far off
        for scale in (0.0, 1e3):
            w = scale * generator.normal(size=40).astype(dtype)
            yield "prior", (w, *mixture(17, 1e8)), 40 + 17 + 24
    yield "prior", (w, *mixture(257, 1.0)), 1
    yield "prior", (w, *np.zeros((3, 0))), 1
