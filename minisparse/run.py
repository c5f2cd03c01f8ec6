"""A training run: what was asked for, and all that changes on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minisparse import schedules
from minisparse.data import Batches, Dataset
from minisparse.methods.base import Method
from minisparse.model import Model
from minisparse.optim import SGD, Adam, Optimizer
from minisparse.settings import check, setting


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
    seed: int = setting(0, "of initial values, batches and every other random choice")

    def __post_init__(self):
        check(self.epochs >= 1, "epochs", self.epochs, "must be >= 1")
        check(self.batch >= 1, "batch", self.batch, "must be >= 1")
        check(0 < self.lr < float("inf"), "lr", self.lr, "must be > 0")
        check(self.optimizer in ("sgd", "adam"), "optimizer", self.optimizer, "must be 'sgd' or 'adam'")
        check(self.schedule in schedules.SCHEDULES, "schedule", self.schedule, f"is none of {[*schedules.SCHEDULES]}")
        check(0 <= self.warmup < 1, "warmup", self.warmup, "must lie in [0, 1)")
        check(0 <= self.smoothing < 1, "smoothing", self.smoothing, "must lie in [0, 1)")
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
    state : arrays that the method carries from step to step
    """

    model: Model
    data: Dataset
    method: Method
    settings: TrainSettings
    optimizer: Optimizer = field(init=False)
    batches: Batches = field(init=False)
    step: int = 0
    loss_sum: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)
    state: dict[str, np.ndarray] = field(default_factory=dict)
    finished: bool = False

    def __post_init__(self):
        s = self.settings
        self.optimizer = s.make_optimizer()
        self.batches = Batches(self.data.train, s.batch, s.seed, s.augment)

    @property
    def total_steps(self) -> int:
        return self.settings.epochs * len(self.batches)

    @property
    def progress(self) -> float:
        """Share of the steps that are done, in [0, 1]."""
        return self.step / self.total_steps

    @property
    def last_rate(self) -> float:
        """Learning rate of the step that was taken last."""
        return self.settings.learning_rate((self.step - 1) / self.total_steps)
