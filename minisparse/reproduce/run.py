"""One run of a row: a seed, a folder, and a result that is written once."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from minisparse import models
from minisparse.bench.machine import describe
from minisparse.bench.peers import Peers
from minisparse.compressed import CompressedModel, compress
from minisparse.data import DATASETS, Dataset, Split, load
from minisparse.fileformat import write_atomically
from minisparse.reproduce.rows import Recipe, Row
from minisparse.train import evaluate, fit

QUICK_SAMPLES = 200
"""Of each split in a quick run."""


@dataclass(frozen=True)
class Work:
    """What a worker is given; it can be pickled.

    Parameters
    ----------
    row : its recipe says everything but the seed
    folder : of all runs; this one has a folder of its own inside
    quick : the same method and network for two epochs on enlarged digits, which measures nothing
    progress : a progress bar of this run
    """

    row: Row
    seed: int
    folder: str
    quick: bool = False
    progress: bool = False

    @property
    def path(self) -> Path:
        """runs of another recipe never meet in one folder."""
        digest = hashlib.sha256(json.dumps(self.row.recipe.config(), sort_keys=True).encode()).hexdigest()[:8]
        return Path(self.folder, f"{self.row.key.replace('/', '_')}-{digest}", str(self.seed))


def perform(work: Work) -> dict[str, Any]:
    """Train, going on where the folder's checkpoint stands; then read the test split, once.

    Returns
    -------
    seed, test_error, validation_error (percent), distances (|w - w(0)| after each epoch), kept, size, file_bytes (of
    model.msp in the run's folder, which is what the test split is read with), ratio (float32's bytes over these),
    minutes (of all calls), and the machine

    Raises
    ------
    ValueError, ArithmeticError, OSError : what stopped the run.
    KeyboardInterrupt : after Ctrl-C, once the checkpoint is written.
    """
    result = work.path / "result.json"
    if result.exists():
        return json.loads(result.read_text())
    recipe = quick(work.row.recipe) if work.quick else work.row.recipe
    method = work.row.method()
    data = small_data(recipe.data, work.seed) if work.quick else load(recipe.data, seed=work.seed)
    data = data.standardised() if recipe.standardised else data
    model = models.build(work.row.network, data.input_shape, data.classes, width=recipe.width, seed=work.seed)
    clock = _Clock(work.path / "seconds.json")
    try:
        run = fit(model, data, method, replace(recipe.training, seed=work.seed), work.path, True, work.progress)
    finally:
        seconds = clock.stop()
    compress(model).save(work.path / "model.msp")
    file = CompressedModel.load(work.path / "model.msp")
    found = {
        "seed": work.seed,
        "test_error": round(evaluate(file.model(), data.test).error, 4),
        "validation_error": round(run.rows[-1]["validation_error"], 4),
        "distances": [float(f"{row['distance']:.6g}") for row in run.rows],
        "kept": model.kept,
        "size": model.size,
        "file_bytes": file.file_bytes,
        "ratio": round(file.summary()["ratio"], 2),
        "minutes": round(seconds / 60, 2),
        "machine": machine(),
    }
    write_atomically(result, (json.dumps(found, indent=1) + "\n").encode())
    return found


class _Clock:
    """Seconds of all calls that worked on a run; those of a call that was killed are lost."""

    def __init__(self, path: Path):
        self.path = path
        self.before = json.loads(path.read_text()) if path.exists() else 0.0
        self.began = time.perf_counter()

    def stop(self) -> float:
        seconds = self.before + time.perf_counter() - self.began
        if self.path.parent.exists():
            write_atomically(self.path, json.dumps(seconds).encode())
        return seconds


def machine() -> str:
    """Its class and the versions that ran, in one line."""
    facts = describe(Peers(()))
    threads = os.environ.get("MINISPARSE_NUM_THREADS", facts["cores"])
    return (
        f"{facts['processor']}, threads: {threads}, {facts['system']}, Python {facts['python']}, "
        f"NumPy {facts['numpy']}, minisparse {facts['minisparse']}, {facts['kernels']} kernels"
    )


def quick(recipe: Recipe) -> Recipe:
    """Two epochs of small batches, so slow that every network stands it."""
    batch, lr = min(recipe.training.batch, 20), min(recipe.training.lr, 0.01)
    return replace(recipe, training=replace(recipe.training, epochs=2, batch=batch, lr=lr))


def small_data(name: str, seed: int) -> Dataset:
    """A few of the bundled digits, enlarged to the shape of the data set of this name."""
    shape, digits = DATASETS[name].input_shape, load("digits", seed=seed)
    channels, height, _ = shape
    times = height // digits.input_shape[1]
    margin = (height - times * digits.input_shape[1]) // 2

    def enlarged(split: Split) -> Split:
        x = split.x[:QUICK_SAMPLES].repeat(channels, axis=1).repeat(times, axis=2).repeat(times, axis=3)
        x = np.pad(x, ((0, 0), (0, 0), (margin, margin), (margin, margin)))
        return replace(split, x=x, labels=split.labels[:QUICK_SAMPLES])

    splits = {part: enlarged(getattr(digits, part)) for part in ("train", "validation", "test")}
    return Dataset(f"digits enlarged to {name}", shape, digits.classes, **splits)
