"""A training step in a process of its own, which takes samples when it is asked to: see remote.py.

PyTorch's threads and ours would otherwise be those of one OpenMP library, each placed as suits the other.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from minisparse.bench.base import SEED, normal
from minisparse.bench.train import CHECKED, CLASSES
from minisparse.data import from_arrays
from minisparse.methods import SNIP, Method
from minisparse.models import build
from minisparse.rng import Stream
from minisparse.run import Run, TrainSettings
from minisparse.train import learn

LR, MOMENTUM = 0.01, 0.9


def our_run(model: str, shape: tuple[int, ...], width: float, density: float, allocation: str, batch: int) -> Run:
    """A run that is about to begin, on one batch of normal values; of SNIP's weights at a density below 1."""
    x, labels = normal("x", 2 * batch, *shape), Stream(SEED, "bench", "labels").integers(CLASSES, 2 * batch)
    data = from_arrays("normal", (x, labels), (x[:1], labels[:1]), validation=batch, classes=CLASSES)
    network = build(model, shape, CLASSES, width, SEED)
    settings = TrainSettings(epochs=1 << 30, batch=batch, lr=LR, momentum=MOMENTUM, schedule="constant")
    method = Method() if density == 1 else SNIP(density=density, allocation=allocation)
    run = Run(network, data, method, settings)
    run.method.start(run)
    return run


def our_step(run: Run) -> Callable[[], float]:
    """A call that trains a run on its first batch and returns the loss."""
    batch = run.batches.batch(0, 0)
    return lambda: learn(run, *batch)


def torch_step(run: Run, library: str, threads: int) -> Callable[[], float]:
    """The same of PyTorch, from the values and with the masks that the run has now."""
    import torch

    from minisparse.bench.torch_model import training_step

    torch.set_num_threads(threads)
    masks = {name: p.mask for name, p in run.model.parameters.items() if p.mask is not None}
    layout = torch.channels_last if library == "torch_channels_last" else torch.contiguous_format
    dtype = torch.float64 if library == "torch_float64" else torch.float32
    return training_step(torch, run.model, run.batches.batch(0, 0), LR, MOMENTUM, layout, dtype, masks)


def main() -> None:
    parser = argparse.ArgumentParser("minisparse.bench.stepper")
    parser.add_argument("library", choices=("ours", "torch", "torch_channels_last", "torch_float64"))
    parser.add_argument("work", help="arguments of our_run as a JSON list")
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    if args.library != "ours":
        import torch  # noqa: F401 - memory of its own, not of its training
    model, shape, *work = json.loads(args.work)
    before = _reset_peak()
    run = our_run(model, tuple(shape), *work)
    step = our_step(run) if args.library == "ours" else torch_step(run, args.library, args.threads)
    del run
    losses = [step() for _ in range(CHECKED)]
    print(json.dumps({"losses": losses, "peak_mb": (_resident("VmHWM") - before) / 1e6}), flush=True)
    for line in sys.stdin:
        what, amount = line.split()
        print(_sample(step, int(amount)) if what == "sample" else _warm_up(step, float(amount)), flush=True)


def _sample(step: Callable[[], float], count: int) -> float:
    """Seconds a call: the median of so many."""
    clock, seconds = time.perf_counter, []
    for _ in range(count):
        began = clock()
        step()
        seconds.append(clock() - began)
    return median(seconds)


def _warm_up(step: Callable[[], float], seconds: float) -> int:
    """Calls, at least one, until the time is over."""
    began, calls = time.perf_counter(), 0
    while not calls or time.perf_counter() - began < seconds:
        step()
        calls += 1
    return calls


def _reset_peak() -> int:
    """Bytes that are resident now, from which on the peak counts; Linux alone keeps such a count."""
    clear = Path("/proc/self/clear_refs")
    if not clear.exists():
        return 0
    clear.write_text("5")
    return _resident("VmRSS")


def _resident(which: str) -> float:
    status = Path("/proc/self/status")
    return 1024 * int(status.read_text().split(which + ":")[1].split()[0]) if status.exists() else np.nan


if __name__ == "__main__":
    main()
