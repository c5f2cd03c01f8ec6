"""Threads of the kernels: the limit holds in each, workers keep off the caller, the environment stays as it was."""

import ctypes
import os
import subprocess
import sys
from importlib import import_module

import pytest

from minisparse import _core
from minisparse._core import threads

COUNT = """
import ctypes, os, threading
{before}
from minisparse._core import spmm
count = ctypes.CDLL(spmm.__file__).omp_get_max_threads
found = [count()]
other = threading.Thread(target=lambda: found.append(count()))
other.start()
other.join()
print(*found, os.environ.get("OMP_NUM_THREADS"), os.environ.get("GOMP_SPINCOUNT"))
"""
PLACES = """
import os
import numpy as np
from pathlib import Path
from minisparse._core import regen
from minisparse._core.pattern import Pattern

def allowed():
    return {int(task.name): os.sched_getaffinity(int(task.name)) for task in Path("/proc/self/task").iterdir()}

before = allowed()
pattern = Pattern(np.zeros(65, int), np.zeros(0, int), 64)
regen.matmul("normal", 1, 1.0, 1.0, pattern, np.zeros(0, np.float32), np.ones((64, 64), np.float32))
after = allowed()
every = os.sched_getaffinity(0)
print(all(after[task] == before[task] for task in before))
print([len(every - after[task]) for task in after.keys() - before.keys()])
"""
compiled = pytest.mark.skipif(_core.BACKEND != "compiled", reason="the twins have no threads of their own")


def run(code, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")} | variables
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


@compiled
def test_the_limit_holds_in_every_thread_and_the_environment_stays():
    assert run(COUNT.format(before=""), MINISPARSE_NUM_THREADS="3").stdout.split() == ["3", "3", "None", "None"]
    given = run(COUNT.format(before=""), MINISPARSE_NUM_THREADS="3", OMP_NUM_THREADS="2")
    assert given.stdout.split() == ["3", "3", "2", "None"]


@compiled
def test_without_it_openmp_decides():
    assert run(COUNT.format(before=""), OMP_NUM_THREADS="5").stdout.split() == ["5", "5", "5", "None"]


@compiled
def test_the_limit_holds_where_openmp_was_loaded_before():
    before = "try: ctypes.CDLL('libgomp.so.1')\nexcept OSError: pass"
    assert run(COUNT.format(before=before), MINISPARSE_NUM_THREADS="3").stdout.split()[0] == "3"


@compiled
def test_the_time_that_a_thread_spins_is_measured_before_openmp_is_loaded():
    spin = import_module("minisparse._core.spin")
    assert not hasattr(ctypes.CDLL(spin.__file__), "omp_get_max_threads")
    assert 0 < spin.seconds() < 1e-6


def test_threads_spin_as_long_wherever_a_round_takes_longer_unless_the_user_says_otherwise(monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    assert threads.variables(None, 1e-8)["GOMP_SPINCOUNT"] == "25000"
    assert threads.variables(None, 1e-7)["GOMP_SPINCOUNT"] == "2500"
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    assert "GOMP_SPINCOUNT" not in threads.variables(None, 1e-8)


@compiled
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity") or os.cpu_count() < 2, reason="Linux, two processors")
def test_workers_keep_off_the_processor_of_the_caller_who_stays_free():
    assert run(PLACES, MINISPARSE_NUM_THREADS="2").stdout.splitlines() == ["True", "[1]"]


@compiled
def test_threads_of_blas_are_told_to_sleep_soon_unless_the_user_says_otherwise():
    code = """
import os, sys
sys.modules.pop("numpy", None)
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy":
            print(os.environ.get("OPENBLAS_THREAD_TIMEOUT"))
sys.meta_path.insert(0, Watch())
import minisparse
print(os.environ.get("OPENBLAS_THREAD_TIMEOUT"))
"""
    assert run(code).stdout.split() == ["20", "None"]
    assert run(code, OPENBLAS_THREAD_TIMEOUT="26").stdout.split() == ["26", "26"]


@pytest.mark.parametrize("wrong", ["0", "-2", "two", "1.5", "²"])
def test_a_wrong_number_is_refused_with_the_remedy(wrong):
    stopped = run("import minisparse", MINISPARSE_NUM_THREADS=wrong)
    assert stopped.returncode != 0
    assert f"ValueError: MINISPARSE_NUM_THREADS='{wrong}' must be an integer >= 1" in stopped.stderr
