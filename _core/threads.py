"""How many threads the compiled kernels use: MINISPARSE_NUM_THREADS, else as many as OpenMP takes, all cores.

OpenMP reads its environment once, when its library is loaded, and keeps a number of threads for each thread
that calls it. So variables are lent to it while the kernels are loaded: what they say holds for every thread
of the process. The number is set once more, which holds for this thread even where another package had loaded
OpenMP before.

Idle threads spin for a while: GNU's OpenMP's for 300,000 rounds, tens of milliseconds, and those of NumPy's OpenBLAS
for a tenth of a second, in which each keeps the other from the same cores. A network that takes turns with both ran
up to twenty times slower. OpenMP's get a quarter of a millisecond, enough for the time between two kernels that are
worth a second thread, in rounds as long as they take here (spin.pyx); OpenBLAS's about as long, if this package is
imported before NumPy. Which core a thread runs on, team.h settles.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "MINISPARSE_NUM_THREADS"
SPIN_S = 250e-6
"""Seconds that an idle thread of GNU's OpenMP spins before it sleeps."""
LOG_TICKS = 20
"""Logarithm to base 2 of the processor's ticks that an idle thread of OpenBLAS spins."""


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


def variables(count: int | None, round_s: float) -> dict[str, str]:
    """What OpenMP and OpenBLAS are to read, where the user has not said it; a round of spinning takes `round_s`."""
    lent = {} if count is None else {"OMP_NUM_THREADS": str(count)}
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        lent["GOMP_SPINCOUNT"] = str(round(SPIN_S / round_s))
    if "OPENBLAS_THREAD_TIMEOUT" not in os.environ:
        lent["OPENBLAS_THREAD_TIMEOUT"] = str(LOG_TICKS)
    return lent


@contextmanager
def lent(values: dict[str, str]) -> Iterator[None]:
    """These environment variables while kernels are loaded; as they were afterwards."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def limit(extensions: list[str], count: int) -> None:
    """At most `count` threads for kernels that this thread calls; `extensions` are the kernels' files."""
    for extension in extensions:
        # a name is looked up in the libraries that the extension was linked with, OpenMP's where it has use for it
        setter = getattr(ctypes.CDLL(extension), "omp_set_num_threads", None)
        if setter is not None:
            setter(ctypes.c_int(count))
