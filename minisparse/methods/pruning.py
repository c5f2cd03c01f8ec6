"""What all methods that prune weights share: how the budget is divided between layers, and the cut.

With n_l weights in layer l and k to keep in all, the layers get

    global       what the k largest scores of the whole model give them
    uniform      k_l in proportion to n_l: one density for all
    erk          k_l in proportion to the sum of the weight's dimensions, O + C + kh + kw                (1)

never more than n_l and never fewer than `floor`, k in all. Eq. 1 is the Erdos-Renyi kernel: the density of a layer
is proportional to (O + C + kh + kw) / (O C kh kw), so that small layers stay denser.

Counts are whole numbers by Webster's rule: the seats of layer l have the priorities share_l / (j + 1/2), j = 0, 1,
..., and the k largest priorities of all layers are taken. So no layer gains a weight when k falls.

Source: eq. 1 is Evci et al. (2019), arXiv 1911.11134, section 3, after Mocanu et al. (2017), arXiv 1707.04780.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from minisparse._core import topk as kernel
from minisparse.methods.budget import Budgeted
from minisparse.params import Parameter
from minisparse.settings import check, setting

if TYPE_CHECKING:
    from minisparse.run import Run

ALLOCATIONS = ("global", "uniform", "erk")


@dataclass(frozen=True)
class Pruning(Budgeted):
    """A method that keeps a number of weights and sets the others to zero.

    Parameters
    ----------
    allocation : "global", "uniform" or "erk"
    floor : weights that every layer keeps at least
    """

    allocation: str = setting("global", "how the budget is divided between the layers", ALLOCATIONS)
    floor: int = setting(0, "weights that every layer keeps at least; with 0 a layer that would lose all is an error")

    def __post_init__(self):
        super().__post_init__()
        check(self.allocation in ALLOCATIONS, "allocation", self.allocation, f"is none of {[*ALLOCATIONS]}")
        check(self.floor >= 0, "floor", self.floor, "must be >= 0")

    def choose(self, parameters: Sequence[Parameter], scores: Sequence[np.ndarray], k: int) -> list[np.ndarray]:
        """Masks with exactly k ones: the largest scores, ties to the lower index, by the allocation.

        Raises
        ------
        ValueError : layer collapse - a layer would lose all its weights - or a floor that k cannot pay for.
        """
        least = sum(min(self.floor, p.size) for p in parameters)
        check(least <= k, "floor", self.floor, f"keeps {least:,} weights, more than the {k:,} that the budget leaves")
        if self.allocation == "global":
            masks = kernel.topk([_first(s, self.floor) for s in scores] if self.floor else scores, k)
        else:
            shares = [p.size if self.allocation == "uniform" else sum(p.shape) for p in parameters]
            counts = allocate(shares, [p.size for p in parameters], k, self.floor)
            masks = [kernel.topk([s], count)[0] for s, count in zip(scores, counts, strict=True)]
        for p, mask in zip(parameters, masks, strict=True):
            if mask.size and not mask.any():
                raise ValueError(
                    f"layer collapse: {self.name} keeps none of the {p.size:,} weights of {p.name} when {k:,} stay "
                    f"in the model; keep more of them, set floor=1, or take another allocation than {self.allocation}"
                )
        return masks

    def cut(self, run: Run, scores: Sequence[np.ndarray], k: int) -> None:
        """Keep the k weights that `choose` chooses, from now on."""
        parameters = self.candidates(run.model)
        for name, mask in zip(parameters, self.choose([*parameters.values()], scores, k), strict=True):
            run.keep(name, mask)


def allocate(shares: Sequence[float], sizes: Sequence[int], k: int, floor: int = 0) -> list[int]:
    """k whole counts in proportion to the shares, count_l in [min(floor, size_l), size_l] (Webster's rule)."""
    priorities = [share / (np.arange(size) + 0.5) for share, size in zip(shares, sizes, strict=True)]
    for seats in priorities:
        seats[:floor] = np.inf
    return [int(np.count_nonzero(seats)) for seats in kernel.topk(priorities, k)]


def magnitude(p: Parameter) -> np.ndarray:
    """|w| on the mask; -1 off it, below every magnitude: what was cut does not return."""
    w = np.abs(p.value())
    return w if p.mask is None else np.where(p.mask, w, w.dtype.type(-1))


def _first(scores: np.ndarray, floor: int) -> np.ndarray:
    """The scores with the `floor` largest raised above all others."""
    largest = kernel.topk([scores], min(floor, scores.size))[0]
    return np.where(largest, scores.dtype.type(np.inf), scores)
