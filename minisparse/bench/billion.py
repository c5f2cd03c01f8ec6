"""Training steps of a wide network on a budget, in this process: their time, and the peak of its memory.

python -m minisparse.bench.billion BUDGET I H1 H2 ... O

The steps are those of `minisparse train --method dropback --store regenerated`: the whole budget is chosen anew from
all weights, and no layer-sized array exists at any time.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from minisparse.bench.base import normal
from minisparse.data import from_arrays
from minisparse.methods import DropBack
from minisparse.models import mlp
from minisparse.rng import Stream
from minisparse.run import Run, TrainSettings
from minisparse.train import train_step

BATCH = 32
STEPS = 3
"""The first has nothing stored and the last two all: one chooses among what was stored before, one among the chosen."""


def run_on_budget(sizes: tuple[int, ...], budget: int) -> Run:
    """A run of DropBack that is about to begin, on random inputs (I,)."""
    inputs, *hidden, classes = sizes
    samples = 2 * STEPS * BATCH
    x, labels = normal("x", samples, inputs), Stream(0, "bench", "labels").integers(classes, samples)
    data = from_arrays("normal", (x, labels), classes=classes)
    model = mlp("wide", tuple(hidden), (inputs,), classes)
    settings = TrainSettings(epochs=1, batch=BATCH, lr=0.1, momentum=0.0, store="regenerated")
    run = Run(model, data, DropBack(budget=budget), settings)
    run.method.start(run)
    return run


def peak_bytes() -> int:
    """Highest resident memory of this process so far.

    Linux hands the peak of the process that started this one down in getrusage, so its own count is read there.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    import resource  # absent on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(budget: int, *sizes: int) -> None:
    start = peak_bytes()
    run = run_on_budget(sizes, budget)
    seconds, losses = [], []
    for _ in range(STEPS):
        began = time.perf_counter()
        losses.append(train_step(run))
        seconds.append(time.perf_counter() - began)
    print(
        json.dumps(
            {
                "sizes": sizes,
                "weights": sum(p.size for p in run.model.parameters.values() if p.role == "weight"),
                "stored": run.model.kept,
                "first_step_s": seconds[0],
                "step_s": float(np.median(seconds[1:])),
                "loss": losses[0],
                "peak_mb": peak_bytes() / 1e6,
                "peak_before_mb": start / 1e6,
            }
        )
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
