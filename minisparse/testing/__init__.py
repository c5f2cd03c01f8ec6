"""Contracts: what every layer, method, codec and kernel keeps to; yours can be held to them too."""

from minisparse.testing.codecs import check_codec
from minisparse.testing.kernels import check_kernel, check_twin, kernel_names
from minisparse.testing.layers import check_layer
from minisparse.testing.methods import check_method

__all__ = ["check_codec", "check_kernel", "check_layer", "check_method", "check_twin", "kernel_names"]
