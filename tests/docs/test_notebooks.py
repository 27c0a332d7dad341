"""The notebooks: what is committed is what they do, and each course notebook has one form.

Texts are compared exactly, after `notebooks.execute.text_outputs` (pictures, memory addresses and widgets are
left out). That is stable because notebooks print few digits, and of networks that are trained live only what holds
on every machine and for every supported version of Python: numbers of a network's training differ in the last
digits between versions of torch, and after hundreds of steps in all of them. Committed tables, exact counts and
closed forms may be printed.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from dashtheory._version import __version__
from notebooks.execute import FOLDED, SOLUTION, STAMP, WIDGET, clean, execute, main, read, text_outputs, write

LAB = "http://localhost:8888/lab/tree/notebooks/"
FOLDER = Path(__file__).parents[2] / "notebooks"
ALL = sorted(FOLDER.glob("*.ipynb"))
COURSE = [path for path in ALL if re.match(r"\d\d_", path.name)]
each_notebook = pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
each_lesson = pytest.mark.parametrize("path", COURSE, ids=lambda path: path.stem)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook: NotebookNode) -> str:
    """All text cells, without the code in them."""
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def everything(notebook: NotebookNode) -> Iterator[str]:
    """Every source and every text output."""
    for cell in notebook.cells:
        yield cell.source
    for texts in text_outputs(notebook).values():
        yield from texts


# ----------------------------------------------------------------------------------------------- what was executed


@each_notebook
def test_texts_are_what_the_package_prints_now(path: Path) -> None:
    committed = read(path)
    fresh = execute(committed, FOLDER)
    assert text_outputs(fresh) == text_outputs(committed)
    for cell, again in zip(code_cells(committed), code_cells(fresh), strict=True):
        kinds = [[sorted(one.get("data", {})) for one in cells.outputs] for cells in (cell, again)]
        assert kinds[0] == kinds[1], cell.id


@each_notebook
def test_every_cell_was_executed_in_order_without_error_or_warning(path: Path) -> None:
    cells = code_cells(read(path))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert all(one.output_type != "error" and one.get("name") != "stderr" for one in cell.outputs), cell.id


@each_notebook
def test_the_stamp_is_this_version(path: Path) -> None:
    assert read(path).metadata[STAMP] == __version__, "run make notebooks"


@each_notebook
def test_nothing_of_one_machine_or_run_is_kept(path: Path) -> None:
    notebook = read(path)
    assert set(notebook.metadata) == {"kernelspec", "language_info", STAMP}
    assert notebook.metadata.kernelspec.name == "python3"
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    for cell in notebook.cells:
        folded = cell.metadata.get("jupyter", {})
        assert set(cell.metadata) <= {"tags", "jupyter"}, cell.id
        assert folded == (FOLDED if SOLUTION in cell.metadata.get("tags", []) else {}), cell.id
        assert not any(WIDGET in one.get("data", {}) for one in cell.get("outputs", []))
    for text in everything(notebook):
        assert not re.search(r"(?<![\w.])/(home|tmp|work|usr|root|opt|var|mnt|Users)/", text), text[:200]
        assert "Traceback" not in text
    assert path.stat().st_size < 3_000_000


# -------------------------------------------------------------------------------------------- the form of a lesson


@each_lesson
def test_title_and_claims(path: Path) -> None:
    notebook = read(path)
    number = int(path.name[:2])
    opening, rest = notebook.cells[0].source, "\n".join(cell.source for cell in notebook.cells[1:])
    assert opening.startswith(f"# {number}. ")
    assert "minutes of reading" in opening
    promised = opening.partition("## What you will see\n")[2]
    claims = [int(found) for found in re.findall(r"(?m)^(\d+)\. ", promised)]
    assert claims == list(range(1, len(claims) + 1))
    assert len(claims) >= 3
    kept = {int(found) for found in re.findall(r"\*[Cc]laim (\d+)\b", rest)}
    assert kept == set(claims)


@each_lesson
def test_exercises_have_folded_solutions_and_the_reader_is_sent_on(path: Path) -> None:
    texts = [cell.source for cell in read(path).cells if cell.cell_type == "markdown"]
    ending = "\n\n".join(texts).partition("## Exercises\n")[2]
    exercises = re.findall(r"(?m)^\*\*(\d+)\.\*\*", ending)
    assert exercises == [str(number) for number in range(1, len(exercises) + 1)]
    assert len(exercises) >= 3
    solutions = re.findall(
        r"(?m)^<details>\n<summary>Solution</summary>\n\n(?=\S).*?\S\n\n</details>$", ending, flags=re.DOTALL
    )
    assert len(solutions) == len(exercises) == ending.count("<details>") == ending.count("</details>")
    last = ending.rpartition("</details>")[2]
    assert re.match(r"\s*## Where to go next\n\n.*\]\(\S+\)", last, flags=re.DOTALL), last


@each_lesson
def test_solutions_with_code_are_cells_that_run_behind_the_exercise_and_are_folded(path: Path) -> None:
    cells = read(path).cells
    begin = next(place for place, cell in enumerate(cells) if "## Exercises" in cell.source)
    solutions = [place for place, cell in enumerate(cells) if SOLUTION in cell.metadata.get("tags", [])]
    assert solutions == [place for place in range(begin, len(cells)) if cells[place].cell_type == "code"]
    assert len(solutions) >= 2
    for place in solutions:
        before = next(cell.source for cell in reversed(cells[:place]) if cell.cell_type == "markdown")
        assert before.endswith("</details>"), cells[place].id
        assert cells[place].outputs, cells[place].id


@each_lesson
def test_a_lesson_begins_with_a_link_that_opens_it_in_jupyterlab(path: Path) -> None:
    title, _, link, *_ = read(path).cells[0].source.split("\n")
    assert title.startswith("# ")
    assert link.startswith(f"[Open it in JupyterLab]({LAB}{path.name})")


def test_make_lab_serves_what_the_links_name() -> None:
    command = ["make", "--no-print-directory", "-n", "lab"]
    done = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=True)
    words = done.stdout.strip().splitlines()[-1].split()
    assert "--ServerApp.root_dir=." in words, "links in the notebooks reach docs and figures, and LAB is below it"
    (start,) = (word.partition("=")[2] for word in words if word.startswith("--LabApp.default_url="))
    assert start.startswith(LAB.partition("8888")[2])
    assert (FOLDER / start.rpartition("/")[2]).exists()


@each_notebook
def test_logic_lives_in_the_package(path: Path) -> None:
    for cell in code_cells(read(path)):
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.ClassDef | ast.While | ast.Try | ast.Global), cell.id
            if isinstance(node, ast.FunctionDef):
                assert len(node.body) <= 2, (cell.id, node.name)
        assert len(cell.source.splitlines()) <= 40, cell.id


@each_notebook
def test_every_picture_has_a_text_alternative(path: Path) -> None:
    notebook = read(path)
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    for cell in code_cells(notebook):
        for one in cell.outputs:
            data = one.get("data", {})
            texts.append(data.get("text/html", ""))
            for kind in data:
                if kind.startswith("image/"):
                    assert len(one.metadata.get(kind, {}).get("alt", "")) > 40, cell.id
    for text in texts:
        for tag in re.findall(r"<img\b[^>]*>", text):
            assert re.search(r'\balt="[^"]{40,}"', tag), tag[:80]
        assert all(len(alt) > 40 for alt in re.findall(r"!\[([^\]]*)\]\(", text)), "alt text"


@each_lesson
def test_after_each_figure_words_say_what_it_shows(path: Path) -> None:
    cells = read(path).cells
    for place, cell in enumerate(cells):
        if any("image/png" in one.get("data", {}) for one in cell.get("outputs", [])):
            follows = next(later.source for later in cells[place:] if later.cell_type == "markdown")
            assert "**In words.**" in follows, cell.id


@each_notebook
def test_links_and_files_exist(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", prose(read(path))):
        if not target.startswith(("https://", LAB)):
            assert (FOLDER / target).exists(), target


def cells(*sources: str) -> NotebookNode:
    """A notebook with code cells a, b, ..."""
    notebook: NotebookNode = new_notebook()  # type: ignore[no-untyped-call]
    for name, source in zip("abcdef", sources, strict=False):
        notebook.cells.append(new_code_cell(source, id=name))  # type: ignore[no-untyped-call]
    return notebook


def test_cells_run_in_this_python_in_the_folder_with_one_thread(tmp_path: Path) -> None:
    before = dict(os.environ)
    source = (
        "import os, sys; print(sys.executable == {!r}, os.path.samefile('.', {!r}), os.environ['OMP_NUM_THREADS'])"
    )
    given = cells(source.format(sys.executable, str(tmp_path)), "print('a'); print('b', file=sys.stderr)")
    done = execute(given, tmp_path)
    assert text_outputs(done) == {"a": ["stdout: True True 1\n"], "b": ["stdout: a\n", "stderr: b\n"]}
    assert done.metadata == clean(done).metadata
    assert done.metadata[STAMP] == __version__
    assert "outputs" not in given.cells[0] or not given.cells[0].outputs, "the given notebook is as it was"
    assert os.environ == before
    assert not list(tmp_path.iterdir())


def test_a_cell_that_fails_stops_the_execution(tmp_path: Path) -> None:
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        execute(cells("1 / 0"), tmp_path)


def test_what_changes_from_run_to_run_is_left_out() -> None:
    notebook = cells("x")
    notebook.metadata["widgets"] = {"state": {}}
    cell = notebook.cells[0]
    cell.metadata["execution"] = {"iopub.execute_input": "12:00"}
    parts = [{"output_type": "stream", "name": "stdout", "text": text} for text in ("a", "b")]
    cell["metadata"]["tags"] = [SOLUTION]
    widget = {
        "output_type": "display_data",
        "metadata": {},
        "data": {WIDGET: {"model_id": "1"}, "text/plain": "w"},
    }
    html = '<img src="data:image/png;base64,AAAA+/=" alt="x, 3.5% of 7" width="9">'
    shown = {"text/html": html, "text/plain": "<Figure at 0x7f0011223344>"}
    picture = {"output_type": "display_data", "metadata": {}, "data": {"image/png": "AA", "text/plain": "<Image>"}}
    result = {"output_type": "display_data", "metadata": {}, "data": shown}
    cell["outputs"] = [NotebookNode(one) for one in (*parts, widget, result, picture)]  # type: ignore[no-untyped-call]
    cleaned = clean(notebook)
    assert set(cleaned.metadata) == {"kernelspec", "language_info", STAMP}
    assert cleaned.cells[0].metadata == {"tags": [SOLUTION], "jupyter": FOLDED}
    assert len(cleaned.cells[0].outputs) == 3
    assert text_outputs(cleaned)["a"] == [
        "stdout: ab",
        "text/plain: <Figure at 0x>",
        'text/html: <img alt="x, #% of #">',
    ]
    assert "widgets" in notebook.metadata, "the given notebook is as it was"


def test_the_command_writes_in_place_and_a_second_time_nothing_new(tmp_path: Path) -> None:
    path = tmp_path / "n.ipynb"
    write(path, cells("print(1)"))
    assert main([str(path)]) == 0
    once = path.read_bytes()
    assert text_outputs(read(path)) == {"a": ["stdout: 1\n"]}
    assert main([str(path)]) == 0
    assert path.read_bytes() == once
    assert main([]) == 2


def test_the_list_names_every_notebook() -> None:
    listed = (FOLDER / "README.md").read_text()
    assert len(COURSE) == 6
    for path in ALL:
        assert path.name in listed, path.name
