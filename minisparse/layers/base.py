"""What a layer is: settings, parameters, forward and a hand-derived backward. Batch last.

A layer is a dataclass of its settings; `setup` makes its parameters and buffers from them. The
backward pass takes what forward cached and adds to the gradients of the layer's own parameters:

    y, cache = layer.forward(x, training=True)
    dx = layer.backward(dy, cache)

x has the batch on its last axis: (I, N) or (C, H, W, N). Layers keep no activation between calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

import numpy as np

from minisparse.params import Parameter


@dataclass(eq=False)
class Layer:
    """Base of all layers; a subclass is registered under its class name."""

    registry: ClassVar[dict[str, type[Layer]]] = {}
    straight_through: ClassVar[bool] = False
    """Whether backward is declared, rather than the derivative of forward, which may be a staircase."""

    def __init_subclass__(cls, **keywords):
        super().__init_subclass__(**keywords)
        Layer.registry[cls.__name__] = cls

    def __post_init__(self):
        self.params: dict[str, Parameter] = {}
        self.buffers: dict[str, np.ndarray] = {}
        self.key = 0  # of the layer's own random numbers; a model sets it from its seed and the layer's path
        self.setup()

    # What a layer defines

    def setup(self) -> None:
        """Check the settings and fill `params` and `buffers`."""

    def forward(self, x: np.ndarray, training: bool = False) -> tuple[np.ndarray, Any]:
        """y and what backward needs of this call."""
        raise TypeError(f"{type(self).__name__} defines no forward")

    def backward(self, dy: np.ndarray, cache: Any) -> np.ndarray:
        """dx = dL/dx, and grad += dL/dw for each of the layer's parameters."""
        raise TypeError(f"{type(self).__name__} defines no backward")

    def accumulate(self, dy: np.ndarray, cache: Any) -> None:
        """What backward does but for dx, which nobody asks of a network's first layer."""
        self.backward(dy, cache)

    def fused(self, following: Layer) -> Fused | None:
        """What does the work of this layer and then of `following`, sooner; None for nothing."""
        return None

    def refresh(self) -> None:
        """Forget what was worked out of the layers inside, since one of them may have changed."""

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one sample of y, given that of x; ValueError if the layer cannot take it."""
        return shape

    def macs(self, shape: tuple[int, ...]) -> int:
        """Multiply-adds of one sample's dense forward pass, given its shape; the layer alone."""
        return 0

    def children(self) -> dict[str, Layer]:
        """Layers inside this one, by name."""
        return {}

    def child_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """What each child takes, given the shape of one sample of x."""
        return dict.fromkeys(self.children(), shape)

    @classmethod
    def examples(cls) -> list[tuple[Layer, tuple[int, ...]]]:
        """Small layers with a shape of one sample, on which the contract test runs."""
        raise TypeError(f"{cls.__name__} defines no examples: give the contract test something to run on")

    # What follows from it

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """(path, parameter) of this layer and those inside it, in the order of the forward pass."""
        yield from ((prefix + name, p) for name, p in self.params.items())
        for name, child in self.children().items():
            yield from child.named_parameters(f"{prefix}{name}.")

    def named_layers(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """(path, layer) of this layer and those inside it."""
        yield prefix.rstrip("."), self
        for name, child in self.children().items():
            yield from child.named_layers(f"{prefix}{name}.")

    def named_shapes(self, shape: tuple[int, ...], prefix: str = "") -> Iterator[tuple[str, Layer, tuple[int, ...]]]:
        """(path, layer, shape of one sample of its x) of this layer and those inside it."""
        yield prefix.rstrip("."), self, shape
        shapes = self.child_shapes(shape)
        for name, child in self.children().items():
            yield from child.named_shapes(shapes[name], f"{prefix}{name}.")

    def config(self) -> list:
        """[class name, {setting: value}] with defaults left out: plain JSON values."""
        settings = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.default is MISSING or value != field.default:
                settings[field.name] = _to_json(value)
        return [type(self).__name__, settings]

    @staticmethod
    def from_config(config: list) -> Layer:
        """The layer that `config` describes, with fresh parameters; ValueError if it describes none."""
        match config:
            case [str(name), dict(settings)] if name in Layer.registry:
                settings = {key: _from_json(value) for key, value in settings.items()}
            case _:
                raise ValueError(f"{str(config)[:80]} does not describe a layer: expected [class name, settings]")
        try:
            return Layer.registry[name](**settings)
        except TypeError as error:
            raise ValueError(f"{str(config)[:80]} does not describe a layer: {error}") from error


class Fused:
    """Neighbouring layers in fewer passes over memory: what they give one after the other, to the bit."""

    def fused(self, following: Layer) -> Fused | None:
        """As that of a layer."""
        return None

    def forward(self, x: np.ndarray, training: bool = False) -> tuple[np.ndarray, Any]:
        raise TypeError(f"{type(self).__name__} defines no forward")

    def backward(self, dy: np.ndarray, cache: Any) -> np.ndarray:
        raise TypeError(f"{type(self).__name__} defines no backward")

    def accumulate(self, dy: np.ndarray, cache: Any) -> None:
        self.backward(dy, cache)


def _to_json(value: Any) -> Any:
    if isinstance(value, Layer):
        return value.config()
    if isinstance(value, dict):
        return {name: layer.config() for name, layer in value.items()}
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return Layer.from_config(value)
    if isinstance(value, dict):
        return {name: Layer.from_config(config) for name, config in value.items()}
    return value


def expect_shape(layer: Layer, fits: bool, shape: tuple[int, ...], wants: str) -> None:
    """ValueError naming the layer, what it wants and what it got, unless `fits`."""
    if not fits:
        raise ValueError(f"{layer} takes {wants}, not a sample of shape {shape}")


def expect_integers(layer: Layer, least: int, *names: str) -> None:
    """ValueError naming the first of these settings that is no integer >= `least`."""
    for name in names:
        value = getattr(layer, name)
        if not isinstance(value, int) or value < least:
            raise ValueError(f"{name}={value!r} of {type(layer).__name__} must be an integer, at least {least}")
