"""The loop: it learns, stops, resumes and complains as it should."""

import json
import signal
import threading
from dataclasses import replace

import numpy as np
import pytest

from minisparse import fileformat, schedules
from minisparse.checkpoint import RunFolder
from minisparse.methods import DropBack, Method
from minisparse.run import Run, TrainSettings
from minisparse.testing.methods import SETTINGS, small_data, small_model
from minisparse.train import end_epoch, evaluate, fit, train_step


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_training_lowers_the_loss_and_the_log_says_so():
    run = fit(small_model(), small_data(), settings=replace(SETTINGS, epochs=20))
    assert run.rows[-1]["train_loss"] < 0.5 * run.rows[0]["train_loss"]
    assert [row["epoch"] for row in run.rows] == list(range(1, 21))
    assert evaluate(run.model, run.data.validation).error == run.rows[-1]["validation_error"]


def test_equal_seeds_give_equal_runs_and_others_do_not():
    def weights(seed):
        settings = replace(SETTINGS, seed=seed)
        return fit(small_model(seed), small_data(), settings=settings).model.parameters["fc1.weight"].value().tobytes()

    assert weights(1) == weights(1)
    assert weights(1) != weights(2)


@pytest.mark.parametrize("method", [Method(), DropBack(budget=60, freeze=0.6)])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_run_stopped_after_any_step_ends_bit_for_bit_as_one_that_was_not(tmp_path, method, optimizer):
    settings = replace(SETTINGS, optimizer=optimizer)
    fit(small_model(), small_data(), method, settings, tmp_path / "whole")
    interrupted = tmp_path / "stopped"
    for steps in (1, 5, 4):
        run = Run(small_model(), small_data(), method, settings)
        folder = RunFolder(interrupted)
        if not folder.restore(run):
            method.start(run)
        for _ in range(steps):
            train_step(run)
            if run.step % len(run.batches) == 0:
                end_epoch(run)
        folder.save(run)
    fit(small_model(), small_data(), method, settings, interrupted, resume=True)
    ours, theirs = files(interrupted), files(tmp_path / "whole")
    assert ours["checkpoint.msp"] == theirs["checkpoint.msp"]
    assert ours["log.csv"] == theirs["log.csv"]


def test_a_finished_run_resumes_to_itself(tmp_path):
    fit(small_model(), small_data(), settings=SETTINGS, out=tmp_path)
    before = files(tmp_path)
    fit(small_model(), small_data(), settings=SETTINGS, out=tmp_path, resume=True)
    assert files(tmp_path) == before


def test_ctrl_c_saves_after_a_whole_step_and_the_run_goes_on(tmp_path):
    settings = replace(SETTINGS, epochs=80)
    fit(small_model(), small_data(), settings=settings, out=tmp_path / "whole")
    threading.Timer(0.1, signal.raise_signal, (signal.SIGINT,)).start()
    with pytest.raises(KeyboardInterrupt):
        fit(small_model(), small_data(), settings=settings, out=tmp_path / "stopped")
    done = RunFolder(tmp_path / "stopped").header()["step"]
    assert 0 < done < 80 * 4
    fit(small_model(), small_data(), settings=settings, out=tmp_path / "stopped", resume=True)
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


def test_resuming_with_other_settings_is_refused_and_changes_nothing(tmp_path):
    fit(small_model(), small_data(), settings=SETTINGS, out=tmp_path)
    before = files(tmp_path)
    with pytest.raises(ValueError, match="another settings"):
        fit(small_model(), small_data(), settings=replace(SETTINGS, lr=0.05), out=tmp_path, resume=True)
    with pytest.raises(ValueError, match="another method"):
        fit(small_model(), small_data(), DropBack(budget=20), SETTINGS, out=tmp_path, resume=True)
    assert files(tmp_path) == before


def test_a_damaged_checkpoint_is_refused(tmp_path):
    fit(small_model(), small_data(), settings=SETTINGS, out=tmp_path)
    path = tmp_path / "checkpoint.msp"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint\.msp"):
        fit(small_model(), small_data(), settings=SETTINGS, out=tmp_path, resume=True)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(tmp_path):
    fit(small_model(), small_data(), settings=replace(SETTINGS, epochs=1), out=tmp_path)
    before = files(tmp_path)
    run = Run(small_model(), small_data(), Method(), SETTINGS)
    run.model.parameters["fc2.bias"].store.values[0] = np.nan
    with pytest.raises(FloatingPointError, match=r"loss is nan at epoch 1, step 1: lower lr"):
        train_step(run)
    assert files(tmp_path) == before


def test_log_files_agree_with_each_other(tmp_path):
    run = fit(small_model(), small_data(), settings=SETTINGS, out=tmp_path)
    rows = json.loads((tmp_path / "log.json").read_text())
    assert rows == run.rows
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines[0].split(",") == list(rows[0])
    assert [float(line.split(",")[3]) for line in lines[1:]] == [row["train_loss"] for row in rows]


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 0), ("batch", 0), ("lr", 0.0), ("lr", float("nan")), ("schedule", "x"), ("optimizer", "x"),
     ("warmup", 1.0), ("smoothing", -0.1), ("seed", -1)],
)  # fmt: skip
def test_training_settings_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=name):
        TrainSettings(**{name: value})


def test_schedules_start_at_one_and_end_where_they_say():
    ends = {"constant": 1.0, "cosine": 0.0, "cubic": 0.0, "step": 0.01}
    for name, end in ends.items():
        schedule = schedules.SCHEDULES[name]
        assert schedule(0.0) == 1.0
        assert schedule(1.0) == pytest.approx(end, abs=1e-12)
        points = [schedule(u) for u in np.linspace(0, 1, 50)]
        assert points == sorted(points, reverse=True)
    warmed = schedules.warm_up(schedules.cosine, 0.2)
    assert [warmed(0.0), warmed(0.1), warmed(0.2), warmed(1.0)] == pytest.approx([0.0, 0.5, 1.0, 0.0])


def test_a_checkpoint_that_describes_no_run_is_refused(tmp_path):
    fit(small_model(), small_data(), settings=SETTINGS, out=tmp_path)
    path = tmp_path / "checkpoint.msp"
    header, sections = fileformat.read(path, "checkpoint")
    for member in header:
        fileformat.write(path, "checkpoint", {k: v for k, v in header.items() if k != member}, sections)
        with pytest.raises(ValueError, match=member):
            RunFolder(tmp_path).model()
    header["parameters"] = {"fc1.weight": header["parameters"]["fc1.weight"]}
    fileformat.write(path, "checkpoint", header, sections)
    with pytest.raises(ValueError, match=r"does not fit the model small: .*fc1\.bias"):
        RunFolder(tmp_path).model()
