"""Fake quantisation, forward and backward, of 16 million values against PyTorch's and against copying them."""

import numpy as np

from minisparse import _core
from minisparse.bench.base import Benchmark, normal
from minisparse.bench.harness import Contestant, Expected, mean_ratio

VALUES = 16_000_000
BITS = (2, 4, 8)
MOVED, COPIED = 20, 8
"""Bytes a value: x read and y written, then dy and x read and dx written; of a copy, read and written."""
IN_PLACE = "ours_in_place"
COPIES = ["copy", "torch_copy"]
TORCH = ["torch", "torch_learnable"]


class Quant(Benchmark):
    peer_names = ("torch", "threadpoolctl")
    budget_s = 5.0
    notes = (
        "y = s round(clip(x / s, -2^(b-1), 2^(b-1) - 1)), dx = dy where x / s is inside, and ds: 16 million normal "
        "float32 values, a quarter clipped or less. torch: fake_quantize_per_tensor_affine by its forward and backward "
        "kernels without autograd, and without ds; torch_learnable: with ds.",
        "ours makes new arrays for y and dx, as PyTorch's operators do; ours_in_place writes both into arrays that are "
        "there already, as a training loop does, and as the copy does.",
        "vs_torch: geometric mean over bits of the faster one's time over ours, new arrays on both sides; "
        "vs_torch_learnable: of torch_learnable alone; vs_torch_in_place: as vs_torch, over ours_in_place.",
        "copy_bandwidth_fraction: geometric mean over bits of the bytes ours_in_place moves a second (20 a value: x, "
        "y; dy, x, dx) over those of a copy in the same rounds (8 a value; NumPy's or PyTorch's, the faster one); "
        "copy_bandwidth_fraction_new_arrays: of ours, most of whose time the system takes to find and clear pages.",
    )

    def grid(self):
        return [{"bits": bits, "values": 10_000 if self.quick else VALUES} for bits in BITS]

    def case(self, labels):
        return "{bits} bits".format(**labels)

    def contestants(self, bits, values):
        quantiser = step, low, high = 2.0 ** (2 - bits), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        x, dy = _clear_of_the_border(normal("x", values), step, low, high), normal("dy", values)
        u = x / np.float32(step)
        y = np.float32(step) * np.clip(np.rint(u), low, high)
        inside = (low < u) & (u < high)
        expected = Expected(y), Expected(np.where(inside, dy, np.float32(0)))
        terms = dy * np.where(inside, np.rint(u) - u, np.clip(u, low, high)).astype(np.float64)
        ds = Expected(terms.sum(), values * np.finfo(np.float64).eps * np.abs(terms).sum())
        target = np.empty_like(x)
        entrants = {
            "ours": Contestant(_ours(x, dy, quantiser), (*expected, ds), tuple),
            IN_PLACE: Contestant(_ours(x, dy, quantiser, np.zeros_like(x), np.zeros_like(x)), (*expected, ds), tuple),
            "copy": Contestant(lambda: np.copyto(target, x), Expected(x), lambda _: target),
        }
        if torch := self.peers.get("torch"):
            entrants |= _torch(torch, x, dy, quantiser, expected)
        return entrants, {"bytes": MOVED * values}

    def summary(self, rows):
        return {
            "vs_torch": mean_ratio(rows, TORCH),
            "vs_torch_learnable": mean_ratio(rows, TORCH[1:]),
            "vs_torch_in_place": mean_ratio(rows, TORCH, IN_PLACE),
            "copy_bandwidth_fraction": mean_ratio(rows, COPIES, IN_PLACE) * MOVED / COPIED,
            "copy_bandwidth_fraction_new_arrays": mean_ratio(rows, COPIES) * MOVED / COPIED,
        }


def _ours(x, dy, quantiser, y=None, dx=None):
    """A call that gives (y, dx, ds) by our kernel, in these arrays or in new ones."""
    kernel = getattr(_core, "quant", None)
    if kernel is None:
        raise ValueError("this build has no kernel minisparse._core.quant: there is nothing to measure")

    def call():
        return kernel.fake_quantise(x, *quantiser, y), *kernel.fake_quantise_backward(dy, x, *quantiser, dx)

    return call


def _torch(torch, x, dy, quantiser, expected):
    step, low, high = quantiser
    values, outer = torch.from_numpy(x), torch.from_numpy(dy)
    target = torch.empty_like(values)
    scale, zero = torch.tensor([step]), torch.tensor([0.0])
    operators = torch.ops.aten

    def fixed():
        y, inside = operators.fake_quantize_per_tensor_affine_cachemask(values, step, 0, low, high)
        return y, operators.fake_quantize_per_tensor_affine_cachemask_backward(outer, inside)

    def learnable():
        settings = values, scale, zero, low, high, 1.0
        y = operators._fake_quantize_learnable_per_tensor_affine(*settings)
        return y, operators._fake_quantize_learnable_per_tensor_affine_backward(outer, *settings)[0]

    return {
        "torch": Contestant(fixed, expected, tuple),
        "torch_learnable": Contestant(learnable, expected, tuple),
        "torch_copy": Contestant(lambda: target.copy_(values), Expected(x)),
    }


def _clear_of_the_border(x: np.ndarray, step: float, low: int, high: int) -> np.ndarray:
    """x without values that round onto a border level from outside, whose gradient PyTorch lets pass and LSQ stops."""
    for border, outwards in ((low, -1), (high, 1)):
        beyond = outwards * (x / step - border)
        x = np.where((beyond >= 0) & (beyond <= 0.5), np.float32(step * (border + 0.75 * outwards)), x)
    return x
