"""Train a network, on a weight budget if you like.

  minisparse train --model lenet-300-100 --data mnist --method dropback --budget 20000 --epochs 30 --out RUN
  minisparse train --resume RUN          go on after a crash, a kill or Ctrl-C, bit for bit

RUN keeps checkpoint.msp, and for people config.json (what was asked for), log.csv, log.json and result.json.
Hyperparameters are judged on the validation split; the test split is read once, at the end.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import fields
from pathlib import Path

from minisparse import fileformat, models
from minisparse.checkpoint import RunFolder
from minisparse.cli.common import add_data, add_setting, add_settings, given, help_text
from minisparse.data import Dataset, load
from minisparse.methods import Method
from minisparse.model import Model
from minisparse.report import Report
from minisparse.run import Run, TrainSettings
from minisparse.settings import from_config
from minisparse.train import evaluate, fit

HELP = "train a network on a weight budget"

METHODS = {name: cls for name, cls in Method.registry.items() if name != "compose"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "\n".join(["methods, and settings that they bring along unless you give others:", *_cards()])
    parser.add_argument("--model", default="lenet-300-100", help=f"one of {', '.join(models.NAMES)}")
    parser.add_argument("--width", type=float, default=1.0, help="factor on the hidden widths (default 1)")
    add_data(parser)
    parser.add_argument("--method", default="dense", choices=METHODS, help="how the budget is met (default dense)")
    parser.add_argument("--out", metavar="RUN", help="folder of the run (default runs/MODEL-DATA-METHOD-SEED)")
    parser.add_argument("--resume", nargs="?", const=True, metavar="RUN", help="go on where RUN (or --out) stopped")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_settings(parser.add_argument_group("training"), TrainSettings)
    _add_method_settings(parser.add_argument_group("method"))


def _cards() -> list[str]:
    """A line a method, and one for its recipe."""
    lines = []
    for name, cls in METHODS.items():
        lines.append(f"  {name:15} {cls.__doc__.splitlines()[0]}")
        if cls.recipe:
            lines.append(f"{'':18}({', '.join(f'{key} {value}' for key, value in cls.recipe.items())})")
    return lines


def _add_method_settings(group) -> None:
    """One flag for each setting, with what the methods that have it say of it."""
    texts: dict[str, dict[str, list[str]]] = {}
    for name, cls in METHODS.items():
        for field in fields(cls):
            texts.setdefault(field.name, {}).setdefault(help_text(field), []).append(name)
    for setting, by_text in texts.items():
        text = " ".join(f"[{_listed(names)}] {text}" for text, names in by_text.items())
        owner = next(cls for cls in METHODS.values() if setting in _names(cls))
        add_setting(group, owner, setting, text)


def _listed(names: list[str]) -> str:
    others = [name for name in METHODS if name not in names]
    return f"all but {', '.join(others)}" if len(others) < 3 else ", ".join(names)


def _names(cls: type) -> set[str]:
    return set(cls.__dataclass_fields__)


def run(args: argparse.Namespace) -> Report:
    began = time.perf_counter()
    folder = RunFolder(args.resume if isinstance(args.resume, str) else args.out or _default_folder(args))
    if isinstance(args.resume, str):
        data, model, method, settings = _from_checkpoint(args, folder)
    else:
        if args.resume is None and not folder.is_free():
            raise ValueError(f"{folder.path} is not empty: go on with --resume {folder.path}, or choose another --out")
        data, model, method, settings = _from_flags(args)
    try:
        done = fit(model, data, method, settings, folder.path, resume=args.resume is not None, progress=not args.quiet)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"go on with: minisparse train --resume {folder.path}") from None
    report = _report(done, folder, time.perf_counter() - began)
    fileformat.write_atomically(folder.path / "result.json", (report.json("train") + "\n").encode())
    return report


def _from_flags(args: argparse.Namespace) -> tuple[Dataset, Model, Method, TrainSettings]:
    method = Method.from_config({"name": args.method, **given(args, set().union(*map(_names, METHODS.values())))})
    settings = TrainSettings(**{**method.recipe, **given(args, _names(TrainSettings))})
    data = load(args.data, args.folder, seed=settings.seed)
    model = models.build(args.model, data.input_shape, data.classes, width=args.width, seed=settings.seed)
    return data, model, method, settings


def _from_checkpoint(args: argparse.Namespace, folder: RunFolder) -> tuple[Dataset, Model, Method, TrainSettings]:
    header = folder.header()
    settings = from_config(TrainSettings, header["settings"])
    data = load(header["data"], args.folder, seed=settings.seed)
    return data, Model.from_config(header["model"]), Method.from_config(header["method"]), settings


def _default_folder(args: argparse.Namespace) -> str:
    return f"runs/{args.model}-{Path(args.data).stem}-{args.method}-{getattr(args, 'seed', 0)}"


def _report(run: Run, folder: RunFolder, seconds: float) -> Report:
    model, test = run.model, evaluate(run.model, run.data.test)
    summary = {
        "test_error": test.error,
        "validation_error": run.rows[-1]["validation_error"],
        "kept": model.kept,
        "density": model.kept / model.size,
        "steps": run.step,
        "seconds": seconds,
        "out": str(folder.path),
    }
    return Report(run.rows, summary, ["Errors in percent; seconds of this call, measured."])
