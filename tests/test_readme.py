"""The README's example is run, and its map names files that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(code.splitlines()) <= 32
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    size = int(re.search(r"([\d,]+) bytes on disk", printed)[1].replace(",", ""))
    assert size == (tmp_path / "digits.msp").stat().st_size
    assert float(re.search(r"test error ([\d.]+) %", printed)[1]) < 12


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(((?!https:)[^)]+)\)", README))))
def test_links_lead_somewhere(target):
    assert (ROOT / target).exists()
