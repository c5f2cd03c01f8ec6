"""Compressed models: bit-identical, exactly accounted, refused when damaged or absurd."""

import argparse
import itertools
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minisparse import fileformat, ledger
from minisparse.cli import compress as compress_command
from minisparse.cli import inspect as inspect_command
from minisparse.codecs import tensor
from minisparse.compressed import CompressedModel, compress
from minisparse.fileformat import FileFormatError
from minisparse.layers.base import Layer
from minisparse.layers.linear import Linear
from minisparse.layers.sequential import Sequential
from minisparse.model import Model
from minisparse.stores import SparseStore

ODD = np.array([0x80000000, 0, 0x7FC00001, 0x7F800001, 0xFFC12345, 0x7F800000, 1, 0x3F800000], np.uint32)


@dataclass(eq=False)
class Remembering(Layer):
    """y = x, with a buffer of each dtype."""

    def setup(self):
        self.buffers["mean"] = np.zeros(3, np.float32)
        self.buffers["moment"] = np.zeros((2, 2), np.float64)
        self.buffers["step"] = np.zeros(1, np.int64)

    def forward(self, x, training=False):
        return x, None

    @classmethod
    def examples(cls):
        return [(cls(), (3,))]


@pytest.fixture(autouse=True, scope="module")
def _leave_the_registry_as_it_was():
    yield
    del Layer.registry["Remembering"]


def network(seed=3, sizes=(5, 7, 4), buffers=True):
    layers = {f"z{i}": Linear(a, b) for i, (a, b) in enumerate(itertools.pairwise(sizes))}
    # the last layer's name sorts before the others
    return Model("small", Sequential(layers | ({"memory": Remembering()} if buffers else {})), sizes[:1], seed)


def trained(seed, densities, rests, levels):
    """A network whose parameters got random values, masks (density None: no mask), rest scales and levels."""
    generator = np.random.default_rng(seed)
    model = network(seed)
    for p, density, rest, kinds in zip(model.parameters.values(), densities, rests, levels, strict=True):
        p.store.values[...] = generator.normal(size=p.shape)
        if kinds:
            patterns = generator.choice(ODD, kinds)
            p.store.values[...] = generator.choice(patterns, p.shape).view(np.float32)
        p.rest_scale = rest
        if density is not None:
            p.keep(generator.random(p.shape) < density)
        if generator.random() < 0.3:
            p.to_sparse() if density is not None else None
    for buffer in model.buffers.values():
        buffer[...] = generator.integers(-5, 5, buffer.shape)
    return model


MODELS = st.builds(
    trained,
    st.integers(0, 10**6),
    st.lists(st.sampled_from([None, 0.0, 0.2, 0.5, 0.9, 1.0]), min_size=4, max_size=4),
    st.lists(st.sampled_from([0.0, 0.5, 0.9, 1.0]), min_size=4, max_size=4),
    st.lists(st.sampled_from([0, 0, 1, 2, 8]), min_size=4, max_size=4),
)


def assert_same(ours, theirs):
    assert ours.config() == theirs.config() and list(ours.parameters) == list(theirs.parameters)
    for name, p in ours.parameters.items():
        q = theirs.parameters[name]
        assert p.value().tobytes() == q.value().tobytes() and p.value().dtype == q.value().dtype
        assert p.rest_scale == q.rest_scale and p.rest().tobytes() == q.rest().tobytes()
        assert (p.mask is None) == (q.mask is None) and np.array_equal(p.mask, q.mask)
        assert p.kept == q.kept and p.init == q.init
    for name, buffer in ours.buffers.items():
        assert buffer.tobytes() == theirs.buffers[name].tobytes() and buffer.dtype == theirs.buffers[name].dtype


def reseal(data, change):
    """The same file with its header changed and a correct checksum."""
    header, sections = fileformat.decode(data, "model")
    change(header, sections)
    return fileformat.encode("model", header, sections)


@given(MODELS)
def test_models_come_back_to_the_bit_and_predict_the_same(model):
    compressed = compress(model)
    again = compressed.model()
    assert_same(model, again)
    x = np.random.default_rng(0).normal(size=(3, 5))
    with np.errstate(all="ignore"):
        for p in model.parameters.values():
            p.to_dense()
        assert model.predict(x).tobytes() == again.predict(x).tobytes()


@given(MODELS)
def test_ledger_sums_to_the_file_exactly(model):
    compressed = compress(model)
    rows = compressed.ledger()
    assert sum(row["bytes"] for row in rows) == compressed.file_bytes == len(compressed.to_bytes())
    parameters = {row["name"]: row for row in rows if row["kept"] is not None}
    assert {name: row["kept"] for name, row in parameters.items()} == {n: p.kept for n, p in model.parameters.items()}
    for row in rows:
        assert row["shape"] is None or row["mask_bytes"] + row["value_bytes"] == row["bytes"]
    assert [row["name"] for row in rows] == ["(header)", *model.parameters, *model.buffers, "(digest)"]
    assert compressed.dense_bytes == 4 * (model.size + 3 + 4 + 1)
    by_tensor = compressed.bytes_by_tensor()
    assert list(by_tensor) == [*model.parameters, *model.buffers]
    assert sum(by_tensor.values()) == compressed.file_bytes - rows[0]["bytes"] - rows[-1]["bytes"]


@given(MODELS)
def test_equal_models_give_equal_bytes_and_come_back_as_themselves(model):
    compressed = compress(model)
    assert compress(compressed.model()) == compressed
    for p in model.parameters.values():
        p.to_dense()
    assert compress(model).to_bytes() == compressed.to_bytes()


def test_file_is_the_bytes(tmp_path):
    model = trained(1, [0.2, None, 0.5, None], [1.0, 0.0, 0.0, 0.0], [0, 0, 0, 0])
    size = compress(model).save(tmp_path / "m.msp")
    loaded = CompressedModel.load(tmp_path / "m.msp")
    assert loaded.file_bytes == size == (tmp_path / "m.msp").stat().st_size
    assert loaded.to_bytes() == (tmp_path / "m.msp").read_bytes()
    assert_same(model, loaded.model())
    assert "memory" in repr(model.net) and len(repr(loaded)) < 200


def test_entries_at_rest_cost_nothing():
    model = network(sizes=(784, 300), buffers=False)
    untouched = model.parameters["z0.weight"].value().copy()
    for p in model.parameters.values():
        p.rest_scale = 1.0
        p.keep(np.zeros(p.shape, bool))
    compressed = compress(model)
    assert compressed.file_bytes < 140 and compressed.dense_bytes == 4 * (784 * 300 + 300)
    assert [row["bytes"] for row in compressed.ledger()[1:-1]] == [1, 1]
    np.testing.assert_array_equal(compressed.model().parameters["z0.weight"].value(), untouched)


def test_few_levels_cost_their_entropy_and_many_cost_four_bytes():
    model = network(sizes=(100, 100), buffers=False)
    p = model.parameters["z0.weight"]
    # fresh weights are sums of four bytes: 1,021 levels at most
    assert compress(model).ledger()[1]["codec"] == "multiples"
    assert compress(model, version=1).ledger()[1]["codec"].startswith("codebook")
    p.store.values[...] = np.random.default_rng(0).normal(size=p.shape)
    row = compress(model).ledger()[1]
    # 23 bits of fraction, and the entropy of sign and exponent
    assert row["codec"] == "split" and 23 < row["bits_per_weight"] < 23 + 3.6
    assert compress(model, ["raw"]).ledger()[1]["value_bytes"] == 40_000
    p.store.values[...] = np.random.default_rng(0).choice(np.float32([0.5, -0.25]), p.shape, p=[0.95, 0.05])
    # a bit a weight is Huffman's least; ten bytes of levels and heads
    assert 1250 <= compress(model, ["raw", "codebook", "huffman"]).ledger()[1]["value_bytes"] <= 1250 + 16
    entropy = ledger.floors(model)["z0.weight"]
    assert entropy < 370
    assert compress(model).ledger()[1]["value_bytes"] <= 1.01 * entropy + 16


@pytest.mark.parametrize("density, codec", [(0.01, "adaptive"), (0.5, "bitmap"), (0.0, "gaps")])
def test_the_shorter_coding_of_the_places_is_taken(density, codec):
    model = network(sizes=(100, 100), buffers=False)
    p = model.parameters["z0.weight"]
    p.keep(np.random.default_rng(0).random(p.shape) < density)
    row = compress(model).ledger()[1]
    assert row["codec"].split()[0] == codec and row["mask_bytes"] <= 1250


def test_an_entry_off_the_mask_that_is_not_at_rest_is_refused():
    for value in (1e-30, -0.0):
        model = network()
        p = model.parameters["z0.weight"]
        p.keep(np.arange(35).reshape(7, 5) > 3)
        p.store.values[0, 0] = value
        with pytest.raises(ValueError, match=r"z0.weight.*call Parameter.keep"):
            compress(model)


def test_float64_models_are_refused():
    model = Model("double", Linear(2, 3), (2,), dtype=np.float64)
    with pytest.raises(ValueError, match="weight is float64: files hold float32"):
        compress(model)


def test_a_model_that_its_configuration_does_not_rebuild_is_refused():
    model = network()
    p = model.parameters["z0.weight"]
    p.initialise(12345)
    p.rest_scale = 1.0
    p.keep(np.zeros(p.shape, bool))
    with pytest.raises(ValueError, match=r"does not rebuild z0\.weight"):
        compress(model)


def test_every_flipped_bit_and_truncation_of_a_small_file_is_refused():
    model = trained(2, [0.3, None, 0.5, 0.0], [1.0, 0.0, 0.5, 0.0], [0, 1, 2, 0])
    data = compress(model).to_bytes()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FileFormatError):
            CompressedModel(bytes(flipped))
    for length in range(len(data)):
        with pytest.raises(FileFormatError):
            CompressedModel(data[:length])


@given(st.integers(0, 10**6), st.data())
@settings(max_examples=200)
def test_damage_under_a_correct_checksum_is_refused_or_decodes_to_a_model(seed, data):
    valid = compress(trained(seed % 50, [0.3, None, 0.5, 0.9], [1.0, 0.0, 0.5, 0.0], [0, 1, 2, 8])).to_bytes()
    header, sections = fileformat.decode(valid, "model")
    content = bytearray(sections["parameters"])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    sections["parameters"] = bytes(content)
    try:
        damaged = CompressedModel(fileformat.encode("model", header, sections))
    except FileFormatError as error:
        assert "describes no model" in str(error)
    else:
        assert sum(row["bytes"] for row in damaged.ledger()) == damaged.file_bytes


def put(path, value):
    def change(header, sections):
        *parents, last = path
        for name in parents:
            header = header[name]
        header[last] = value

    return change


WEIGHT = ("parameters", 0)
HUGE = [
    ["Linear", {"inputs": 10**12, "outputs": 10**12}],
    ["Linear", {"inputs": 2**32, "outputs": 2**32}],
    ["Linear", {"inputs": 2**27, "outputs": 2**27}],
    ["Linear", {"inputs": 2**14, "outputs": 2**15}],
    ["Sequential", {"layers": {str(i): ["Linear", {"inputs": 2**12, "outputs": 2**12}] for i in range(20)}}],
    ["Conv2d", {"inputs": 2**24, "outputs": 2**24, "kernel": 2**24}],
    ["BatchNorm", {"channels": 2**40}],
    ["Sequential", {"layers": {str(i): ["BatchNorm", {"channels": 2**27}] for i in range(20)}}],
]
WRONG = [
    None,
    3,
    [],
    ["Nothing", {}],
    ["Linear", {"inputs": 0, "outputs": 3}],
    ["Linear", {"inputs": -5, "outputs": 3}],
    ["Linear", {"inputs": "5", "outputs": 3}],
    ["Linear", {"inputs": 5, "outputs": 3, "gain": -1.0}],
    ["Linear", {"inputs": 5, "outputs": 3, "colour": 1}],
    ["Sequential", {"layers": {"a.b": ["Linear", {"inputs": 5, "outputs": 7}]}}],
    ["Linear", {"inputs": 5, "outputs": 3}],
]
CHANGES = [
    *[put(("model", "net"), net) for net in HUGE + WRONG],
    put(("model", "seed"), -1),
    put(("model", "seed"), "x"),
    put(("model", "input"), [6]),
    put(("model", "input"), 5),
    put(("model",), []),
    put(("parameters",), []),
    put(("parameters",), [None] * 3),
    put(("parameters",), [None] * 5),
    put(("buffers", 0), {"mask": ["bitmap", {}], "bytes": [1, 12]}),
    put(("buffers", 0), {"rest": 1.0}),
    put((*WEIGHT, "mask"), ["adaptive", {"columns": 0}]),
    put((*WEIGHT, "values"), ["codebook", {"coder": "zip"}]),
    put((*WEIGHT, "colour"), 1),
    put((*WEIGHT, "rest"), 1.5),
    put((*WEIGHT, "rest"), "x"),
    put((*WEIGHT, "mask"), ["raw", {}]),
    put((*WEIGHT, "mask"), ["gaps", {"width": 99}]),
    put((*WEIGHT, "mask"), ["zip", {}]),
    put((*WEIGHT, "values"), ["bitmap", {}]),
    put((*WEIGHT, "values"), ["raw", {"dtype": "float64"}]),
    put((*WEIGHT, "bytes"), [0, 10**18]),
    put((*WEIGHT, "bytes"), [-4, 4]),
    put((*WEIGHT, "bytes"), [1]),
    put((*WEIGHT, "bytes"), [1, 1, 1]),
    put(WEIGHT, {}),
    put(WEIGHT, {"rest": 1.0, "bytes": [0, 140]}),
    put(WEIGHT, []),
    put(WEIGHT, 3),
    put(WEIGHT, {"values": ["raw", {}], "bytes": [4, 140]}),
    put(("extra",), 1),
    lambda header, sections: header.pop("model"),
    lambda header, sections: sections.pop("buffers"),
    lambda header, sections: sections.update(buffers=sections["buffers"] + b"\0"),
    lambda header, sections: sections.update(buffers=sections["buffers"][:-1]),
    lambda header, sections: sections.update(parameters=sections["parameters"] + b"\0"),
    lambda header, sections: sections.update(parameters=sections["parameters"][1:]),
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_hostile_headers_under_a_correct_checksum_are_refused(number):
    data = compress(trained(4, [0.3, None, None, None], [1.0, 0.0, 0.0, 0.0], [0, 0, 0, 0])).to_bytes()
    with pytest.raises(FileFormatError, match="describes no model"):
        CompressedModel(reseal(data, CHANGES[number]))


@pytest.mark.parametrize("net", [net for net in HUGE if "BatchNorm" in str(net)])
def test_layers_with_absurd_buffers_are_refused_before_they_are_made(net):
    head = {"model": {"name": "huge", "net": net, "input": [5], "seed": 0}, "parameters": [], "buffers": []}
    data = fileformat.encode("model", head, {"parameters": b"", "buffers": b""})
    with pytest.raises(FileFormatError, match="settings exceed max_values"):
        CompressedModel(data)


def test_default_facts_are_left_out_of_the_header():
    model = network()
    for p in model.parameters.values():
        p.store.values[...] = np.random.default_rng(0).normal(size=p.shape)
    model.parameters["z1.weight"].rest_scale = 0.5
    header, sections = fileformat.decode(compress(model, ["raw"]).to_bytes(), "model")
    assert header["parameters"] == [None, None, {"rest": 0.5}, None]
    assert len(sections["parameters"]) == 4 * model.size


@pytest.mark.parametrize("depth", [40, 300])
def test_deep_nesting_is_refused(depth):
    net = ["Linear", {"inputs": 5, "outputs": 3}]
    for _ in range(depth):
        net = ["Sequential", {"layers": {"a": net}}]
    head = {"model": {"name": "deep", "net": net, "input": [5], "seed": 0}, "parameters": [None] * 2, "buffers": []}
    with pytest.raises(ValueError, match="100 levels"):
        fileformat.encode("model", head, {"parameters": b"", "buffers": b""})


@pytest.mark.parametrize(
    "facts, data, complaint",
    [
        ({"mask": ["raw", {"dtype": "uint8"}], "bytes": [3, 12]}, b"\1\1\1" + bytes(12), "no codec of masks"),
        ({"values": ["raw", {"dtype": "int32"}], "bytes": [0, 12]}, bytes(12), "gives int32 where float32"),
        ({"values": ["raw", {}], "bytes": [4, 12]}, bytes(16), "belong to no mask"),
        ({"values": ["raw", {}], "bytes": [0, 13]}, bytes(12), "bytes=13"),
        ({"values": ["raw", {}]}, bytes(12), "must be 'mask' or 'values'"),
        ({"bytes": [0, 12]}, bytes(12), "must be 'mask' or 'values'"),
    ],
)
def test_facts_that_do_not_fit_their_streams_are_refused(facts, data, complaint):
    with pytest.raises(ValueError, match=complaint):
        tensor.decode(facts, tensor.Stream(data), 3)


def test_the_number_of_parameters_is_capped_by_the_reader():
    model = network(sizes=(100, 100), buffers=False)
    for p in model.parameters.values():
        p.keep(np.zeros(p.shape, bool))
    data = compress(model).to_bytes()
    with pytest.raises(FileFormatError, match="10100 parameters are more than max_values=10099"):
        CompressedModel(data, max_values=10_099)
    assert CompressedModel(data, max_values=10_100).model().size == 10_100


def test_codecs_can_be_chosen_and_others_are_not_used():
    model = trained(3, [0.2, None, 0.3, None], [0.0] * 4, [8, 8, 0, 0])
    ours = {"gaps", "codebook", "huffman", "raw"}
    rows = compress(model, ours).ledger()
    assert {word for row in rows if row["codec"] for word in row["codec"].split() if word.isalpha()} <= ours
    assert_same(model, compress(model, ours).model())
    with pytest.raises(ValueError, match=r"codecs=\['gaps'\] leaves none"):
        compress(model, ["gaps"])


@pytest.mark.parametrize("version", [1, 2])
def test_the_table_of_costs_is_what_the_choice_was_made_from(version):
    model = trained(3, [0.2, None, 0.3, None], [0.0, 0.0, 1.0, 0.0], [8, 8, 0, 0])
    rows, table = compress(model, version=version).ledger(), ledger.costs(model, version)
    floors = ledger.floors(model)
    for row in rows[1:-1]:
        for stream, nbytes in (("places", row["mask_bytes"]), ("values", row["value_bytes"])):
            ways = [way for way in table if (way["name"], way["stream"]) == (row["name"], stream)]
            assert [way["bytes"] for way in ways if way["taken"]] == ([nbytes] if ways else [])
            assert min((way["bytes"] for way in ways), default=0) == nbytes
        by_stream = {way["stream"]: way["floor_bytes"] for way in table if way["name"] == row["name"]}
        assert sum(by_stream.values()) == pytest.approx(floors[row["name"]])
    used = {"gaps", "bitmap", "adaptive", "raw", "split", "codebook"} | ({"multiples"} if version > 1 else set())
    assert {way["codec"].split()[0] for way in table} == used


@given(MODELS)
def test_a_sparse_model_is_the_same_without_being_expanded(model):
    compressed = compress(model)
    sparse = compressed.model(sparse=True)
    assert_same(compressed.model(), sparse)
    for name, p in model.parameters.items():
        assert isinstance(sparse.parameters[name].store, SparseStore) == (p.mask is not None)


def test_a_sparse_model_takes_memory_for_what_is_kept_only():
    model = network(sizes=(2000, 2000), buffers=False)
    generator = np.random.default_rng(0)
    p = model.parameters["z0.weight"]
    p.store.values[...] = generator.choice(np.float32([-1, -0.5, 0.5, 1]), p.shape)
    p.keep(generator.random(p.shape) < 0.002)
    compressed = compress(model)
    x = generator.normal(size=(4, 2000)).astype(np.float32)
    expected = compressed.model().predict(x)
    tracemalloc.start()
    sparse = compressed.model(sparse=True)
    found = sparse.predict(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # 16 MB if it were dense, 4 MB for a mask of bytes
    assert peak < 0.25 * p.size
    np.testing.assert_allclose(found, expected, rtol=0, atol=2000 * 2**-23 * np.abs(x).sum(axis=1).max())


def test_commands_write_and_itemise_the_file(tmp_path):
    model = trained(5, [0.3, None, 0.5, None], [1.0, 0.0, 0.0, 0.0], [0, 0, 0, 0])
    source, target = str(tmp_path / "a.msp"), str(tmp_path / "b.msp")
    size = compress(model).save(source)
    parser = argparse.ArgumentParser()
    compress_command.add_arguments(parser)
    report = compress_command.run(parser.parse_args([source, "-o", target]))
    assert Path(source).read_bytes() == Path(target).read_bytes()
    parser = argparse.ArgumentParser()
    inspect_command.add_arguments(parser)
    inspected = inspect_command.run(parser.parse_args([target]))
    assert report.rows == [{"model": "small", **{name: inspected.summary[name] for name in report.summary}}]
    assert sum(row["bytes"] for row in inspected.rows) == size == inspected.summary["file_bytes"]
    assert inspected.summary["ratio"] == 4 * (model.size + 8) / size
    assert inspected.summary["kept"] == model.kept and inspected.summary["density"] == model.kept / model.size
