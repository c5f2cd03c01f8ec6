"""Traffic and energy of one inference: arithmetic that a reader can check by hand."""

import argparse
import json
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisparse import build, compress
from minisparse import layers as nn
from minisparse.cli import cost
from minisparse.cost import HASH, XORSHIFT, EnergyTable, Operations, inference
from minisparse.cost.storage import Tensor
from minisparse.cost.traffic import total, training
from minisparse.model import Model
from minisparse.reproduce import Recipe, zoo
from minisparse.run import TrainSettings
from minisparse.stores import SparseStore


def lenet():
    return build("lenet-300-100", (1, 28, 28), 10)


def convolutional():
    return build("resnet-8", (3, 8, 8), 10, width=0.25)


def masked(model, density, rest_scale, seed=0):
    generator = np.random.default_rng(seed)
    for p in model.parameters.values():
        p.rest_scale = rest_scale
        p.keep(generator.random(p.shape) < density)
    return model


# The table


def test_the_ratios_of_the_45_nm_table():
    table = EnergyTable()
    assert table.dram_pj / table.sram_pj == 128
    assert table.dram_pj / table.int_add_pj == pytest.approx(6400)
    assert round(table.dram_pj / table.float_add_pj) == 711
    assert table.mac_pj == pytest.approx(4.6) and round(table.dram_pj / table.mac_pj) == 139


def test_regeneration_of_dropback_and_ours():
    assert EnergyTable(regeneration=XORSHIFT).regeneration_pj == pytest.approx(1.5)
    assert round(640 / EnergyTable(regeneration=XORSHIFT).regeneration_pj) == 427
    # 3 multiplications, 18 additions, shifts, masks and xors, one float multiplication
    assert EnergyTable().regeneration_pj == pytest.approx(3 * 3.1 + 18 * 0.1 + 3.7)


def test_every_entry_names_its_unit_and_source():
    rows = EnergyTable().rows()
    assert len(rows) == 7 and all(row["unit"].startswith("pJ per 32-bit") and "20" in row["source"] for row in rows)


class Counter:
    """A number that counts what is done to it; the hash in 32 bits is run on it."""

    def __init__(self, counts):
        self.counts = counts

    def did(self, *names):
        for name in names:
            self.counts[name] = self.counts.get(name, 0) + 1
        return self

    def __add__(self, other):
        return self.did("int_adds")

    __radd__ = __sub__ = __xor__ = __rshift__ = __and__ = __add__

    def __mul__(self, other):
        return self.did("float_multiplies" if isinstance(other, float) else "int_multiplies")


def test_the_operations_of_our_hash_are_those_of_its_definition():
    x = Counter(counts := {})
    # the definition in _core/rng_ref.py, with what is constant over a tensor folded into the key
    x = x * 0x9E3779B9 + 1
    x = x ^ x >> 16
    x = x * 0x85EBCA6B
    x = x ^ x >> 13
    x = x + 1
    x = x * 0xC2B2AE35
    x = x ^ x >> 16
    z = ((x & 255) + (x >> 8 & 255) + (x >> 16 & 255) + (x >> 24) - 510) * 0.1
    assert z is x and Operations(**counts) == HASH


# Worked examples


def test_lenet_300_100_dense_from_dram():
    rows = inference(lenet())
    whole = total(rows)
    assert [row["layer"] for row in rows] == ["fc1", "fc2", "fc3"]
    assert whole["weights"] == 266_610 and whole["macs"] == 266_200 and whole["stored_bytes"] == 4 * 266_610
    assert 160e-6 * whole["weights_bytes"] == pytest.approx(170.6, abs=0.05)
    assert whole["mac_uj"] == pytest.approx(1.22, abs=0.01)
    assert rows[0]["activations_bytes"] == 4 * 784 and rows[-1]["activations_bytes"] == 4 * 10
    sram_uj = whole["stored_bytes"] * EnergyTable().sram_pj_per_byte * 1e-6
    assert sram_uj == pytest.approx(1.33, abs=0.005)


def test_a_file_of_27_kilobytes():
    stored = {name: 0 for name in lenet().parameters} | {"fc1.weight": 27 * 1024}
    assert 160e-6 * total(inference(lenet(), stored))["weights_bytes"] == pytest.approx(4.4, abs=0.05)


def test_dropback_saves_words_but_no_arithmetic():
    pruned, dropback = inference(masked(lenet(), 0.1, 0.0)), inference(masked(lenet(), 0.1, 1.0))
    for rest_0, rest_1 in zip(pruned, dropback, strict=True):
        assert rest_0["dram_bytes"] == rest_1["dram_bytes"] and rest_0["regenerations"] == 0
    assert total(dropback)["macs"] == 266_200
    model = masked(lenet(), 0.1, 1.0)
    weights = [p for p in model.parameters.values() if p.role == "weight"]
    assert total(dropback)["regenerations"] == sum(p.size - p.kept for p in weights)  # a bias rests at a constant
    assert total(pruned)["macs"] == sum(p.kept for p in weights)


def test_a_constant_at_rest_is_not_regenerated():
    rows = inference(masked(Model("norm", nn.BatchNorm(50), (50, 2, 2)), 0.1, 1.0))
    assert rows[0]["kept"] < rows[0]["weights"] == 100 and total(rows)["regenerations"] == 0


def test_a_convolution_multiplies_each_kept_weight_once_an_output_pixel():
    model = Model("conv", nn.Conv2d(3, 8, 3, padding=1), (3, 10, 12))
    mask = np.zeros((8, 3, 3, 3), bool)
    mask[1, 0, 0, :] = True
    model.parameters["weight"].keep(mask)
    row = inference(model)[0]
    assert row["layer"] == "Conv2d" and row["macs"] == 3 * 10 * 12
    assert row["stored_bytes"] == (4 * 3 + 4 * 3 + 4 * 9) + 4 * 8


# Invariants


@pytest.mark.parametrize("make", [lenet, convolutional])
@pytest.mark.parametrize("density", [None, 0.2])
@pytest.mark.parametrize("rest_scale", [0.0, 1.0])
def test_totals_are_sums_and_energy_is_counts_times_table(make, density, rest_scale):
    model = make() if density is None else masked(make(), density, rest_scale)
    table = EnergyTable(dram_pj=150.0, float_add_pj=0.7)
    rows = inference(model, table=table)
    whole = total(rows)
    assert whole["weights"] == model.size and whole["kept"] == model.kept
    ends = 4 * (int(np.prod(model.input_shape)) + 10)
    assert whole["dram_bytes"] == whole["compulsory_bytes"] == whole["stored_bytes"] + ends
    counts = np.array([whole["dram_bytes"], whole["sram_bytes"], whole["macs"], whole["regenerations"]])
    picojoules = np.array([table.dram_pj / 4, table.sram_pj / 4, table.mac_pj, table.regeneration_pj])
    assert whole["energy_uj"] == pytest.approx(counts @ picojoules * 1e-6)
    assert all(np.isfinite(v) and v >= 0 for row in rows for v in row.values() if not isinstance(v, str))


@given(st.floats(0.1, 10))
def test_energy_is_linear_in_the_table(factor):
    model, table = masked(convolutional(), 0.3, 1.0), EnergyTable()
    once, scaled = total(inference(model)), total(inference(model, table=table.scaled(factor)))
    assert scaled["energy_uj"] == pytest.approx(factor * once["energy_uj"]) and scaled["macs"] == once["macs"]
    assert all(getattr(table.scaled(2), f.name) == 2 * getattr(table, f.name) for f in fields(table) if f.metadata)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=2), st.sampled_from([0.0, 1.0]))
def test_more_kept_weights_never_lower_the_traffic(densities, rest_scale):
    # one seed: the sparser mask lies within the denser one
    sparse, dense = (inference(masked(convolutional(), d, rest_scale)) for d in sorted(densities))
    for less, more in zip(sparse, dense, strict=True):
        assert less["dram_bytes"] <= more["dram_bytes"] and less["macs"] <= more["macs"]
        assert less["regenerations"] >= more["regenerations"]


@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
def test_masked_bytes_are_those_that_the_sparse_store_holds(density):
    for p in masked(convolutional(), density, 0.0).parameters.values():
        memory = SparseStore.from_dense(p.store).memory()
        assert Tensor(p.name, p.size, p.shape[0] if len(p.shape) > 1 else 1, p.kept).nbytes(32) == sum(
            memory[part] for part in ("values", "index")
        )


def test_every_multiply_add_of_every_container_is_counted():
    model = build("densenet-7-2", (3, 8, 8), 10)
    shapes = list(model.net.named_shapes(model.input_shape))
    assert total(inference(model))["macs"] == sum(layer.macs(shape) for _, layer, shape in shapes)
    buffers = sum(buffer.nbytes for buffer in model.buffers.values())
    assert total(inference(model))["stored_bytes"] == 4 * model.size + buffers


@pytest.mark.parametrize("stored", [{"nothing": 3}, {"fc1.weight": -1}])
def test_bytes_of_no_tensor_are_refused(stored):
    with pytest.raises(ValueError, match="stored_bytes"):
        inference(lenet(), stored)


# The command


def run(*arguments):
    parser = argparse.ArgumentParser()
    cost.add_arguments(parser)
    return cost.run(parser.parse_args(arguments))


def test_the_command_adds_a_total_and_names_its_assumptions():
    report = run("lenet-300-100")
    assert report.rows[-1]["layer"] == "total" and report.rows[-1]["dram_bytes"] == report.summary["dram_bytes"]
    assert report.summary["weights"] == report.summary["kept"] == 266_610
    assert "Estimated (45 nm model)" in report.text() and "scratchpad" in report.text()
    assert report.summary["energy_uj"] == pytest.approx(total(inference(lenet()))["energy_uj"])


def test_the_command_takes_another_input_and_number_of_classes():
    assert run("resnet-8", "--input", "3x32x32", "--classes", "100").rows[0]["activations_bytes"] == 4 * 3 * 32 * 32


def test_the_command_counts_the_bytes_of_a_file(tmp_path):
    model = masked(convolutional(), 0.1, 1.0)
    compressed = compress(model)
    compressed.save(tmp_path / "model.msp")
    report = run(str(tmp_path / "model.msp"))
    overhead = sum(row["bytes"] for row in compressed.ledger() if row["name"].startswith("("))
    assert report.summary["stored_bytes"] == compressed.file_bytes - overhead
    assert report.summary["kept"] == model.kept
    assert report.summary["regeneration_uj"] == pytest.approx(total(inference(model))["regeneration_uj"])
    with pytest.raises(ValueError, match="--input"):
        run(str(tmp_path / "model.msp"), "--input", "3x8x8")


def test_a_training_step_moves_gradients_and_state():
    report = run("lenet-300-100", "--training", "--batch", "100", "--buffer", "128KiB")
    whole = total(training(lenet(), buffer=128 * 1024, batch=100))
    assert report.summary["dram_bytes"] == whole["dram_bytes"] > report.summary["compulsory_bytes"]
    assert report.rows[-1]["state_bytes"] == 8 * 266_610 and report.rows[-1]["gradients_bytes"] > 0
    assert "slices of 65,536 bytes" in report.text() and report.extra["again"]
    thin = run("lenet-300-100", "--training", "--density", "0.1", "--slots", "0", "--buffer", "inf").summary
    assert thin["dram_bytes"] < 0.5 * whole["compulsory_bytes"]
    assert run("lenet-300-100", "--store", "codebook").summary["stored_bytes"] < 0.3 * 4 * 266_610


def test_two_models_side_by_side_and_the_figures(tmp_path):
    arguments = ["resnet-8", "--input", "3x8x8", "--training", "--against", "gnresnet-8"]
    summary = run(*arguments, "--figure", str(tmp_path / "cost.png")).summary
    assert summary["dram_ratio"] == summary["against_dram_bytes"] / summary["dram_bytes"]
    run("resnet-20", "--input", "3x32x32", "--mbs", "--buffer", "256KiB", "--figure", str(tmp_path / "mbs.svg"))
    assert all((tmp_path / name).stat().st_size > 5000 for name in ("cost.png", "mbs.svg"))


def test_serialisation_of_resnet_50_by_the_command():
    report = run("resnet-50", "--mbs", "--buffer", "10MiB", "--batch", "32", "--bits", "16")
    assert report.summary == run("resnet-50", "--mbs").summary
    assert 70 <= report.summary["mbs_reduction_fused"] < report.summary["mbs_reduction"] <= 78
    assert sum(row["dram_bytes"] for row in report.rows) == pytest.approx(report.summary["dram_bytes"], abs=5)
    assert all(row["buffer_bytes"] <= 10 * 2**20 for row in report.rows)


@pytest.mark.parametrize(("text", "size"), [("10MiB", 10 * 2**20), ("128 kib", 131072), ("4096", 4096), ("1.5kB", 1500),
                                             ("0", 0), ("inf", float("inf"))])  # fmt: skip
def test_sizes_have_units(text, size):
    assert cost.size(text) == size


@pytest.mark.parametrize("wrong", ["-1", "10XB", "MiB", "nan"])
def test_what_is_no_size_is_refused(wrong):
    with pytest.raises(ValueError):
        cost.size(wrong)


@pytest.mark.parametrize("arguments", [[], ["vgg16", "--zoo"], ["resnet-50", "--density", "0"],
                                       ["resnet-50", "--batch", "-1"], ["resnet-50", "--bits", "-1"]])  # fmt: skip
def test_the_command_refuses(arguments):
    with pytest.raises(ValueError):
        run(*arguments)


def test_every_recorded_row_has_its_error_traffic_and_energy(tmp_path):
    budget = Recipe({"name": "dropback", "budget": 20_000}, TrainSettings(batch=50, momentum=0.0))
    for recipe, name, kept in (
        (budget, "dropback/lenet-300-100/20000", 20_000),
        (replace(budget, method={"name": "dense"}), "dense/lenet-300-100/266610", 266_610),
        (replace(budget, method={"name": "snip", "density": 0.075}), "snip/lenet-300-100/0.075", 20_000),
        (replace(budget, method={"name": "prune-retrain", "density": 0.075}), "prune-retrain/lenet-300-100/1", 20_000),
    ):
        runs = [{"seed": 0, "test_error": 2.0, "kept": kept, "size": 266_610, "file_bytes": 3 * kept}]
        content = {"key": name, "recipe": recipe.config(), "runs": runs}
        (tmp_path / f"{name.replace('/', '_')}.json").write_text(json.dumps(content))
    report = zoo.report(10 * 2**20, tmp_path / "zoo.png", tmp_path)
    rows = {row["method"]: row for row in report.rows}
    assert rows["dropback"]["training_bytes"] == rows["snip"]["training_bytes"]
    assert rows["snip"]["training_bytes"] < 0.3 * rows["dense"]["training_bytes"]
    assert rows["prune-retrain"]["training_bytes"] == rows["dense"]["training_bytes"]
    assert rows["snip"]["inference_uj"] < rows["dropback"]["inference_uj"] < 0.2 * rows["dense"]["inference_uj"]
    assert (tmp_path / "zoo.png").stat().st_size > 5000
    with pytest.raises(ValueError, match="no runs yet"):
        zoo.report(0, None, tmp_path / "nothing")


@pytest.mark.parametrize("name", ["lenet-300-10", "no/such/run", "missing.msp"])
def test_the_command_refuses_what_it_cannot_find(name):
    with pytest.raises(ValueError):
        run(name)
