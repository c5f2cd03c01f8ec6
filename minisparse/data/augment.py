"""The augmentation of small images: pad and crop at random, which shifts them; mirror photographs at random.

Source: K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", 2015,
arXiv:1512.03385, section 4.2.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minisparse import rng


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
    n, _, height, width = x.shape
    top, left = stream.integers(2 * pad + 1, 2 * n).reshape(2, n)
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    # (n, C, 2 pad + 1, 2 pad + 1, H, W): every crop, without a copy
    windows = sliding_window_view(padded, (height, width), axis=(2, 3))
    return windows[np.arange(n), :, top, left]


def crop_and_flip(x: np.ndarray, stream: rng.Stream, pad: int = 4) -> np.ndarray:
    """`shift`, and half of the images mirrored left to right, by a coin of the same stream for each."""
    crops = shift(x, stream, pad)
    flip = stream.integers(2, len(x)).astype(bool)
    crops[flip] = crops[flip][..., ::-1]
    return crops
