"""What methods that prune at initialisation share: masks before the first step, and the controls that test them.

A mask found before training could owe its worth to which weights it keeps, or only to how many it leaves each layer.
The controls tell: `shuffle` permutes each layer's mask, `redraw` gives the survivors fresh initial values.

Source of the controls: Frankle et al. (2020), arXiv 2009.08576, section 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from minisparse import rng
from minisparse.methods.pruning import Pruning
from minisparse.methods.rewind import redraw
from minisparse.settings import check, setting

if TYPE_CHECKING:
    from minisparse.run import Run

CONTROLS = ("none", "shuffle", "redraw")


@dataclass(frozen=True)
class AtStart(Pruning):
    """Masks once, before training.

    Parameters
    ----------
    control : "none", "shuffle" or "redraw"
    """

    control: str = setting("none", "shuffle the mask within each layer, or redraw what survives, to test it", CONTROLS)

    def __post_init__(self):
        super().__post_init__()
        check(self.control in CONTROLS, "control", self.control, f"is none of {[*CONTROLS]}")

    def masks(self, run: Run) -> list[np.ndarray]:
        """One bool array a candidate, `places` ones in all."""
        raise TypeError(f"{type(self).__name__} defines no masks")

    def start(self, run):
        seed = run.settings.seed
        for (name, p), mask in zip(self.candidates(run.model).items(), self.masks(run), strict=True):
            if self.control == "redraw":
                redraw(p, seed, name)
            elif self.control == "shuffle":
                mask = mask.ravel()[rng.Stream(seed, "shuffle", name).permutation(p.size)].reshape(p.shape)
            run.keep(name, mask)
