"""The contract of a kernel: the compiled module and its NumPy twin are one function, twice.

For every call that the twin's `cases(generator)` yields, results agree in type, dtype and shape, and
either to the bit or, where a case names the number n of terms of its longest sum, within

    |compiled - twin| <= n eps / (1 - n eps) * sum |terms|                                  (1)

since each of the two is off by at most n u / (1 - n u) * sum |terms|, u = eps / 2 (N. Higham, Accuracy and
Stability of Numerical Algorithms, 2002, eq. 3.5). The sum of the terms' absolute values is the twin itself
on absolute values in float64, or `magnitudes(function, *arguments)` of the twin's module where terms arise
inside. Operands stay as they were but for those that the twin's module names in `CHANGED`, {function: parameters},
which agree to the bit. A call that one of the two refuses is refused by the other with an exception of the same type.
"""

import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from minisparse import _core

SEED = 0
DTYPES = (np.int16, np.int32, np.int64, np.float16, np.float32, np.float64)


def kernel_names() -> list[str]:
    """Every `x.pyx` of the core but for those that compute nothing."""
    sources = {source.stem for folder in _core.__path__ for source in Path(folder).glob("*.pyx")}
    return sorted(sources - {"allocator", "spin", "team"})


def check_kernel(name: str) -> None:
    """AssertionError unless the compiled kernel and its twin keep the contract; ImportError if it was not built."""
    check_twin(name)
    compiled, twin = import_module(f"{_core.__name__}.{name}"), _twin(name)
    theirs, ours = _public(twin), _public(compiled)
    _expect(set(ours) == set(theirs), f"{name}: compiled {sorted(ours)}, twin {sorted(theirs)}")
    for function in theirs:
        _check_signature(ours[function], theirs[function])
    varied = set()
    for function, arguments, terms in _cases(twin):
        _check_case(ours[function], theirs[function], arguments, terms)
        shape = function, tuple(getattr(a, "ndim", type(a)) for a in arguments), _is_empty(arguments)
        if shape not in varied:
            varied.add(shape)
            for variant in _variants(arguments):
                _check_case(ours[function], theirs[function], variant, terms)


def check_twin(name: str) -> None:
    """AssertionError unless the twin covers its functions with cases and leaves operands alone."""
    twin = _twin(name)
    _expect(inspect.isgeneratorfunction(getattr(twin, "cases", None)), f"{twin.__name__} has no generator `cases`")
    for function, call in _public(twin).items():
        _expect(call.__doc__, f"{twin.__name__}.{function} has no docstring")
    covered = set()
    for function, arguments, terms in _cases(twin):
        covered.add(function)
        _check_case(getattr(twin, function), getattr(twin, function), arguments, terms)
    missing = set(_public(twin)) ^ covered
    _expect(not missing, f"{twin.__name__}: functions and cases differ by {sorted(missing)}")


def _twin(name: str) -> ModuleType:
    try:
        return import_module(f"{_core.__name__}.{name}_ref")
    except ModuleNotFoundError as error:
        raise AssertionError(f"{name}.pyx has no twin {name}_ref.py") from error


def _public(module: ModuleType) -> dict[str, Callable]:
    """Functions defined in this module, but for `cases`, `magnitudes` and the checks that the two share."""
    return {
        name: value
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == module.__name__ and not inspect.isclass(value)
        if not name.startswith(("_", "check")) and name not in ("cases", "magnitudes")
    }


def _cases(twin: ModuleType) -> Iterator[tuple[str, tuple, int | None]]:
    for function, arguments, *terms in twin.cases(np.random.default_rng(SEED)):
        yield function, arguments, terms[0] if terms else None


def _check_signature(ours: Callable, theirs: Callable) -> None:
    ours, theirs = (
        [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]
        for function in (ours, theirs)
    )
    _expect(ours == theirs, f"signatures differ: compiled {ours}, twin {theirs}")


def _check_case(ours: Callable, theirs: Callable, arguments: tuple, terms: int | None) -> None:
    where = f"{theirs.__module__}.{theirs.__name__}({', '.join(map(_describe, arguments))})"
    changed = _changed(theirs, arguments)
    expected, found = (_outcome(function, arguments, changed, where) for function in (theirs, ours))
    if isinstance(expected, Exception) or isinstance(found, Exception):
        _expect(type(expected) is type(found), f"{where}: compiled gives {found!r}, twin {expected!r}")
        return
    bound = None if terms is None else (_magnitudes(theirs, arguments), (None,) * len(changed))
    _compare(found, expected, bound, terms, where)


def _magnitudes(theirs: Callable, arguments: tuple) -> Any:
    """sum |terms|: the twin on absolute values, or what its module's `magnitudes` says."""
    own = getattr(import_module(theirs.__module__), "magnitudes", None)
    return own(theirs.__name__, *arguments) if own else theirs(*_map(_absolute, arguments))


def _outcome(function: Callable, arguments: tuple, changed: tuple[int, ...], where: str) -> Any:
    """(result, changed operands), or what the call raises; AssertionError if it changes another operand.

    All operands are afterwards as they were.
    """
    before = _map(np.copy, arguments)
    try:
        result = _map(np.copy, (function(*arguments), tuple(arguments[i] for i in changed)))
    except (ValueError, TypeError, OverflowError, IndexError) as error:
        result = error
    if not isinstance(result, Exception):
        for i in changed:
            np.copyto(arguments[i], before[i])
    _compare(arguments, before, None, None, f"{where}: operands after {function.__module__}")
    return result


def _changed(function: Callable, arguments: tuple) -> tuple[int, ...]:
    """Which operands the call writes: places in `arguments`."""
    named = getattr(import_module(function.__module__), "CHANGED", {}).get(function.__name__, ())
    given = list(inspect.signature(function).parameters)[: len(arguments)]
    return tuple(i for i, name in enumerate(given) if name in named and arguments[i] is not None)


def _compare(found: Any, expected: Any, bound: Any, terms: int | None, where: str) -> None:
    _expect(type(found) is type(expected), f"{where}: {type(found)} is not {type(expected)}")
    if isinstance(expected, list | tuple):
        _expect(len(found) == len(expected), f"{where}: {len(found)} parts, not {len(expected)}")
        for i, part in enumerate(expected):
            _compare(found[i], part, None if bound is None else bound[i], terms, f"{where}[{i}]")
        return
    if not isinstance(expected, np.ndarray | np.generic):
        _expect(found == expected, f"{where}: {found!r} is not {expected!r}")
        return
    kinds = (found.dtype, found.shape), (expected.dtype, expected.shape)
    _expect(kinds[0] == kinds[1], f"{where}: {kinds[0]} is not {kinds[1]}")
    if bound is None or expected.dtype.kind != "f":
        _expect(found.tobytes() == expected.tobytes(), f"{where}: differs in its bits: {found} is not {expected}")
        return
    rounding = terms * np.finfo(expected.dtype).eps
    off = np.abs(found.astype(np.float64) - expected)
    _expect((off <= rounding / (1 - rounding) * bound).all(), f"{where}: off by {off.max(initial=0)}, beyond eq. 1")


def _variants(arguments: tuple) -> Iterator[tuple]:
    """The call with one operand of another layout, shape or kind: both twins take it, or both refuse it."""
    for i, argument in enumerate(arguments):
        for other in _others(argument):
            yield (*arguments[:i], other, *arguments[i + 1 :])
        if isinstance(argument, list):
            for j, part in enumerate(argument):
                for other in _others(part):
                    yield (*arguments[:i], [*argument[:j], other, *argument[j + 1 :]], *arguments[i + 1 :])


def _others(argument: Any) -> Iterator[Any]:
    if isinstance(argument, np.ndarray):
        locked = argument.copy()
        locked.flags.writeable = False
        yield locked
        yield np.repeat(argument, 2, axis=-1)[..., ::2] if argument.ndim else argument
        yield np.asfortranarray(argument)
        yield argument[None]
        yield argument[..., 1:] if argument.ndim else argument
        yield argument.astype(argument.dtype.newbyteorder())
        with np.errstate(all="ignore"):
            yield from [argument.astype(dtype) for dtype in DTYPES]
    elif isinstance(argument, int):
        yield from (-1, np.int64(min(argument, 2**63 - 1)), float(argument), 2**64, None)


def _absolute(array: np.ndarray) -> np.ndarray:
    return np.abs(array).astype(np.float64) if array.dtype.kind == "f" else array


def _map(function: Callable, value: Any) -> Any:
    """The function of every array in nested tuples and lists."""
    if isinstance(value, list | tuple):
        return type(value)(_map(function, part) for part in value)
    return function(value) if isinstance(value, np.ndarray) else value


def _is_empty(arguments: tuple) -> bool:
    return any(isinstance(a, np.ndarray) and not a.size for a in arguments)


def _describe(value: Any) -> str:
    return f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else repr(value)[:80]


def _expect(condition: Any, message: str) -> None:
    if not condition:
        raise AssertionError(message)
