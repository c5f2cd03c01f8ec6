"""Cross-entropy of the softmax, the mean over the batch, and its gradient; batch last.

    L     = -1/N sum_n sum_c t[c, n] log p[c, n],    p = exp(z) / sum_c exp(z)          (1)
    dL/dz = (p - t) / N                                                                 (2)
    t     = (1 - smoothing) [c = label n] + smoothing / C                               (3)

In float64 whatever the dtype of z, from which the largest of each column is taken first:

    log p = z - max z - log sum exp(z - max z)                                          (4)

Source: eq. 3 is Szegedy et al. (2015), arXiv 1512.00567, section 7.
"""

import numpy as np


def cross_entropy(logits: np.ndarray, labels: np.ndarray, smoothing: float) -> tuple[np.float64, np.ndarray]:
    """L and dL/dz.

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
    ValueError : shapes, dtypes, an empty batch, labels or smoothing out of range.
    """
    check_logits(logits, labels, smoothing)
    check_labels(labels, len(logits))
    classes, n = logits.shape
    right = labels, np.arange(n)
    with np.errstate(all="ignore"):  # infinite logits give NaN, which is the answer
        z = logits.astype(np.float64)
        z -= z.max(axis=0)
        p = np.exp(z)
        total = p.sum(axis=0)
        # eq. 4, 1
        log_total = np.log(total)
        loss = (1 - smoothing) * (log_total - z[right]).mean() + smoothing * (log_total - z).mean()
        # eq. 2
        dlogits = (p / total - smoothing / classes) / n
        dlogits[right] -= (1 - smoothing) / n
        return loss, dlogits.astype(logits.dtype)


def check_logits(logits: np.ndarray, labels: np.ndarray, smoothing: float) -> None:
    """ValueError unless these are a batch of logits with as many labels."""
    if logits.ndim != 2 or not logits.size:
        raise ValueError(f"logits has shape {logits.shape}, expected (classes, batch), and neither may be 0")
    if logits.dtype not in (np.float32, np.float64):
        raise ValueError(f"logits are {logits.dtype}, expected float32 or float64")
    if labels.shape != logits.shape[1:] or labels.dtype.kind not in "iu":
        n = logits.shape[1]
        raise ValueError(f"labels must be {n} integers, one a sample, not {labels.dtype} of shape {labels.shape}")
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing={smoothing} must lie in [0, 1)")


def check_labels(labels: np.ndarray, classes: int) -> None:
    """ValueError unless they lie in [0, classes)."""
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels lie in [{labels.min()}, {labels.max()}], outside the {classes} classes of the logits")


def magnitudes(function: str, logits: np.ndarray, labels: np.ndarray, smoothing: float):
    """sum |terms| of eq. 4 for the loss; of eq. 2 for its gradient, where p is off by u times its exponent."""
    z = np.abs(logits.astype(np.float64) - logits.max(axis=0))
    p = np.exp(-z)
    log_p = z + np.log(p.sum(axis=0)) + 1
    t = smoothing / len(logits) + (1 - smoothing) * (np.arange(len(logits))[:, None] == labels)
    p *= (1 + z + (p * z).sum(axis=0)) / p.sum(axis=0)
    return np.float64((t * log_p).sum(axis=0).mean()), (p + t) / logits.shape[1]


def cases(generator: np.random.Generator):
    """Calls with their number of terms: (function, arguments, terms)."""
    for dtype, kind in ((np.float32, np.int64), (np.float64, np.uint8), (np.float32, np.int32)):
        for classes, n in ((1, 1), (2, 5), (10, 128), (3, 33), (120, 8)):
            z, labels = generator.normal(size=(classes, n)).astype(dtype), generator.integers(classes, size=n)
            for smoothing in (0.0, 0.1):
                for scale in (1, 100):
                    yield "cross_entropy", (scale * z, labels.astype(kind), smoothing), classes + n + 24
        # ties, and logits that are all alike
        yield "cross_entropy", (np.zeros((4, 20), dtype), np.arange(20).astype(kind) % 4, 0.1), 48
    yield "cross_entropy", (z, np.full(n, classes), 0.0), 1
    yield "cross_entropy", (z, labels, 1.0), 1
    yield "cross_entropy", (z, np.full(n, 2**64 - 1, np.uint64), 0.0), 1
    yield "cross_entropy", (z[:, :0], labels[:0], 0.0), 1
