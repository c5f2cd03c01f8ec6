"""Measurements: right before timed, in turns, peers that are absent named; every benchmark runs."""

import json
import subprocess
import sys

import numpy as np
import pytest

from minisparse import _core
from minisparse.bench import BENCHES, figures, machine, process, train
from minisparse.bench.base import places
from minisparse.bench.billion import run_on_budget
from minisparse.bench.harness import Contestant, Expected, mean_ratio, measure, ratio
from minisparse.bench.peers import Peers
from minisparse.bench.run import run
from minisparse.bench.spmm import break_even
from minisparse.cli import main
from minisparse.train import train_step

KEYS = {
    "spmm": ["vs_best_sparse_peer", "vs_best_sparse_peer_min", "break_even_density", "n1_vs_best_sparse_peer",
             "transposed_over_forward", "sampled_over_forward"],
    "conv": ["sparse10_vs_torch_dense", "sparse2_vs_torch_dense", "dense_vs_torch"],
    "regen": ["time_over_dense", "billion_peak_mb", "peak_mb_10x_weights"],
    "topk": ["vs_argpartition"],
    "quant": ["vs_torch", "copy_bandwidth_fraction"],
    "huffman": ["decode_vs_zlib", "encode_vs_zlib", "size_over_zlib"],
    "train": ["lenet-5-caffe_1", "lenet-5-caffe_0.1", "epoch_over_steps"],
}  # fmt: skip
PEERS = {
    "spmm": {"scipy", "mkl", "torch"},
    "conv": {"torch"},
    "regen": set(),
    "topk": {"torch"},
    "quant": {"torch"},
    "huffman": {"zstandard", "constriction", "dahuffman"},
    "train": {"torch"},
}


class Track:
    """Contestants that write down who ran when, and a clock that only their calls move."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def contestant(self, name, seconds, result=(1.0,)):
        """`seconds` of one call after the other, the last one for ever."""
        left = list(seconds)

        def call():
            self.calls.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]
            return np.array(result)

        return Contestant(call, Expected(np.array([1.0])))


def test_contestants_run_in_turns_and_each_round_starts_with_another():
    track = Track()
    names = {name: track.contestant(name, [1.0]) for name in "abc"}
    assert measure(names, budget_s=1.0, clock=lambda: track.now) == {"a": 1, "b": 1, "c": 1}
    # a check each, a call each that settles the repetitions, then in each round a warm-up and a sample
    assert "".join(track.calls) == "abc" + "abc" + "aabbcc" + "bbccaa" + "ccaabb"


def test_the_median_does_not_see_an_outlier():
    track = Track()
    # check, calibration, then (warm-up, sample) three times
    slow = track.contestant("a", [1, 1, 9, 1, 9, 100, 9, 2])
    assert measure({"a": slow}, budget_s=0.0, clock=lambda: track.now) == {"a": 2}


def test_fast_calls_are_repeated_until_a_sample_lasts():
    track = Track()
    found = measure({"a": track.contestant("a", [1e-5])}, budget_s=0.0, clock=lambda: track.now)
    assert found["a"] == pytest.approx(1e-5)
    assert len(track.calls) >= 3 * 100


@pytest.mark.parametrize("wrong", [(2.0,), (np.nan,), (1.0, 1.0), (1.0 + 1e-6,)])
def test_a_wrong_contestant_is_refused_before_anything_is_timed(wrong):
    track, looks = Track(), []
    names = {"right": track.contestant("right", [1.0]), "cheat": track.contestant("cheat", [1.0], wrong)}

    def clock():
        looks.append(track.now)
        return track.now

    with pytest.raises(ValueError, match=r"cheat .* not timed"):
        measure(names, clock=clock)
    assert not looks


def test_the_bound_lets_a_float32_product_pass_and_no_larger_error():
    a, b = np.random.default_rng(0).normal(size=(2, 20, 20)).astype(np.float32)
    expected = Expected.of_sums(a.astype(float) @ b, abs(a).astype(float) @ abs(b), 20)
    expected.require("product", a @ b)
    with pytest.raises(ValueError, match="wrong in 1 of 400"):
        expected.require("product", a @ b + (np.arange(400) == 7).reshape(20, 20) * 2 * expected.bound)


def test_several_results_are_all_checked():
    both = (Expected(np.zeros(2)), Expected(np.ones(3)))
    Contestant(lambda: (np.zeros(2), np.ones(3)), both, tuple).require("pair")
    with pytest.raises(ValueError, match="pair"):
        Contestant(lambda: (np.zeros(2), np.zeros(3)), both, tuple).require("pair")


def test_ratios_take_the_fastest_that_is_there():
    rows = [{"ours_s": 1.0, "a_s": 4.0, "b_s": 2.0}, {"ours_s": 1.0, "a_s": 8.0}, {"ours_s": 1.0}]
    assert ratio(rows, ["a", "b"]) == [2.0, 8.0]
    assert mean_ratio(rows, ["a", "b"]) == pytest.approx(4.0)
    assert mean_ratio(rows, ["c"]) is None


def test_absent_peers_are_named_with_the_reason():
    peers = Peers(("json", "no_such_peer"))
    assert peers.missing == {"no_such_peer": "not installed"}
    assert peers.get("json") is json and peers.get("no_such_peer") is None


def test_break_even_needs_every_lower_density_to_win():
    rows = [{"density": d, "ours_s": 1.0, "numpy_dense_s": t} for d, t in ((0.1, 3), (0.2, 2), (0.3, 0.5), (0.5, 2))]
    assert break_even(rows, lambda found: min(found) > 1) == 0.2
    assert break_even(rows[2:], lambda found: min(found) > 1) == 0
    assert figures.crossing([0.1, 0.4], np.array([1.0, 4.0]), np.array([2.0, 2.0])) == pytest.approx(0.2)
    assert figures.crossing([0.1, 0.4], np.array([1.0, 1.0]), np.array([2.0, 2.0])) is None


@pytest.mark.parametrize(("size", "count"), [(10, 10), (7, 3), (900_000_000_000, 1000), (5, 0)])
def test_places_increase_within_their_range(size, count):
    found = places("test", size, count)
    assert len(found) == count and (np.diff(found) > 0).all()
    assert not count or 0 <= found[0] <= found[-1] < size


def test_a_network_on_a_budget_stores_exactly_that():
    run = run_on_budget((30, 20, 10), 101)
    train_step(run)
    assert run.model.kept == 101


def test_the_machine_is_described_without_names_of_hosts_or_folders():
    found = machine.describe(Peers(("threadpoolctl",)))
    assert {"processor", "cores", "vector_bits", "numpy", "minisparse", "kernels"} <= set(found)
    assert "/" not in json.dumps({key: value for key, value in found.items() if key != "processor"})


@pytest.mark.parametrize("name", [name for name in BENCHES if name != "quant" or hasattr(_core, "quant")])
def test_every_benchmark_prints_its_keys_and_draws_its_figure(name, tmp_path, capsys):
    path = tmp_path / "figure.png"
    assert main(["bench", name, "--quick", "--quiet", "--json", "--figure", str(path)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["command"] == "bench" and printed["benchmark"] == name
    assert set(KEYS[name]) <= set(printed["summary"])
    assert printed["machine"]["cores"] >= 1
    assert PEERS[name] <= set(printed["machine"]) | set(printed["missing"])
    timed = [row for row in printed["rows"] if "threads" in row]
    assert timed and all(row["checked"] is True for row in timed)
    assert all(value > 0 for row in timed for key, value in row.items() if key.endswith("_s"))
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_kernel_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.delattr(_core, "quant", raising=False)
    with pytest.raises(ValueError, match=r"no kernel minisparse\._core\.quant"):
        run(BENCHES["quant"], quick=True, progress=False)


def test_threads_are_pinned_and_let_go():
    pools = pytest.importorskip("threadpoolctl")
    peers = Peers(("threadpoolctl",))
    before = [pool["num_threads"] for pool in pools.threadpool_info()]
    with pytest.raises(ZeroDivisionError), machine.pinned(1, peers):
        assert {pool["num_threads"] for pool in pools.threadpool_info()} <= {1}
        raise ZeroDivisionError
    assert [pool["num_threads"] for pool in pools.threadpool_info()] == before


def test_what_needs_no_peer_is_found_without_them():
    found = run(BENCHES["huffman"], quick=True, progress=False)
    assert found["summary"]["size_over_zlib"] == pytest.approx(1, abs=0.1)
    found = run(BENCHES["regen"], quick=True, progress=False)
    assert found["rows"][-1]["stored"] == 10_000 and found["rows"][-1]["peak_mb"] > 1


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        (["huffman", "--threads", "2"], "runs on one thread"),
        (["topk", "--figure", "figure.doc"], ".png"),
        (["topk", "--figure", "absent/figure.png"], "no folder absent"),
        (["regen", "--threads", "0"], "--threads"),
        (["train", "--model", "resnet-9"], "use one of ['lenet-5-caffe']"),
        (["topk", "--density", "0.1"], "use one of [None]"),
    ],
)
def test_wrong_options_get_one_line_before_anything_is_measured(options, remedy, capsys):
    assert main(["bench", *options, "--quick", "--quiet"]) == 1
    printed = capsys.readouterr()
    assert remedy in printed.err and printed.err.count("\n") == 1 and not printed.out


def test_without_mnist_the_epoch_is_left_out_and_nothing_else(monkeypatch):
    def gone(name):
        raise ValueError(f"{name}: could not download")

    monkeypatch.setattr(train, "load", gone)
    benchmark = BENCHES["train"](Peers(()), quick=True)
    rows = benchmark.further_rows()
    assert rows and all("growing" in row for row in rows) and benchmark.closing(rows) == {}
    assert "could not download" in benchmark.peers.missing["mnist"]


def test_a_process_that_dies_is_an_error(monkeypatch, capsys):
    monkeypatch.setattr(sys, "executable", "false")
    assert main(["bench", "topk", "--quick", "--quiet"]) == 1
    assert "ended with exit code 1" in capsys.readouterr().err


def test_a_kernel_choice_that_fails_is_left_out(monkeypatch):
    def ran(command, env, **_):
        speed = {"": "1.0", "Haswell": "2.0"}.get(env.get(process.VARIABLE, ""))
        return subprocess.CompletedProcess(command, speed is None, speed)

    monkeypatch.setattr(subprocess, "run", ran)
    # a choice in the environment is set aside
    monkeypatch.setenv(process.VARIABLE, "Haswell")
    assert process.probed() == {"": 1.0, "Haswell": 2.0}
