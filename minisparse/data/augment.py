"""The augmentation of small images: pad and crop at random, which shifts them; mirror photographs at random.

Source: K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", 2015,
arXiv:1512.03385, section 4.2.
"""

import numpy as np

from minisparse import rng
from minisparse._core import batch


def shift(x: np.ndarray, stream: rng.Stream, pad: int) -> np.ndarray:
    """Crops of the padded images at their own size.

    Parameters
    ----------
    x : (n, C, H, W), raw; the border is raw 0, black
    stream : gives each image its two offsets in [0, 2 pad]
    pad : pixels added on each side, which is how far an image moves at most

    Returns
    -------
    (n, C, H, W) of the same type, new memory
    """
    return batch.crop(x, *_corners(len(x), stream, pad), np.zeros(len(x), bool))


def crop_and_flip(x: np.ndarray, stream: rng.Stream, pad: int = 4) -> np.ndarray:
    """`shift`, and half of the images mirrored left to right, by a coin of the same stream for each."""
    corners = _corners(len(x), stream, pad)
    return batch.crop(x, *corners, stream.integers(2, len(x)).astype(bool))


def _corners(n: int, stream: rng.Stream, pad: int) -> np.ndarray:
    """Where crops begin in the images without their border, (2, n) int64: rows, then columns."""
    return stream.integers(2 * pad + 1, 2 * n).reshape(2, n) - pad
