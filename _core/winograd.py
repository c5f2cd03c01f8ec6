"""Convolutions of stride 1 by Winograd's algorithm: the transforms, where they pay, and how exact it is.

Six pixels of a row and r taps make m = 7 - r results with six products instead of m r (S. Winograd, Arithmetic
Complexity of Computations, 1980; in two dimensions A. Lavin and S. Gray, 2015, arXiv:1509.09308, eqs. 7 to 12):

    y = A_m^T ((G g) * (B^T d)),     G = D A_r                                                              (1)

for d (6,), g (r,) and y (m,). A_n (6, n) are the powers 0 to n - 1 of six points; B^T are the polynomials that vanish
at all points but one, and D makes them 1 there. In two dimensions each matrix is applied to columns and to rows, and
the 36 products of a tile of y are summed over channels in between. Eq. 1 is linear in g, so that the gradient of g is
G^T ((A_m dy) * (B^T d)) with the same transforms; that of d is B ((G g) * (A_m dy)), where tiles overlap, or eq. 1 with
the taps in reverse.

The points are 0, +-sqrt(1/2), +-sqrt(2) and infinity, not the paper's +-1 and +-2: rounding errors of random operands
are 1.5 to 3 times those of plain sums with them, of weights' gradients 3 to 4 times, and of results about half of what
the paper's points give (measured). A result that is not finite makes its whole tile so.
"""

import math
from functools import lru_cache

import numpy as np

SIDE = 6
"""Pixels on each side of the square that a tile reads: m + r - 1."""
TRANSFORMS = 250
"""What the transforms of a tile cost for each channel and output, in products (measured)."""
GAIN = 1.5
"""How many times fewer products there have to be."""
SPREAD = 1.3
"""How many times fewer of dy, spread, than of x."""
WAITING = 1 << 12
"""Pixels of all channels of an image that may wait, of a block of the batch."""
ROUNDINGS = 32
"""Most rounding errors, eps / 2 each, that a term of a result meets apart from those of summation."""
OVERLAPS = 9
"""Most tiles that are spread to one pixel."""

_POINTS = np.array([0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5)])


def values(n: int) -> np.ndarray:
    """A (6, n): polynomials of n coefficients at the points, infinity the last."""
    return np.vstack([np.vander(_POINTS, n, increasing=True), np.eye(n)[-1]])


def differences() -> np.ndarray:
    """B^T (6, 6): what vanishes at all finite points but one, and at all of them."""
    rows = [np.poly(np.delete(_POINTS, i)) for i in range(len(_POINTS))]
    return np.array([*(np.append(row[::-1], 0) for row in rows), np.poly(_POINTS)[::-1]])


def weights(r: int) -> np.ndarray:
    """G (6, r)."""
    scale = [np.prod(point - np.delete(_POINTS, i)) for i, point in enumerate(_POINTS)]
    return values(r) / np.append(scale, 1)[:, None]


@lru_cache(maxsize=256)
def side(weight: tuple[int, ...], stride: int, padding: int, size: tuple[int, int]) -> int:
    """m, the side of the tiles by which a weight (O, C, kh, kw) makes an image y of this size, or 0: sums are better.

    It does not depend on the batch, and so neither does what becomes of an image.
    """
    if stride != 1 or padding < 0 or tuple(weight[2:]) not in ((3, 3), (5, 5)):
        return 0
    return SIDE + 1 - weight[2] if GAIN * _tiled(weight, size) < _plain(weight, padding, size) else 0


@lru_cache(maxsize=256)
def back(weight: tuple[int, ...], stride: int, padding: int, size: tuple[int, int]) -> str:
    """How dx is best made of a dy of this size: "spread", "reversed", or "", by sums.

    Spread are the tiles of dy, to the pixels that each has met: there are fewer of these than of x where the image is
    small and the kernel large. The taps in reverse make tiles of x.
    """
    if stride != 1 or tuple(weight[2:]) not in ((3, 3), (5, 5)):
        return ""
    m, around = SIDE + 1 - weight[2], weight[2] - 1 - padding
    image = tuple(s + around - padding for s in size)
    tiled, least = _tiled(weight, size), _tiled(weight, image if around >= 0 else size)
    waiting = weight[1] * math.prod(-(-s // m) * m + SIDE - m for s in size)
    if waiting <= WAITING and GAIN * tiled < _plain(weight, padding, size) and SPREAD * tiled < least:
        return "spread"
    return "reversed" if side((weight[1], weight[0], *weight[2:]), stride, around, image) else ""


def _tiled(weight: tuple[int, ...], size: tuple[int, int]) -> int:
    """Products, and what the transforms cost, of all tiles of an image of this size."""
    m = SIDE + 1 - weight[2]
    tiles = -(-size[0] // m) * -(-size[1] // m)
    return tiles * (SIDE * SIDE * weight[0] * weight[1] + TRANSFORMS * (weight[0] + weight[1]))


def _plain(weight: tuple[int, ...], padding: int, size: tuple[int, int]) -> int:
    """Products of sums."""
    return math.prod(weight[:2]) * math.prod(_meetings(s, k, padding) for s, k in zip(size, weight[2:], strict=True))


def fits(weight: tuple[int, ...]) -> bool:
    """Whether there are images that a weight of this shape convolves by tiles."""
    m = SIDE + 1 - weight[2]
    return m > 0 and side(tuple(weight), 1, 0, (m, m)) > 0


def _meetings(size: int, taps: int, padding: int) -> int:
    """How often a tap meets a pixel, not the padding, over a row of results."""
    return sum(max(0, min(size, size + taps - 1 - padding - u) - max(0, padding - u)) for u in range(taps))


def convolve(w: np.ndarray, x: np.ndarray, padding: int, absolute: bool = False) -> np.ndarray:
    """y (O, Ho, Wo, N) of w (O, C, r, r) and x (C, H, W, N) by eq. 1.

    `absolute` takes the absolute values of all operands and transforms: with n terms a sum each result of the kernel
    is off by at most (n + ROUNDINGS) u / (1 - (n + ROUNDINGS) u) times that, u = eps / 2.
    """
    r, tiles, size = w.shape[2], *_squares(x, w.shape[2], padding)
    g, b, a = (_absolute(matrix, absolute) for matrix in (weights(r), differences(), values(SIDE + 1 - r)))
    w, tiles = (_absolute(operand, absolute) for operand in (w, tiles))
    u, v = np.einsum("iu,ocuv,jv->ocij", g, w, g), np.einsum("iu,cabuvn,jv->cabijn", b, tiles, b, optimize=True)
    y = np.einsum("im,ocij,cabijn,jl->oambln", a, u, v, a, optimize=True)
    o, down, m, across, _, n = y.shape
    return y.reshape(o, down * m, across * m, n)[:, : size[0], : size[1]]


def spread(w: np.ndarray, dy: np.ndarray, padding: int, absolute: bool = False) -> np.ndarray:
    """dx (C, H, W, N) of w (O, C, r, r) and dy (O, Ho, Wo, N); `absolute` as for convolve, with OVERLAPS more terms."""
    r, m, size = w.shape[2], SIDE + 1 - w.shape[2], dy.shape[1:3]
    g, b, a = (_absolute(matrix, absolute) for matrix in (weights(r), differences(), values(m)))
    w, tiles = _absolute(w, absolute), _absolute(_tiles(dy, m), absolute)
    u = np.einsum("iu,ocuv,jv->ocij", g, w, g)
    squares = np.einsum("iu,ocij,im,oambln,jl,jv->caubvn", b, u, a, tiles, a, b, optimize=True)
    c, down, _, across, _, n = squares.shape
    image = np.zeros((c, down * m + SIDE - m, across * m + SIDE - m, n), squares.dtype)
    for i in range(down):
        for j in range(across):
            image[:, i * m : i * m + SIDE, j * m : j * m + SIDE] += squares[:, i, :, j]
    height, width = (s + r - 1 - 2 * padding for s in size)
    return image[:, padding : padding + height, padding : padding + width]


def input_gradient(w: np.ndarray, dy: np.ndarray, padding: int, absolute: bool = False) -> np.ndarray:
    """dx (C, H, W, N) by tiles, in the way that `back` says; arguments as of spread."""
    if back(w.shape, 1, padding, dy.shape[1:3]) == "spread":
        return spread(w, dy, padding, absolute)
    return convolve(w.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1], dy, w.shape[2] - 1 - padding, absolute)


def weight_gradient(dy: np.ndarray, x: np.ndarray, r: int, padding: int, absolute: bool = False) -> np.ndarray:
    """dw (O, C, r, r) of dy (O, Ho, Wo, N) and x (C, H, W, N); `absolute` as for convolve."""
    m, tiles, dy = SIDE + 1 - r, _squares(x, r, padding)[0], _tiles(dy, SIDE + 1 - r)
    g, b, a = (_absolute(matrix, absolute) for matrix in (weights(r), differences(), values(m)))
    dy, tiles = (_absolute(operand, absolute) for operand in (dy, tiles))
    d = np.einsum("im,oambln,jl->oabijn", a, dy, a, optimize=True)
    v = np.einsum("iu,cabuvn,jv->cabijn", b, tiles, b, optimize=True)
    return np.einsum("iu,oabijn,cabijn,jv->ocuv", g, d, v, g, optimize=True)


def _squares(x: np.ndarray, r: int, padding: int) -> tuple[np.ndarray, tuple[int, int]]:
    """(C, down, across, 6, 6, N): what each tile of y reads, zero outside of the image, and the size of y."""
    m, size = SIDE + 1 - r, tuple(s + 2 * padding - r + 1 for s in x.shape[1:3])
    more = [-s % m for s in size]
    padded = np.pad(x, ((0, 0), *((padding, padding + extra) for extra in more), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (SIDE, SIDE), axis=(1, 2))[:, ::m, ::m]
    return windows.transpose(0, 1, 2, 4, 5, 3), size


def _tiles(y: np.ndarray, m: int) -> np.ndarray:
    """(O, down, m, across, m, N), zero outside of the image."""
    y = np.pad(y, ((0, 0), (0, -y.shape[1] % m), (0, -y.shape[2] % m), (0, 0)))
    return y.reshape(len(y), y.shape[1] // m, m, y.shape[2] // m, m, y.shape[3])


def _absolute(array: np.ndarray, wanted: bool) -> np.ndarray:
    return np.abs(array).astype(np.float64) if wanted else array
