"""The command line as its users meet it: the whole road, kills and resumes, and wrong input."""

import json
import random
import subprocess
import sys
import time

import numpy as np
import pytest

from minisparse.checkpoint import RunFolder
from minisparse.cli import COMMANDS, main
from minisparse.compressed import CompressedModel, compress

TRAIN = ["train", "--model", "mnist-100-100", "--data", "digits", "--batch", "50", "--quiet"]
DROPBACK = [*TRAIN, "--method", "dropback", "--budget", "1200", "--seed", "3"]


def answer(capsys, *argv) -> dict:
    """What a command prints with --json."""
    assert main([*map(str, argv), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def complaint(capsys, *argv) -> str:
    """The one line on stderr of a command that fails."""
    assert main([*map(str, argv)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1, printed.err
    return printed.err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "RUN"
    assert main([*DROPBACK, "--epochs", "4", "--out", str(folder)]) == 0
    return folder


def test_the_file_answers_as_the_run_and_its_ledger_sums_to_its_size(trained, tmp_path, capsys):
    capsys.readouterr()
    path = tmp_path / "model.msp"
    row = answer(capsys, "compress", trained, "-o", path)["rows"][0]
    by_run = answer(capsys, "evaluate", trained, "--data", "digits")["summary"]["test_error"]
    by_file = answer(capsys, "evaluate", path, "--data", "digits")["summary"]["test_error"]
    result = json.loads((trained / "result.json").read_text())
    assert by_run == by_file == result["summary"]["test_error"]
    ledger = answer(capsys, "inspect", path)
    assert ledger["command"] == "inspect"
    assert sum(row["bytes"] for row in ledger["rows"]) == path.stat().st_size == ledger["summary"]["file_bytes"]
    assert ledger["summary"]["kept"] == 1200 == row["kept"]
    bill = answer(capsys, "cost", path)["summary"]
    dense = answer(capsys, "cost", "mnist-100-100", "--input", "1x8x8")["summary"]
    assert bill["dram_bytes"] < 0.2 * dense["dram_bytes"]


def test_every_value_off_the_mask_is_its_regenerated_start_value(trained):
    model = RunFolder(trained).model()
    assert model.kept == 1200
    for p in model.parameters.values():
        assert p.value()[~p.mask].tobytes() == p.init.range(0, p.size).reshape(p.shape)[~p.mask].tobytes()


@pytest.mark.parametrize("kills", [3, pytest.param(200, marks=pytest.mark.deep)])
def test_a_run_killed_at_random_moments_ends_bit_for_bit_as_one_that_was_not(tmp_path, kills):
    command = [sys.executable, "-m", "minisparse", *DROPBACK, "--epochs", str(6 * kills)]
    subprocess.run([*command, "--out", tmp_path / "whole"], check=True, stdout=subprocess.DEVNULL)
    stopped, rng = tmp_path / "stopped", random.Random(kills)
    for _ in range(kills):
        process = subprocess.Popen([*command, "--out", stopped, "--resume"], stdout=subprocess.DEVNULL)
        time.sleep(0.3 + rng.random())
        process.kill()
        process.wait()
    subprocess.run([*command, "--out", stopped, "--resume"], check=True, stdout=subprocess.DEVNULL)
    for name in ("checkpoint.msp", "log.csv", "log.json", "config.json"):
        assert (stopped / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert sorted(p.name for p in stopped.iterdir()) == sorted(p.name for p in (tmp_path / "whole").iterdir())


def test_resume_takes_its_settings_from_the_run(tmp_path, capsys):
    out = tmp_path / "RUN"
    assert main([*DROPBACK, "--epochs", "2", "--out", str(out)]) == 0
    capsys.readouterr()
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.name != "result.json"}
    assert answer(capsys, "train", "--resume", out, "--quiet")["summary"]["kept"] == 1200
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.name != "result.json"} == before


def test_wrong_input_gets_one_line_with_the_remedy_and_changes_nothing(trained, tmp_path, capsys):
    capsys.readouterr()
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    out = tmp_path / "new"
    cases = {
        (*TRAIN, "--method", "dropback", "--budget", "99999", "--out", out): "budget=99,999 must lie between",
        (*TRAIN, "--model", "lenet-300-10", "--out", out): "lenet-300-100",
        (*TRAIN, "--model", "lenet-5-caffe", "--out", out): "lenet-5-caffe",
        (*TRAIN, "--data", tmp_path / "absent.npz", "--out", out): "absent.npz",
        (*TRAIN, "--data", "minst", "--out", out): "mnist",
        (*TRAIN, "--method", "magnitude", "--budget", "500", "--freeze", "0.5", "--out", out): "freeze is no setting",
        (*TRAIN, "--method", "dropback", "--out", out): "budget=None, density=None",
        (*TRAIN, "--batch", "100000", "--out", out): "100000",
        (*TRAIN, "--lr", "1e30", "--momentum", "0", "--out", tmp_path / "diverged"): "lower lr=1e+30",
        (*DROPBACK, "--out", trained): "--resume",
        ("train", "--resume", tmp_path): "checkpoint.msp",
        ("evaluate", tmp_path / "absent.msp"): "does not exist",
        ("evaluate", trained, "--data", "digits", "--folder", tmp_path / "absent"): "absent",
        ("inspect", trained / "log.csv"): "log.csv",
        ("compress", tmp_path, "-o", tmp_path / "m.msp"): "checkpoint.msp",
        ("compress", trained, "-o", tmp_path / "absent" / "m.msp"): "there is no folder",
        ("compress", trained, "-o", tmp_path): "name a file",
        ("cost", "lenet-300"): "lenet-300-100",
        ("data", "minst"): "mnist",
    }
    for argv, remedy in cases.items():
        assert remedy in complaint(capsys, *argv), argv
    assert not out.exists()
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before


def test_a_damaged_file_is_refused_by_every_command(trained, tmp_path, capsys):
    path = tmp_path / "model.msp"
    main(["compress", str(trained), "-o", str(path)])
    content = bytearray(path.read_bytes())
    content[-100] ^= 4
    path.write_bytes(content)
    capsys.readouterr()
    for command in ("evaluate", "inspect", "cost"):
        assert "model.msp" in complaint(capsys, command, path)


def test_demo_ends_with_its_table_its_files_and_its_figure(tmp_path, capsys):
    printed = answer(capsys, "demo", "--out", tmp_path, "--epochs", "2", "--seeds", "1", "--quiet")
    required = {"method", "test_error", "kept", "density", "file_bytes", "ratio", "dram_bytes", "energy_uj", "seconds"}
    assert [row["method"] for row in printed["rows"]] == ["dense", "magnitude", "dropback"]
    assert all(set(row) == required | {"spread"} for row in printed["rows"])
    for row in printed["rows"]:
        path = tmp_path / f"{row['method']}-0.msp"
        assert path.stat().st_size == row["file_bytes"]
        assert CompressedModel.load(path).model().kept == row["kept"]
    assert (tmp_path / "error-against-bytes.png").read_bytes().startswith(b"\x89PNG")


def test_a_wrong_flag_gets_one_line(capsys):
    for argv in (["train", "--epochs", "x"], ["trian"], ["train", "--method", "dropbock"]):
        with pytest.raises(SystemExit) as stop:
            main(argv)
        assert stop.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert main([]) == 2
    assert "minisparse demo" in capsys.readouterr().err


def test_cost_of_a_run_counts_what_its_sparse_stores_would_hold(trained, capsys):
    capsys.readouterr()
    bill = answer(capsys, "cost", trained)
    assert bill["summary"]["kept"] == 1200
    assert bill["rows"][-1]["dram_bytes"] == bill["summary"]["dram_bytes"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_a_command_does(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert COMMANDS[command].__doc__.strip().splitlines()[0] in capsys.readouterr().out


def test_tables_are_printed_for_people_by_default(trained, capsys):
    capsys.readouterr()
    assert main(["evaluate", str(trained), "--data", "digits"]) == 0
    out = capsys.readouterr().out
    assert "test_error" in out
    assert not out.lstrip().startswith("{")
    assert np.isfinite(float(out.split("test_error:")[1].split()[0]))


def test_verify_takes_what_was_written_and_refuses_what_was_touched(trained, tmp_path, capsys):
    path = tmp_path / "model.msp"
    assert main(["compress", str(trained), "-o", str(path)]) == 0
    capsys.readouterr()
    rows = answer(capsys, "verify", path, trained)["rows"]
    assert [row["file_bytes"] for row in rows] == [p.stat().st_size for p in (path, trained / "checkpoint.msp")]
    assert f"more than max_values={1000}" in complaint(capsys, "verify", path, "--max-values", "1000")
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    assert "section 'parameters' at byte" in complaint(capsys, "verify", path)
    assert "No such file" in complaint(capsys, "verify", tmp_path / "nothing.msp")
    # whole, but not what compress gives
    compress(RunFolder(trained).model(), ["gaps", "raw"]).save(path)
    assert "not the one encoding of its model" in complaint(capsys, "verify", path)


def test_inspect_says_why_and_what_others_make_of_it(trained, tmp_path, capsys):
    path = tmp_path / "model.msp"
    assert main(["compress", str(trained), "-o", str(path)]) == 0
    capsys.readouterr()
    report = answer(capsys, "inspect", path)
    summary, rows = report["summary"], report["rows"]
    assert summary["file_bytes"] < summary["xz_bytes"] < summary["npz_bytes"]
    assert summary["floor_bytes"] == pytest.approx(sum(row["floor_bytes"] or 0 for row in rows))
    why = answer(capsys, "inspect", path, "--why", "--no-others")
    assert sum(row["bytes"] for row in why["rows"] if row["taken"]) == sum(row["bytes"] for row in rows[1:-1])
    assert "xz_bytes" not in why["summary"]
    stages = answer(capsys, "inspect", path, "--stages", "--no-others")["rows"]
    assert stages[-1]["name"] == "(all)" and stages[-1]["kept"] == summary["kept"]


def test_weights_go_out_as_safetensors_and_come_back(trained, tmp_path, capsys):
    pytest.importorskip("safetensors")
    weights, path, again = tmp_path / "w.safetensors", tmp_path / "a.msp", tmp_path / "b.msp"
    assert answer(capsys, "export", trained, "-o", weights)["summary"]["file_bytes"] == weights.stat().st_size
    answer(capsys, "import", weights, "-o", path)
    answer(capsys, "import", weights, "--like", trained, "-o", again)
    assert path.read_bytes() == again.read_bytes()
    ours, theirs = RunFolder(trained).model().parameters, CompressedModel.load(path).model().parameters
    assert all(p.value().tobytes() == theirs[name].value().tobytes() for name, p in ours.items())
    weights.write_bytes(b"nothing")
    assert "cannot be read as safetensors" in complaint(capsys, "import", weights, "-o", path)
