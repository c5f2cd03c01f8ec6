"""Images to vectors."""

from dataclasses import dataclass
from math import prod

from minisparse.layers.base import Layer


@dataclass(eq=False)
class Flatten(Layer):
    """y = the same entries as one vector a sample: x (C, H, W, N) -> y (C H W, N)."""

    def forward(self, x, training=False):
        return x.reshape(prod(x.shape[:-1]), x.shape[-1]), x.shape

    def backward(self, dy, cache):
        shape = cache
        return dy.reshape(shape)

    def output_shape(self, shape):
        return (prod(shape),)

    @classmethod
    def examples(cls):
        return [(cls(), (2, 3, 4)), (cls(), (5,))]
