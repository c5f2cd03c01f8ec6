"""Layers one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from minisparse.layers.base import Fused, Layer
from minisparse.layers.linear import Linear


@dataclass(eq=False)
class Sequential(Layer):
    """y = f_n(... f_1(x)): the layers in the order of the dictionary.

    Parameters
    ----------
    layers : {name: layer}; a list gets the names "0", "1", ...
    """

    layers: dict[str, Layer]

    def setup(self) -> None:
        if not isinstance(self.layers, dict):
            self.layers = {str(i): layer for i, layer in enumerate(self.layers)}
        if any("." in name for name in self.layers):
            raise ValueError(f"layer names {list(self.layers)} must have no dot: it separates the parts of a path")

    def children(self):
        return self.layers

    def forward(self, x, training=False, added=None):
        """`added` is handed to the last layer, a BatchNorm, which adds it and rectifies."""
        caches = []
        for layer in self._passes if added is None else self._passes[:-1]:
            x, cache = layer.forward(x, training)
            caches.append(cache)
        if added is not None:
            x, cache = self.last.forward(x, training, rectified=True, added=added)
            caches.append(cache)
        return x, caches

    @property
    def last(self) -> Layer | Fused | None:
        """What is computed last."""
        return self._passes[-1] if self._passes else None

    def backward(self, dy, cache):
        for layer, its_cache in zip(reversed(self._passes), reversed(cache), strict=True):
            dy = layer.backward(dy, its_cache)
        return dy

    def accumulate(self, dy, cache):
        """Backward down to the first layer with parameters, whose dx nobody needs."""
        first, passes = self._first_trained, self._passes
        if first == len(passes):
            return
        for layer, its_cache in zip(reversed(passes[first + 1 :]), reversed(cache[first + 1 :]), strict=True):
            dy = layer.backward(dy, its_cache)
        passes[first].accumulate(dy, cache[first])

    @cached_property
    def _passes(self) -> list:
        """The layers in their order, those of inner sequences among them, neighbours fused where they can be."""
        passes = []
        for layer in self._flat():
            # a class that inherits `fused` may compute something else
            before = passes[-1] if passes and "fused" in vars(type(passes[-1])) else None
            fused = None if before is None else before.fused(layer)
            if fused is None:
                passes.append(layer)
            else:
                passes[-1] = fused
        return passes

    def _flat(self) -> Iterator[Layer]:
        """The layers in their order, those of sequences among them one by one."""
        for layer in self.layers.values():
            if type(layer) is Sequential:
                yield from layer._flat()
            else:
                yield layer

    @cached_property
    def _first_trained(self) -> int:
        """The first pass with parameters."""
        trained = [not isinstance(p, Layer) or any(p.named_parameters()) for p in self._passes]
        return trained.index(True) if any(trained) else len(trained)

    def replace(self, layers: dict[str, Layer]) -> None:
        """Consist of these layers from now on; a model that holds this one must `refresh`."""
        self.layers = layers
        self.refresh()

    def refresh(self):
        for name in ("_passes", "_first_trained"):
            vars(self).pop(name, None)

    def child_shapes(self, shape):
        shapes = {}
        for name, layer in self.layers.items():
            shapes[name] = shape
            shape = layer.output_shape(shape)
        return shapes

    def output_shape(self, shape):
        for layer in self.layers.values():
            shape = layer.output_shape(shape)
        return shape

    @classmethod
    def examples(cls):
        return [(cls([Linear(4, 3), Linear(3, 2)]), (4,)), (cls([]), (3,))]
