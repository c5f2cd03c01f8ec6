"""Dense blocks: what comes out stands beside what came in."""

from dataclasses import dataclass

import numpy as np

from minisparse.layers.base import Layer
from minisparse.layers.conv import Conv2d
from minisparse.layers.linear import Linear


@dataclass(eq=False)
class Concat(Layer):
    """y = [x; body(x)] along the channels: x (C, ..., N) -> y (C + G, ..., N) for a body to (G, ..., N).

    Source: Huang et al. (2016), arXiv 1608.06993, eq. 2.
    """

    body: Layer

    def children(self):
        return {"body": self.body}

    def forward(self, x, training=False):
        y, cache = self.body.forward(x, training)
        return np.concatenate([x, y]), (cache, len(x))

    def backward(self, dy, cache):
        body, channels = cache
        return dy[:channels] + self.body.backward(dy[channels:], body)

    def output_shape(self, shape):
        body = self.body.output_shape(shape)
        if body[1:] != shape[1:]:
            raise ValueError(f"Concat cannot put {body} of its body beside {shape}: all but the channels must agree")
        return (shape[0] + body[0], *shape[1:])

    @classmethod
    def examples(cls):
        return [(cls(Conv2d(2, 3, 3, padding=1)), (2, 4, 3)), (cls(Linear(4, 2)), (4,))]
