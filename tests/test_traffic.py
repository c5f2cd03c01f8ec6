"""The buffer's closed form against loops that are replayed access by access, and what must hold for every network."""

from collections import Counter
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minisparse import build
from minisparse import layers as nn
from minisparse.cost.buffer import moves
from minisparse.cost.program import Array, Builder, Operand, Pass
from minisparse.cost.shapes import Network, Unit, table
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
    kinds = draw(st.lists(st.sampled_from(["plain", "norm", "residual", "shortcut", "concat"]), max_size=2))
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


@given(programs(), st.integers(0, 200))
def test_the_closed_form_is_the_replay_to_the_byte(passes, buffer):
    agree(passes, buffer)


@settings(max_examples=500)
@given(networks(), st.integers(1, 3), st.sampled_from([8, 16, 32]), st.integers(0, 2), st.booleans(), st.data())
def test_the_closed_form_is_the_replay_on_networks(model, batch, bits, slots, training, data):
    builder = Builder(batch, bits, data.draw(st.sampled_from(["auto", "dense", "csr", "codebook"])), slots)
    network = table(model)
    passes = builder.training_step(network) if training else builder.inference(network)
    agree(passes, data.draw(st.integers(0, 3 * max(sum(o.array.nbytes for o in p.operands) for p in passes))))


def moved(passes, buffer=inf):
    return sum(move.dram_bytes for move in moves(passes, buffer))


@given(networks(), st.lists(st.integers(0, 20_000), min_size=2, max_size=5), st.booleans())
def test_a_larger_buffer_never_moves_more(model, buffers, training):
    builder, network = Builder(3, 32), table(model)
    passes = builder.training_step(network) if training else builder.inference(network)
    found = [moved(passes, buffer) for buffer in sorted(buffers)]
    assert found == sorted(found, reverse=True) and found[-1] >= moved(passes)


@given(networks(), st.integers(1, 4), st.integers(0, 2))
def test_an_infinite_buffer_leaves_the_compulsory_traffic(model, batch, slots):
    builder, network = Builder(batch, 32, slots=slots), table(model)
    stored = sum(builder.stored(work) for work in network.works if work.kind != "dropout")
    trained = [work for work in network.works if any(t.role != "buffer" for t in work.tensors)]
    kept = 4 * sum(t.stored for work in trained for t in work.tensors if t.role != "buffer")
    ends = 4 * batch * network.inputs, 4 * batch * network.outputs
    assert moved(Builder(batch, 32).inference(network)) == stored + sum(ends)
    # weights and state are read and written back; gradients and activations never leave the chip
    assert moved(builder.training_step(network)) == 2 * stored + 2 * slots * kept + ends[0]
    # once more the same, on a buffer that holds all there is
    whole = sum({o.array: o.array.nbytes for p in builder.passes for o in p.operands}.values())
    assert moved(builder.passes, whole) == moved(builder.passes)


def test_what_moves_again_says_why():
    passes = Builder(4, 32).inference(table(build("lenet-300-100", (1, 28, 28), 10)))
    reasons = {move.array.name: move.why for move in moves(passes, 8192) if move.why}
    assert reasons["fc1 weights"] == "read 4 times: the operand that stays has 4 slices of 4,096 bytes"
    assert reasons["fc1"].startswith("not kept since its last use: more than 8,192 bytes is touched in between")
    assert not any(move.why for move in moves(passes))
    with pytest.raises(ValueError, match="buffer"):
        moves(passes, -1)


BUDGETS = [(None, 1_368_058, 1_724_260), (20_000, 163_598, 519_800), (1_500, 15_598, 371_800)]


@pytest.mark.parametrize("budget, one, hundred", BUDGETS)
def test_a_training_step_on_paper_to_the_word(budget, one, hundred):
    """784-300-100-10, each pass on its own, plain SGD, two bytes a place, all kept entries in the second layer."""
    products = [w for w in table(build("lenet-300-100", (1, 28, 28), 10)).works if w.kind == "product"]
    files = {}
    if budget is not None:
        thin = [replace(t, kept=budget if t.name == "fc2.weight" else 0) for w in products for t in w.tensors]
        files = {t.name: 6 * t.kept for t in thin}
        products = [replace(w, tensors=tuple(thin[2 * i : 2 * i + 2])) for i, w in enumerate(products)]
    network = Network("on paper", tuple(Unit(w.name, (w,)) for w in products))
    for batch, words in ((1, one), (100, hundred)):
        passes = Builder(batch, slots=0, file_bytes=files).training_step(network)
        total = sum((2 if o.mode == "rw" else 1) * o.array.nbytes // 4 for p in passes for o in p.operands)
        # on paper: dy stays for the weights' gradient (110 a sample), nobody reads the logits (10), and the 300 biases
        # of the first layer are read once more
        assert total - 120 * batch + (300 if budget is None else 0) == words
