"""How our training step grows with width, depth and batch, and what an epoch costs beside its steps."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

from minisparse.bench.stepper import our_run, our_step
from minisparse.bench.train import MASKS
from minisparse.data import Dataset
from minisparse.methods import Method
from minisparse.models import build
from minisparse.run import Run, TrainSettings
from minisparse.train import end_epoch, learn

SAMPLES, SECONDS = 5, 0.5
"""Fewest steps of a point, and the least time that they take together."""
MNIST, CIFAR10 = (1, 28, 28), (3, 32, 32)
GROWTH = (
    *(("width", w, "lenet-300-100", MNIST, w, 128) for w in (0.5, 1, 2, 4, 8)),
    *(("width", w, "resnet-20", CIFAR10, w, 128) for w in (0.5, 1, 1.5, 2, 3)),
    *(("depth", d, f"resnet-{d}", CIFAR10, 1.0, 64) for d in (8, 14, 20, 32, 44)),
    *(("batch", n, "lenet-5-caffe", MNIST, 1.0, n) for n in (32, 64, 128, 256, 512)),
    *(("batch", n, "resnet-20", CIFAR10, 1.0, n) for n in (32, 64, 128, 256)),
)
"""What grows, how far, and the arguments of our_run at density 1."""


def growth(quick: bool) -> list[dict[str, Any]]:
    """A row a point: median seconds a step, and its multiply-adds in the forward pass."""
    rows = []
    for axis, value, model, shape, width, batch in GROWTH[:2] if quick else GROWTH:
        run = our_run(model, shape, width, *MASKS[0], batch)
        macs = batch * sum(layer.macs(shape) for _, layer, shape in run.model.net.named_shapes(shape))
        what = {"growing": axis, "at": value, "model": model, "width": width, "N": batch, "macs": macs}
        rows.append({"case": f"{model}, {axis} {value:g}", **what, "step_s": _seconds(our_step(run))})
    return rows


def epoch(data: Dataset) -> dict[str, Any]:
    """An epoch with its evaluation, over the sum of its steps' times: data are at hand in memory, as for `train`."""
    settings = TrainSettings(epochs=3, batch=128, lr=0.1)
    run = Run(build("lenet-300-100", data.input_shape, data.classes), data, Method(), settings)
    run.method.start(run)
    found = []
    for _ in range(settings.epochs):
        began, steps = time.perf_counter(), 0.0
        for i in range(len(run.batches)):
            batch = run.batches.batch(len(run.rows), i)
            before = time.perf_counter()
            learn(run, *batch)
            steps += time.perf_counter() - before
        end_epoch(run)
        found.append((time.perf_counter() - began, steps))
    whole, steps = sorted(found, key=lambda pair: pair[0] / pair[1])[len(found) // 2]
    return {"case": f"epoch of lenet-300-100 on {data.name}", "epoch_s": whole, "steps_s": steps}


def _seconds(step: Callable[[], float]) -> float:
    times: list[float] = []
    for _ in range(2):
        step()
    while len(times) < SAMPLES or sum(times) < SECONDS:
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return median(times)
