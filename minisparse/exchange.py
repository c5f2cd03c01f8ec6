"""Weights out to other programs and back: dense as safetensors, sparse as SciPy's CSR.

Names and layouts are those of a PyTorch module whose children are called as our layers are: `fc1.weight` is (O, I),
a convolution's (O, C, kh, kw); a normalisation's gain is its `weight`, its running mean and variance `running_mean`
and `running_var`. So a module of the same shape takes the file with `load_state_dict(load_file(path))`.

The packages that do the work come with `pip install minisparse[exchange]`.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from minisparse import fileformat
from minisparse.model import Model
from minisparse.params import Parameter

if TYPE_CHECKING:
    from scipy.sparse import csr_array

THEIRS = {"gain": "weight", "mean": "running_mean", "var": "running_var"}
"""What PyTorch calls our parameters and buffers; other names are the same."""
ARCHITECTURE = "minisparse"
"""Of the metadata: the model's configuration as JSON."""


def to_state(model: Model) -> dict[str, np.ndarray]:
    """All parameters, expanded, and buffers under PyTorch's names: arrays of their own."""
    arrays = {name: p.value() for name, p in model.parameters.items()} | model.buffers
    return {_theirs(name): array.copy() for name, array in arrays.items()}


def from_state(model: Model, state: dict[str, np.ndarray], sparse: bool = False) -> None:
    """Take parameters and buffers from arrays under PyTorch's names, whatever the model held before.

    Parameters
    ----------
    sparse : entries that are +0 leave the mask of every parameter which has any, as in a pruned network

    Raises
    ------
    ValueError : an array is missing, left over, or of another shape or dtype.
    """
    ours = {_theirs(name): array for name, array in ({**model.parameters} | model.buffers).items()}
    counters = {name for name in state if name.endswith(".num_batches_tracked")}
    if ours.keys() != state.keys() - counters:
        different = ", ".join(sorted(ours.keys() ^ (state.keys() - counters)))
        raise ValueError(f"the arrays are not those of {model.name}: either side lacks {different}")
    for name, target in ours.items():
        dtype = target.dtype if isinstance(target, np.ndarray) else np.dtype(model.dtype)
        if state[name].shape != target.shape or state[name].dtype != dtype:
            found, wanted = f"{state[name].dtype} {state[name].shape}", f"{dtype} {target.shape}"
            raise ValueError(f"{name} is {found} and must be {wanted}: convert it, or build the model for it")
    for name, target in ours.items():
        if isinstance(target, Parameter):
            _set(target, state[name], sparse)
        else:
            target[...] = state[name]


def save_safetensors(model: Model, path: str | Path) -> int:
    """Write the state as a .safetensors file, in one step; its number of bytes."""
    package = _package("safetensors.numpy")
    data = package.save(to_state(model), {ARCHITECTURE: json.dumps(model.config())})
    fileformat.write_atomically(path, data)
    return len(data)


def load_safetensors(path: str | Path, like: Model | None = None, sparse: bool = False) -> Model:
    """The model whose state a .safetensors file holds.

    Parameters
    ----------
    like : a model of the same architecture, which stays as it is; None for a file that `save_safetensors` wrote
    sparse : see `from_state`

    Raises
    ------
    ValueError : the file is damaged, does not say what model it holds, or holds another.
    """
    package, data = _package("safetensors.numpy"), fileformat.read_bytes(path)
    try:
        state = package.load(data)
    except Exception as error:  # its own kind of exception, or whatever hostile content leads to
        raise ValueError(f"{path}: cannot be read as safetensors ({error}); write it again") from error
    config = _architecture(data) if like is None else like.config()
    if config is None:
        raise ValueError(f"{path}: does not say what network its arrays belong to; name a model like it")
    model = Model.from_config(config)
    from_state(model, state, sparse)
    return model


def to_csr(p: Parameter) -> csr_array:
    """The kept entries of a pruned weight (O, ...) as a SciPy matrix (O, I); ValueError if its rest is not 0."""
    if p.kept < p.size and not p.store.rest.is_zero:
        raise ValueError(f"{p.name} rests at {p.rest_scale} times its initial values, not at 0: it is no sparse matrix")
    rows = p.shape[0] if len(p.shape) > 1 else 1
    mask = np.ones(p.shape, bool) if p.mask is None else p.mask
    row, column = np.nonzero(mask.reshape(rows, -1))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows))])
    shape = (rows, p.size // rows)
    return _package("scipy.sparse").csr_array((p.value()[mask], column, indptr), shape=shape)


def _theirs(name: str) -> str:
    path, dot, last = name.rpartition(".")
    return path + dot + THEIRS.get(last, last)


def _set(p: Parameter, values: np.ndarray, sparse: bool) -> None:
    p.initialise(p.init.key, p.dtype)
    p.store.values[...] = values
    mask = values.view(f"u{values.itemsize}") != 0
    if sparse and not mask.all():
        p.keep(mask)


def _architecture(data: bytes) -> dict | None:
    """The model's configuration, where the file's metadata have one: its header is JSON behind eight bytes of size."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    config = header.get("__metadata__", {}).get(ARCHITECTURE)
    return None if config is None else json.loads(config)


def _package(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise ValueError(f"{name} is not installed: pip install minisparse[exchange]") from error
