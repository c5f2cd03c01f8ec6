"""The buffer's closed form against loops that are replayed access by access, and what must hold for every network."""

from collections import Counter
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minisparse import build
from minisparse import layers as nn
from minisparse.cost.buffer import moves
from minisparse.cost.program import Array, Builder, Operand, Pass
from minisparse.cost.shapes import table
from minisparse.cost.simulator import simulate
from minisparse.model import Model


@st.composite
def programs(draw):
    """Passes over a few arrays; whatever is written is used afterwards or lasts."""
    sizes = draw(st.lists(st.integers(0, 60), min_size=1, max_size=6))
    arrays = [Array(f"a{i}", "activations", size, draw(st.booleans())) for i, size in enumerate(sizes)]
    fresh = {array: draw(st.booleans()) for array in arrays}
    passes = []
    for i in range(draw(st.integers(1, 6))):
        chosen = draw(st.lists(st.sampled_from(arrays), min_size=1, max_size=4, unique=True))
        operands = []
        for array in chosen:
            mode = draw(st.sampled_from(["w", "+"] if fresh[array] else ["r", "r", "rw"]))
            fresh[array] = False
            operands.append(Operand(array, mode, draw(st.sampled_from(["w", "n", "wn"]))))
        passes.append(Pass(f"p{i}", "forward", tuple(operands), draw(st.integers(1, 5)), draw(st.integers(1, 5))))
    return passes


@st.composite
def networks(draw):
    """A small model with branches, normalisation and a pool, some of its weights masked over zero or over w(0)."""
    numbers = iter(draw(st.lists(st.integers(1, 3), min_size=8, max_size=8)))
    kinds = draw(st.lists(st.sampled_from(["plain", "norm", "residual", "shortcut", "concat"]), max_size=3))
    channels, stack = next(numbers), {}
    shape = (channels, 3, 3)
    for i, kind in enumerate(["plain", *kinds]):
        outputs = channels if kind in ("residual", "shortcut") else next(numbers)
        branch = {"conv": nn.Conv2d(channels, outputs, 3, padding=1, bias=kind == "plain")}
        if kind != "plain":
            branch["norm"] = nn.BatchNorm(outputs) if kind == "norm" else nn.GroupNorm(1, outputs)
        body = nn.Sequential(branch | {"relu": nn.ReLU()})
        if kind == "concat":
            body, outputs = nn.Concat(body), channels + outputs
        elif outputs == channels and kind in ("residual", "shortcut"):
            body = nn.Residual(body, nn.Conv2d(channels, channels, 1) if kind == "shortcut" else None)
        stack[f"block{i}"], channels = body, outputs
    stack |= {"pool": nn.AvgPool2d(2), "flatten": nn.Flatten(), "drop": nn.Dropout(0.5)}
    stack["fc"] = nn.Linear(channels, next(numbers))
    model = Model("random", nn.Sequential(stack), shape)
    rest = draw(st.sampled_from([None, 0.0, 1.0]))
    for p in model.parameters.values():
        if rest is not None and p.role == "weight":
            p.rest_scale = rest
            p.keep(p.initial() > 0)
    return model


def agree(passes, buffer):
    read, written = Counter(), Counter()
    for move in moves(passes, buffer):
        read[move.array] += move.read
        written[move.array] += move.written
    assert (+read, +written) == tuple(+c for c in simulate(passes, buffer))


@settings(max_examples=500)
@given(programs(), st.integers(0, 200))
def test_the_closed_form_is_the_replay_to_the_byte(passes, buffer):
    agree(passes, buffer)


@settings(max_examples=500)
@given(networks(), st.integers(1, 3), st.sampled_from([8, 16, 32]), st.integers(0, 2), st.booleans(), st.data())
def test_the_closed_form_is_the_replay_on_networks(model, batch, bits, slots, training, data):
    builder = Builder(batch, bits, data.draw(st.sampled_from(["auto", "dense", "csr", "codebook"])), slots)
    network = table(model)
    passes = builder.training_step(network) if training else builder.inference(network)
    whole = sum({o.array: o.array.nbytes for p in passes for o in p.operands}.values())
    agree(passes, data.draw(st.integers(0, 2 * max(sum(o.array.nbytes for o in p.operands) for p in passes) + 1)))
    agree(passes, whole)
