"""Pages that are made are what their tables, records and registries give, and the site has them all."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dashtheory import measure
from dashtheory.command.keep import apart
from dashtheory.command.script import call_of
from dashtheory.deep.data.find import _OFFICIAL
from dashtheory.deep.models import MODELS
from dashtheory.record.provenance import plain_config
from dashtheory.rules import RULES
from docs import make
from docs.made import beyond_tables, figures
from docs.made.blocks import fill
from docs.made.house import floor_of, house
from docs.made.pages import TABLES, answer, pages
from docs.made.reference import reference_pages, source
from tests.docs.results_cases import README, RESULTS, ROOT
from tests.test_house import GROUND, MAY_IMPORT

PARTS = ("Question", "Setting", "What it says", "What would fool it", "Command")
SECTIONS = RESULTS.split("\n## ")[1:]
MADE = list(pages(ROOT))


@pytest.mark.parametrize(("path", "text"), MADE, ids=[path.name for path, _ in MADE])
def test_what_is_committed_is_what_is_made(path: Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text, "say make pages"


def test_a_block_is_written_anew_and_nothing_else() -> None:
    page = "one\n<!-- made: word two -->\nold\n\nold\n<!-- end -->\nthree\n<!-- made: other -->\n<!-- end -->\n"
    filled = fill(page, {"word": str.upper, "other": lambda _: "x"})
    assert filled == (
        "one\n<!-- made: word two -->\nTWO\n\n<!-- end -->\nthree\n<!-- made: other -->\nx\n\n<!-- end -->\n"
    )
    assert fill(filled, {"word": str.upper, "other": lambda _: "x"}) == filled
    with pytest.raises(KeyError, match="word"):
        fill(page, {})


def test_every_figure_has_its_section_in_one_form() -> None:
    scripts = {path.stem for path in (ROOT / "simulations").glob("*.py")}
    places = [re.findall(r'<a id="(\w+)"></a>', section) for section in SECTIONS]
    assert {place for (place,) in places} == scripts | {
        "paper",
        "paper_batches",
        "paper_noise",
        "paper_vgg16",
        "paper_modern",
        "paper_cut",
    }
    for section, (place,) in zip(SECTIONS, places, strict=True):
        parts = [part for part in re.findall(r"(?m)^\*\*([\w ]+)\.\*\* ", section) if part in PARTS]
        once = list(dict.fromkeys(parts))
        wanted = [part for part in PARTS if place != "remedies" or not part.startswith("What")]
        assert once == wanted, place
        assert "<!-- made: table " in section, place
        assert place == "remedies" or "![" in section, place


@pytest.mark.parametrize("name", figures.names())
def test_the_command_of_a_figure_asks_for_what_was_recorded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two commands named options that had gone."""
    monkeypatch.chdir(ROOT)
    _, path, *given = shlex.split(figures.command(name))
    call = call_of(runpy.run_path(path)["SCRIPT"], given)
    assert (call.out or call.usual_out) / Path(path).stem == Path("figures") / name
    wanted = json.loads(json.dumps(plain_config(call.config)))
    assert apart(figures.record(name)["config"], wanted) == ({}, {})


def test_every_committed_figure_has_its_table_and_its_command() -> None:
    for name in figures.names():
        assert f"<!-- made: command {name} -->" in RESULTS, name
        made_with = name.removeprefix("mlp_small/")  # its table is that of the other network beside it
        assert f"<!-- made: table {made_with} -->" in RESULTS, name
        assert name in TABLES or made_with in TABLES, name
        assert figures.command(name).startswith(f"python simulations/{Path(name).name}.py")


def test_a_command_for_another_setting_is_that_of_its_record() -> None:
    for name, options in figures.OPTIONS.items():
        config = figures.record(name)["config"]
        said = figures.command(name)
        if "--rules" in options:
            assert f"--rules {','.join(config['rules'])}" in said
        if "--data" in options:
            assert f"--data {config['data']['name']}" in said


def test_remedies_that_were_not_run_say_so_and_others_have_their_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beyond_tables, "FIGURES", tmp_path)
    assert "Not run" in beyond_tables.remedies()
    (tmp_path / "remedies").mkdir()
    (tmp_path / "remedies" / "TABLES.md").write_text("Told apart:\n\n| a |\n\n## One stream\n\nmore\n")
    text = beyond_tables.remedies()
    assert "Not run" not in text
    assert "Told apart:\n\n| a |" in text
    assert "One stream" not in text
    assert "figures/remedies/remedies.png" in text


def test_the_house_is_that_of_the_plan() -> None:
    lines = house().splitlines()[1:-1]
    assert len(lines) <= 12
    rooms = [line.split("  ")[0].split(", ") for line in lines]
    place = {room: number for number, floor in enumerate(reversed(rooms)) for room in floor}
    assert {room for room in MAY_IMPORT if (figures.ROOT / "dashtheory" / room).is_dir()} == set(place)
    for room, number in place.items():
        assert number == floor_of(room)
        assert all(room in GROUND or place.get(below, 0) < number for below in MAY_IMPORT[room])


def test_the_site_opens_on_the_answer() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    assert index.index("<!-- made: answer -->") < index.index("- **")
    assert answer(README).strip() in index
    for path in re.findall(r"\]\(([^)#:]+)", answer(README)):
        assert (ROOT / "docs" / path).exists(), path


def test_the_reference_names_all_that_is_registered() -> None:
    text = reference_pages()
    assert re.findall(r"(?m)^\| \[`(\w+)`\]", text["rules"]) == list(RULES)
    for name in (*_OFFICIAL, "digits", "text", "folder", "tiny_imagenet"):
        assert f"| `{name}" in text["data"]
    for name in (*MODELS, "transformer"):
        assert f"| `{name}` |" in text["models"]
    listed = set(re.findall(r"(?m)^\| `(\w+)` \|", text["measures"]))
    assert listed == {name for name in measure.__all__ if callable(getattr(measure, name))}


def test_a_source_is_what_the_docstring_says() -> None:
    assert source(measure.active_share) == ("Ma et al. (ICLR 2024, arXiv:2310.07418), who count outputs above 0")
    assert source(measure.compare) == ""


def test_reference_pages_are_linked_and_not_committed() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    assert all(f"\nreference/{name}\n" in index for name in reference_pages())
    done = subprocess.run(
        ["git", "check-ignore", "docs/reference/rules.md"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 128:  # where there is git
        assert done.stdout.split() == ["docs/reference/rules.md"]


PAGES = sorted(
    path
    for pattern in (
        "*.md",
        "docs/*.md",
        "docs/rules/index.md",
        "notebooks/*.md",
        "paper_repro/*.md",
        "figures/remedies/*.md",
    )
    for path in ROOT.glob(pattern)
)
ON_THE_SITE = {"docs/index.md": "reference/measures.md", "docs/rules/index.md": "../reference/rules.md"}
"""The only links to pages that are made with the site; the sentence says so."""


@pytest.mark.parametrize("page", PAGES, ids=[path.relative_to(ROOT).as_posix() for path in PAGES])
def test_links_of_pages_lead_to_files_and_places(page: Path) -> None:
    """On a code host too, where nothing is made."""
    text = re.sub(r"(?ms)^```.*?^```$|`[^`\n]*`", "", page.read_text(encoding="utf-8"))
    for path, place in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)", text):
        if path and path == ON_THE_SITE.get(page.relative_to(ROOT).as_posix()):
            (sentence,) = re.findall(rf"[^.]*\({re.escape(path)}\)[^.]*", text)
            assert "made" in sentence
            assert "site" in sentence
            continue
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not place or place in places(target), (path, place)


def places(page: Path) -> set[str]:
    """Where a link into a page may lead."""
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))
    headings = re.findall(r"(?m)^#+ (.*)$", text)
    slugs = {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)"></a>', text))


def test_the_command_says_whether_anything_differs() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "make.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "")


def test_the_command_names_a_page_that_differs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(make, "pages", lambda root: [(root / "README.md", README), (root / "LICENSE", "other")])
    assert make.main(["--check"]) == 1
    assert capsys.readouterr().out == "LICENSE is not what `make pages` writes\n"


def test_the_example_of_the_discrete_world_runs_and_says_what_it_should(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", RESULTS, re.DOTALL)
    assert example.count("\n") < 10
    exec(example, {})
    lines = capsys.readouterr().out.splitlines()
    found = {line.split()[0]: int(line.split()[1]) for line in lines}
    assert found["cold"] == found["ideal"] > 2 * found["warm"]


def test_minutes_of_a_call_that_went_on_are_those_of_its_runs() -> None:
    """Two cores had 20 s each of what an earlier call had computed; a whole call has its own start besides."""
    runs = {str(number): {"seconds": 10.0} for number in range(6)}
    facts = {"wall_seconds": 10.0, "machine": {"cores": 2}, "runs": runs}
    assert figures.seconds(facts) == 30
    assert figures.seconds({**facts, "wall_seconds": 31.5}) == 31.5
    assert figures.seconds({"wall_seconds": 2, "machine": {"cores": 2}}) == 2
