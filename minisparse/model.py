"""A model: a network, the shape of what it takes, and the seed that its initial values come from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minisparse import rng
from minisparse.layers.base import Layer
from minisparse.params import Parameter


@dataclass(eq=False)
class Model:
    """A named network with initialised parameters.

    Parameters
    ----------
    name : for people, such as "lenet-300-100"
    net : the outermost layer
    input_shape : of one sample, (I,) or (C, H, W)
    seed : in [0, 2^63); parameter p starts from the stream (seed, "init", p.name), and a layer that
        draws random numbers does so from the stream (seed, "layer", its path)
    dtype : float32, or float64 for gradient checks
    """

    name: str
    net: Layer
    input_shape: tuple[int, ...]
    seed: int = 0
    dtype: type = np.float32

    def __post_init__(self):
        self.input_shape = tuple(self.input_shape)
        self.output_shape = self.net.output_shape(self.input_shape)
        self.refresh()
        for name, parameter in self.parameters.items():
            parameter.name = name
            parameter.initialise(rng.key(self.seed, "init", name), self.dtype)
        for path, layer in self.net.named_layers():
            layer.key = rng.key(self.seed, "layer", path)
            for name, array in layer.buffers.items():
                if array.dtype.kind == "f":
                    layer.buffers[name] = array.astype(self.dtype)

    def refresh(self) -> None:
        """Look at the layers again, after some were put into the net."""
        for _, layer in self.net.named_layers():
            layer.refresh()
        self._parameters = dict(self.net.named_parameters())

    @property
    def parameters(self) -> dict[str, Parameter]:
        """By name, in the order of the forward pass."""
        return self._parameters

    @property
    def buffers(self) -> dict[str, np.ndarray]:
        """State that is not trained, such as running means, by name."""
        return {
            f"{path}.{name}".lstrip("."): array
            for path, layer in self.net.named_layers()
            for name, array in layer.buffers.items()
        }

    @property
    def size(self) -> int:
        """Number of trainable values."""
        return sum(p.size for p in self.parameters.values())

    @property
    def kept(self) -> int:
        """Number of trainable values that are stored rather than at rest."""
        return sum(p.kept for p in self.parameters.values())

    def forward(self, x: np.ndarray, training: bool = False):
        """y, cache for a batch with the batch last."""
        return self.net.forward(x, training)

    def backward(self, dy: np.ndarray, cache) -> np.ndarray:
        """dx, and the gradient of every parameter added to what it holds."""
        return self.net.backward(dy, cache)

    def accumulate(self, dy: np.ndarray, cache) -> None:
        """The gradient of every parameter added to what it holds, without dx: what training needs."""
        self.net.accumulate(dy, cache)

    def zero_grad(self) -> None:
        for parameter in self.parameters.values():
            parameter.store.zero_grad()

    def predict(self, x: np.ndarray, batch: int = 256) -> np.ndarray:
        """Outputs for samples (N, ...): (N, classes), computed a batch at a time in evaluation mode."""
        self.expect_samples(x)
        parts = [np.empty((0, *self.output_shape), self.dtype)]
        for first in range(0, len(x), batch):
            samples = np.moveaxis(x[first : first + batch], 0, -1)
            y, _ = self.forward(np.ascontiguousarray(samples, self.dtype))
            parts.append(np.moveaxis(y, -1, 0))
        return np.concatenate(parts)

    def expect_samples(self, x: np.ndarray) -> None:
        """ValueError unless x (N, ...) holds samples that the model takes."""
        if x.shape[1:] != self.input_shape:
            raise ValueError(f"x has samples of shape {x.shape[1:]}; {self.name} takes {self.input_shape}")

    def memory(self) -> dict[str, int]:
        """Bytes held for the parameters: values, index, grad."""
        total = {"values": 0, "index": 0, "grad": 0}
        for parameter in self.parameters.values():
            for part, nbytes in parameter.store.memory().items():
                total[part] += nbytes
        return total

    def config(self) -> dict:
        """Plain JSON from which `from_config` rebuilds the model as it was before training."""
        return {"name": self.name, "net": self.net.config(), "input": list(self.input_shape), "seed": self.seed}

    @classmethod
    def from_config(cls, config: dict) -> Model:
        """ValueError if the configuration describes no model."""
        try:
            return cls(config["name"], Layer.from_config(config["net"]), tuple(config["input"]), config["seed"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a model's configuration: {error}") from error
