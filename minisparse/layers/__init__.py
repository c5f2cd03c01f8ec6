"""Layers: forward and a hand-derived backward, batch last (base.py)."""

from minisparse.layers.activations import LeakyReLU, ReLU, Sigmoid, Tanh
from minisparse.layers.base import Layer
from minisparse.layers.batchnorm import BatchNorm
from minisparse.layers.concat import Concat
from minisparse.layers.conv import Conv2d
from minisparse.layers.dropout import Dropout
from minisparse.layers.fake_quantise import FakeQuantise
from minisparse.layers.flatten import Flatten
from minisparse.layers.groupnorm import GroupNorm
from minisparse.layers.linear import Linear
from minisparse.layers.pooling import AvgPool2d, GlobalAvgPool, MaxPool2d
from minisparse.layers.residual import PaddedShortcut, Residual
from minisparse.layers.sequential import Sequential

__all__ = [
    "AvgPool2d",
    "BatchNorm",
    "Concat",
    "Conv2d",
    "Dropout",
    "FakeQuantise",
    "Flatten",
    "GlobalAvgPool",
    "GroupNorm",
    "Layer",
    "LeakyReLU",
    "Linear",
    "MaxPool2d",
    "PaddedShortcut",
    "ReLU",
    "Residual",
    "Sequential",
    "Sigmoid",
    "Tanh",
]
