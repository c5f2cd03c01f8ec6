"""MINISPARSE_NUM_THREADS: the limit holds for our kernels, in every thread, and leaves the environment alone."""

import os
import subprocess
import sys

import pytest

from minisparse import _core

COUNT = """
import ctypes, os, threading
{before}
from minisparse._core import spmm
count = ctypes.CDLL(spmm.__file__).omp_get_max_threads
found = [count()]
other = threading.Thread(target=lambda: found.append(count()))
other.start()
other.join()
print(*found, os.environ.get("OMP_NUM_THREADS"))
"""
compiled = pytest.mark.skipif(_core.BACKEND != "compiled", reason="the twins have no threads of their own")


def run(code, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")} | variables
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


@compiled
def test_the_limit_holds_in_every_thread_and_the_environment_stays():
    assert run(COUNT.format(before=""), MINISPARSE_NUM_THREADS="3").stdout.split() == ["3", "3", "None"]
    given = run(COUNT.format(before=""), MINISPARSE_NUM_THREADS="3", OMP_NUM_THREADS="2")
    assert given.stdout.split() == ["3", "3", "2"]


@compiled
def test_without_it_openmp_decides():
    assert run(COUNT.format(before=""), OMP_NUM_THREADS="5").stdout.split() == ["5", "5", "5"]


@compiled
def test_the_limit_holds_where_openmp_was_loaded_before():
    before = "try: ctypes.CDLL('libgomp.so.1')\nexcept OSError: pass"
    assert run(COUNT.format(before=before), MINISPARSE_NUM_THREADS="3").stdout.split()[0] == "3"


@pytest.mark.parametrize("wrong", ["0", "-2", "two", "1.5", "²"])
def test_a_wrong_number_is_refused_with_the_remedy(wrong):
    stopped = run("import minisparse", MINISPARSE_NUM_THREADS=wrong)
    assert stopped.returncode != 0
    assert f"ValueError: MINISPARSE_NUM_THREADS='{wrong}' must be an integer >= 1" in stopped.stderr
