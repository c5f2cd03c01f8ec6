"""A benchmark in a fresh process, in which NumPy's OpenBLAS runs the fastest kernels that it has for this processor.

OpenBLAS picks its kernels by the processor's name when it is loaded, and does not know every name: on some the
default is half as fast as what it has. OPENBLAS_CORETYPE overrides it, so each choice is tried first.
"""

import json
import os
import subprocess
import sys
from typing import Any

CORETYPES = ("", "SkylakeX", "Haswell", "Zen")
"""Tried in turn; the first is OpenBLAS's own choice. One that the processor cannot run is refused by OpenBLAS."""
VARIABLE = "OPENBLAS_CORETYPE"
PROBE = "from minisparse.bench.machine import peak_flops; print(peak_flops(1024))"


def run_in_child(name: str, quick: bool, threads: list[int] | None, progress: bool) -> dict[str, Any]:
    """What `run.run` returns, from another process.

    Raises
    ------
    ValueError : the benchmark failed.
    """
    tried = {} if quick or VARIABLE in os.environ else probed()
    chosen = max(tried, key=tried.get, default="")
    options = ["--quick"] * quick + ["--quiet"] * (not progress)
    options += ["--threads", *map(str, threads)] if threads else []
    command = [sys.executable, "-m", "minisparse.bench", name, *options]
    child = subprocess.run(command, env=_environment(chosen), stdout=subprocess.PIPE, text=True)
    if child.returncode:
        raise ValueError(f"the process that measured {name} ended with exit code {child.returncode}")
    result = json.loads(child.stdout)
    if "error" in result:
        raise ValueError(result["error"])
    if tried:
        result["machine"]["openblas_gflops"] = {kind or "own choice": flops / 1e9 for kind, flops in tried.items()}
    return result


def probed() -> dict[str, float]:
    """Additions and multiplications a second of NumPy's dense product with each choice of kernels."""
    found = {}
    for kind in CORETYPES:
        child = subprocess.run(
            [sys.executable, "-c", PROBE], env=_environment(kind), capture_output=True, text=True, check=False
        )
        if child.returncode == 0:
            found[kind] = float(child.stdout)
    return found


def _environment(coretype: str) -> dict[str, str]:
    """This process's environment with that choice."""
    return {**os.environ, **({VARIABLE: coretype} if coretype else {})}
