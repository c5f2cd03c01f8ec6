"""Predicted bytes beside the last-level misses of the real kernels, times the line, under valgrind's cachegrind.

    python -m minisparse.bench.cachegrind docs/cost/cachegrind.json

For each kernel three sizes: all operands fit in the last cache; the weight does not; neither does anything else.
A kernel is called on one set of operands after the other, so that each call finds none of its own in the cache. What k
more calls add to the misses of k calls is the kernel's alone, without Python's start.

The prediction is rule 2 of `minisparse.cost.buffer` for loops that a kernel has fixed: its outer loop runs over slices
of one operand, and what the outer loop does not index is read again each slice, unless it fits in the cache with all
that a slice touches. Cachegrind counts a line that is filled, to be read or to be written; lines written back it does
not see, so written operands count once. Where slices cut rows, the lines on their borders are filled twice.

valgrind 3.19 does not know 512-bit instructions: the kernels have to be a portable build (MINISPARSE_PORTABLE=1;
CFLAGS="-mavx2 -mfma" is fine), and NumPy's OpenBLAS is told to be a Haswell's.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from minisparse.cost.program import Array, Operand, Pass
from minisparse.fileformat import write_atomically

LINE = 64
CACHE = 2**20
"""Bytes of the last cache; 16 ways."""
DENSITY = 0.02
WITHIN = 0.10
KERNELS = ("dense", "sparse", "regenerated")
SIZES = {
    "dense": ((256, 256, 128), (256, 4096, 32), (128, 4096, 128)),
    "sparse": ((2048, 512, 64), (8192, 1024, 64), (8192, 2048, 256)),
    "regenerated": ((256, 512, 128), (2048, 512, 128), (128, 2048, 256)),
}
"""(O, I, N) of W (O, I) and x (I, N). Few rows where dense, so that the copies which BLAS packs stay in the cache."""


@dataclass(frozen=True)
class Case:
    """One product: y (O, N) = W (O, I) x (I, N), float32."""

    kernel: str
    O: int  # noqa: E741 - the paper's letters
    I: int  # noqa: E741
    N: int

    @property
    def each(self) -> int:
        """Entries that a row keeps."""
        return round(DENSITY * self.I)

    @property
    def operand_bytes(self) -> int:
        return sum({o.array: o.array.nbytes for work, *_ in self.program() for o in work.operands}.values())

    def program(self, vector_bytes: int = 32) -> list[tuple[Pass, str, int]]:
        """Passes, each with its outer loop and the slices of it."""
        x = Operand(Array("x", "activations", 4 * self.I * self.N), "r", "n")
        y = Operand(Array("y", "activations", 4 * self.O * self.N), "w", "wn")
        stored = 4 * self.O * self.I if self.kernel == "dense" else 8 * self.each * self.O + 4 * (self.O + 1)
        w = Operand(Array("W", "weights", stored), "r", "w")
        if self.kernel == "sparse":  # panels of eight vectors of the batch
            return [(Pass("product", "inference", (w, x, y), self.O), "n", ceil(4 * self.N / (8 * vector_bytes)))]
        if self.kernel == "regenerated":  # y is cleared, then made in blocks of 32 rows
            return [
                (Pass("clear", "inference", (y,)), "w", 1),
                (Pass("product", "inference", (w, x, y)), "w", ceil(self.O / 32)),
            ]
        return [(Pass("product", "inference", (w, x, y)), "w", 1)]


def predicted(program: list[tuple[Pass, str, int]], cache: int) -> int:
    """Bytes filled by a program that finds none of its operands in the cache."""
    filled, before = 0, set()
    for work, outer, slices in program:
        sizes = {o.array: o.array.nbytes for o in work.operands}
        for o in work.operands:
            if o.array in before and sum(sizes.values()) <= cache:
                continue
            # between two slices: all of it, and a slice of what the outer loop indexes
            touched = sum(
                n / slices if outer in other.loops else n
                for other, n in zip(work.operands, sizes.values(), strict=True)
            )
            filled += sizes[o.array] * (1 if outer in o.loops or touched <= cache else slices)
            if o.loops == "wn" and outer == "n" and slices > 1 and sum(sizes.values()) > cache:
                # NumPy's memory begins inside a line: a slice's part of each row shares one with the next slice
                filled += LINE * slices * work.rows
        before |= sizes.keys()
    return filled


def misses(case: Case, calls: int) -> int:
    """Last-level data misses of a process that makes these calls."""
    sets = 2 + 2 * CACHE // case.operand_bytes
    command = [
        "valgrind", "--tool=cachegrind", "--cache-sim=yes", "--cachegrind-out-file=/dev/null",
        f"--LL={CACHE},16,{LINE}",
        f"--D1=32768,8,{LINE}", f"--I1=32768,8,{LINE}", sys.executable, str(Path(__file__).with_name("products.py")),
        case.kernel, *map(str, (case.O, case.I, case.N, case.each, calls, sets)),
    ]  # fmt: skip
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MINISPARSE_NUM_THREADS"), "1")
    # the fixed hash makes both processes start alike
    environment = os.environ | one | {"OPENBLAS_CORETYPE": "Haswell", "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    found = re.search(r"LLd misses:\s*([\d,]+)", done.stderr)
    if done.returncode or not found:
        raise ValueError(f"valgrind failed on {case}: {done.stderr[-400:]}")
    return int(found[1].replace(",", ""))


def measure(case: Case, calls: int = 4) -> dict:
    """A row: prediction and measurement of one call."""
    expected = predicted(case.program(), CACHE)
    measured = (misses(case, 2 * calls) - misses(case, calls)) * LINE / calls
    return {
        "kernel": case.kernel,
        "O": case.O,
        "I": case.I,
        "N": case.N,
        "operand_bytes": case.operand_bytes,
        "predicted_bytes": expected,
        "measured_bytes": round(measured),
        "off": round(measured / expected - 1, 4),
    }


def markdown(rows: list[dict]) -> str:
    head = list(rows[0])
    lines = [head, ["---"] * 1 + ["---:"] * (len(head) - 1)]
    lines += [[f"{row[k]:,}" if isinstance(row[k], int) else str(row[k]) for k in head] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(argv: list[str]) -> None:
    """The whole table into a JSON file."""
    rows = [measure(Case(kernel, *sizes)) for kernel in KERNELS for sizes in SIZES[kernel]]
    setting = {"cache_bytes": CACHE, "ways": 16, "line_bytes": LINE, "density": DENSITY, "within": WITHIN}
    write_atomically(Path(argv[0]), (json.dumps({"setting": setting, "rows": rows}, indent=1) + "\n").encode())
    print(markdown(rows), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
