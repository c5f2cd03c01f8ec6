"""Random pruning at initialisation: the baseline below which no criterion may fall.

Before the first step, k weights chosen uniformly over the whole model (or within each layer: see `allocation`) are
kept and the others are set to zero; then the sparse network is trained as usual.

Stored: k weights and their places, all biases and gains.
Measured: lenet-300-100 on MNIST, 20,000 of 266,610 values, 30 epochs: 3.26 % test error (3.19 to 3.33 over 3 seeds).
Does not help: it is here to be beaten. At 2 % density whole layers can lose their last connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minisparse.methods.at_start import AtStart
from minisparse.rng import Stream


@dataclass(frozen=True)
class RandomPruning(AtStart):
    """Scores are random words: s_i = hash(seed, i); the k largest stay."""

    name: ClassVar[str] = "random"

    def masks(self, run):
        parameters = self.candidates(run.model).values()
        stream = Stream(run.settings.seed, "random pruning")
        scores = [stream.bits(p.size).astype(np.float64).reshape(p.shape) for p in parameters]
        return self.choose([*parameters], scores, self.places(run.model))

    @classmethod
    def examples(cls):
        return [cls(density=0.1), cls(budget=100), cls(density=1.0), cls(density=0.2, allocation="erk")]
