"""Every kernel keeps its contract, by merely existing."""

from types import ModuleType

import numpy as np
import pytest

from minisparse.testing import check_kernel, check_twin, kernel_names
from minisparse.testing import kernels as contract


@pytest.mark.parametrize("name", kernel_names())
def test_the_twin_covers_its_functions_with_cases(name):
    check_twin(name)


@pytest.mark.parametrize("name", kernel_names())
def test_compiled_and_twin_agree(name):
    pytest.importorskip(f"minisparse._core.{name}", reason="the compiled kernels are not built", exc_type=ImportError)
    check_kernel(name)


def test_there_are_kernels():
    assert {"regen", "rng", "spmm", "topk"} <= set(kernel_names())


def test_a_pyx_without_a_twin_is_refused():
    with pytest.raises(AssertionError, match="has no twin"):
        check_twin("nothing")


# The contract itself must see what it claims to see.


def double(x):
    """Twice x."""
    if x.dtype.kind != "f":
        raise ValueError("x must be float")
    return x + x


def cases(generator):
    yield "double", (generator.normal(size=5).astype(np.float32),)


def agree(monkeypatch, compiled, twin=double, changed=None):
    def module(name, function):
        made = ModuleType(name)
        function.__module__ = name
        made.double, made.cases, made.CHANGED = function, cases, changed or {}
        return made

    def wrap(function):
        return lambda x: function(x)

    theirs = wrap(twin)
    theirs.__doc__, theirs.__name__ = "Twice x.", "double"
    names = "minisparse._core.k", "minisparse._core.k_ref"
    modules = {name: module(name, function) for name, function in zip(names, (compiled, theirs), strict=True)}
    monkeypatch.setattr(contract, "import_module", modules.__getitem__)
    check_kernel("k")


def test_an_equal_pair_passes(monkeypatch):
    agree(monkeypatch, lambda x: double(x))


def mutate(x):
    x[:] = 0
    return double(x)


def doubled(x):
    """Twice x, in place."""
    if x.dtype.kind != "f":
        raise ValueError("x must be float")
    x += x


def test_an_operand_that_is_named_as_changed_may_change_and_must_agree(monkeypatch):
    agree(monkeypatch, lambda x: doubled(x), doubled, {"double": ("x",)})
    with pytest.raises(AssertionError, match="differs in its bits"):
        agree(monkeypatch, lambda x: mutate(x).fill(0), doubled, {"double": ("x",)})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: np.nextafter(double(x), np.float32(9)), "differs in its bits"),
        (lambda x: double(x).astype(np.float64), "float64"),
        (lambda x: double(x)[None], "is not"),
        (lambda x: list(double(x)), "is not"),
        (lambda x: x + x, "twin ValueError"),
        (lambda y: double(y), "signatures differ"),
        (mutate, r"operands after minisparse\._core\.k"),
    ],
)
def test_a_compiled_kernel_that_differs_is_refused(monkeypatch, wrong, message):
    with pytest.raises(AssertionError, match=message):
        agree(monkeypatch, wrong)
