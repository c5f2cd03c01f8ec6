"""A network of ours as PyTorch's modules with the same values, and its training step: what ours is compared with."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from minisparse import layers as ours
from minisparse.layers import Layer
from minisparse.model import Model


def training_step(
    torch: ModuleType,
    model: Model,
    batch: tuple[np.ndarray, np.ndarray],
    lr: float,
    momentum: float,
    layout: Any,
    dtype: Any,
    masks: Mapping[str, np.ndarray],
) -> Callable[[], float]:
    """A call that trains the network on the batch once, with SGD, and returns the loss.

    Parameters
    ----------
    model : what the modules are made of, and their values
    batch : x (..., N), labels (N,)
    layout, dtype : PyTorch's, of images and of all values
    masks : by parameter's name, entries that alone have a gradient
    """
    net = modules(torch, model.net)
    named = dict(net.named_parameters())
    for name, p in model.parameters.items():
        named[_theirs(name)].data = torch.from_numpy(p.value().copy())
    net = net.to(dtype).train()
    x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(batch[0], -1, 0))).to(dtype)
    if x.ndim == 4:
        net, x = net.to(memory_format=layout), x.contiguous(memory_format=layout)
    labels = torch.from_numpy(batch[1])
    optimizer = torch.optim.SGD(net.parameters(), lr, momentum, fused=True)
    kept = {_theirs(name): torch.from_numpy(mask) for name, mask in masks.items()}

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        for name, mask in kept.items():
            named[name].grad *= mask
        optimizer.step()
        return loss.item()

    return step


def modules(torch: ModuleType, layer: Layer):
    """The module that computes what the layer does; ValueError where there is none here."""
    nn = torch.nn
    match layer:
        case ours.Sequential():
            return nn.Sequential(OrderedDict((name, modules(torch, inner)) for name, inner in layer.layers.items()))
        case ours.Linear():
            return nn.Linear(layer.inputs, layer.outputs, layer.bias)
        case ours.Conv2d():
            settings = layer.inputs, layer.outputs, layer.kernel, layer.stride, layer.padding
            return nn.Conv2d(*settings, groups=layer.groups, bias=layer.bias)
        case ours.BatchNorm():
            return nn.BatchNorm2d(layer.channels, layer.eps, layer.momentum)
        case ours.ReLU():
            return nn.ReLU(inplace=True)
        case ours.MaxPool2d():
            return nn.MaxPool2d(layer.kernel, layer.stride, layer.padding)
        case ours.GlobalAvgPool():
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        case ours.Flatten():
            return nn.Flatten()
        case ours.Residual() | ours.PaddedShortcut():
            return _residual(torch, layer)
    raise ValueError(f"{type(layer).__name__} has no counterpart here: choose a network without one")


def _residual(torch, layer):
    class Residual(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = modules(torch, layer.body)
            self.shortcut = torch.nn.Identity() if layer.shortcut is None else modules(torch, layer.shortcut)

        def forward(self, x):
            return self.body(x) + self.shortcut(x)

    class PaddedShortcut(torch.nn.Module):
        def forward(self, x):
            kept = x[:, :, :: layer.stride, :: layer.stride]
            return torch.nn.functional.pad(kept, (0, 0, 0, 0, 0, layer.outputs - kept.shape[1]))

    return Residual() if isinstance(layer, ours.Residual) else PaddedShortcut()


def _theirs(name: str) -> str:
    """What PyTorch calls a parameter of ours: a normalisation's gain is its weight."""
    return name.removesuffix("gain") + "weight" if name.endswith(".gain") else name
