"""What the measurements ran on, and how many threads everybody may use."""

import os
import platform
import re
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from minisparse import __version__
from minisparse._core import BACKEND
from minisparse.bench.peers import Peers

VECTORS = (("avx512f", 512), ("avx2", 256), ("avx", 256), ("sse2", 128), ("asimd", 128))
"""A processor's flag -> its vector width in bits, the widest first."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def pinned(threads: int, peers: Peers) -> Iterator[None]:
    """At most this many threads in BLAS, in OpenMP (the kernels' too) and in PyTorch."""
    pools, torch = peers.get("threadpoolctl"), peers.get("torch")
    before = torch.get_num_threads() if torch else 0
    try:
        if torch:
            torch.set_num_threads(threads)
        with pools.threadpool_limits(threads) if pools else nullcontext():
            yield
    finally:
        if torch:
            torch.set_num_threads(before)


def describe(peers: Peers) -> dict[str, Any]:
    """Class of machine and versions; no names of hosts or folders."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = set(re.findall(r"\S+", " ".join(re.findall(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)[:1])))
    found = {
        "processor": model[1].strip() if model else platform.processor() or platform.machine(),
        "cores": cores(),
        "vector_bits": next((bits for flag, bits in VECTORS if flag in flags), None),
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "minisparse": __version__,
        "kernels": BACKEND,
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
    }
    found |= {name: peers.version(name) for name in peers.found}
    pools = peers.get("threadpoolctl")
    for pool in pools.threadpool_info() if pools else []:
        if pool["internal_api"] == "openblas" and "numpy" in pool["filepath"]:
            found["openblas_kernel"] = pool["architecture"]
    return found


def copy_bandwidth(nbytes: int = 1 << 28) -> float:
    """Bytes read and written a second by a plain copy, the best of five."""
    source = np.ones(nbytes // 8)
    target = np.zeros_like(source)
    return 2 * source.nbytes / _best(lambda: np.copyto(target, source))


def peak_flops(size: int = 1024) -> float:
    """Additions and multiplications a second of a dense float32 product in NumPy, the best of five."""
    a = np.ones((size, size), np.float32)
    return 2 * size**3 / _best(lambda: a @ a)


def _best(call) -> float:
    times = []
    for _ in range(6):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times[1:])
