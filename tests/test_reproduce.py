"""The papers' rows: declared as the papers have them, run once, resumed, shared among workers, and reported."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from minisparse import train
from minisparse.checkpoint import RunFolder
from minisparse.cli import main
from minisparse.compressed import compress
from minisparse.data import load
from minisparse.reproduce import PAPERS, ROWS, Figure, Recipe, Row, bits, figures, results, select, sweep
from minisparse.reproduce.related import DENSITIES, METHODS, NETWORKS
from minisparse.reproduce.report import Outcome, markdown, report
from minisparse.reproduce.run import Work, perform, small_data
from minisparse.reproduce.sweep import ONE_THREAD, _one_thread_each, _pool
from minisparse.run import TrainSettings

DOCS = Path(__file__).parents[1] / "docs"
BY_KEY = {row.key: row for row in ROWS}
DENSE = Recipe({"name": "dense"}, TrainSettings(epochs=1))
SMALL = Row("dropback/mnist-100-100/1000", recipe=Recipe({"name": "dropback", "budget": 1000}, TrainSettings(lr=0.2)))
OTHER = Row("random/mnist-100-100/0.1", recipe=Recipe({"name": "random", "density": 0.1}))

ASKED = {
    "dropback/lenet-300-100/50000": (1.51, "recalled", 1.6),
    "dropback/lenet-300-100/20000": (1.78, "recalled", 1.85),
    "dropback/lenet-300-100/1500": (3.84, "recalled", 4.0),
    "dropback/mnist-100-100/50000": (1.58, "recalled", 1.8),
    "dropback/mnist-100-100/20000": (1.70, "recalled", 1.9),
    "dropback/mnist-100-100/1500": (3.78, "recalled", 4.3),
    "snip/lenet-300-100/0.05": (1.6, "verified", 1.8),
    "snip/lenet-300-100/0.02": (2.4, "verified", 2.5),
    "snip/lenet-5-caffe/0.02": (0.8, "verified", 0.9),
    "snip/lenet-5-caffe/0.01": (1.1, "verified", 1.15),
    "espn/lenet-300-100/0.05": (None, None, 1.75),
    "espn/lenet-300-100/0.02": (None, None, 2.0),
    "espn/lenet-300-100/0.01": (None, None, 2.4),
    "espn/lenet-5-caffe/0.02": (None, None, 0.8),
    "espn/lenet-5-caffe/0.01": (None, None, 0.9),
    "espn/lenet-5-caffe/0.005": (None, None, 1.1),
}


# What is declared


@pytest.mark.parametrize("key", ASKED)
def test_a_row_states_the_papers_figure_its_mark_and_what_we_ask(key):
    row, (error, mark, accept) = BY_KEY[key], ASKED[key]
    assert (row.paper and row.paper.error, row.paper and row.paper.mark, row.accept) == (error, mark, accept)
    assert row.recipe is not None
    assert row.seeds == 5


def test_every_row_is_declared_once_and_printed_with_its_mark():
    assert len(BY_KEY) == len(ROWS)
    assert len({results.path(row, Path()) for row in ROWS}) == len(ROWS)
    for row in (row for row in ROWS if row.paper):
        assert ("recalled" in str(row.paper)) == (row.paper.mark == "recalled")
    assert {row.paper.mark for row in PAPERS["dropback"] if row.paper} == {"recalled"}
    assert {row.paper.mark for row in PAPERS["snip"] if row.paper and row.paper.source != "arXiv 2002.07376"} == {
        "verified"
    }
    assert not [row for row in PAPERS["espn"] if row.paper]


def test_every_cell_of_the_baselines_and_of_the_photographs_is_declared():
    cells = {f"{method}/{network}/{density}" for method in METHODS for network in NETWORKS for density in DENSITIES}
    photographs = ("dropback", "snip", "espn", "magnitude")
    cells |= {f"{m}/{cell}" for m in photographs for cell in ("vgg16/0.1", "resnet-20/0.1", "resnet-20/0.02")}
    cells |= {f"dense/{network}/1" for network in ("vgg16", "resnet-20", "densenet-22-12", "wrn-16-2")}
    assert not [cell for cell in cells if BY_KEY[cell].recipe is None]
    for network in ("densenet-22-12", "wrn-16-2"):
        assert BY_KEY[f"dropback/{network}/0.222"].against == (f"dense/{network}/1", 1.0)


def test_rows_that_are_compared_have_a_row_to_compare_with():
    assert all(BY_KEY[row.against[0]].recipe for row in ROWS if row.against)


def test_a_density_in_a_key_is_the_methods_own():
    for row in (row for row in ROWS if not row.weighed):
        if row.recipe and "density" in row.recipe.method:
            assert float(row.key.split("/")[2]) == row.recipe.method["density"]
        if row.recipe and "budget" in row.recipe.method:
            assert int(row.key.split("/")[2]) == row.recipe.method["budget"]


def test_every_row_that_runs_can_be_made_and_its_recipe_read_back():
    ran = [row for row in ROWS if row.recipe]
    assert len(ran) > 100
    for row in ran:
        assert row.method().config() == row.recipe.config()["method"]
        assert Recipe.from_config(json.loads(json.dumps(row.recipe.config()))).config() == row.recipe.config()


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        (lambda: Row("dropback/lenet", recipe=DENSE), "method/network/budget"),
        (lambda: Row("a/b/1"), "reason"),
        (lambda: Row("a", recipe=DENSE, weighed=True), "method/network"),
        (lambda: Figure(1.0, "guessed", "nowhere"), "verified"),
        (lambda: Row("a/b/1", recipe=Recipe({"name": "none"})).method(), "a/b/1 cannot run: method 'none'"),
        (lambda: select(ROWS, ["dropbock"]), "--list"),
        (lambda: sweep([], workers=0), "workers=0"),
    ],
)
def test_what_is_wrong_is_said_with_its_remedy(wrong, remedy):
    with pytest.raises(ValueError, match=remedy):
        wrong()


def test_names_are_keys_beginnings_or_patterns():
    assert [row.key for row in select(ROWS, ["dropback/lenet-300-100/20000"])] == ["dropback/lenet-300-100/20000"]
    assert {row.network for row in select(ROWS, ["snip/lenet-5-caffe"])} == {"lenet-5-caffe"}
    assert all(row.key.endswith("/0.01") for row in select(ROWS, ["*/lenet-5-caffe/0.01"]))
    assert select(ROWS, []) == list(ROWS)


def test_standardised_data_have_mean_0_and_deviation_1_over_the_training_split():
    data = load("digits").standardised()
    x = data.train.samples()
    np.testing.assert_allclose((x.mean(dtype=float), x.std(dtype=float)), (0, 1), atol=1e-5)
    assert (data.test.shift, data.test.scale) == (data.train.shift, data.train.scale)


# One run


def checkpoint(work):
    return (work.path / "checkpoint.msp").read_bytes()


def measured(result):
    return {key: value for key, value in result.items() if key not in ("minutes", "machine")}


def test_a_run_that_was_interrupted_goes_on_to_the_same_end(tmp_path, monkeypatch):
    whole = Work(SMALL, 3, str(tmp_path / "whole"), quick=True)
    stopped = replace(whole, folder=str(tmp_path / "stopped"))
    expected, steps, step = perform(whole), [], train.train_step

    def interrupted(run):
        steps.append(run.step)
        if len(steps) == 7:
            signal.raise_signal(signal.SIGINT)
        return step(run)

    monkeypatch.setattr(train, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        perform(stopped)
    assert not (stopped.path / "result.json").exists()
    assert measured(perform(stopped)) == measured(expected)
    assert steps == list(range(20))
    assert checkpoint(stopped) == checkpoint(whole)


def test_the_result_is_of_the_test_split_and_of_the_trained_network(tmp_path):
    work = Work(SMALL, 0, str(tmp_path), quick=True)
    result, data = perform(work), small_data("mnist", 0)
    model = RunFolder(work.path).model()
    assert result["test_error"] == train.evaluate(model, data.test).error
    assert result["validation_error"] == train.evaluate(model, data.validation).error != result["test_error"]
    assert (result["kept"], result["size"]) == (1000, model.size)
    written = (work.path / "model.msp").read_bytes()
    assert result["file_bytes"] == len(written) == len(compress(model).data)
    assert result["ratio"] == pytest.approx(4 * model.size / len(written), abs=0.005)


def test_a_finished_run_is_read_back_and_its_test_split_is_not_read_again(tmp_path, monkeypatch):
    work = Work(SMALL, 0, str(tmp_path), quick=True)
    first = perform(work)
    monkeypatch.setattr("minisparse.reproduce.run.evaluate", None)
    assert perform(work) == first


def test_another_recipe_has_another_folder():
    other = replace(SMALL, recipe=replace(SMALL.recipe, standardised=True))
    assert Work(SMALL, 0, "runs").path != Work(other, 0, "runs").path
    reseeded = replace(SMALL.recipe, training=replace(SMALL.recipe.training, seed=5))
    assert Work(SMALL, 0, "runs").path == Work(replace(SMALL, recipe=reseeded), 0, "runs").path


# Many runs


def works(folder):
    return [Work(row, seed, str(folder), quick=True) for row in (SMALL, OTHER) for seed in (0, 1)]


def test_workers_and_executors_find_what_one_process_finds(tmp_path):
    alone = sweep(works(tmp_path / "alone"))
    seen = []
    together = sweep(works(tmp_path / "together"), workers=2, found=lambda work, result: seen.append(result))
    with ThreadPoolExecutor(2) as executor:
        elsewhere = sweep(works(tmp_path / "elsewhere"), executor=executor)
    assert [*map(measured, alone)] == [*map(measured, together)] == [*map(measured, elsewhere)]
    assert sorted(map(repr, seen)) == sorted(map(repr, together))
    assert all("threads: 1," in result["machine"] for result in together)


def test_work_can_be_pickled():
    work = Work(BY_KEY["dropback/lenet-300-100/20000"], 1, "runs")
    assert pickle.loads(pickle.dumps(work)) == work


def test_a_run_that_fails_leaves_the_others_alone(tmp_path):
    hot = replace(SMALL.recipe, training=TrainSettings(lr=1e30, momentum=0.0), data="digits")
    found = sweep([Work(replace(SMALL, recipe=hot), 0, str(tmp_path)), *works(tmp_path)])
    assert "lower lr" in found[0]["error"]
    assert all("test_error" in result for result in found[1:])


SWEEP = """
import sys
from minisparse.reproduce import Recipe, Row, sweep
from minisparse.reproduce.run import Work
from minisparse.run import TrainSettings

def work(i, epochs):
    recipe = Recipe({"name": "random", "density": 0.1}, TrainSettings(epochs=epochs, batch=100), data="digits")
    return Work(Row(f"random/mnist-100-100/{i}", recipe=recipe), 0, sys.argv[1])

if __name__ == "__main__":
    try:
        found = sweep([work(i, int(epochs)) for i, epochs in enumerate(sys.argv[2:])], workers=2)
    except KeyboardInterrupt:
        sys.exit(130)
    print(len([result for result in found if "test_error" in result]))
"""


ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def begin(tmp_path, *epochs):
    """A sweep in a process of its own: one run is finished, another one has begun."""
    script = tmp_path / "script.py"
    script.write_text(SWEEP)
    command = [sys.executable, str(script), str(tmp_path / "runs"), *epochs]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    while len([*tmp_path.glob("runs/*/*/log.csv")]) < 2 or not [*tmp_path.glob("runs/*/*/result.json")]:
        assert process.poll() is None
        time.sleep(0.01)
    return command, process


@posix
def test_workers_end_with_a_parent_that_was_killed(tmp_path):
    _, process = begin(tmp_path, "1", "500")
    process.kill()
    process.communicate(timeout=30)  # the workers, which hold the other end of the pipe, have ended as well
    assert len([*tmp_path.glob("runs/*/*/result.json")]) == 1


@posix
@pytest.mark.parametrize("epochs", [("1", "60"), ("1", "40", "40", "40")], ids=["one worker idle", "runs waiting"])
def test_ctrl_c_ends_all_workers_quietly_and_the_next_call_goes_on(tmp_path, epochs):
    command, process = begin(tmp_path, *epochs)
    process.send_signal(signal.SIGINT)
    complaints = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert complaints == ""
    finished = {path.parent: path.read_bytes() for path in tmp_path.glob("runs/*/*/result.json")}
    stopped = {path.parent for path in tmp_path.glob("runs/*/*/checkpoint.msp")} - set(finished)
    assert 1 <= len(stopped) <= 2
    again = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    assert int(again.stdout) == len(epochs)
    assert all((path / "result.json").read_bytes() == content for path, content in finished.items())


def test_each_of_several_workers_has_one_thread_and_we_keep_ours(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before = dict(os.environ)
    with _one_thread_each(), _pool(1) as pool:
        found = [pool.submit(os.getenv, name).result() for name in ONE_THREAD]
    assert found == ["1"] * len(ONE_THREAD)
    assert {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MINISPARSE_NUM_THREADS"} < set(ONE_THREAD)
    assert dict(os.environ) == before


# What is reported


def runs(key, *errors):
    return {key: [{"seed": seed, "test_error": error, "minutes": 2.0} for seed, error in enumerate(errors)]}


@pytest.mark.parametrize(
    ("errors", "ours", "verdict"),
    [
        ([], "-", "not run yet"),
        ([1.5, 1.7, 1.6], "1.60 (1.50 to 1.70)", "reached"),
        ([1.61, 1.61, 1.61], "1.61 (1.61 to 1.61)", "missed by 0.01"),
        ([1.602, 1.602, 1.602], "1.60 (1.60 to 1.60)", "missed by 0.002"),
        ([1.0], "1.00", "reached (1/3 seeds)"),
    ],
)
def test_the_verdict_is_on_the_mean_over_seeds(errors, ours, verdict):
    outcome = Outcome(Row("a/b/1", recipe=DENSE, accept=1.6, seeds=3), runs("a/b/1", *errors))
    assert (outcome.ours, outcome.verdict) == (ours, verdict)


@pytest.mark.parametrize(("error", "verdict"), [(2.0, "reached"), (2.25, "missed by 0.25"), (1.0, "reached")])
def test_a_row_can_be_asked_to_stay_near_another(error, verdict):
    row = Row("a/b/0.1", recipe=DENSE, against=("dense/b/1", 0.5), seeds=1)
    assert Outcome(row, runs("dense/b/1", 1.25, 1.75) | runs("a/b/0.1", error)).verdict == verdict
    assert Outcome(row, runs("a/b/0.1", error)).verdict == "measured"
    stricter = Outcome(replace(row, accept=1.9), runs("dense/b/1", 1.25, 1.75) | runs("a/b/0.1", error))
    assert stricter.verdict == ("reached" if error == 1.0 else f"missed by {error - 1.9:.2g}")


WEIGHED = Row("a/b/150x", Figure(1.58, "recalled", "there", ratio=40), DENSE, accept=1.6, seeds=2, accept_bytes=1000)


@pytest.mark.parametrize(
    ("error", "nbytes", "verdict"),
    [
        (1.6, 1000, "reached"),
        (1.6, 1002, "missed by 2 bytes"),
        (1.7, 900, "missed by 0.1"),
        (1.7, 2000, "missed by 0.1 and 1,000 bytes"),
    ],
)
def test_a_row_can_be_asked_for_the_bytes_of_its_file(error, nbytes, verdict):
    found = {"test_error": error, "minutes": 1.0}
    ran = {
        WEIGHED.key: [found | {"file_bytes": nbytes - 10, "ratio": 9}, found | {"file_bytes": nbytes + 10, "ratio": 8}]
    }
    outcome = Outcome(WEIGHED, ran)
    assert outcome.verdict == verdict
    assert outcome.ours.endswith(f", {nbytes:,} bytes (8x)")
    assert (outcome.asked, str(WEIGHED.paper)) == ("1.6, 1,000 bytes", "1.58, 40x (recalled)")
    expected = {"a/b/150x/error": error, "a/b/150x/file_bytes": nbytes, "a/b/150x/ratio": 8.5}
    assert report([WEIGHED], ran, []).summary == expected
    unasked = replace(WEIGHED, accept_bytes=None, weighed=False)
    assert report([unasked], ran, []).summary == {"a/b/150x": error}
    assert report([replace(unasked, weighed=True)], ran, []).summary == expected


def test_results_of_other_seeds_stay_and_those_of_another_recipe_do_not_count(tmp_path):
    row = Row("a/b/1", recipe=DENSE)
    results.save(row, [{"seed": 1, "test_error": 2.0}, {"seed": 0, "test_error": 1.0}], tmp_path)
    results.save(row, [{"seed": 1, "test_error": 3.0}], tmp_path)
    assert results.load(row, tmp_path) == [{"seed": 0, "test_error": 1.0}, {"seed": 1, "test_error": 3.0}]
    assert results.load(replace(row, recipe=replace(DENSE, width=0.5)), tmp_path) == []


@pytest.mark.parametrize(
    ("change", "count"),
    [
        (lambda recipe: recipe["training"].pop("smoothing"), 1),  # a setting that is newer than the result
        (lambda recipe: recipe["training"].update(old=1), 0),
        (lambda recipe: recipe["training"].update(lr=0.3), 0),
        (lambda recipe: recipe["method"].update(freeze=0.5), 0),  # a default was another one then
        (lambda recipe: recipe["method"].update(name="gone"), 0),
    ],
)
def test_a_result_counts_while_its_recipe_means_the_same(tmp_path, change, count):
    results.save(SMALL, [{"seed": 0, "test_error": 1.0}], tmp_path)
    path = results.path(SMALL, tmp_path)
    content = json.loads(path.read_text())
    change(content["recipe"])
    path.write_text(json.dumps(content))
    assert len(results.load(SMALL, tmp_path)) == count


def test_the_committed_document_is_what_the_committed_results_generate():
    committed = {row.key: results.load(row, DOCS / "results") for row in ROWS}
    text = (DOCS / "REPRODUCTIONS.md").read_text(encoding="utf-8")
    assert text == markdown(committed), "run: minisparse reproduce --show --record"


def test_every_committed_result_belongs_to_a_row_as_it_is_declared():
    paths = {results.path(row, DOCS / "results"): row for row in ROWS}
    for path in (DOCS / "results").glob("*.json"):
        found = results.load(paths[path], DOCS / "results")
        assert found, f"{path.name}: the row's recipe has changed since: run it again, or delete the file"
        assert len({run["seed"] for run in found}) == len(found)


# The command


def answer(capsys, *argv):
    assert main(["reproduce", *argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_quick_run_of_some_rows_works_and_says_that_it_measures_nothing(capsys):
    keys = ["dropback/mnist-100-100/1500", "espn/lenet-300-100/0.02", "magnitude/lenet-300-100/0.01"]
    printed = answer(capsys, *keys, "--quick", "--quiet")
    assert set(printed["summary"]) == set(keys)
    assert printed["measurement"] is False
    assert all(0 <= error <= 100 for error in printed["summary"].values())
    kept = {row["row"]: row["kept"] for row in printed["rows"]}
    assert kept["dropback/mnist-100-100/1500"] == 1500


def test_show_prints_the_committed_means_by_key(capsys):
    printed = answer(capsys, "--show")
    expected = {}
    for row in ROWS:
        found = results.load(row, DOCS / "results")
        figures = () if not found else ("error", "file_bytes", "ratio") if row.weighed else ("error",)
        for figure in figures:
            key = f"{row.key}/{figure}" if row.weighed else row.key
            expected[key] = np.mean([run["test_error" if figure == "error" else figure] for run in found])
    assert printed["summary"] == pytest.approx(expected)
    assert [row["row"] for row in printed["rows"]] == [row.key for row in ROWS]


def test_a_recorded_run_is_shown_afterwards_and_stands_in_the_document(tmp_path, capsys, monkeypatch):
    recipe = replace(SMALL.recipe, data="digits", training=TrainSettings(epochs=2, lr=0.05, momentum=0.0))
    monkeypatch.setattr("minisparse.cli.reproduce.ROWS", (replace(SMALL, recipe=recipe),))
    monkeypatch.setattr("minisparse.reproduce.results.DOCS", tmp_path)
    arguments = ["--seeds", "2", "--quiet", "--out", str(tmp_path / "runs")]
    assert main(["reproduce", *arguments, "--record"]) == 1
    assert "of a checkout" in capsys.readouterr().err
    (tmp_path / "ARCHITECTURE.md").touch()
    (tmp_path / "results").mkdir()
    printed = answer(capsys, *arguments, "--record")
    assert answer(capsys, "--show")["summary"] == printed["summary"] == answer(capsys, *arguments)["summary"]
    assert [run["seed"] for run in printed["runs"][SMALL.key]] == [0, 1]
    content = json.loads((tmp_path / "results" / "dropback_mnist-100-100_1000.json").read_text())
    assert content["command"] == f"minisparse reproduce {SMALL.key} --seeds 2"
    measured = {"test_error", "validation_error", "distances", "kept", "size", "file_bytes", "ratio"}
    assert measured | {"seed", "minutes", "machine"} == set(content["runs"][0])
    assert (tmp_path / "REPRODUCTIONS.md").read_text().startswith("# Reproductions")


def ran(error, size, distances):
    return {"seed": 0, "test_error": error, "file_bytes": size, "ratio": 2.0, "distances": distances}


def test_figures_are_drawn_of_what_has_run(tmp_path):
    figures.draw(ROWS, {}, tmp_path)
    assert not list(tmp_path.iterdir())
    moving = [f"{key}/{end}" for key in figures.MOVING for end in figures.DIFFUSION.values()]
    runs = {key: [ran(2.0, 1000, [1.0, 1.5])] for key in [*moving, "snip/lenet-5-caffe/0.02"]}
    figures.draw(ROWS, runs, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"diffusion.png", "bytes.png"}
    assert set(moving) <= {row.key for row in ROWS}


def test_error_against_bits_is_drawn_once_all_of_it_has_run(tmp_path):
    runs = {row.key: [ran(2.0, 1000, [])] for row in bits.ROWS}
    figures.draw(ROWS, runs, tmp_path)
    assert (tmp_path / "bits.png").exists()
    (tmp_path / "bits.png").unlink()
    figures.draw(ROWS, {name: run for name, run in runs.items() if name != bits.key("lsq", 3, True)}, tmp_path)
    assert not (tmp_path / "bits.png").exists()


def test_list_names_every_row(capsys):
    assert [row["row"] for row in answer(capsys, "--list")["rows"]] == [row.key for row in ROWS]


def test_a_row_whose_method_is_missing_leaves_the_others_alone(capsys, monkeypatch):
    monkeypatch.setitem(BY_KEY["random/lenet-300-100/0.02"].recipe.method, "name", "not-yet")
    printed = answer(capsys, "random/lenet-300-100/0.02", "random/lenet-300-100/0.01", "--quick", "--quiet")
    assert list(printed["summary"]) == ["random/lenet-300-100/0.01"]
    assert main(["reproduce", "random/lenet-300-100/0.02", "--quick", "--quiet"]) == 1
    assert "not-yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "remedy"),
    [
        (["dropbock"], "--list"),
        (["--seeds", "0"], "--seeds 0"),
        (["--quick", "--record"], "leave out --quick"),
        (["dropback/vgg-s", "--quiet"], "days on a CPU"),
    ],
)
def test_wrong_input_gets_one_line_with_the_remedy(argv, remedy, capsys):
    assert main(["reproduce", *argv]) == 1
    printed = capsys.readouterr()
    assert remedy in printed.err
    assert printed.err.count("\n") == 1
