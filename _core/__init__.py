"""The kernels: each compiled `x.pyx` stands beside its NumPy twin `x_ref.py`.

`from minisparse._core import rng` gives the compiled kernel where it was built and the twin
elsewhere; both have the same names, signatures and results. `MINISPARSE_BACKEND` chooses:

    auto       (default) compiled, or the twins with one warning
    compiled   compiled, or an error
    reference  the twins

`MINISPARSE_NUM_THREADS` limits the threads of the compiled kernels (threads.py).
"""

import os
import pkgutil
import warnings
from importlib import import_module

from minisparse._core import threads

NAMES = sorted(m.name.removesuffix("_ref") for m in pkgutil.iter_modules(__path__) if m.name.endswith("_ref"))
"""The kernels: every `x_ref.py` of this folder."""

_choice = os.environ.get("MINISPARSE_BACKEND", "auto")
if _choice not in ("auto", "compiled", "reference"):
    raise ValueError(f"MINISPARSE_BACKEND={_choice!r} is unknown: use 'auto', 'compiled' or 'reference'")


def _select() -> str:
    count = threads.requested()
    if _choice == "reference":
        return "reference"
    try:
        spin = import_module(f"{__name__}.spin")
        with threads.lent(threads.variables(count, spin.seconds())):
            kernels = [import_module(f"{__name__}.{name}") for name in NAMES]
            if count is not None:
                threads.limit([kernel.__file__ for kernel in kernels], count)
    except ImportError as missing:
        if _choice == "compiled":
            raise
        warnings.warn(
            f"minisparse runs on its NumPy twins, correct but slow, for want of its compiled kernels ({missing}); "
            "install a C compiler and run `pip install -e .` (MINISPARSE_BACKEND=reference silences this)",
            stacklevel=2,
        )
        return "reference"
    return "compiled"


BACKEND = _select()
"""'compiled' or 'reference': the kernels that this process runs."""

for _name in NAMES:
    globals()[_name] = import_module(f"{__name__}.{_name}" + ("_ref" if BACKEND == "reference" else ""))
