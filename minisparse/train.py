"""The training loop: the one file that knows layers, losses, methods and optimisers together."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from minisparse import checkpoint, schedules
from minisparse.data import Batches, Dataset, Split
from minisparse.loss import softmax_cross_entropy
from minisparse.methods import Method
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


@dataclass(frozen=True)
class Evaluation:
    """error : percent of samples whose largest output is not the label;  loss : mean cross-entropy."""

    error: float
    loss: float


def fit(
    model: Model,
    data: Dataset,
    method: Method = Method(),  # noqa: B008 - frozen
    settings: TrainSettings = TrainSettings(),
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool = False,
) -> Run:
    """Train a model in place.

    Parameters
    ----------
    out : folder for the checkpoint (written each epoch and on Ctrl-C) and the log; None keeps nothing
    resume : go on from the checkpoint in `out`, where there is one; the result is bit for bit that of a run
        which was never stopped
    progress : a progress bar on stderr

    Raises
    ------
    FloatingPointError : the loss is not finite; the last checkpoint stays as it was.
    KeyboardInterrupt : after Ctrl-C, once the checkpoint is written.
    """
    run = Run(model, data, method, settings)
    folder = checkpoint.RunFolder(out) if out is not None else None
    if not (resume and folder and folder.restore(run)):
        method.start(run)
        if folder:
            folder.save(run)
    with _bar(run, progress) as bar, _interrupts() as interrupted:
        while run.step < run.total_steps and not interrupted:
            train_step(run)
            bar.update()
            if run.step % len(run.batches) == 0:
                row = end_epoch(run)
                bar.set_postfix_str(_progress_text(row, settings.epochs), refresh=False)
                if folder:
                    folder.save(run)
        if interrupted:
            if folder:
                folder.save(run)
            raise KeyboardInterrupt
    if not run.finished:
        method.finish(run)
        run.finished = True
    if folder:
        folder.save(run)
    return run


def train_step(run: Run) -> float:
    """One step, hook by hook; returns the loss of its batch."""
    model, method, optimizer = run.model, run.method, run.optimizer
    parameters = model.parameters
    epoch, i = divmod(run.step, len(run.batches))
    x, labels = run.batches.batch(epoch, i)

    latent = {}
    for name, p in parameters.items():
        p.store.grad.fill(0)
        used, cache = method.transform(p, p.store.values)
        latent[name] = p.store.values, cache
        p.store.values = used

    with np.errstate(over="ignore", invalid="ignore"):
        logits, caches = model.forward(x.astype(model.dtype, copy=False), training=True)
        loss, dlogits = softmax_cross_entropy(logits, labels, run.settings.smoothing)
        model.backward(dlogits, caches)

    for name, p in parameters.items():
        p.store.values, cache = latent[name]
        p.store.grad = method.pullback(p, p.store.grad, cache)
        penalty, gradient = method.penalty(p)
        p.store.grad += gradient
        loss += penalty

    if not np.isfinite(loss):
        raise FloatingPointError(
            f"the loss is {loss} at epoch {epoch + 1}, step {i + 1}: lower lr={run.settings.lr} or add warmup"
        )
    optimizer.step(parameters, run.settings.learning_rate(run.progress))
    run.step += 1
    run.loss_sum += loss
    method.after_step(run)
    return loss


def end_epoch(run: Run) -> dict[str, Any]:
    """Evaluate on the validation split and add a row to the log."""
    result = evaluate(run.model, run.data.validation)
    row = {
        "epoch": run.step // len(run.batches),
        "step": run.step,
        "lr": run.settings.learning_rate((run.step - 1) / run.total_steps),
        "train_loss": run.loss_sum / len(run.batches),
        "validation_loss": result.loss,
        "validation_error": result.error,
        "kept": run.model.kept,
    }
    run.rows.append(row)
    run.loss_sum = 0.0
    return row


def evaluate(model: Model, split: Split, batch: int = 500) -> Evaluation:
    """Error and loss of a model on a split, in evaluation mode."""
    if len(split) == 0:
        raise ValueError("the split to evaluate on is empty")
    wrong, loss = 0, 0.0
    for first in range(0, len(split), batch):
        rows = slice(first, first + batch)
        labels = split.labels[rows]
        logits = model.predict(split.samples(rows), batch)
        wrong += int(np.count_nonzero(logits.argmax(axis=1) != labels))
        loss += softmax_cross_entropy(logits.T, labels)[0] * len(labels)
    return Evaluation(100.0 * wrong / len(split), loss / len(split))


def _bar(run: Run, shown: bool) -> tqdm:
    name = f"{run.model.name} {run.method.name}"
    return tqdm(total=run.total_steps, initial=run.step, disable=not shown, unit="step", desc=name, mininterval=0.5)


def _progress_text(row: dict[str, Any], epochs: int) -> str:
    loss, error = row["train_loss"], row["validation_error"]
    return f"epoch {row['epoch']}/{epochs}, loss {loss:.4f}, validation error {error:.2f} %"


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """A list that Ctrl-C fills, so that a step is never left half done; a second Ctrl-C stops at once."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = signal.getsignal(signal.SIGINT)

    def note(signum, frame):
        caught.append(signum)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield caught
    finally:
        signal.signal(signal.SIGINT, before)
