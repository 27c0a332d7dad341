"""Every rule has a line and a page: docstrings tell what they must, and the laws told are those tested."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import pytest

from dashtheory.rules import MOMENTS, RULES, Rule, make_rule
from dashtheory.rules.laws import LAWS, WHERE, Law
from dashtheory.rules.listing import moments, rule_lines
from dashtheory.rules.pages import MOMENT_WORDS, rule_page, sections_of
from dashtheory.rules.spec import Registry, parse_rule
from dashtheory.rules.told import SECTIONS, Block, read_docstring

REQUIRED = ("Source", "Cost")
HOW = {
    "Source": 'a paragraph "Source: who, where and when, with its arXiv number; or: a control of this package."',
    "Cost": 'a paragraph "Cost: passes over the data and extra memory, in words; or: none."',
}


# ---------------------------------------------------------------------------------- what is told


@pytest.mark.parametrize("name", RULES)
def test_its_docstring_tells_source_cost_and_formula(name: str) -> None:
    """Of its class, or of its module for what all rules of it share."""
    page = rule_page(name)
    module, kind = RULES.place(name) if isinstance(RULES, Registry) else ("", "")
    where = f"rule {name}: the docstring of class {kind} or of module {module} lacks"
    for section in REQUIRED:
        assert page.sections.get(section), f"{where} {HOW[section]}"
    blocks = any(block.stands for block in page.text)
    assert blocks or page.sections.get("Formula"), f'{where} a paragraph "Formula: w <- ..." or an indented block'
    assert page.summary.endswith("."), f"rule {name}: the first line of its class must be a sentence"


@pytest.mark.parametrize("name", RULES)
def test_its_page_has_its_options_as_they_are(name: str) -> None:
    page, kind = rule_page(name), RULES[name]
    given: dict[str, Any] = {one.name: one.default for one in dataclasses.fields(cast("Any", kind)) if one.init}
    assert {one.name for one in page.options} == set(given)
    for one in page.options:
        assert one.meaning, f"rule {name}: nothing is said of {one.name}"
        assert not one.meaning.startswith("as "), f"rule {name}: what {one.name} refers to is not found"
        if one.default:  # what the page says is what one would write
            assert parse_rule(f"{name}:{one.name}={one.default}") == make_rule(name)
    assert page.acts == kind.acts
    assert (parse_rule(page.inert) == make_rule(name, **kind.inert)) if kind.inert else not page.inert


def test_an_option_that_is_told_of_elsewhere_is_told_of_on_the_page() -> None:
    meanings = {one.name: one.meaning for one in rule_page("ewc_online").options}
    assert meanings["batch_size"] == "of the mini-batches, >= 1."
    (on,) = (one.meaning for one in rule_page("wasserstein").options if one.name == "on")
    assert '"no_norms" (all that is trained but norm layers, as published)' in on
    assert on.endswith('; "all" as published.')
    assert any("R is that of `isometry`" in block.text for block in rule_page("adamo").text)  # by name, not class


def test_a_page_says_what_class_and_module_say_and_the_class_goes_first() -> None:
    page = rule_page("ewc_online")
    (formula,) = page.sections["Formula"]
    assert formula.text.startswith("from the second stage on loss + strength")  # of the class
    assert page.sections["Source"][0].text.startswith("Kirkpatrick et al.")  # of the module
    assert any(block.text.startswith("F is taken in evaluation mode") for block in page.text)
    assert [*page.sections] == [name for name in SECTIONS if name in page.sections]
    both = sections_of(read_docstring("A.\n\nCost: much."), read_docstring("B.\n\nSource: b.\n\nCost: little."))
    assert {name: blocks[0].text for name, blocks in both.items()} == {"Cost": "Much.", "Source": "B."}
    named = sections_of(read_docstring("A.\n\nCost: much.\n\nPublished: tau = 1."), read_docstring(None))
    assert [*named.values()] == [(Block("tau = 1."),), (Block("Much."),)]  # an option keeps its name
    formula_of_dash = rule_page("dash").sections["Formula"]
    assert [block.stands for block in formula_of_dash] == [False, True]
    assert formula_of_dash[1].text.startswith("G <- (1 - alpha) G")


# ---------------------------------------------------------------------------------- docstrings


def test_a_docstring_is_read_into_its_parts() -> None:
    told = read_docstring(
        """One line.

        More
        of it.

            a  = stands

            b  as well

        Formula: w <- w, with

            c = 1

        Not of the formula.

        Source: Smith
        (2025).

            an example
        Cost:

        Attributes:
            one: of them,
                in two lines: yes.
            two: 2.
        """
    )
    assert told.summary == "One line."
    assert told.text == (
        Block("More of it."),
        Block("a  = stands\n\nb  as well", stands=True),
        Block("Not of the formula."),
        Block("an example", stands=True),
    )
    assert told.sections == {
        "Formula": (Block("w <- w, with"), Block("c = 1", stands=True)),
        "Source": (Block("Smith (2025)."),),
        "Cost": (),
    }
    assert told.attributes == {"one": "of them, in two lines: yes.", "two": "2."}
    assert read_docstring("One.\n\nArgs:\n    one: of them.\n").attributes == {"one": "of them."}
    assert read_docstring(None).summary == ""


# ---------------------------------------------------------------------------------- without torch


def test_lines_read_from_the_sources_say_what_the_classes_say() -> None:
    lines = {line.name: line for line in rule_lines()}
    assert list(lines) == list(RULES)
    assert moments() == MOMENTS
    assert set(MOMENT_WORDS) == set(MOMENTS), "MOMENT_WORDS of dashtheory/rules/pages.py must be of MOMENTS"
    for name, line in lines.items():
        page = rule_page(name)
        assert line.acts == RULES[name].acts, name
        assert line.label == page.label
        assert line.summary == read_docstring(RULES[name].__doc__).summary
    for moment in MOMENTS:
        assert [line.name for line in rule_lines(moment)] == [n for n in RULES if moment in RULES[n].acts]


def test_a_list_needs_no_torch() -> None:
    code = "import sys; from dashtheory.command.rules import main; main([]); main(['--json']); main(['no'])"
    check = f"{code}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------------------------- laws


def made_for(function: Any) -> set[str] | None:
    """The rules that a test is made for; None for one that is not made for rules."""
    for mark in getattr(function, "pytestmark", ()):
        if mark.name == "parametrize" and mark.args[0] in ("name", "rule", ("name", "option")):
            found = {name for case in mark.args[1] if (name := _rule_of(case)) in RULES}
            return found or None  # others are made for networks of these names
    return None


def _rule_of(case: Any) -> str:
    if isinstance(case, Rule):
        return case.name
    return case if isinstance(case, str) else str(case[0])


def found_in(where: str) -> dict[str, Any]:
    """The tests of a file, by name."""
    module = import_module(where.removesuffix(".py").replace("/", "."))
    return {key: value for key, value in vars(module).items() if key.startswith("test_")}


def source_of(test: Callable[..., object], where: str) -> str:
    """Of a test and of the functions and classes of its file that it names."""
    found, mine = inspect.getsource(test), defined_in(where.removesuffix(".py").replace("/", "."))
    named = [key for key in mine if re.search(rf"\b{key}\b", found) and key != test.__name__]
    return "\n".join([found, *(inspect.getsource(mine[key]) for key in named)])


def defined_in(module: str) -> dict[str, Any]:
    """Functions and classes of a module."""
    named = vars(import_module(module)).items()
    return {key: one for key, one in named if getattr(one, "__module__", "") == module}


def words_of(rule: str) -> list[str]:
    """How a test can name a rule: its text, its class, or what its module has or takes from another rule's."""
    named = vars(import_module(RULES[rule].__module__)).items()
    places = {key: str(getattr(one, "__module__", "")) for key, one in named}
    own = [key for key, place in places.items() if re.match(r"dashtheory\.rules\.(?!rule$)", place)]
    return [f'"{rule}[":]', rf"\b{rule}_\(", *(rf"\b{key}\b" for key in own)]


def rules_with(law: Law) -> set[str]:
    return {name for name in RULES if law.holds(RULES[name])}


def test_no_law_of_all_rules_is_left_out() -> None:
    told = {law.test for law in LAWS if law.where == WHERE}
    missing = sorted(key for key, value in found_in(WHERE).items() if made_for(value) and key not in told)
    assert not missing, f"dashtheory/rules/laws.py does not tell, of {WHERE}: {missing}"
    assert len({(law.where, law.test) for law in LAWS}) == len(LAWS)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.test)
def test_the_laws_that_pages_tell_are_those_that_are_tested(law: Law) -> None:
    test = found_in(law.where).get(law.test)
    assert test is not None, f"{law.where} does not have {law.test}, of which dashtheory/rules/laws.py tells"
    made, held = made_for(test), rules_with(law)
    assert held
    if made is None:  # of single rules, which the test names, or what it calls in its file
        source = source_of(test, law.where)
        assert all(any(re.search(word, source) for word in words_of(rule)) for rule in held), law.test
        assert len(held) < 6
    else:
        wrong = sorted(held ^ made)
        assert not wrong, f"{law.test} is made for other rules than `holds` says: {wrong}"


def test_a_page_shows_laws_of_its_rule_with_their_tests() -> None:
    page = rule_page("redo")
    shown = dict(zip(page.laws, page.held_by, strict=True))
    unit = "a unit that it has reset has no outgoing weight, no bias, and no moments in the optimizer"
    assert shown[unit].startswith("tests/rules/test_unit_resets.py::test_it_has_no_outgoing_weight")
    for name in RULES:
        held = rule_page(name).held_by
        assert (shown[unit] in held) == (name in ("redo", "regrama", "cbp", "snr"))
        assert any(one.startswith("tests/protocol/test_resume.py::") for one in held)


def test_a_rule_of_ones_own_has_a_page_but_no_laws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dashtheory.user_code import RULE_EXAMPLE

    more = '    layers: tuple[str, ...] = field(default_factory=lambda: ("a", "b"))\n'
    code = RULE_EXAMPLE.replace("strength: float = 0.5\n", f"strength: float = 0.5\n{more}")
    code = code.replace("import dataclass\n", "import dataclass, field\n")
    (tmp_path / "mine.py").write_text(f'"""Not told: the file."""\n{code}')
    monkeypatch.chdir(tmp_path)
    page = rule_page("python:mine.py:Mine")
    assert page.summary == "Shrink every weight by one factor. Its fields are its options."
    assert (page.text, page.laws, page.label) == ((), (), "Mine")
    found = {one.name: (one.kind, one.default) for one in page.options}
    assert found == {
        "strength": ("number", "0.5"),
        "layers": ("several joined by +", "a+b"),
        "optimizer": ("word", "kept"),
    }
