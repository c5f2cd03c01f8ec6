"""How many threads the compiled kernels use: MINISPARSE_NUM_THREADS, else as many as OpenMP takes, all cores.

OpenMP reads its own OMP_NUM_THREADS once, when its library is loaded, and keeps a number for each thread
that calls it. So the variable is lent to it while the kernels are loaded, which holds for every thread of
the process, and the number is set once more, which holds for this thread even where another package had
loaded OpenMP before.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "MINISPARSE_NUM_THREADS"


def requested() -> int | None:
    """The number in the environment, None without one.

    Raises
    ------
    ValueError : it is no integer >= 1.
    """
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) < 2**31:
        raise ValueError(f"{VARIABLE}={text!r} must be an integer >= 1; leave it out to use all cores")
    return int(text)


@contextmanager
def lent_to_openmp(count: int | None) -> Iterator[None]:
    """OMP_NUM_THREADS = count while kernels are loaded; as it was afterwards."""
    before = os.environ.get("OMP_NUM_THREADS")
    if count is not None:
        os.environ["OMP_NUM_THREADS"] = str(count)
    try:
        yield
    finally:
        if count is not None:
            os.environ.pop("OMP_NUM_THREADS")
            if before is not None:
                os.environ["OMP_NUM_THREADS"] = before


def limit(extensions: list[str], count: int) -> None:
    """At most `count` threads for kernels that this thread calls; `extensions` are the kernels' files."""
    for extension in extensions:
        # a name is looked up in the libraries that the extension was linked with, OpenMP's where it has use for it
        setter = getattr(ctypes.CDLL(extension), "omp_set_num_threads", None)
        if setter is not None:
            setter(ctypes.c_int(count))
