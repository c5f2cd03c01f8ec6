"""Mini-batch serialisation's accounting: published totals, groupings, and a network counted by hand."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisparse import build
from minisparse.cost.imagenet import NETWORKS
from minisparse.cost.mbs import Serialisation
from minisparse.cost.shapes import Block, Network, Unit, Work, table
from minisparse.cost.storage import Tensor

SEPARATE, FUSED = False, True
# parameters (M), baseline (GiB), then percent less than it: one group, branches apart, initial groups, exact
FIGURES = {
    ("resnet-50", SEPARATE): (25.50, 14.32, 61.0, 65.0, 75.5, 77.2),
    ("resnet-50", FUSED): (25.50, 11.50, 51.4, 56.3, 69.4, 71.6),
    ("resnet-101", SEPARATE): (44.44, 21.45, 57.7, 63.9, 75.9, 77.1),
    ("resnet-101", FUSED): (44.44, 17.11, 47.0, 54.7, 69.9, 71.3),
    ("resnet-152", SEPARATE): (60.04, 30.20, 58.8, 63.5, 76.6, 77.4),
    ("resnet-152", FUSED): (60.04, 24.01, 48.1, 54.1, 70.6, 71.6),
    ("inception-v3", SEPARATE): (23.80, 12.90, 58.5, 65.7, 67.6, 74.9),
    ("inception-v3", FUSED): (23.80, 10.26, 47.9, 56.9, 59.2, 68.5),
    ("alexnet", SEPARATE): (61.09, 1.05, -118, 51.3, 42.4, 51.3),
    ("alexnet", FUSED): (61.09, 0.76, -203, 32.4, 20.1, 32.4),
}


def imagenet(name, kept=True, **settings):
    return Serialisation(NETWORKS[name](), batch=64 if name == "alexnet" else 32, kept=kept, **settings)


@pytest.mark.parametrize(("name", "fused"), FIGURES)
def test_reductions_are_those_of_the_table_within_a_point(name, fused):
    millions, gib, *percents = FIGURES[name, fused]
    kept, apart = imagenet(name), imagenet(name, kept=False)
    baseline = kept.baseline(fused)
    assert sum(work.weights for work in kept.network.works) / 1e6 == pytest.approx(millions, abs=0.006)
    assert baseline / 2**30 == pytest.approx(gib, abs=0.011)
    plans = kept.serialised(), apart.optimal(), kept.initial(), kept.optimal()
    for plan, percent in zip(plans, percents, strict=True):
        assert abs(100 * (1 - plan.dram_bytes / baseline) - percent) < 1


def test_resnet_50_moves_70_to_78_percent_less_by_either_baseline():
    plan = imagenet("resnet-50")
    exact = plan.optimal()
    for fused in (SEPARATE, FUSED):
        assert 0.70 <= 1 - exact.dram_bytes / plan.baseline(fused) <= 0.78
    assert [list(group)[:: len(group) - 1 or 1] for group in exact.groups] == [[0, 5], [6, 9], [10, 15], [16, 18], [19]]
    assert exact.iterations == (16, 7, 3, 2, 1)
    assert plan.greedy().dram_bytes < exact.dram_bytes * 1.01


@pytest.mark.parametrize(("mib", "apart", "kept"), [(5, 62.5, 72.8), (20, 66.3, 79.0), (40, 66.6, 80.4)])
def test_resnet_50_on_other_buffers(mib, apart, kept):
    for way, percent in ((False, apart), (True, kept)):
        plan = imagenet("resnet-50", way, buffer=mib * 2**20)
        assert abs(100 * (1 - plan.optimal().dram_bytes / plan.baseline()) - percent) < 1


SMALL = ("resnet-20", True, 75.7), ("resnet-20", False, 64.8), ("resnet-32", True, 76.2), ("resnet-32", False, 65.0)


@pytest.mark.parametrize(("name", "kept", "percent"), SMALL)
def test_small_networks_of_our_zoo(name, kept, percent):
    plan = Serialisation(table(build(name, (3, 32, 32), 10)), 256 * 1024, 128, 16, kept)
    assert abs(100 * (1 - plan.optimal().dram_bytes / plan.baseline()) - percent) < 1


def layers(sizes, branches=False):
    """A chain of products, some of them inside a block."""
    units, inputs = [], sizes[0]
    for i, size in enumerate(sizes[1:]):
        work = Work(f"w{i}", "product", inputs, size, (Tensor(f"w{i}", inputs * size, size),))
        same = Work(f"v{i}", "product", size, size, (Tensor(f"v{i}", size, size),))
        block = (Block(f"b{i}", ((same, Work(f"r{i}", "map", size, size)), ()), "add"),) if branches and i % 2 else ()
        units.append(Unit(f"u{i}", (work, *block)))
        inputs = size
    return Network("chain", tuple(units))


sizes = st.lists(st.integers(1, 40), min_size=2, max_size=8)


@given(sizes, st.booleans(), st.integers(0, 4000), st.integers(1, 20))
def test_exact_is_at_most_greedy_is_at_most_initial(sizes, branches, buffer, batch):
    network = layers(sizes, branches)
    kept, apart = (Serialisation(network, buffer, batch, 16, way) for way in (True, False))
    exact, greedy, initial = kept.optimal().dram_bytes, kept.greedy().dram_bytes, kept.initial().dram_bytes
    assert exact <= greedy * (1 + 1e-12) <= initial * (1 + 1e-12)
    assert exact <= kept.serialised().dram_bytes * (1 + 1e-12)
    if not branches:
        assert apart.optimal().dram_bytes == exact
    for plan in (kept.optimal(), kept.greedy()):
        assert plan.borders[0] == 0 and plan.borders[-1] == len(network.units) and sorted(set(plan.borders))


@given(sizes, st.integers(1, 9), st.lists(st.integers(0, 4000), min_size=2, max_size=4))
def test_larger_buffers_take_fewer_iterations_and_less_traffic(sizes, batch, buffers):
    plans = [Serialisation(layers(sizes), buffer, batch) for buffer in sorted(buffers)]
    for small, large in pairwise(plans):
        assert all(a >= b for a, b in zip(small.unit_iterations, large.unit_iterations, strict=True))
        assert small.optimal().dram_bytes >= large.optimal().dram_bytes


@given(sizes, st.integers(1, 9))
def test_one_sub_batch_is_no_serialisation(sizes, batch):
    plan = Serialisation(layers(sizes), 1e9, batch)
    exact = plan.optimal()
    assert exact.iterations == (1,) and exact.borders == (0, len(sizes) - 1)
    weights = sum(work.weights for work in plan.network.works)
    assert plan.cost(0, len(sizes) - 1) - Serialisation(layers(sizes), 1e9, 2 * batch).cost(0, len(sizes) - 1) / 2 == (
        pytest.approx(3 * weights * 2 / 2)
    )


def test_two_layers_by_hand():
    """4 -> 6 -> 2 with ReLU between, 5 samples, 2 bytes; 24 and 12 weights; a buffer of 40 bytes."""
    relu = Work("relu", "map", 6, 6)
    units = layers([4, 6, 2]).units
    network = Network("by hand", (Unit("u0", (*units[0].parts, relu)), units[1]))
    plan = Serialisation(network, 40, 5, 16)
    assert plan.needs == [2 * (4 + 6), 2 * (6 + 2)] and plan.unit_iterations == [3, 3]
    # products: three times (I + O); ReLU: five times O; weights: read, read, gradient written
    assert plan.baseline() == 2 * (5 * (3 * 10 + 5 * 6 + 3 * 8) + 3 * 36)
    assert plan.baseline(fused=True) == 2 * (5 * (3 * 10 + 3 * 8) + 3 * 36)
    # inside: each product's input twice, two bits a value of ReLU; border: input, its gradient, the output's gradient;
    # weights: twice in three sub-batches, sums written 3 times and read twice
    assert plan.cost(0, 2) == 2 * (5 * (2 * 4 + 2 * 6 / 16 + 2 * 6 + 4 + 4 + 2) + 36 * (2 * 3 + 5))


@pytest.mark.parametrize("wrong", [{"buffer": -1}, {"batch": 0}, {"bits": 0}])
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Serialisation(layers([1, 2]), **wrong)
