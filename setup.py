"""Builds the Cython core; everything else about the package stands in pyproject.toml.

Environment variables read at build time:

    MINISPARSE_PORTABLE=1   do not tune for this machine's processor
    MINISPARSE_DEBUG=1      turn Cython's checks on (bounds, None, uninitialised views, division), optimise little
    MINISPARSE_SANITIZE=1   build in the compiler's address and undefined-behaviour sanitizers (`make sanitize`)

Without a C compiler the extensions are skipped and the library runs on their NumPy twins.
"""

import os
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

DEBUG = os.environ.get("MINISPARSE_DEBUG") == "1"
SANITIZE = os.environ.get("MINISPARSE_SANITIZE") == "1"
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-wrapv"]
PORTABLE = os.environ.get("MINISPARSE_PORTABLE") == "1"
AS_NEEDED = "-Wl,--as-needed"
"""OpenMP is linked with what calls it alone: it must not be loaded before threads.py has set its environment."""

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "nonecheck": DEBUG,
    "overflowcheck": False,  # the generator's integers wrap on purpose
    "cdivision": not DEBUG,
    "embedsignature": True,
    "freethreading_compatible": True,
}


FOLDERS = {"minisparse._core": "_core", "minisparse.datasets": "datasets", "minisparse.results": "docs/results"}
"""What stands beside the package in a checkout, and inside it where it is installed."""


class BuildWithWhatTheCompilerHas(build_ext):
    """Adds each optional flag only where a one-line program compiles and links with it."""

    def build_extensions(self):
        self.parallel = os.cpu_count()
        wanted = ["-O1" if DEBUG or SANITIZE else "-O3", "-fopenmp", AS_NEEDED]
        if not PORTABLE:
            wanted.append("-march=native")
        flags = [flag for flag in wanted if self.compiles_with(flag)]
        if SANITIZE:
            flags += [*SANITIZERS, "-g"]  # not optional: without them nothing would be looked at
        for extension in self.extensions:
            extension.optional = not SANITIZE  # said here, since cythonize forgets it
            extension.extra_compile_args += flags
            extension.extra_link_args += [flag for flag in flags if flag in (AS_NEEDED, "-fopenmp", *SANITIZERS)]
        super().build_extensions()

    def compiles_with(self, flag):
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text("int main(void) { return 0; }\n")
            try:
                objects = self.compiler.compile([str(source)], output_dir=folder, extra_postargs=[flag])
                self.compiler.link_executable(objects, "probe", output_dir=folder, extra_postargs=[flag])
            except Exception:  # every compiler fails in a way of its own
                return False
        return True


def kernels():
    included = sorted(str(path) for pattern in ("*.h", "*.pxi") for path in Path("_core").glob(pattern))
    for source in sorted(Path("_core").glob("*.pyx")):
        yield Extension(f"minisparse._core.{source.stem}", [str(source)], include_dirs=["_core"], depends=included)


setup(
    packages=[*find_packages(include=["minisparse", "minisparse.*"]), *FOLDERS],
    package_dir=FOLDERS,
    package_data={
        "minisparse.datasets": ["*.md", "*/*"],
        "minisparse._core": ["*.pyx", "*.pxi", "*.h"],
        "minisparse.results": ["*.json"],
    },
    include_package_data=False,  # what stands above, and no more
    # force: a change of flavour changes the C code of a source that has not changed
    ext_modules=cythonize(list(kernels()), compiler_directives=DIRECTIVES, force=True),
    cmdclass={"build_ext": BuildWithWhatTheCompilerHas},
)
