"""The libraries that we compare with: taken where they are installed, named where they are not."""

import importlib
import importlib.metadata
import os
import warnings
from types import ModuleType

MODULE = {"mkl": "sparse_dot_mkl", "scipy": "scipy.sparse"}
"""Our name of a peer -> what is imported, where they differ."""


class Peers:
    """Imported modules by name; `missing` are those that could not be imported, with the reason."""

    def __init__(self, names: tuple[str, ...]):
        self.found: dict[str, ModuleType] = {}
        self.missing: dict[str, str] = {}
        for name in names:
            try:
                self.found[name] = _load(name)
            except (ImportError, OSError) as error:
                self.missing[name] = "not installed" if isinstance(error, ModuleNotFoundError) else str(error)

    def get(self, name: str) -> ModuleType | None:
        return self.found.get(name)

    def version(self, name: str) -> str:
        """Of the package, with MKL's interface named beside it."""
        version = importlib.metadata.version(name)
        return (
            f"{version} by sparse_dot_mkl {importlib.metadata.version('sparse_dot_mkl')}" if name == "mkl" else version
        )


def _load(name: str) -> ModuleType:
    if name == "mkl":
        _show_mkl()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module(MODULE.get(name, name))
    return module


def _show_mkl() -> None:
    """sparse_dot_mkl looks for MKL where conda puts it; a wheel has it elsewhere. Its idle threads spin for 1 ms."""
    os.environ.setdefault("KMP_BLOCKTIME", "1")
    if "MKL_RT" not in os.environ:
        files = importlib.metadata.files("mkl") or []
        for file in files:
            if "mkl_rt" in file.name and (".so" in file.name or file.suffix in (".dll", ".dylib")):
                os.environ["MKL_RT"] = str(file.locate())
