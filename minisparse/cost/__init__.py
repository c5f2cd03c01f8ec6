"""What a network costs on an accelerator with a small chip and a large memory: a model, never a measurement."""

from minisparse.cost.energy import HASH, XORSHIFT, EnergyTable, Operations
from minisparse.cost.traffic import inference, training

__all__ = ["HASH", "XORSHIFT", "EnergyTable", "Operations", "inference", "training"]
