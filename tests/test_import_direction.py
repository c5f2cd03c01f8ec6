"""Imports run one way, as docs/ARCHITECTURE.md says; and what no module may use."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "minisparse").rglob("*.py"), *(ROOT / "_core").glob("*.py*")])
PYTHON = [path for path in SOURCES if path.suffix == ".py"]

LOW = {"_core", "rng", "settings", "compact", "quantisers"}
WEIGHTS = LOW | {"stores", "params"}
NETWORKS = WEIGHTS | {"layers", "model", "models"}
TRAINING = NETWORKS | {"loss", "optim", "schedules", "data"}
FILES = WEIGHTS | {"layers", "model", "codecs", "fileformat", "ledger", "compressed"}
LIBRARY = TRAINING | FILES | {"exchange", "methods", "cost", "serial", "run", "train", "checkpoint", "gradcheck"}
MAY_IMPORT = {
    "_core": {"_core"},
    "report": set(),
    "palette": set(),
    "settings": set(),
    "compact": set(),
    "fileformat": {"_core", "compact"},
    "rng": {"_core"},
    "quantisers": {"_core"},
    "stores": {"_core", "stores"},
    "params": {"_core", "stores"},
    "layers": WEIGHTS | {"layers"},
    "model": WEIGHTS | {"layers"},
    "models": WEIGHTS | {"layers", "model"},
    "loss": NETWORKS,
    "optim": NETWORKS | {"schedules"},
    "schedules": LOW,
    "data": LOW | {"data"},
    "methods": TRAINING | {"methods"},
    "codecs": {"_core", "codecs", "compact"},
    "ledger": WEIGHTS | {"model", "codecs"},
    "compressed": FILES,
    "exchange": FILES,
    "cost": FILES | {"cost"},
    "gradcheck": NETWORKS | {"loss"},
    "serial": NETWORKS | {"loss", "cost"},
    "run": TRAINING | {"methods", "serial"},
    "checkpoint": FILES | {"settings", "run"},
    "train": LIBRARY,
    "testing": LIBRARY | {"testing"},
    "__init__": LIBRARY,
    "__main__": LIBRARY | {"cli"},
    "cli": LIBRARY | {"cli", "report", "palette", "", "reproduce", "bench"},
    "reproduce": LIBRARY | {"report", "palette", "reproduce", "bench"},
    "bench": LIBRARY | {"palette", "bench", ""},
    "lesson": {"palette", "report", "reproduce"},
}
"""Part -> the parts it may import; "" is the package itself, for its version."""


def part_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] == "_core" else parts[1]


def imports(tree):
    """(module, name or None, line) of every import that runs, those for type checkers left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, None, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield from ((node.module, alias.name, node.lineno) for alias in node.names)
        else:
            yield from imports(node)


def imported_parts(tree):
    for module, name, line in imports(tree):
        first, *rest = module.split(".")
        if first == "minisparse":
            submodule = name if name and (is_part(name)) else ""
            yield (rest[0] if rest else submodule), line


def is_part(name):
    return name == "_core" or (ROOT / "minisparse" / name).is_dir() or (ROOT / "minisparse" / f"{name}.py").exists()


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def forbidden_imports(part, tree):
    return [f"line {line}: {part} -> {other}" for other, line in imported_parts(tree) if other not in MAY_IMPORT[part]]


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    part = part_of(path)
    assert part in MAY_IMPORT, f"{part} has no rule here: add one, and a word in docs/ARCHITECTURE.md"
    assert not forbidden_imports(part, parse(path))


def test_the_core_imports_numpy_and_itself_only():
    standard = {"collections", "contextlib", "ctypes", "dataclasses", "functools", "importlib", "math", "operator"}
    standard |= {"os", "pkgutil", "time", "warnings"}
    for path in (ROOT / "_core").glob("*.py*"):
        text = path.read_text(encoding="utf-8")
        modules = {a or b for a, b in re.findall(r"^\s*(?:from (\S+) c?import|c?import (\S+))", text, re.MULTILINE)}
        for module in modules - {"numpy"}:
            first = module.split(".")[0]
            ours = module == "minisparse._core" or module.startswith("minisparse._core.")
            assert ours or first in standard | {"libc", "cpython", "cython"}, f"{path.name} imports {module}"


@pytest.mark.parametrize("part", ["layers", "optim", "compressed", "loss", "params", "codecs", "data", "model"])
def test_no_part_below_knows_methods_or_the_loop(part):
    assert MAY_IMPORT[part].isdisjoint({"methods", "run", "train", "checkpoint", "cli", "report"})


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("layers", "from minisparse.methods import DropBack"),
        ("optim", "def f():\n    import minisparse.methods.base"),
        ("compressed", "from minisparse import methods"),
        ("report", "from minisparse.model import Model"),
        ("_core", "try:\n    from minisparse import rng\nexcept ImportError:\n    pass"),
        ("params", "if x:\n    from minisparse.layers.base import Layer"),
    ],
)
def test_a_wrong_direction_is_found(part, source):
    assert forbidden_imports(part, ast.parse(source))


def test_an_import_for_type_checkers_alone_has_no_direction():
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from minisparse.run import Run"
    assert not forbidden_imports("methods", ast.parse(source))


# What no module may use


def misuses(tree):
    """Calls and names that make a run depend on more than its seed, or a file able to run code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("hash", "eval", "exec"):
            yield node.lineno, f"{node.func.id}()"
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "np.random" and id(node) not in allowed(tree):
            yield node.lineno, "np.random"
    for module, name, line in imports(tree):
        if module.split(".")[0] in ("random", "pickle", "marshal", "shelve") or (module, name) == ("numpy", "random"):
            yield line, module


def allowed(tree):
    """np.random in `np.random.Generator` (a type), and in the contracts' `np.random.default_rng(SEED)`."""
    return {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "np.random.Generator"
    }


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_depends_on_more_than_the_seed_and_no_file_can_run_code(path):
    found = list(misuses(parse(path)))
    if part_of(path) == "testing":
        found = [misuse for misuse in found if misuse[1] != "np.random"]
    assert not found


@pytest.mark.parametrize(
    "source",
    ["np.random.seed(0)", "np.random.default_rng()", "hash('x')", "import pickle", "eval('1')", "import random",
     "from numpy import random", "from random import choice", "def f():\n    exec('')"],
)  # fmt: skip
def test_a_misuse_is_found(source):
    assert list(misuses(ast.parse(source)))


def test_a_generator_as_a_type_is_none():
    assert not list(misuses(ast.parse("def cases(generator: np.random.Generator): pass")))


TEXT = {".py", ".pyx", ".pxd", ".h", ".md", ".toml", ".in", ".yml", ".json", ".ipynb", ".sh", ""}
SKIPPED = {".git", ".venv", "build", "dist", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis", "runs"}
HOMES = re.compile(r"(?<![\w.$}])/(?:home|root|Users|work|tmp|mnt|opt|var)/[\w.-]+|[A-Z]:\\\\?Users")


def committed_text():
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        if path.is_file() and path.suffix in TEXT and not SKIPPED.intersection(parts) and ".egg-info" not in parts[0]:
            yield path


def test_no_file_names_a_path_of_a_machine():
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in committed_text()
        if path != Path(__file__)
        for match in HOMES.finditer(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert not found
