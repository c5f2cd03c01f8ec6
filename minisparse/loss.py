"""Losses: the mean over the batch, and its gradient."""

import numpy as np

from minisparse._core import softmax


def softmax_cross_entropy(logits: np.ndarray, labels: np.ndarray, smoothing: float = 0.0) -> tuple[float, np.ndarray]:
    """Cross-entropy of the softmax of the logits, batch last; its equations are in `_core/softmax_ref.py`.

    Parameters
    ----------
    logits (C, N) : z, float32 or float64; a NaN or an infinite logit of the wrong sign gives a NaN loss
    labels (N,) : integers in [0, C)
    smoothing : of labels, in [0, 1)

    Returns
    -------
    loss, dlogits (C, N) of the logits' dtype

    Raises
    ------
    ValueError : shapes, an empty batch, labels or smoothing out of range.
    """
    loss, dlogits = softmax.cross_entropy(logits, labels, smoothing)
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
    if not y.size:
        raise ValueError(f"y has shape {y.shape}: the mean over an empty batch is undefined")
    if y.shape != np.shape(target):
        raise ValueError(f"target has shape {np.shape(target)}, y has {y.shape}: they must be the same")
    difference = y - np.asarray(target, y.dtype)
    loss = np.square(difference).mean(dtype=np.float64)
    return float(loss), difference * (2 / y.size)
