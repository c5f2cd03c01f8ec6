"""What is predicted of kernels' cache misses, and the committed table of what was measured."""

import json
from pathlib import Path

import pytest

from minisparse.bench.cachegrind import CACHE, KERNELS, SIZES, WITHIN, Case, predicted
from minisparse.bench.products import product

TABLE = json.loads((Path(__file__).parents[1] / "docs" / "cost" / "cachegrind.json").read_text())


def test_every_kernel_was_measured_at_three_sizes_within_a_tenth_of_the_prediction():
    assert [(r["kernel"], r["O"], r["I"], r["N"]) for r in TABLE["rows"]] == [
        (k, *s) for k in KERNELS for s in SIZES[k]
    ]
    for row in TABLE["rows"]:
        case = Case(row["kernel"], row["O"], row["I"], row["N"])
        assert row["predicted_bytes"] == predicted(case.program(), CACHE)
        assert row["off"] == pytest.approx(row["measured_bytes"] / row["predicted_bytes"] - 1, abs=1e-4)
        assert abs(row["off"]) <= WITHIN, row


def test_what_does_not_fit_beside_a_slice_is_filled_again_each_slice():
    case = Case("sparse", 8192, 2048, 256)
    w, x, y = (operand.array.nbytes for operand in case.program()[0][0].operands)
    assert predicted(case.program(), 2**30) == w + x + y
    assert predicted(case.program(), CACHE) == 4 * w + x + y + 64 * 4 * 8192  # four panels
    blocks = Case("regenerated", 128, 2048, 256)
    # x three times more, y once more after it was cleared
    assert predicted(blocks.program(), CACHE) == blocks.operand_bytes + 3 * 4 * 2048 * 256 + 4 * 128 * 256


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_products_run(kernel):
    pytest.importorskip("minisparse._core.spmm", reason="compiled kernels")
    assert product(kernel, 64, 100, 8, 2)().shape == (64, 8)
