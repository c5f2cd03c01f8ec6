"""What all methods that quantise share: what is quantised, when it begins, and that it is what is exported.

The network runs on quantised values while the optimiser moves the shadow weights behind them. Only entries on a mask
are quantised, those off it stay at rest: behind a method that chooses masks, `Compose(mask method, quantiser)` keeps
both promises. At the end the shadow weights become the values that the network ran on.

Weights share a step or scale, each tensor or each output channel its own. With `others`, biases and gains take

    s round(w / s),   s = max |w| / (2^(others-1) - 1)                                                (1)

with dw = g, since none is beyond the range; with `activations`, what enters each layer is quantised as well.

Source: eq. 1 is Jacob et al., 2018, arXiv 1712.05877, without the offset.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from minisparse.layers import FakeQuantise
from minisparse.methods.activations import begin_quantisers, insert_quantisers
from minisparse.methods.base import Method
from minisparse.methods.scoring import scoring_batch
from minisparse.params import Parameter
from minisparse.quantisers import bounds, quantise
from minisparse.settings import check, setting
from minisparse.stores import DenseStore

if TYPE_CHECKING:
    from minisparse.run import Run

PER = ("tensor", "channel")
SAMPLES = 256
"""From which the steps of activations are set."""
NOTES = ("quantised", "step", "least", "threshold", "on")
SHRINK = 2.0**-10
"""Of a step, at most, from where it begins: so it stays positive for any stream of gradients."""


@dataclass(frozen=True)
class Quantising(Method):
    """A method whose weights take few values.

    Parameters
    ----------
    per : "tensor" or "channel", what shares a step or scale
    others : bits of biases and gains, 2 to 8, or 0
    activations : bits of what enters every layer with weights but the first, 1 to 8, or 0
    begin : progress in [0, 1) at which quantisation begins
    """

    follow: ClassVar[str] = "gradient"
    """What moves the steps of activations; see FakeQuantise."""

    per: str = setting("tensor", "what shares a step or scale: a tensor, or an output channel", PER)
    others: int = setting(0, "bits of biases and gains, 2 to 8; 0 leaves them as they are")
    activations: int = setting(0, "bits of what enters each layer with weights but the first, 1 to 8; 0: any value")
    begin: float = setting(0.0, "progress in [0, 1) at which quantisation begins")

    def __post_init__(self):
        check(self.per in PER, "per", self.per, f"is none of {[*PER]}")
        check(self.others in (0, *range(2, 9)), "others", self.others, "must be 0 or 2 to 8")
        check(0 <= self.activations <= 8, "activations", self.activations, "must lie in 0 to 8")
        check(0 <= self.begin < 1, "begin", self.begin, "must lie in [0, 1)")

    # What a method defines

    def begin_weights(self, run: Run) -> None:
        """Notes from which quantisation begins, such as steps."""

    def quantise(self, w: np.ndarray) -> np.ndarray:
        """The values (n,) that the network runs on, of those weights (n,) that share a step or scale."""
        raise TypeError(f"{type(self).__name__} defines no quantise")

    def carry_back(self, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        """dw of the same."""
        return g

    def transform_weight(self, p: Parameter, w: np.ndarray) -> np.ndarray:
        """The values of one parameter's kept weights w (K,)."""
        used = np.empty_like(w)
        for _, part in parts(self.per, p):
            used[part] = self.quantise(w[part])
        return used

    def pull_weight_back(self, p: Parameter, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        """dw (K,) of one parameter's kept weights."""
        dw = np.empty_like(g)
        for _, part in parts(self.per, p):
            dw[part] = self.carry_back(g[part], w[part])
        return dw

    def update(self, run: Run) -> None:
        """After the optimiser's step: steps, thresholds, masks."""

    # The hooks

    def rewrite(self, model):
        if self.activations:
            insert_quantisers(model.net, self.activations, self.follow)
            model.refresh()

    def start(self, run):
        if round(self.begin * run.total_steps) == 0:
            self._begin(run)

    def _begin(self, run: Run) -> None:
        for p in run.model.parameters.values():
            p.notes["quantised"] = np.ones(1, bool)
        self.begin_weights(run)
        if self.activations:
            x, _ = scoring_batch(run.data.train, run.settings.seed, 0, SAMPLES)
            begin_quantisers(run.model, x)
            for step in _steps(run):
                step.notes["least"] = step.value() * np.float32(SHRINK)

    def transform(self, p, w):
        bits = self.others
        if "quantised" not in p.notes or p.role == "step" or (p.role != "weight" and not bits):
            return w, None
        kept = kept_entries(p, w)
        used = self.transform_weight(p, kept) if p.role == "weight" else by_range(kept, bits)
        return put_back(p, w, used), kept

    def pullback(self, p, g, cache):
        kept = cache
        if kept is None or p.role != "weight":
            return g  # eq. 1: none is beyond the range
        return put_back(p, g, self.pull_weight_back(p, kept_entries(p, g), kept))

    def after_step(self, run):
        if run.step == round(self.begin * run.total_steps):
            self._begin(run)
        elif "quantised" in next(iter(run.model.parameters.values())).notes:
            self.update(run)
            for step in _steps(run):
                np.maximum(step.store.values, step.notes["least"], out=step.store.values)

    def finish(self, run):
        """What the network ran on is what it is."""
        for p in run.model.parameters.values():
            p.store.values = np.ascontiguousarray(self.transform(p, p.store.values)[0])
        for p in run.model.parameters.values():
            for note in NOTES:
                p.notes.pop(note, None)


def weights(run: Run) -> dict[str, Parameter]:
    return {name: p for name, p in run.model.parameters.items() if p.role == "weight"}


def kept_entries(p: Parameter, w: np.ndarray) -> np.ndarray:
    """Those of w, shaped like the stored values, that are on the mask: (K,)."""
    if isinstance(p.store, DenseStore) and p.mask is not None:
        return w[p.mask]
    return w.ravel()


def put_back(p: Parameter, w: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """w with these in place of the entries on the mask."""
    if isinstance(p.store, DenseStore) and p.mask is not None:
        whole = w.copy()
        whole[p.mask] = kept
        return whole
    return kept.reshape(w.shape)


def places(p: Parameter) -> np.ndarray | None:
    """Flat places (K,) of the kept entries; None where all are kept."""
    if not isinstance(p.store, DenseStore):
        return p.store.index
    return None if p.mask is None else np.flatnonzero(p.mask)


def parts(per: str, p: Parameter) -> Iterator[tuple[int, slice]]:
    """(i, those of the kept entries that share step i): all, or output channel i's; none of them is empty."""
    if per == "tensor":
        limits = np.array([0, p.kept])
    else:
        limits, index = np.arange(p.shape[0] + 1) * (p.size // p.shape[0]), places(p)
        limits = limits if index is None else np.searchsorted(index, limits)
    for i, (start, stop) in enumerate(pairwise(limits)):
        if start < stop:
            yield i, slice(start, stop)


def by_range(w: np.ndarray, bits: int) -> np.ndarray:
    """Eq. 1."""
    top = np.abs(w).max(initial=0)
    step = top / w.dtype.type(bounds(bits, True)[1])
    return quantise(w, step, bits) if step > 0 else w + w.dtype.type(0)


def _steps(run: Run) -> list[Parameter]:
    layers = (layer for _, layer in run.model.net.named_layers() if isinstance(layer, FakeQuantise))
    return [layer.params["step"] for layer in layers if layer.params]
