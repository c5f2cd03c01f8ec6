"""Other values under the same masks: those of an earlier step, or fresh ones."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from minisparse import rng
from minisparse.params import Parameter

if TYPE_CHECKING:
    from minisparse.run import Run


def remember(run: Run) -> None:
    """Keep a copy of every parameter, to which `rewind` goes back."""
    for p in run.model.parameters.values():
        p.notes["rewind"] = p.value().copy()


def rewind(run: Run) -> None:
    """Every parameter as it was when it was remembered, else as it started; no masks, a fresh optimiser."""
    for p in run.model.parameters.values():
        p.to_dense()
        p.store.mask = None
        p.store.values[...] = p.notes.get("rewind", p.initial())
    run.renew_optimizer()


def forget(run: Run) -> None:
    """Drop the copies."""
    for p in run.model.parameters.values():
        p.notes.pop("rewind", None)


def redraw(p: Parameter, seed: int, *names: str | int) -> None:
    """Fresh initial values, from the stream (seed, "redraw", ...)."""
    fresh = replace(p.init, key=rng.key(seed, "redraw", *names))
    p.store.values[...] = fresh.range(0, p.size).reshape(p.shape)
