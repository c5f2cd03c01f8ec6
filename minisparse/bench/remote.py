"""Contestants that live in processes of their own and take their own time."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from minisparse.bench.harness import Expected


class Remote:
    """What the harness takes for a contestant; see stepper.py for the process.

    Parameters
    ----------
    module : `python -m module *arguments` prints a JSON object, then a number for each line that it reads:
        "sample COUNT" for the seconds a call, "warm SECONDS"
    threads : that it may use
    variables : of its environment

    Attributes
    ----------
    expected : of its "losses"; None where there is nothing to compare them with
    """

    def __init__(self, module: str, arguments: Sequence[str], threads: int, **variables: str):
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MINISPARSE_NUM_THREADS": str(threads)} | variables
        command = [sys.executable, "-m", module, *arguments, "--threads", str(threads)]
        self.expected: Expected | None = None
        self._child = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    @cached_property
    def found(self) -> dict[str, Any]:
        """The object, once it is there: several processes may prepare at a time."""
        return json.loads(self._answer())

    def require(self, name: str) -> None:
        """ValueError unless its losses are right."""
        if self.expected is not None:
            self.expected.require(name, np.array(self.found["losses"]))

    def sample(self, count: int, clock: Callable[[], float]) -> float:
        return float(self._ask(f"sample {count}"))

    def warm_up(self, seconds: float, clock: Callable[[], float]) -> None:
        self._ask(f"warm {seconds}")

    def close(self) -> None:
        """End the process."""
        self._child.stdin.close()
        self._child.stdout.close()
        self._child.wait()

    def _ask(self, line: str) -> str:
        self._child.stdin.write(line + "\n")
        self._child.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        line = self._child.stdout.readline()
        if not line:
            raise ValueError(f"a process that was to be measured ended with exit code {self._child.wait()}")
        return line
