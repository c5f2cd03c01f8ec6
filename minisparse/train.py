"""The training loop: the one file that knows layers, losses, methods and optimisers together."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from minisparse import checkpoint, serial
from minisparse.data import Dataset, Split
from minisparse.loss import softmax_cross_entropy
from minisparse.methods import Method
from minisparse.model import Model
from minisparse.run import Run, TrainSettings
from minisparse.stores import SparseStore


@dataclass(frozen=True)
class Evaluation:
    """error : percent of samples whose largest output is not the label;  loss : mean cross-entropy."""

    error: float
    loss: float


def fit(
    model: Model,
    data: Dataset,
    method: Method = Method(),  # noqa: B008 - frozen
    settings: TrainSettings | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool = False,
) -> Run:
    """Train a model in place.

    Parameters
    ----------
    settings : None for the method's recipe
    out : folder for the checkpoint (written each epoch and on Ctrl-C) and the log; None keeps nothing
    resume : go on from the checkpoint in `out`, where there is one; the result is bit for bit that of a run
        which was never stopped
    progress : a progress bar on stderr

    Raises
    ------
    FloatingPointError : the loss is not finite; the last checkpoint stays as it was.
    KeyboardInterrupt : after Ctrl-C, once the checkpoint is written.
    """
    settings = TrainSettings(**method.recipe) if settings is None else settings
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
        for name in model.parameters:  # as a file is decoded, so that both answer alike
            run.hold_dense(name)
        method.finish(run)
        run.finished = True
    if folder:
        folder.save(run)
    return run


def train_step(run: Run) -> float:
    """One step on the next batch; returns its loss."""
    return learn(run, *run.batches.batch(*divmod(run.step, len(run.batches))))


def learn(run: Run, x: np.ndarray, labels: np.ndarray) -> float:
    """One step on this batch, hook by hook; returns its loss."""
    model, method, optimizer = run.model, run.method, run.optimizer

    run.hold_thin_weights_sparse()
    model.zero_grad()
    latent = _transform(run)
    with np.errstate(over="ignore", invalid="ignore"):
        # forward, loss, backward: of the whole batch, or group by group of layers in sub-batches
        loss = serial.backpropagate(run.groups, x.astype(model.dtype, copy=False), labels, run.settings.smoothing)

    loss += _pull_back(run, latent)
    if not math.isfinite(loss):
        epoch, i = divmod(run.step, len(run.batches))
        raise FloatingPointError(
            f"the loss is {loss} at epoch {epoch + 1}, step {i + 1}: lower lr={run.settings.lr} or add warmup"
        )
    run.lr, optimizer.weight_decay = method.pace(run)
    optimizer.step(model.parameters, run.lr)
    run.step += 1
    run.loss_sum += loss
    method.after_step(run)
    return loss


def _transform(run: Run) -> dict[str, tuple[np.ndarray, Any]]:
    """Put the weights that the network runs on into the stores; by name, those that are trained and the cache."""
    latent = {}
    for name, p in run.model.parameters.items() if run.method.owns("transform") else ():
        used, cache = run.method.transform(p, p.store.values)
        latent[name] = p.store.values, cache
        p.store.values = used
    return latent


def _put_back(run: Run, latent: dict[str, tuple[np.ndarray, Any]]) -> None:
    """The weights that are trained."""
    for name, (values, _) in latent.items():
        run.model.parameters[name].store.values = values


def _pull_back(run: Run, latent: dict[str, tuple[np.ndarray, Any]]) -> float:
    """Put them back, with their gradient, penalties among it; returns what these add to the loss."""
    method, added = run.method, 0.0
    _put_back(run, latent)
    for name, p in run.model.parameters.items() if method.owns("pullback", "penalty") else ():
        _, cache = latent.get(name, (None, None))
        p.store.grad = method.pullback(p, p.store.grad, cache)
        penalty, gradient = method.penalty(p)
        if isinstance(gradient, np.ndarray) or gradient:
            p.store.grad += gradient
        added += penalty
    return added


def end_epoch(run: Run) -> dict[str, Any]:
    """Evaluate on the validation split and add a row to the log."""
    latent = _transform(run)
    result = evaluate(run.model, run.data.validation)
    _put_back(run, latent)
    row = {
        "epoch": run.step // len(run.batches),
        "step": run.step,
        "lr": run.lr,
        "train_loss": run.loss_sum / len(run.batches),
        "validation_loss": result.loss,
        "validation_error": result.error,
        "kept": run.model.kept,
        "distance": math.hypot(*(p.distance() for p in run.model.parameters.values())),
        "sparse": sum(isinstance(p.store, SparseStore) for p in run.model.parameters.values()),
        "dense_because": run.why_dense(),
    }
    run.rows.append(row)
    run.loss_sum = 0.0
    return row


def evaluate(model: Model, split: Split, batch: int = 128) -> Evaluation:
    """Error and loss of a model on a split, in evaluation mode, `batch` samples at a time."""
    if len(split) == 0:
        raise ValueError("the split to evaluate on is empty")
    model.expect_samples(split.x)
    wrong, loss = 0, 0.0
    for first in range(0, len(split), batch):
        index = np.arange(first, min(first + batch, len(split)))
        labels = split.labels[index]
        logits, _ = model.forward(split.batch_last(index).astype(model.dtype, copy=False))
        wrong += int(np.count_nonzero(logits.argmax(axis=0) != labels))
        loss += softmax_cross_entropy(logits, labels)[0] * len(labels)
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
