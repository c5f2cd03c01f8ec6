"""How small a file is: lenet-300-100 with 5 % of its weights and 15 levels a tensor, against the entropy and xz."""

import numpy as np
import pytest

from minisparse import ledger
from minisparse.compressed import compress
from minisparse.data import DATASETS, load
from minisparse.data.files import locate
from minisparse.methods import Magnitude
from minisparse.models import build
from minisparse.run import TrainSettings
from minisparse.train import fit

DENSITY, LEVELS = 0.05, 15


def share(p):
    """Entries that are kept take 15 values, by Lloyd's algorithm from evenly spaced ones."""
    kept = np.ones(p.shape, bool) if p.mask is None else p.mask
    values = p.store.values[kept]
    levels = np.linspace(values.min(), values.max(), LEVELS, dtype=np.float32)
    for _ in range(30):
        nearest = np.searchsorted((levels[1:] + levels[:-1]) / 2, values)
        levels = np.array([values[nearest == j].mean() if (nearest == j).any() else levels[j] for j in range(LEVELS)])
    p.store.values[kept] = levels.astype(np.float32)[nearest]


def sizes(model):
    """(bytes of the file, of the weights in it, their entropy floor, the floor of all tensors, xz's bytes)."""
    compressed, floors = compress(model), ledger.floors(model)
    weights = [name for name, p in model.parameters.items() if p.role == "weight"]
    by_tensor = compressed.bytes_by_tensor()
    ours, floor = sum(by_tensor[name] for name in weights), sum(floors[name] for name in weights)
    return compressed.file_bytes, ours, floor, sum(floors.values()), ledger.others(model)["xz_bytes"]


@pytest.mark.parametrize("seed", [0, 1])
def test_weights_without_any_structure_cost_their_entropy_and_little_more(seed):
    model = build("lenet-300-100", (1, 28, 28), 10, seed=seed)
    generator = np.random.default_rng(seed)
    for p in model.parameters.values():
        p.store.values[...] = generator.normal(size=p.shape)
        if p.role == "weight":
            p.keep(np.abs(p.value()) > np.quantile(np.abs(p.value()), 1 - DENSITY))
        share(p)
    file, weights, floor, _, xz = sizes(model)
    # the floor knows neither levels nor distributions; weights with both, 180 bytes of levels among them
    assert weights <= 1.03 * floor
    assert file <= 0.85 * xz
    # all that is neither places nor values
    rows = compress(model).ledger()
    assert rows[0]["bytes"] + rows[-1]["bytes"] < 300


@pytest.mark.deep
def test_a_trained_network_is_within_three_percent_of_its_entropy_header_and_all():
    if locate(DATASETS["mnist"]) is None:
        pytest.skip("the files of mnist are not on this machine")
    data = load("mnist")
    model = build("lenet-300-100", data.input_shape, data.classes, seed=0)
    fit(model, data, Magnitude(budget=13_310), TrainSettings(epochs=8))
    assert sum(p.kept for p in model.parameters.values() if p.role == "weight") <= 13_310
    for p in model.parameters.values():
        share(p)
    file, weights, floor, everything, xz = sizes(model)
    print(f"file {file}, weights {weights}, floor of weights {floor:.0f}, of all {everything:.0f}, xz {xz}")
    assert weights <= 1.01 * floor and file <= 1.03 * everything
    assert file <= 0.85 * xz
    # what Deep Compression stores: gaps and indices in Huffman codes
    theirs = compress(model, ["gaps", "bitmap", "codebook", "huffman", "raw"]).file_bytes
    print(f"with Huffman codes {theirs}")
    assert file < theirs
