"""`minisparse data`."""

import argparse

import pytest

from minisparse.cli import data as command
from minisparse.data import DATASETS, files
from tests.test_data_files import CONTENTS, TOY, write


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "roots", lambda folder=None: [folder or tmp_path / "cache"])
    monkeypatch.setattr(files, "cache", lambda: tmp_path / "cache")
    monkeypatch.setitem(DATASETS, "toy", TOY)

    def run(*arguments):
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        args = parser.parse_args([str(argument) for argument in arguments])
        args.folder = args.folder and tmp_path / args.folder
        return command.run(args)

    return run


def test_all_data_sets_are_listed_and_only_the_bundled_one_needs_no_files(run):
    report = run()
    assert [row["name"] for row in report.rows] == list(DATASETS)
    found = {row["name"]: (row["found"], row["checked"]) for row in report.rows}
    assert found.pop("digits") == ("bundled", "hash ok")
    assert set(found.values()) == {("not found", "")}
    assert report.summary == {"found": 1, "datasets": len(DATASETS)}
    assert "minisparse data mnist" in report.notes[0]


def test_a_row_gives_counts_shape_place_and_check(run, tmp_path):
    write(tmp_path / "here" / "toy")
    report = run("toy", "--folder", "here")
    assert report.rows == [
        {
            "name": "toy", "train": 16, "validation": 4, "test": 5, "shape": "1x2x3", "classes": 4,
            "found": str(tmp_path / "here" / "toy"), "checked": "hash ok",
        }
    ]
    assert report.notes == []


def test_a_damaged_file_fails_the_command(run, tmp_path):
    write(tmp_path / "here" / "toy", CONTENTS | {"test-labels.gz": CONTENTS["train-labels.gz"]})
    with pytest.raises(ValueError, match=r"test-labels\.gz has sha256"):
        run("toy", "--folder", "here")


def test_only_download_downloads(run, monkeypatch):
    asked = []
    monkeypatch.setattr(files, "_fetch", lambda source, file, target: asked.append((file.name, write(target))))
    run("toy", "digits")
    assert asked == []
    report = run("toy", "--download")
    assert [name for name, _ in asked] == [file.name for file in TOY.files][: len(asked)] and asked
    assert report.rows[0]["checked"] == "hash ok"


def test_an_unknown_name_is_refused(run):
    with pytest.raises(ValueError, match="unknown"):
        run("toys")
