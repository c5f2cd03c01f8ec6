"""A benchmark in a fresh process, in which NumPy's OpenBLAS runs the fastest kernels that it has for this processor.

OpenBLAS picks its kernels by the processor's name when it is loaded. It does not know every name, and an
environment may have fixed the choice for results that are the same everywhere: either can halve its speed. So
each choice is tried first, and what the environment says is set aside, for PyTorch's libraries too.
"""

import json
import os
import subprocess
import sys
from typing import Any

CORETYPES = ("", "SkylakeX", "Haswell", "Zen")
"""Tried in turn; the first is OpenBLAS's own choice. One that the processor cannot run fails, or falls back."""
VARIABLE = "OPENBLAS_CORETYPE"
SET_ASIDE = (VARIABLE, "OPENBLAS_L2_SIZE", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA",
             "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")  # fmt: skip
"""What would hold another library back."""
PROBE = "from minisparse.bench.machine import peak_flops; print(peak_flops(1024))"


def run_in_child(name: str, quick: bool, threads: list[int] | None, progress: bool, only: dict) -> dict[str, Any]:
    """What `run.run` returns, from another process.

    Raises
    ------
    ValueError : the benchmark failed.
    """
    tried = {} if quick else probed()
    chosen = max(tried, key=tried.get, default="")
    options = ["--quick"] * quick + ["--quiet"] * (not progress)
    options += ["--threads", *map(str, threads)] if threads else []
    options += ["--only", json.dumps(only)]
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
    """This process's environment with that choice, and nothing else that would change kernels."""
    kept = {name: value for name, value in os.environ.items() if name not in SET_ASIDE}
    return kept | ({VARIABLE: coretype} if coretype else {})
