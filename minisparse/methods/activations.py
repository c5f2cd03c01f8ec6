"""Activations on a grid: a quantiser in front of every layer with weights, but the first, whose input is the data.

A quantiser is unsigned where its input cannot be negative: behind a ReLU or sigmoid, and poolings, flattening and
dropout on the way. Its step is set from what arrives there on one batch; until then it hands its input on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minisparse import layers as nn
from minisparse.layers import FakeQuantise, Layer, Sequential
from minisparse.methods.scoring import holding
from minisparse.model import Model
from minisparse.quantisers import bounds, first_step

NOT_NEGATIVE = (nn.ReLU, nn.Sigmoid)
TRANSPARENT = (nn.MaxPool2d, nn.AvgPool2d, nn.GlobalAvgPool, nn.Flatten, nn.Dropout)
WEIGHTED = (nn.Linear, nn.Conv2d)
SUFFIX = "_input"
"""Of a quantiser's name, behind that of the layer it feeds."""


def insert_quantisers(net: Layer, bits: int, follow: str) -> None:
    """In place; nothing for a layer whose quantiser stands already."""
    _insert(net, lambda signed: FakeQuantise(bits, signed, follow), True, iter([True]))


def _insert(layer: Layer, build: Callable[[bool], FakeQuantise], signed: bool, first) -> bool:
    """Whether the output takes both signs, for an input that does or not; `first` has an item until data are read."""
    if not isinstance(layer, Sequential):
        for child in layer.children().values():
            _insert(child, build, signed, first)
        if isinstance(layer, TRANSPARENT):
            return signed
        return not isinstance(layer, NOT_NEGATIVE)
    stack: dict[str, Layer] = {}
    for name, child in layer.layers.items():
        if isinstance(child, WEIGHTED) and not next(first, False) and name + SUFFIX not in layer.layers:
            stack[name + SUFFIX] = build(signed)
        stack[name] = child
        signed = signed if isinstance(child, FakeQuantise) else _insert(child, build, signed, first)
    layer.replace(stack)
    return signed


def begin_quantisers(model: Model, x: np.ndarray) -> None:
    """Set each step from what arrives at its quantiser, for a batch x of training data, batch last."""
    quantisers = [layer for _, layer in model.net.named_layers() if isinstance(layer, FakeQuantise)]
    arrived: dict[int, np.ndarray] = {}

    def note(layer: FakeQuantise):
        def forward(x, training=False):
            arrived[id(layer)] = x
            return x, None

        return forward

    for layer in quantisers:
        layer.forward = note(layer)
    try:
        with holding(model, {}):
            model.forward(x.astype(model.dtype, copy=False), training=True)
    finally:
        for layer in quantisers:
            del layer.forward
    for layer in quantisers:
        x = arrived[id(layer)]
        high = bounds(layer.bits, layer.signed)[1]
        steps = {
            "gradient": first_step(x, high),
            "range": float(np.abs(x).max(initial=0)) / high,
            "nothing": 1 / high,
        }
        # the array itself
        layer.step[...] = steps[layer.follow] or 1 / high
