"""Losses: the mean over the batch, and its gradient."""

import numpy as np


def softmax_cross_entropy(logits: np.ndarray, labels: np.ndarray, smoothing: float = 0.0) -> tuple[float, np.ndarray]:
    """Cross-entropy of the softmax of the logits, batch last.

        L         = -1/N sum_n sum_c t[c, n] log p[c, n],    p = exp(z) / sum_c exp(z)          (1)
        dL/dz     = (p - t) / N                                                                 (2)
        t[c, n]   = (1 - smoothing) [c = label n] + smoothing / C                               (3)

    Parameters
    ----------
    logits (C, N) : z, float32 or float64; a NaN or an infinite logit of the wrong sign gives a NaN loss
    labels (N,) : integers in [0, C)
    smoothing : in [0, 1)

    Returns
    -------
    loss, dlogits (C, N) of the logits' dtype

    Raises
    ------
    ValueError : shapes, an empty batch, labels or smoothing out of range.

    Source: eq. 3 is Szegedy et al. (2015), arXiv 1512.00567, section 7.
    """
    _check_batch("logits", logits)
    _check_labels(labels, *logits.shape)
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing={smoothing} must lie in [0, 1)")
    classes, n = logits.shape
    right = labels, np.arange(n)
    with np.errstate(invalid="ignore"):  # infinite logits give NaN, which is the answer
        shifted = logits - logits.max(axis=0)
        p = np.exp(shifted)
        total = p.sum(axis=0)
        # eq. 1: log p = z - log sum exp z
        log_total = np.log(total)
        loss = (1 - smoothing) * (log_total - shifted[right]).mean(dtype=np.float64)
        if smoothing:
            loss += smoothing * (log_total - shifted).mean(dtype=np.float64)
        # eq. 2
        p /= total
        dlogits = (p - smoothing / classes) / n if smoothing else p / n
        dlogits[right] -= (1 - smoothing) / n
    return float(loss), dlogits


def mean_squared_error(y: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    """L = mean((y - target)^2) over all entries, dL/dy = 2 (y - target) / size.

    Parameters
    ----------
    y, target (..., N) : of one shape

    Returns
    -------
    loss, dy of y's shape and dtype

    Raises
    ------
    ValueError : shapes that differ, or an empty batch.
    """
    _check_batch("y", y, ndim=None)
    if y.shape != np.shape(target):
        raise ValueError(f"target has shape {np.shape(target)}, y has {y.shape}: they must be the same")
    difference = y - np.asarray(target, y.dtype)
    loss = np.square(difference).mean(dtype=np.float64)
    return float(loss), difference * (2 / y.size)


def _check_batch(name: str, array: np.ndarray, ndim: int | None = 2) -> None:
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name} has shape {array.shape}, expected (classes, batch)")
    if array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}: the mean over an empty batch is undefined")


def _check_labels(labels: np.ndarray, classes: int, n: int) -> None:
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise ValueError(f"labels must be {n} integers, one a sample, not {labels.dtype} of shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels lie in [{labels.min()}, {labels.max()}], outside the {classes} classes of the logits")
