"""The shape table of a network: what each layer reads, writes and multiplies, one sample at a time.

A network is a sequence of parts; a part is a layer's work or a block, which splits into branches that are added or
put side by side. That is all that traffic and mini-batch serialisation ask of a network, so a table can be written
down for a network that nobody builds (`imagenet.py`), or read off a model (`table`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from minisparse import layers as nn
from minisparse.cost.storage import LEVELS, Tensor
from minisparse.layers.base import Layer
from minisparse.model import Model
from minisparse.params import Parameter

NORMS = (nn.BatchNorm, nn.GroupNorm)
MAPS = (nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid)


@dataclass(frozen=True)
class Work:
    """One layer.

    Parameters
    ----------
    name : path in the model
    kind : "product" (convolution, fully connected), "norm", "map" (of single entries, such as ReLU), "dropout" (a
        map in training alone), "pool", or "view" (other names for the same entries, such as Flatten)
    inputs, outputs : entries of one sample
    tensors : what it stores
    macs : multiply-adds of one sample on dense weights
    per_sample : whether a sample's result depends on that sample alone
    """

    name: str
    kind: str
    inputs: int
    outputs: int
    tensors: tuple[Tensor, ...] = ()
    macs: int = 0
    per_sample: bool = True

    @property
    def weights(self) -> int:
        """Entries of its weights, without biases and gains."""
        return sum(t.size for t in self.tensors if t.role == "weight")

    @property
    def effective_macs(self) -> int:
        """Multiply-adds of one sample, less those of weights that rest at zero.

        A layer uses each of its weights equally often (a convolution: once an output pixel).
        """
        used = sum(t.multiplied for t in self.tensors if t.role == "weight")
        return self.macs * used // self.weights if self.weights else self.macs


@dataclass(frozen=True)
class Block:
    """Branches from one input; an empty branch is the identity.

    Parameters
    ----------
    name : path in the model
    branches : each a sequence of parts
    merge : "add" or "concat"
    """

    name: str
    branches: tuple[Parts, ...]
    merge: str


Part = Work | Block
Parts = tuple[Part, ...]


@dataclass(frozen=True)
class Unit:
    """Parts that serialisation never separates: a plain layer with its norm and ReLU, or a whole block."""

    name: str
    parts: Parts


@dataclass(frozen=True)
class Network:
    """A network's shape table; `inputs` and `outputs` are entries of one sample."""

    name: str
    units: tuple[Unit, ...]

    @property
    def parts(self) -> Parts:
        return tuple(part for unit in self.units for part in unit.parts)

    @property
    def inputs(self) -> int:
        return next(works(self.parts)).inputs if self.units else 0

    @property
    def outputs(self) -> int:
        return outputs(self.parts, self.inputs)

    @property
    def works(self) -> list[Work]:
        """Every layer in the order of the forward pass."""
        return list(works(self.parts))

    def thinned(self, density: float, regenerated: bool = False) -> Network:
        """Every weight with that share of its entries kept, over zero or regenerated values."""

        def thin(part: Part) -> Part:
            if isinstance(part, Block):
                return replace(part, branches=tuple(tuple(map(thin, branch)) for branch in part.branches))
            return replace(part, tensors=tuple(t.thinned(density, regenerated) for t in part.tensors))

        return replace(self, units=tuple(replace(u, parts=tuple(map(thin, u.parts))) for u in self.units))


def works(parts: Parts) -> Iterator[Work]:
    """Every layer, branch after branch."""
    for part in parts:
        if isinstance(part, Work):
            yield part
        else:
            for branch in part.branches:
                yield from works(branch)


def outputs(parts: Parts, inputs: int) -> int:
    """Entries of one sample behind these parts."""
    for part in parts:
        if isinstance(part, Work):
            inputs = part.outputs
        else:
            sizes = [outputs(branch, inputs) for branch in part.branches]
            inputs = sizes[0] if part.merge == "add" else sum(sizes)
    return inputs


def table(model: Model) -> Network:
    """The shape table of a model: a unit a layer or block of its outermost sequence.

    What is neither a product nor a pool nor a block joins the unit before it.
    """
    net = model.net if isinstance(model.net, nn.Sequential) else nn.Sequential({"": model.net})
    shapes = net.child_shapes(model.input_shape)
    units: list[Unit] = []
    for name, child in net.layers.items():
        parts = tuple(_parts(child, shapes[name], name))
        alone = any(isinstance(p, Block) or p.kind in ("product", "pool") for p in parts)
        if alone or not units:
            units.append(Unit(name, parts))
        else:
            units[-1] = replace(units[-1], parts=units[-1].parts + parts)
    return Network(model.name, tuple(units))


def _parts(layer: Layer, shape: tuple[int, ...], path: str) -> Iterator[Part]:
    """What a layer of the library is in a table."""
    if isinstance(layer, nn.Sequential):
        shapes = layer.child_shapes(shape)
        for name, child in layer.layers.items():
            yield from _parts(child, shapes[name], _join(path, name))
    elif isinstance(layer, nn.Residual | nn.Concat):
        branches = tuple(tuple(_parts(child, shape, _join(path, name))) for name, child in layer.children().items())
        if isinstance(layer, nn.Concat):
            yield Block(path, ((), *branches), "concat")
        else:
            yield Block(path, branches if layer.shortcut is not None else (*branches, ()), "add")
    elif not (isinstance(layer, nn.Dropout) and layer.p == 0):
        yield _work(layer, shape, path or type(layer).__name__, path)


def _work(layer: Layer, shape: tuple[int, ...], name: str, path: str) -> Work:
    tensors = [_facts(p, _join(path, key)) for key, p in layer.params.items()]
    tensors += [Tensor(_join(path, key), b.size, role="buffer") for key, b in layer.buffers.items()]
    if isinstance(layer, NORMS):
        kind = "norm"
    elif isinstance(layer, MAPS):
        kind = "map"
    elif isinstance(layer, nn.Flatten):
        kind = "view"
    elif isinstance(layer, nn.Dropout):
        kind = "dropout"
    else:
        kind = "product" if layer.macs(shape) else "pool"
    alone = not isinstance(layer, nn.BatchNorm | nn.Dropout)
    return Work(name, kind, prod(shape), prod(layer.output_shape(shape)), tuple(tensors), layer.macs(shape), alone)


def _facts(p: Parameter, name: str) -> Tensor:
    rest = p.store.rest
    masked = p.mask is not None
    return Tensor(
        name,
        p.size,
        p.shape[0] if len(p.shape) > 1 else 1,
        p.kept if masked else None,
        masked and not rest.is_zero and rest.kind != "constant",
        rest.is_zero,
        p.role,
        _levels(p),
    )


def _levels(p: Parameter) -> int:
    """Distinct stored values, where there are at most LEVELS; else LEVELS, as if clustered."""
    values = p.store.values.ravel()
    if len(np.unique(values[:: max(1, len(values) // 4096)])) > LEVELS:
        return LEVELS
    return max(1, min(LEVELS, len(np.unique(values if p.mask is None else p.value()[p.mask]))))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}".lstrip(".").rstrip(".")
