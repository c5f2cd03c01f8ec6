"""The chapters in notebooks/: both files of each agree, and the book is whole. `make notebooks` runs them."""

import re
from html.parser import HTMLParser

import pytest

pytest.importorskip("jupytext", reason="pip install minisparse[notebooks]")
pytest.importorskip("nbclient")

from notebooks.tools import book, chapters, run

SOURCES = chapters.sources()
each = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)


@each
def test_both_files_of_a_chapter_agree(source):
    notebook = chapters.rendered(source)
    assert notebook is not None, "`make notebooks` writes it"
    assert chapters.content(notebook) == chapters.content(chapters.read(source)), "`make notebooks` renews it"


@each
def test_a_committed_chapter_is_small_and_holds_no_times_or_errors(source):
    assert source.with_suffix(".ipynb").stat().st_size < chapters.LIMIT_BYTES
    notebook = chapters.rendered(source)
    assert set(notebook.metadata) == set(chapters.METADATA)
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}
        for output in cell.get("outputs", []):
            assert output.output_type != "error" and output.get("name") != "stderr"
            assert "{epochs}" not in chapters.text_of([output]), "a reason that lesson.papers did not fill in"


@each
def test_a_chapter_has_its_parts(source):
    notebook = chapters.read(source)
    text = "\n".join(cell.source for cell in notebook.cells)
    assert re.match(r"# \d\d · ", notebook.cells[0].source)
    assert notebook.cells[0].source.split("\n\n")[1].endswith("?"), "it opens with its question"
    for heading in ("## What surprised us", "## Exercises", "## Break it on purpose"):
        assert heading in text, heading
    assert "lesson.claim(" in text, "numbers in the prose are held to bands"
    assert "lesson.figure(" in text and "lesson.show(" in text
    assert sum(chapters.tagged(cell, "headline") for cell in notebook.cells) == 1
    checks = [i for i, cell in enumerate(notebook.cells) if chapters.tagged(cell, "check")]
    assert len(checks) >= 3
    for i in checks:
        assert chapters.tagged(notebook.cells[i - 1], "exercise")
        assert chapters.solution(notebook.cells[i + 1])
        assert notebook.cells[i + 1].source.startswith("<details><summary>Solution</summary>")


@each
def test_the_committed_checks_were_run_unsolved(source):
    checks = [cell for cell in chapters.rendered(source).cells if chapters.tagged(cell, "check")]
    assert all("not yet." in chapters.text_of(cell.outputs) for cell in checks)


CHAPTER = """# %% [markdown]
# # 99 · A chapter

# %%
{first}
{exercises}"""
EXERCISE = """
# %% tags=["exercise"]
answer = {answer}

# %% tags=["check"]
from minisparse import lesson

@lesson.exercise("9")
def check():
    assert answer == 4

# %% [markdown] tags=["solution"]
# ```python
# answer = {solution}
# ```
"""


def write(tmp_path, first="1 + 1", answer="...", solution="4"):
    source = tmp_path / "99_test.py"
    source.write_text(CHAPTER.format(first=first, exercises=3 * EXERCISE.format(answer=answer, solution=solution)))
    return source


def test_a_chapter_runs_with_its_exercises_unsolved(tmp_path):
    notebook, seconds = run.run(write(tmp_path))
    assert chapters.content(notebook) == chapters.content(chapters.read(tmp_path / "99_test.py"))
    assert 0 < seconds < run.LIMIT_SECONDS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "4"}, "expected 'not yet.'"),
        ({"solution": "5"}, "expected 'solved.'"),
        ({"first": "import warnings; warnings.warn('old')"}, "UserWarning: old"),
        ({"first": "import sys; print('x', file=sys.stderr)"}, "wrote to stderr"),
        ({"first": "import socket; socket.create_connection(('127.0.0.1', 9))"}, "offline"),
        ({"first": "from minisparse import lesson; lesson.claim('it', 3, 1, 2)"}, r"it: 3 is outside \[1, 2\]"),
    ],
    ids=["solved already", "wrong solution", "warning", "stderr", "network", "claim"],
)
def test_what_is_wrong_with_a_chapter_is_found(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        run.run(write(tmp_path, **change))


@pytest.mark.parametrize("check", [True, False])
def test_a_chapter_that_takes_too_long_is_not_written_and_a_check_says_so(tmp_path, monkeypatch, check):
    monkeypatch.setattr(run, "LIMIT_SECONDS", 0)
    line, fine = run._one(write(tmp_path), check, timings=False)
    assert "more than 0 s of processor time" in line and fine == check
    assert not (tmp_path / "99_test.ipynb").exists()


class Reader(HTMLParser):
    """What a page loads and links to, its images without alternative text, and whether TeX is left in it."""

    def __init__(self, text):
        super().__init__()
        self.found, self.bare, self.formulas = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        place = attributes.get("src") or attributes.get("href", "")
        if tag in ("img", "link") or (tag == "a" and not place.startswith("https:")):
            self.found.append(place)
        if tag == "img" and len(attributes.get("alt", "")) < 30:
            self.bare.append(attributes["src"])
        self.formulas += tag == "math"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    return book.build(tmp_path_factory.mktemp("book"))


def test_every_chapter_has_a_page_that_loads_nothing_from_elsewhere(pages):
    assert [page.stem for page in pages] == ["index", *(source.stem for source in SOURCES)]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        reader = Reader(text)
        assert all(place.startswith("data:") or (page.parent / place).is_file() for place in reader.found)
        assert not reader.bare and not re.search(r"<script|@import|url\((?!data:)|src=.http", text)
        assert page.stem == "index" or reader.formulas
        assert not re.search(r"<m[inot]\w*[^>]*>[^<]*\\", text), "TeX that the converter does not know"
        assert not re.search(r"\$[^$\n]*\\[a-z]+", re.sub(r"<pre>.*?</pre>|<code>.*?</code>", "", text, flags=re.S))


def test_the_index_has_a_picture_and_a_measured_line_for_each_chapter(pages):
    text = pages[0].read_text(encoding="utf-8")
    assert text.count('class="card"') == text.count("<img") == len(SOURCES)
    assert "" not in [line.strip() for line in re.findall(r"<p>(.*?)</p></div></a>", text, re.S)]
