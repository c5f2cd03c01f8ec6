"""Every registered method, and every file in minisparse/methods, keeps the contract by merely existing."""

import importlib
import pkgutil

import pytest

import minisparse.methods
from minisparse.methods import Compose, DropBack, Method
from minisparse.testing import check_method

for module in pkgutil.iter_modules(minisparse.methods.__path__):
    importlib.import_module(f"minisparse.methods.{module.name}")

EXAMPLES = [(name, method) for name, cls in Method.registry.items() for method in cls.examples()]


@pytest.mark.parametrize(("name", "method"), EXAMPLES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(EXAMPLES)])
def test_method_keeps_the_contract(name, method):
    check_method(method)


def test_a_composition_keeps_the_contract_of_its_parts():
    check_method(Compose(Method(), DropBack(budget=50)))


def test_every_method_has_examples():
    assert {name for name, _ in EXAMPLES} == set(Method.registry)
