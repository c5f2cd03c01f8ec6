"""CIFAR batch files: pickles of a dictionary, read without running anything in them.

A pickle is a program for a small stack machine, and loading one runs whatever it names. A CIFAR batch
needs few instructions, so this reader knows only those: it builds numbers, strings, lists, tuples and
dictionaries. A call that the file asks for is written down as a `Call` and never made; the pixels are
taken from the arguments of the one that rebuilds the array. Any other instruction is refused.
"""

import pickletools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

PLAIN = ("NONE", "NEWFALSE", "NEWTRUE", "BININT", "BININT1", "BININT2", "BINSTRING", "SHORT_BINSTRING")
CONSTANTS = {"NONE": None, "NEWFALSE": False, "NEWTRUE": True}
GLOBALS = ("numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype")


@dataclass(eq=False)
class Call:
    """A call that a file asks for; `state` is what it would set on the result."""

    function: Any
    arguments: Any
    state: Any = None


class Machine:
    """The stack machine of a pickle, without the instructions that reach Python objects."""

    def __init__(self):
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def since_mark(self) -> list[Any]:
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case "PROTO" | "STOP":
                pass
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "MARK":
                self.marks.append(len(stack))
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "TUPLE":
                stack.append(tuple(self.since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "APPENDS":
                values = self.since_mark()
                stack[-1].extend(values)
            case "SETITEMS":
                values = self.since_mark()
                stack[-1].update(zip(values[::2], values[1::2], strict=True))
            case "GLOBAL" if argument in GLOBALS:
                stack.append(argument)
            case "REDUCE":
                stack[-2:] = [Call(*stack[-2:])]
            case "BUILD":
                state = stack.pop()
                stack[-1].state = state
            case _ if name in PLAIN:
                stack.append(CONSTANTS.get(name, argument))
            case _:
                raise ValueError(f"instruction {name} {argument if name == 'GLOBAL' else ''}".rstrip())


def read_table(content: bytes) -> dict[str, Any]:
    """The dictionary in a batch file; strings are str with one character a byte.

    Raises
    ------
    ValueError : truncated, followed by more bytes, or not made of the few instructions a batch needs.
    """
    machine, position = Machine(), 0
    try:
        for opcode, argument, position in pickletools.genops(content):  # noqa: B007 - the last position is used
            machine.step(opcode.name, argument)
        (table,) = machine.stack
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a CIFAR batch: {error}") from error
    if not isinstance(table, dict) or position + 1 != len(content):
        raise ValueError("not a CIFAR batch: one dictionary was expected and nothing after it")
    return table


def parse(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 3072) uint8, red then green then blue plane, and labels (N,) int64 of one batch file.

    The labels are `fine_labels` where the file has them (CIFAR-100), else `labels`.

    Raises
    ------
    ValueError : as `read_table`, or the dictionary holds something else than pixels and labels.
    """
    table = read_table(content)
    labels = table.get("fine_labels", table.get("labels"))
    try:
        _, shape, dtype, fortran_order, values = table["data"].state
        known = dtype.function == "numpy dtype" and dtype.arguments[0] == "u1" and not fortran_order
        pixels = np.frombuffer(values.encode("latin-1"), np.uint8).reshape(shape)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise ValueError(f"not a CIFAR batch: no array of pixels under 'data': {error!r}") from error
    if not known or pixels.ndim != 2:
        raise ValueError(f"not a CIFAR batch: 'data' must be rows of unsigned bytes, not {dtype.arguments} {shape}")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise ValueError("not a CIFAR batch: no list of whole numbers under 'labels' or 'fine_labels'")
    if len(labels) != len(pixels):
        raise ValueError(f"not a CIFAR batch: {len(pixels)} images but {len(labels)} labels")
    return pixels, np.array(labels, np.int64)


def join(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The batches of one set, one after the other."""
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])
