"""Magnitude pruning at initialisation: the weights that happen to start large.

    s_i = |w_i(0)|,   the k largest stay                                                             (1)

A baseline for criteria that look at data: it costs nothing and asks nothing. It depends on the scale of each layer's
initial values, so one global cut favours layers with a small fan-in.

Stored: k weights and their places, all biases and gains.
Does not help: at 5 % density and below it loses points against SNIP on the same budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from minisparse.methods.at_start import AtStart
from minisparse.methods.pruning import magnitude


@dataclass(frozen=True)
class MagnitudeAtStart(AtStart):
    """Keep the largest |w(0)|."""

    name: ClassVar[str] = "magnitude-init"

    def masks(self, run):
        parameters = [*self.candidates(run.model).values()]
        return self.choose(parameters, [magnitude(p) for p in parameters], self.places(run.model))  # eq. 1

    @classmethod
    def examples(cls):
        return [cls(density=0.1), cls(budget=80, allocation="uniform"), cls(density=0.2, control="redraw")]
