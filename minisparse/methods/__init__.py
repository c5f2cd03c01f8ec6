"""One paper, one file; each reads beside its paper."""

from minisparse.methods.base import Method
from minisparse.methods.compose import Compose
from minisparse.methods.dropback import DropBack
from minisparse.methods.magnitude import Magnitude
from minisparse.methods.random import RandomPruning

__all__ = ["Compose", "DropBack", "Magnitude", "Method", "RandomPruning"]
