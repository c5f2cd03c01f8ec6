"""Neural networks on a weight budget, from scratch in NumPy with a Cython core.

    data = load("digits")
    model = build("mnist-100-100", data.input_shape, data.classes, seed=0)
    fit(model, data, DropBack(budget=1_500))
    compress(model).save("model.msp")

docs/ARCHITECTURE.md is the map.
"""

from pathlib import Path

# In a checkout `_core` and `datasets` stand beside this folder; an installed package holds them inside.
if not Path(__file__).with_name("_core").exists():
    __path__.append(str(Path(__file__).parents[1]))

__version__ = "0.1.0"

from minisparse import _core, methods  # noqa: F401 - _core before NumPy is loaded: _core/threads.py says why
from minisparse.compressed import CompressedModel, compress
from minisparse.cost import inference
from minisparse.data import from_arrays, load
from minisparse.methods import *  # noqa: F403 - each method, by its class
from minisparse.model import Model
from minisparse.models import build
from minisparse.run import Run, TrainSettings
from minisparse.train import evaluate, fit

__all__ = [
    *methods.__all__,
    "CompressedModel",
    "Model",
    "Run",
    "TrainSettings",
    "build",
    "compress",
    "evaluate",
    "fit",
    "from_arrays",
    "inference",
    "load",
]
