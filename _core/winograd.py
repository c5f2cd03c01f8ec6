"""Convolutions of stride 1 by Winograd's algorithm: the transforms, where they pay, and how exact it is.

n = r + 3 pixels of a row and r taps make four results with n products instead of 4 r (S. Winograd, Arithmetic
Complexity of Computations, 1980; in two dimensions A. Lavin and S. Gray, 2015, arXiv:1509.09308, eqs. 7 to 12):

    y = A_4^T ((G g) * (B^T d)),     G = D A_r                                                              (1)

for d (n,), g (r,) and y (4,). A_k (n, k) are the powers 0 to k - 1 of n points; B^T are the polynomials that vanish
at all points but one, and D makes them 1 there. In two dimensions each matrix is applied to columns and to rows, and
the n^2 products of a tile of y, 36 for 3 x 3 taps and 64 for 5 x 5, are summed over channels in between. Eq. 1 is
linear in g, so that the gradient of g is G^T ((A_4 dy) * (B^T d)) with the same transforms; that of d is
B ((G g) * (A_4 dy)), where tiles overlap, or eq. 1 with the taps in reverse.

The points are 0, infinity and pairs of opposites. Six are with +-sqrt(1/2) and +-sqrt(2), not the paper's +-1 and
+-2: rounding errors of random operands are 2 to 3 times those of plain sums, of weights' gradients 3 to 4 times, about
half of what the paper's points give. Eight are with +-1/2, +-1 and +-2, the best of 125 such sets: errors are 5 to 6
times those of plain sums, of weights' gradients 13 to 17 times, in float32 2e-6 to 4e-6 of what is computed (root mean
squares, measured at 16 to 64 channels). A result that is not finite makes its whole tile so.
"""

import math
from functools import lru_cache

import numpy as np

SIDE = 4
"""Pixels on each side of a tile of y."""
TRANSFORMS = 7
"""What the transforms of a tile cost for each channel, output and pixel that it meets, in products (measured)."""
GAIN = 1.75
"""How many times fewer products there have to be (measured: from 1.7 to 2 on it is faster)."""
SPREAD = 1.3
"""How many times fewer of dy, spread, than of x."""
WAITING = 1 << 12
"""Pixels of all channels of an image that may wait, of a block of the batch."""
ROUNDINGS = 36
"""Most rounding errors, eps / 2 each, that a term of a result meets apart from those of summation."""
OVERLAPS = 4
"""Most tiles that are spread to one pixel."""

_POINTS = {
    3: np.array([0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5)]),
    5: np.array([0, 0.5, -0.5, 1, -1, 2, -2]),
}
"""Of kernels of r x r; infinity is the last one."""


def values(r: int, k: int) -> np.ndarray:
    """A_k (r + 3, k): polynomials of k coefficients at the points."""
    return np.vstack([np.vander(_POINTS[r], k, increasing=True), np.eye(k)[-1]])


def differences(r: int) -> np.ndarray:
    """B^T (r + 3, r + 3): what vanishes at all finite points but one, and at all of them."""
    rows = [np.poly(np.delete(_POINTS[r], i)) for i in range(len(_POINTS[r]))]
    return np.array([*(np.append(row[::-1], 0) for row in rows), np.poly(_POINTS[r])[::-1]])


def weights(r: int) -> np.ndarray:
    """G (r + 3, r)."""
    scale = [np.prod(point - np.delete(_POINTS[r], i)) for i, point in enumerate(_POINTS[r])]
    return values(r, r) / np.append(scale, 1)[:, None]


@lru_cache(maxsize=256)
def pays(weight: tuple[int, ...], stride: int, padding: int, size: tuple[int, int]) -> bool:
    """Whether a weight (O, C, kh, kw) makes an image y of this size by tiles: there are far fewer products.

    It does not depend on the batch, and so neither does what becomes of an image.
    """
    if stride != 1 or padding < 0 or tuple(weight[2:]) not in ((3, 3), (5, 5)):
        return False
    return GAIN * _tiled(weight, size) < _plain(weight, padding, size)


@lru_cache(maxsize=256)
def back(weight: tuple[int, ...], stride: int, padding: int, size: tuple[int, int]) -> str:
    """How dx is best made of a dy of this size: "spread", "reversed", or "", by sums.

    Spread are the tiles of dy, to the pixels that each has met: there are fewer of these than of x where the image is
    small and the kernel large. The taps in reverse make tiles of x.
    """
    if stride != 1 or tuple(weight[2:]) not in ((3, 3), (5, 5)):
        return ""
    around = weight[2] - 1 - padding
    image = tuple(s + around - padding for s in size)
    tiled, least = _tiled(weight, size), _tiled(weight, image if around >= 0 else size)
    waiting = weight[1] * math.prod(-(-s // SIDE) * SIDE + weight[2] - 1 for s in size)
    if waiting <= WAITING and GAIN * tiled < _plain(weight, padding, size) and SPREAD * tiled < least:
        return "spread"
    return "reversed" if pays((weight[1], weight[0], *weight[2:]), stride, around, image) else ""


def _tiled(weight: tuple[int, ...], size: tuple[int, int]) -> int:
    """Products, and what the transforms cost, of all tiles of an image of this size."""
    tiles = -(-size[0] // SIDE) * -(-size[1] // SIDE)
    return tiles * (SIDE + weight[2] - 1) ** 2 * (weight[0] * weight[1] + TRANSFORMS * (weight[0] + weight[1]))


def _plain(weight: tuple[int, ...], padding: int, size: tuple[int, int]) -> int:
    """Products of sums."""
    return math.prod(weight[:2]) * math.prod(_meetings(s, k, padding) for s, k in zip(size, weight[2:], strict=True))


def fits(weight: tuple[int, ...]) -> bool:
    """Whether there are images that a weight of this shape convolves by tiles."""
    return pays(tuple(weight), 1, 0, (SIDE, SIDE))


def _meetings(size: int, taps: int, padding: int) -> int:
    """How often a tap meets a pixel, not the padding, over a row of results."""
    return sum(max(0, min(size, size + taps - 1 - padding - u) - max(0, padding - u)) for u in range(taps))


def convolve(w: np.ndarray, x: np.ndarray, padding: int, absolute: bool = False) -> np.ndarray:
    """y (O, Ho, Wo, N) of w (O, C, r, r) and x (C, H, W, N) by eq. 1.

    `absolute` takes the absolute values of all operands and transforms: with n terms a sum each result of the kernel
    is off by at most (n + ROUNDINGS) u / (1 - (n + ROUNDINGS) u) times that, u = eps / 2.
    """
    r, tiles, size = w.shape[2], *_squares(x, w.shape[2], padding)
    g, b, a = _matrices(r, absolute)
    w, tiles = (_absolute(operand, absolute) for operand in (w, tiles))
    u, v = np.einsum("iu,ocuv,jv->ocij", g, w, g), np.einsum("iu,cabuvn,jv->cabijn", b, tiles, b, optimize=True)
    y = np.einsum("im,ocij,cabijn,jl->oambln", a, u, v, a, optimize=True)
    o, down, m, across, _, n = y.shape
    return y.reshape(o, down * m, across * m, n)[:, : size[0], : size[1]]


def spread(w: np.ndarray, dy: np.ndarray, padding: int, absolute: bool = False) -> np.ndarray:
    """dx (C, H, W, N) of w (O, C, r, r) and dy (O, Ho, Wo, N); `absolute` as for convolve, with OVERLAPS more terms."""
    r, n, size = w.shape[2], SIDE + w.shape[2] - 1, dy.shape[1:3]
    g, b, a = _matrices(r, absolute)
    w, tiles = _absolute(w, absolute), _absolute(_tiles(dy), absolute)
    u = np.einsum("iu,ocuv,jv->ocij", g, w, g)
    squares = np.einsum("iu,ocij,im,oambln,jl,jv->caubvn", b, u, a, tiles, a, b, optimize=True)
    c, down, _, across, _, batch = squares.shape
    image = np.zeros((c, down * SIDE + r - 1, across * SIDE + r - 1, batch), squares.dtype)
    for i in range(down):
        for j in range(across):
            image[:, i * SIDE : i * SIDE + n, j * SIDE : j * SIDE + n] += squares[:, i, :, j]
    height, width = (s + r - 1 - 2 * padding for s in size)
    return image[:, padding : padding + height, padding : padding + width]


def input_gradient(w: np.ndarray, dy: np.ndarray, padding: int, absolute: bool = False) -> np.ndarray:
    """dx (C, H, W, N) by tiles, in the way that `back` says; arguments as of spread."""
    if back(w.shape, 1, padding, dy.shape[1:3]) == "spread":
        return spread(w, dy, padding, absolute)
    return convolve(w.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1], dy, w.shape[2] - 1 - padding, absolute)


def weight_gradient(dy: np.ndarray, x: np.ndarray, r: int, padding: int, absolute: bool = False) -> np.ndarray:
    """dw (O, C, r, r) of dy (O, Ho, Wo, N) and x (C, H, W, N); `absolute` as for convolve."""
    tiles, dy = _squares(x, r, padding)[0], _tiles(dy)
    g, b, a = _matrices(r, absolute)
    dy, tiles = (_absolute(operand, absolute) for operand in (dy, tiles))
    d = np.einsum("im,oambln,jl->oabijn", a, dy, a, optimize=True)
    v = np.einsum("iu,cabuvn,jv->cabijn", b, tiles, b, optimize=True)
    return np.einsum("iu,oabijn,cabijn,jv->ocuv", g, d, v, g, optimize=True)


def _matrices(r: int, absolute: bool) -> tuple[np.ndarray, ...]:
    """G, B^T and A_4."""
    return tuple(_absolute(matrix, absolute) for matrix in (weights(r), differences(r), values(r, SIDE)))


def _squares(x: np.ndarray, r: int, padding: int) -> tuple[np.ndarray, tuple[int, int]]:
    """(C, down, across, r + 3, r + 3, N): what each tile of y reads, zero outside of the image, and the size of y."""
    n, size = SIDE + r - 1, tuple(s + 2 * padding - r + 1 for s in x.shape[1:3])
    more = [-s % SIDE for s in size]
    padded = np.pad(x, ((0, 0), *((padding, padding + extra) for extra in more), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (n, n), axis=(1, 2))[:, ::SIDE, ::SIDE]
    return windows.transpose(0, 1, 2, 4, 5, 3), size


def _tiles(y: np.ndarray) -> np.ndarray:
    """(O, down, 4, across, 4, N), zero outside of the image."""
    y = np.pad(y, ((0, 0), (0, -y.shape[1] % SIDE), (0, -y.shape[2] % SIDE), (0, 0)))
    return y.reshape(len(y), y.shape[1] // SIDE, SIDE, y.shape[2] // SIDE, SIDE, y.shape[3])


def _absolute(array: np.ndarray, wanted: bool) -> np.ndarray:
    return np.abs(array).astype(np.float64) if wanted else array
