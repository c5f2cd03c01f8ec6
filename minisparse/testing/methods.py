"""What every method must hold, whatever its paper says."""

from __future__ import annotations

import tempfile
from dataclasses import replace

import numpy as np

from minisparse.checkpoint import RunFolder
from minisparse.compressed import compress
from minisparse.data import Dataset, from_arrays
from minisparse.layers import BatchNorm, Linear, ReLU, Sequential
from minisparse.methods import Method
from minisparse.methods.budget import Budgeted
from minisparse.model import Model
from minisparse.rng import Stream
from minisparse.run import Run, TrainSettings
from minisparse.train import train_step

SETTINGS = TrainSettings(epochs=3, batch=10, lr=0.1, momentum=0.9, weight_decay=0.01, seed=5)
"""Momentum and weight decay on purpose: both can pull a weight away from its rest value."""


def small_model(seed: int = 5) -> Model:
    """154 values in two linear layers and a batch normalisation."""
    net = Sequential({"fc1": Linear(8, 10), "bn": BatchNorm(10), "relu": ReLU(), "fc2": Linear(10, 4)})
    return Model("small", net, (8,), seed)


def small_data() -> Dataset:
    """60 samples of 8 features around 4 centres."""
    stream = Stream(0, "small data")
    y = np.arange(60) % 4
    x = stream.uniform(60 * 8).reshape(60, 8) + stream.uniform(32).reshape(4, 8)[y]
    return from_arrays("small", (x.astype(np.float32), y), classes=4)


def check_method(method: Method) -> None:
    """AssertionError unless the method keeps its promises on a small run.

    Its settings survive JSON; whatever is off a mask sits at rest to the bit after every step and has no optimiser
    state; a budget is met at the end; equal runs are equal to the bit, also when one is stopped after any step
    and resumed; and the file decodes to the same weights. All this on regenerated stores as well, if it takes them.
    """
    assert Method.from_config(method.config()) == method, "from_config(config()) is another method"
    for store in ("auto", "regenerated") if method.regenerates else ("auto",):
        _check_run(method, replace(SETTINGS, store=store))


def _check_run(method: Method, settings: TrainSettings) -> None:
    run = _fresh(method, settings)
    method.start(run)
    states = [_state(run)]
    with tempfile.TemporaryDirectory() as folder:
        stopped = RunFolder(folder)
        for _ in range(run.total_steps):
            stopped.save(run)
            resumed = _fresh(method, settings)
            assert stopped.restore(resumed)
            assert _state(resumed) == states[-1], f"the checkpoint at step {run.step} lost something"
            train_step(resumed)
            train_step(run)
            _check_rest(run)
            states.append(_state(run))
            assert _state(resumed) == states[-1], f"a run resumed at step {run.step - 1} went another way"
    method.finish(run)
    if isinstance(method, Budgeted):
        kept = sum(p.kept for p in method.candidates(run.model).values())
        assert kept == method.places(run.model), f"{kept} values are kept, {method.places(run.model)} were asked for"
    _check_file(run.model)


def _fresh(method: Method, settings: TrainSettings) -> Run:
    return Run(small_model(), small_data(), method, settings)


def _check_rest(run: Run) -> None:
    for name, p in run.model.parameters.items():
        if p.mask is None:
            continue
        off = ~p.mask
        assert p.value()[off].tobytes() == p.rest()[off].tobytes(), f"{name}: off the mask, not at rest"
        for slot, state in run.optimizer.state.items():
            if slot.partition("/")[2] == name and state.shape == off.shape:
                assert not state[off].any(), f"{slot}: optimiser state off the mask"


def _state(run: Run) -> dict[str, bytes]:
    """All that must agree between two runs, as bytes."""
    state = {"step": str(run.step).encode()}
    for name, p in run.model.parameters.items():
        state[name] = p.value().tobytes() + (b"" if p.mask is None else p.mask.tobytes())
        state |= {f"{name}: {note}": array.tobytes() for note, array in p.notes.items()}
    state |= {name: array.tobytes() for name, array in run.model.buffers.items()}
    return state | {name: array.tobytes() for name, array in run.optimizer.state.items()}


def _check_file(model: Model) -> None:
    decoded = compress(model).model()
    for name, p in model.parameters.items():
        assert decoded.parameters[name].value().tobytes() == p.value().tobytes(), f"{name} changed in the file"
