"""Convolutions, forward and both gradients, on ResNet-20's and VGG's shapes against PyTorch's dense ones."""

import numpy as np

from minisparse.bench.base import Benchmark, normal, places
from minisparse.bench.harness import Contestant, Expected, mean_ratio, ratio
from minisparse.params import Init
from minisparse.stores import DenseStore, Geometry, SparseStore, Store

BATCH = 128
# (channels in, channels out, side of the image, stride), 3 x 3 kernels, padding 1
RESNET20 = ((16, 16, 32, 1), (16, 32, 32, 2), (32, 32, 16, 1), (32, 64, 16, 2), (64, 64, 8, 1))
VGG = ((3, 64, 32, 1), (64, 64, 32, 1), (64, 128, 16, 1), (128, 128, 16, 1), (128, 256, 8, 1), (256, 256, 8, 1),
       (256, 512, 4, 1), (512, 512, 4, 1), (512, 512, 2, 1))  # fmt: skip
DENSITIES = {"sparse10": 0.1, "sparse2": 0.02}
TORCH = ["torch", "torch_channels_last"]
ZERO = Init("constant", 0.0)


class Conv(Benchmark):
    peer_names = ("torch", "threadpoolctl")
    budget_s = 3.0
    notes = (
        "3 x 3 convolutions of stride 1 or 2, padding 1, N = 128: y, dx and dw in one sample. Ours from (C, H, W, N) "
        "arrays, dense and with 10 % and 2 % of the weights kept (places spread evenly; dw at these only). PyTorch "
        "from (N, C, H, W) arrays, dense, by conv2d and convolution_backward without autograd, in both of its memory "
        "layouts; the faster one counts.",
        "sparse10_vs_torch_dense, sparse2_vs_torch_dense, dense_vs_torch: geometric mean over the shapes of PyTorch's "
        "time over ours.",
    )

    def grid(self):
        if self.quick:
            return [{"network": "resnet20", "C": 4, "O": 8, "side": 8, "stride": 2, "N": 32}]
        return [
            {"network": network, "C": c, "O": o, "side": side, "stride": stride, "N": BATCH}
            for network, shapes in (("resnet20", RESNET20), ("vgg", VGG))
            for c, o, side, stride in shapes
        ]

    def case(self, labels):
        return "{network} {C}-{O} @{side} /{stride}".format(**labels)

    def contestants(self, network, C, O, side, stride, N):  # noqa: E741
        geometry = Geometry((3, 3), stride, 1)
        out = geometry.output_size(side, side)
        w, x, dy = normal("w", O, C, 3, 3), normal("x", C, side, side, N), normal("dy", O, *out, N)
        terms = 9 * C, 9 * O, out[0] * out[1] * N
        entrants = {}
        for name, density in DENSITIES.items():
            index = places(name, w.size, round(density * w.size))
            store = SparseStore(w.shape, index, w.ravel()[index], ZERO)
            y, dx, dw = self._expected(store.dense(), x, dy, geometry, terms)
            at_index = Expected(dw.value.ravel()[index], dw.bound.ravel()[index])
            entrants[name] = Contestant(_step(store, x, dy, geometry), (y, dx, at_index), tuple)
        expected = self._expected(w, x, dy, geometry, terms)
        entrants["dense"] = Contestant(_step(DenseStore(w, ZERO), x, dy, geometry), expected, tuple)
        if torch := self.peers.get("torch"):
            for name, layout in zip(TORCH, (torch.contiguous_format, torch.channels_last), strict=True):
                entrants[name] = Contestant(_torch_step(torch, w, x, dy, stride, layout), expected, _batch_last)
        macs = w.size * out[0] * out[1] * N
        return entrants, {"flops": 6 * macs, "bytes": 8 * (x.size + dy.size) + 4 * dy.size + 8 * w.size}

    def _expected(self, w, x, dy, geometry, terms):
        """(y, dx, dw) by PyTorch where it is installed, else by our dense store; bounds by the same of absolutes."""
        results = []
        for operands in ((w, x, dy), (abs(w), abs(x), abs(dy))):
            if torch := self.peers.get("torch"):
                step = _torch_step(torch, *operands, geometry.stride, torch.contiguous_format)
                results.append(_batch_last(step()))
            else:
                kernel, image, outer = operands
                results.append(_step(DenseStore(kernel, ZERO), image, outer, geometry)())
        return tuple(Expected.of_sums(*found, n) for *found, n in zip(*results, terms, strict=True))

    def summary(self, rows):
        return {
            "sparse10_vs_torch_dense": mean_ratio(rows, TORCH, "sparse10"),
            "sparse10_vs_torch_dense_min": min(ratio(rows, TORCH, "sparse10"), default=None),
            "sparse2_vs_torch_dense": mean_ratio(rows, TORCH, "sparse2"),
            "dense_vs_torch": mean_ratio(rows, TORCH, "dense"),
        }


def _step(store: Store, x: np.ndarray, dy: np.ndarray, geometry: Geometry):
    """A call that gives (y, dx, dw) of our store."""

    def step():
        y = store.convolve(x, geometry)
        store.grad[:] = 0
        store.accumulate_convolution(dy, x, geometry)
        return y, store.rconvolve(dy, geometry, x.shape), store.grad

    return step


def _torch_step(torch, w, x, dy, stride, layout):
    """A call that gives (y, dx, dw) of PyTorch, images first."""
    w, x, dy = (
        torch.from_numpy(np.ascontiguousarray(array)).contiguous(memory_format=layout)
        for array in (w, x.transpose(3, 0, 1, 2), dy.transpose(3, 0, 1, 2))
    )
    backward = torch.ops.aten.convolution_backward.default
    settings = ([stride, stride], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False])

    def step():
        y = torch.nn.functional.conv2d(x, w, None, stride, 1)
        dx, dw, _ = backward(dy, x, w, None, *settings)
        return y, dx, dw

    return step


def _batch_last(results):
    """(y, dx, dw) as arrays, y and dx from (N, C, H, W) to (C, H, W, N)."""
    y, dx, dw = (result.numpy() for result in results)
    return y.transpose(1, 2, 3, 0), dx.transpose(1, 2, 3, 0), dw
