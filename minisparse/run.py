"""A training run: what was asked for, and all that changes on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minisparse import schedules, serial
from minisparse._core import winograd
from minisparse.data import Batches, Dataset
from minisparse.methods.base import Method
from minisparse.model import Model
from minisparse.optim import SGD, Adam, Optimizer
from minisparse.serial import Group
from minisparse.settings import check, setting
from minisparse.stores import DenseStore, SparseStore

STORES = ("auto", "dense", "regenerated")
THIN_MATRIX, THIN_CONVOLUTION, THIN_TILES = 0.5, 0.6, {3: 0.33, 5: 0.25}
"""Largest density at which a weight is held sparse: up to it the three products together are faster so (measured).

That of tiles by the side of the kernel.
"""


@dataclass(frozen=True)
class TrainSettings:
    """How long, how fast and in what order; `seed` addresses every random choice of the run."""

    epochs: int = setting(20, "passes over the training split")
    batch: int = setting(100, "samples a step")
    optimizer: str = setting("sgd", "what turns gradients into steps", ("sgd", "adam"))
    lr: float = setting(0.1, "learning rate at its highest")
    schedule: str = setting("cosine", "how the learning rate moves over the run", ("constant", "step", "cosine"))
    warmup: float = setting(0.0, "share of the run in which the learning rate rises, in [0, 1)")
    momentum: float = setting(0.9, "of SGD, in [0, 1)")
    nesterov: bool = setting(False, "Nesterov's momentum")
    weight_decay: float = setting(0.0, "pull towards the rest value, >= 0")
    smoothing: float = setting(0.0, "label smoothing, in [0, 1)")
    augment: bool = setting(False, "random crops and flips")
    shift: int = setting(0, "without --augment, pixels by which images are moved at random, at most")
    store: str = setting("auto", "weights: sparse once a mask is thin and fixed, dense, or regenerated", STORES)
    buffer: int = setting(0, "bytes for activations: groups of layers run sub-batches that fit; 0 runs whole batches")
    seed: int = setting(0, "of initial values, batches and every other random choice")

    def __post_init__(self):
        check(self.epochs >= 1, "epochs", self.epochs, "must be >= 1")
        check(self.batch >= 1, "batch", self.batch, "must be >= 1")
        check(0 < self.lr < float("inf"), "lr", self.lr, "must be > 0")
        check(self.optimizer in ("sgd", "adam"), "optimizer", self.optimizer, "must be 'sgd' or 'adam'")
        check(self.schedule in schedules.SCHEDULES, "schedule", self.schedule, f"is none of {[*schedules.SCHEDULES]}")
        check(0 <= self.warmup < 1, "warmup", self.warmup, "must lie in [0, 1)")
        check(0 <= self.smoothing < 1, "smoothing", self.smoothing, "must lie in [0, 1)")
        check(self.shift >= 0, "shift", self.shift, "must be >= 0")
        check(self.store in STORES, "store", self.store, f"is none of {[*STORES]}")
        check(self.buffer >= 0, "buffer", self.buffer, "must be >= 0")
        check(0 <= self.seed < 2**63, "seed", self.seed, "must lie in [0, 2^63)")

    def make_optimizer(self) -> Optimizer:
        if self.optimizer == "adam":
            return Adam(weight_decay=self.weight_decay)
        return SGD(self.momentum, self.nesterov, self.weight_decay)

    def learning_rate(self, progress: float) -> float:
        """At progress in [0, 1] of the run."""
        return self.lr * schedules.warm_up(schedules.SCHEDULES[self.schedule], self.warmup)(progress)


@dataclass(eq=False)
class Run:
    """All that a training run is; what changes in it is what a checkpoint holds.

    Attributes
    ----------
    step : optimiser steps done
    loss_sum : of the losses since the epoch began
    rows : the log, one dictionary an epoch
    lr : learning rate of the last step
    groups : of layers, with the sub-batch that each runs
    """

    model: Model
    data: Dataset
    method: Method
    settings: TrainSettings
    optimizer: Optimizer = field(init=False)
    batches: Batches = field(init=False)
    groups: list[Group] = field(init=False)
    step: int = 0
    loss_sum: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)
    finished: bool = False
    lr: float = 0.0

    def __post_init__(self):
        s = self.settings
        if s.store == "regenerated" and not self.method.regenerates:
            raise ValueError(f"store=regenerated is not for {self.method.name}, which moves all weights: leave it out")
        self.method.rewrite(self.model)
        self.groups = serial.fitting(self.model, s.batch, s.buffer)
        self.renew_optimizer()
        self.batches = Batches(self.data.train, s.batch, s.seed, s.augment, s.shift)

    @property
    def total_steps(self) -> int:
        return self.settings.epochs * len(self.batches)

    @property
    def progress(self) -> float:
        """Share of the steps that are done, in [0, 1]."""
        return self.step / self.total_steps

    def renew_optimizer(self) -> None:
        """Forget all optimiser state."""
        self.optimizer = self.settings.make_optimizer()

    def keep(self, name: str, mask: np.ndarray, frozen: bool = True) -> None:
        """Make this the mask of a parameter: what is off it returns to rest and loses its optimiser state."""
        self.hold_dense(name)
        self.model.parameters[name].keep(mask, frozen)
        self.optimizer.forget(name, mask)

    def hold_thin_weights_sparse(self) -> None:
        """Weights whose mask is thin and fixed go on in the sparse store, unless settings.store is "dense".

        No value changes, and the optimiser's state goes with them; from here on the gradient is computed on the
        mask only. It follows from the facts alone, so a run that is resumed does the same.
        """
        if self.settings.store == "dense":
            return
        for name, p in self.model.parameters.items():
            if p.role == "weight" and isinstance(p.store, DenseStore) and _is_thin(p.store):
                index = np.flatnonzero(p.mask)
                p.to_sparse()
                self.optimizer.rearrange(name, lambda state, index=index: state.ravel()[index])

    def why_dense(self) -> str:
        """Which masked weights are computed as dense ones, and why."""
        masked = {
            name: p.store
            for name, p in self.model.parameters.items()
            if p.role == "weight" and isinstance(p.store, DenseStore) and _is_masked(p.store)
        }
        if self.settings.store == "dense":
            return "store=dense" if masked else ""
        reasons = (f"{name}: density {s.kept / s.mask.size:.2f} > {thin(s)}" for name, s in masked.items())
        return "; ".join(reasons)

    def hold_dense(self, name: str) -> None:
        """The inverse, for one parameter; nothing for a store of another kind, or over another rest value than zero."""
        p = self.model.parameters[name]
        if type(p.store) is SparseStore and p.store.rest.is_zero:
            index = p.store.index
            p.to_dense()
            self.optimizer.rearrange(name, lambda state: _spread(state, index, p.shape))


def _is_thin(store: DenseStore) -> bool:
    return _is_masked(store) and store.kept <= thin(store) * store.mask.size


def _is_masked(store: DenseStore) -> bool:
    """Whether entries stay off the mask, at zero."""
    return store.mask is not None and store.frozen and store.rest.is_zero


def thin(store: DenseStore) -> float:
    """Largest density at which this weight is held sparse."""
    if len(store.shape) == 2:
        return THIN_MATRIX
    return THIN_TILES[store.shape[2]] if winograd.fits(store.shape) else THIN_CONVOLUTION


def _spread(state: np.ndarray, index: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    whole = np.zeros(shape, state.dtype)
    whole.reshape(-1)[index] = state
    return whole
