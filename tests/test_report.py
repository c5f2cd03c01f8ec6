"""Reports: what a command found, for people and for programs."""

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisparse.report import Report

ROWS = [
    {"layer": "fc1.a_very_long_name_indeed_for_a_layer", "weights": 235_200, "density": 0.012345, "tracked": True},
    {"layer": "fc2", "weights": np.int64(1000), "density": None, "energy_uj": np.float32(2.5)},
]
REPORT = Report(ROWS, {"total": np.float64("nan"), "kept": 20_000}, ["Estimated, never measured."])


def test_numbers_are_aligned_right_with_thousands_and_four_digits():
    lines = REPORT.text(120).splitlines()
    end = lines[0].index("weights") + len("weights")
    assert lines[2][:end].endswith(" 235,200")
    assert lines[3][:end].endswith(" 1,000")
    assert "0.01235" in lines[2] and " - " in lines[3] and lines[2].endswith("-")
    assert lines[2].split()[3] == "yes"


def test_summary_and_notes_follow_the_table():
    _, summary, note = REPORT.text(120).split("\n\n")
    assert summary == "total: nan\nkept: 20,000" and note == REPORT.notes[0]


def test_a_report_without_rows_has_no_table():
    assert Report([], {"answer": 42}).text() == "answer: 42"
    assert Report([], {}).text() == "" and Report([], {}).markdown() == ""


names = st.text("abcdefgh.", min_size=1, max_size=60)
values = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats() | names
columns = st.sampled_from(["layer", "weights", "x", "energy_uj"])
rows = st.lists(st.dictionaries(columns, values, min_size=1), max_size=4)


@given(rows, st.integers(40, 120))
def test_no_line_is_wider_than_the_terminal(rows, width):
    report = Report(rows, {}, ["a note of several words " * 8])
    assert max(map(len, report.text(width).splitlines())) <= width


@given(rows, st.integers(40, 120))
def test_every_column_is_shown_whatever_the_width(rows, width):
    report = Report(rows, {})
    assert set(report.columns) <= set(report.text(width).split())


def test_long_text_is_shortened_in_its_middle_first():
    header, _, first, *_ = REPORT.text(60).splitlines()
    assert header.split() == REPORT.columns
    assert first.startswith("fc1.a_") and "_layer  " in first and "..." in first and "235,200" in first


def test_json_is_strict_and_of_pythons_own_types():
    def refuse(constant):
        raise AssertionError(constant)

    report = Report([*ROWS, {"shape": (3, np.int32(4)), "curve": np.array([1.5, np.inf])}], REPORT.summary)
    content = json.loads(report.json("cost"), parse_constant=refuse)
    assert list(content) == ["command", "rows", "summary"] and content["command"] == "cost"
    assert content["rows"][1] == {"layer": "fc2", "weights": 1000, "density": None, "energy_uj": 2.5}
    assert content["rows"][2] == {"shape": [3, 4], "curve": [1.5, None]}
    assert content["summary"] == {"total": None, "kept": 20_000}


@given(rows)
def test_csv_reads_back_unrounded(rows):
    report = Report(rows, {})
    back = list(csv.DictReader(io.StringIO(report.csv())))
    assert len(back) == len(rows)
    for row, read in zip(rows, back, strict=True):
        for column in report.columns:
            value = row.get(column)
            if isinstance(value, float) and np.isfinite(value):
                assert float(read[column]) == value
            elif isinstance(value, int | str):
                assert read[column] == str(value)
            else:
                assert read[column] == ""


def test_markdown_escapes_the_bar():
    lines = Report([{"a|b": 1, "c": "x|y"}], {"k": 2}).markdown().splitlines()
    assert lines == [r"| a\|b | c |", "| ---: | --- |", r"| 1 | x\|y |", "", "* k: 2"]


@pytest.mark.parametrize("text", ["\x1b[31mred", "two\nlines", "tab\there"])
def test_text_from_a_file_cannot_steer_the_terminal(text):
    shown = Report([{"name": text}], {"name": text}, [text]).text()
    assert all(c.isprintable() or c == "\n" for c in shown) and "\n\n" in shown
    assert len(shown.splitlines()) == 7


def test_text_of_several_lines_stands_on_one():
    assert Report([], {"error": "two\n\tlines"}).text() == "error: two lines"
