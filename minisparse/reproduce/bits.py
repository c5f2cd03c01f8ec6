"""Bits: the error of lenet-5-caffe as weights, or weights and activations, take fewer of them.

Uniform quantisation over the range, learned steps (LSQ), DoReFa, ternary and binary weights: methods/uniform.py,
lsq.py, dorefa.py, ternary.py, binary.py. No paper states these figures for this network: there is nothing to compare
with but each other, and `w32`, the same six epochs without any of it. All layers are quantised, the first and last
ones too, after 30 % of the training. `wK` are weights of K bits, `wKaK` activations as well; ternary weights count as
2 bits. Uniform quantisation of both to one bit ended in NaN at this rate, and is trained at a tenth of it.
"""

from dataclasses import replace

from minisparse.reproduce.rows import Recipe, Row
from minisparse.reproduce.snip import CONV

TRAINING = replace(CONV, epochs=6)
BITS = {"uniform": range(8, 0, -1), "lsq": range(8, 0, -1), "dorefa": range(8, 0, -1), "ternary": (2,), "binary": (1,)}
"""A method's name -> the bits of its rows."""
GENTLE = replace(TRAINING, lr=0.002)


def key(method: str, bits: int, activations: bool) -> str:
    """Of a row: weights of so many bits, and activations too or not."""
    return f"{method}/lenet-5-caffe/w{bits}" + (f"a{bits}" if activations else "")


def _row(method: str, bits: int, activations: bool) -> Row:
    settings = {"bits": bits} if len(BITS[method]) > 1 else {}
    recipe = {"name": method, "begin": 0.3, "activations": bits if activations else 0, **settings}
    training = GENTLE if (method, bits, activations) == ("uniform", 1, True) else TRAINING
    return Row(key(method, bits, activations), None, Recipe(recipe, training, standardised=True), seeds=1, weighed=True)


DENSE = Row("dense/lenet-5-caffe/w32", None, Recipe({"name": "dense"}, TRAINING, standardised=True), seeds=1)
ROWS = (
    DENSE,
    *(_row(method, bits, too) for too in (False, True) for method in BITS for bits in BITS[method]),
)
