"""Activations on a grid."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minisparse.layers.base import Layer
from minisparse.params import Init, Parameter
from minisparse.quantisers import BITS, bounds, gradient_scale, quantise, quantise_backward

FOLLOW = ("gradient", "range", "nothing")


@dataclass(eq=False)
class FakeQuantise(Layer):
    """y = s round(clip(x / s, -Qn, Qp)): b bits, any shape; y = x while the step s is 0.

    Backward is straight through, quantisers.py eq. 4; where the step follows its gradient, that is eq. 5 times
    1 / sqrt(n Qp), n features a sample. Where it follows the range, training moves it with each batch,

        s = (1 - momentum) s + momentum max |x| / Qp                                              (1)

    Parameters
    ----------
    bits : b, 1 to 8
    signed : whether x takes both signs; else Qn = 0
    follow : what moves s: its "gradient" (it is a parameter then), the "range", or "nothing"
    momentum : in [0, 1], of eq. 1

    Source: Esser et al. (2020), arXiv 1902.08153; eq. 1 is Jacob et al. (2018), arXiv 1712.05877, section 3.1.
    """

    straight_through: ClassVar[bool] = True

    bits: int
    signed: bool = False
    follow: str = "gradient"
    momentum: float = 0.01

    def setup(self) -> None:
        if self.bits not in BITS:
            raise ValueError(f"bits={self.bits} of FakeQuantise must be 1 to {BITS[-1]}")
        if self.follow not in FOLLOW:
            raise ValueError(f"follow={self.follow!r} of FakeQuantise is none of {FOLLOW}")
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum={self.momentum} of FakeQuantise must lie in [0, 1]")
        if self.follow == "gradient":
            self.params["step"] = Parameter((1,), Init("constant", 0.0), role="step")
        else:
            self.buffers["step"] = np.zeros(1, np.float32)

    @property
    def step(self) -> np.ndarray:
        """s, an array (1,); 0 before quantisation begins."""
        return self.params["step"].value() if self.params else self.buffers["step"]

    def forward(self, x, training=False):
        if not self.step[0] > 0:
            return x, None
        if training and self.follow == "range":
            # eq. 1
            top = np.abs(x).max() / bounds(self.bits, self.signed)[1]
            self.buffers["step"] += self.momentum * (top - self.buffers["step"])
        step = float(self.step[0])
        return quantise(x, step, self.bits, self.signed), (x, step)

    def backward(self, dy, cache):
        if cache is None:
            return dy
        x, step = cache
        dx, ds = quantise_backward(dy, x, step, self.bits, self.signed)
        if self.params:
            scale = gradient_scale(x[..., 0].size, bounds(self.bits, self.signed)[1])
            self.params["step"].store.add_gradient(np.array([ds * scale], x.dtype))
        return dx

    @classmethod
    def examples(cls):
        return [(cls(4), (7,)), (cls(1, signed=True), (2, 3, 4)), (cls(3, True, "range"), (5,))]
