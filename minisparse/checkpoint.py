"""Crash-safe runs: a folder whose checkpoint always is the state after some whole step.

The checkpoint holds everything that the loop changes - stored values, masks, rest scales, notes, buffers,
optimiser state, the log - and the configuration that the rest is rebuilt from. It is written in one atomic replacement;
config.json, log.csv and log.json are derived from it for people, so they can never disagree with it.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minisparse import fileformat
from minisparse.model import Model
from minisparse.params import Parameter
from minisparse.settings import to_config
from minisparse.stores import DenseStore, RegeneratedStore, SparseStore

if TYPE_CHECKING:
    from minisparse.run import Run


MEMBERS = {"model", "method", "settings", "data", "step", "loss_sum", "rows", "finished"}
MEMBERS |= {"parameters", "buffers", "optimizer"}
"""Of a checkpoint's header."""


class RunFolder:
    """A folder with checkpoint.msp, config.json, log.csv and log.json.

    Raises
    ------
    ValueError : (FileFormatError) on reading a damaged checkpoint, or one of another run.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.msp"

    def is_free(self) -> bool:
        """Whether a new run may begin here: nothing in the folder, or no folder."""
        return not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir()))

    def save(self, run: Run) -> None:
        """Write the checkpoint, then the files for people."""
        self.path.mkdir(parents=True, exist_ok=True)
        sections = _Sections()
        header = {
            **_configuration(run),
            "step": run.step,
            "loss_sum": run.loss_sum,
            "rows": run.rows,
            "finished": run.finished,
            "parameters": {name: _save_parameter(p, sections) for name, p in run.model.parameters.items()},
            "buffers": {name: sections.add(array) for name, array in run.model.buffers.items()},
            "optimizer": {name: sections.add(array) for name, array in run.optimizer.state.items()},
        }
        fileformat.write(self.checkpoint, "checkpoint", header, sections.content)
        self._write_for_people(run)

    def restore(self, run: Run) -> bool:
        """Bring a fresh run to where the checkpoint stands; False if there is none yet."""
        if not self.checkpoint.exists():
            return False
        header, sections = self._read()
        for part, ours in json.loads(json.dumps(_configuration(run))).items():
            if header[part] != ours:
                raise ValueError(
                    f"{self.checkpoint} is of a run with another {part}: "
                    f"--resume {self.path} alone goes on with it, --out elsewhere begins a new one"
                )
        _load_model(run.model, header, sections)
        run.optimizer.state = {name: _array(sections, spec) for name, spec in header["optimizer"].items()}
        run.step, run.loss_sum = header["step"], header["loss_sum"]
        run.rows, run.finished = header["rows"], header["finished"]
        self._write_for_people(run)
        return True

    def header(self) -> dict[str, Any]:
        """What the checkpoint says of its run: model, method, settings, data and the log."""
        return self._read()[0]

    def model(self) -> Model:
        """The model as the checkpoint holds it."""
        header, sections = self._read()
        model = Model.from_config(header["model"])
        _load_model(model, header, sections)
        return model

    def _read(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        if not self.checkpoint.exists():
            raise ValueError(f"{self.path} holds no checkpoint.msp: it is not the folder of a run that has begun")
        header, sections = fileformat.read(self.checkpoint, "checkpoint")
        if not header.keys() >= MEMBERS:
            raise fileformat.FileFormatError(f"{self.checkpoint} lacks {MEMBERS - header.keys()}: begin the run anew")
        return header, sections

    def _write_for_people(self, run: Run) -> None:
        def write_json(name: str, value: Any) -> None:
            fileformat.write_atomically(self.path / name, (json.dumps(value, indent=1) + "\n").encode())

        text = io.StringIO()
        if run.rows:
            writer = csv.DictWriter(text, run.rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(run.rows)
        write_json("config.json", _configuration(run))
        write_json("log.json", run.rows)
        fileformat.write_atomically(self.path / "log.csv", text.getvalue().encode())


def _configuration(run: Run) -> dict[str, Any]:
    """What decides how a run goes, from its first step to its last."""
    return {
        "model": run.model.config(),
        "method": run.method.config(),
        "settings": to_config(run.settings),
        "data": run.data.name,
    }


class _Sections:
    """Arrays on their way into a file."""

    def __init__(self):
        self.content: dict[str, bytes] = {}

    def add(self, array: np.ndarray) -> list:
        """[section, dtype, shape], from which `_array` reads it back."""
        name = str(len(self.content))
        self.content[name] = array.tobytes()
        return [name, array.dtype.str, list(array.shape)]


def _array(sections: dict[str, bytes], spec: list) -> np.ndarray:
    name, dtype, shape = spec
    return np.frombuffer(sections[name], np.dtype(dtype)).reshape(shape).copy()


def _save_parameter(p: Parameter, sections: _Sections) -> dict[str, Any]:
    facts: dict[str, Any] = {"rest_scale": p.rest_scale, "values": sections.add(p.store.values)}
    facts["notes"] = {name: sections.add(array) for name, array in p.notes.items()}
    if isinstance(p.store, SparseStore):
        facts["index"] = sections.add(p.store.index)
        if isinstance(p.store, RegeneratedStore):
            facts["frozen"] = p.store.frozen
    elif p.mask is not None:
        facts["mask"] = sections.add(np.packbits(p.mask))
        facts["frozen"] = p.store.frozen
    return facts


def _load_parameter(p: Parameter, facts: dict[str, Any], sections: dict[str, bytes]) -> None:
    values, rest = _array(sections, facts["values"]), replace(p.init, factor=facts["rest_scale"])
    p.notes = {name: _array(sections, spec) for name, spec in facts["notes"].items()}
    if "index" in facts:
        entries = p.shape, _array(sections, facts["index"]), values, rest
        p.store = RegeneratedStore(*entries, facts["frozen"]) if "frozen" in facts else SparseStore(*entries)
        return
    mask = None
    if "mask" in facts:
        mask = np.unpackbits(_array(sections, facts["mask"]), count=p.size).astype(bool).reshape(p.shape)
    p.store = DenseStore(values.reshape(p.shape), rest, mask, facts.get("frozen", True))


def _load_model(model: Model, header: dict[str, Any], sections: dict[str, bytes]) -> None:
    try:
        for name, p in model.parameters.items():
            _load_parameter(p, header["parameters"][name], sections)
        for name, array in model.buffers.items():
            array[...] = _array(sections, header["buffers"][name])
    except (KeyError, TypeError) as error:
        raise fileformat.FileFormatError(f"the checkpoint does not fit the model {model.name}: {error}") from error
