"""How a rule is written: text and values go both ways, file names are safe and never shared, labels stay."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from dashtheory._spec import (
    LABELS,
    is_own,
    label_of,
    read_names,
    read_text,
    slug_of,
    split_own,
    split_text,
    write_text,
)

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,9}", fullmatch=True)
OWN = st.builds(
    lambda place, name: f"python:{place}:{name}",
    st.sampled_from(["mine.py", "C:\\x\\mine.py", "/a b/mine.py", "~/Mine.py", "pkg.mod", "x"]),
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True),
)
SINGLE = st.one_of(
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.sampled_from(["row", "fc.1"]),
)
VALUES = st.one_of(SINGLE, st.lists(SINGLE, max_size=3).map(tuple))
OPTIONS = st.dictionaries(NAMES, VALUES, max_size=3)
TEXTS = st.one_of(
    st.text(max_size=12),
    st.text(alphabet="aA1:=-_.+~%/\\é", max_size=12),
    st.builds(write_text, st.one_of(NAMES, OWN), OPTIONS),
)


@given(st.one_of(NAMES, OWN), OPTIONS)
@example("dash", {"lam": (1e300, -1e-5), "training": True, "layer": "fc.1"})
@example("dash", {"widths": (16,), "none": ()})
def test_what_is_written_is_read_back(name: str, options: dict[str, Any]) -> None:
    read = read_text(write_text(name, options), [name], own=True)
    assert (read.name, read.options) == (name, options)
    assert [(type(a), a) for a in read.options.values()] == [(type(a), a) for a in options.values()]
    assert write_text(read.name, read.options) == read.text


@pytest.mark.parametrize("value", [None, "a:b", "1", "yes", "", "a+b", float("nan"), [1], "a=b:c"])
def test_what_would_be_read_as_something_else_is_not_written(value: object) -> None:
    with pytest.raises(
        ValueError, match=r"^options of rule dash must be|^options of rule dash must be name=value"
    ):
        write_text("dash", {"lam": value})


@pytest.mark.parametrize(
    ("text", "place", "name"),
    [
        ("python:mine.py:Mine", "mine.py", "Mine"),
        ("python:C:\\x\\mine.py:Mine", "C:\\x\\mine.py", "Mine"),
        ("python:C:mine.py:Mine", "C:mine.py", "Mine"),
        ("python:C:/a b/x.py.d/mine.py:Mine", "C:/a b/x.py.d/mine.py", "Mine"),
        ("python:package.module:Mine", "package.module", "Mine"),
        ("python:pylib:Mine", "pylib", "Mine"),
        ("python:./é.py:Größe", "./é.py", "Größe"),
    ],
)
def test_a_place_may_be_a_path_of_any_system_or_a_module(text: str, place: str, name: str) -> None:
    assert split_own("rule", text) == (place, name)
    assert split_text(f"{text}:file=x.py:lam=2") == (text, ("file=x.py", "lam=2"))
    assert label_of(f"{text}:lam=2") == f"{name}, lam=2"
    assert label_of(text) == name


@pytest.mark.parametrize(
    "text", ["python:", "python:f", "python:mine.py", "python:mine.py:", "python:mine.py:a b"]
)
def test_another_form_of_your_own_is_refused_in_one_line(text: str) -> None:
    for read in (lambda: split_own("data", text), lambda: read_text(text, [], argument="data", own=True)):
        with pytest.raises(
            ValueError, match=r"^data must be python:FILE.py:NAME or python:MODULE:NAME, got .*\.$"
        ):
            read()
    assert split_text(text) == (text, ())
    assert label_of(text) == text


@given(TEXTS, TEXTS)
@example("dash:lam=1-alpha=2", "dash:lam=1:alpha=2")
@example("dash", "Dash")
@example("dash:training=True", "dash:training=true")
@example("python:mine.py:Mine", "python:mine.py:mine")
@example("python:a/mine.py:Mine", "python:b/mine.py:Mine")
@example("a:b=1", "a-b=1")
@example("a" * 500, "a" * 501)
def test_no_two_rules_share_a_file_name(one: str, other: str) -> None:
    assume(one != other)
    assert slug_of(one).casefold() != slug_of(other).casefold()


@given(TEXTS)
@example("nul")
@example("con.fig:a=1")
@example("dash:lam=1.")
@example("..")
@example("")
@example("-rf")
@example("\ud800")
def test_file_names_are_safe_on_every_system(text: str) -> None:
    slug = slug_of(text)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_=+.~-]*", slug)
    assert slug[-1] != "."
    assert len(slug) <= 80
    assert not re.fullmatch(r"con|prn|aux|nul|com\d|lpt\d", slug.split(".")[0], re.IGNORECASE)
    assert slug == slug_of(text)


def test_file_names_of_plain_rules_are_those_of_earlier_results() -> None:
    for text in (*LABELS, "dash:lam=0.05:alpha=1", "cold:weight_decay=tuned", "cold:weight_decay=1e-3"):
        assert slug_of(text) == text.replace(":", "-")


def test_labels_name_rule_and_options_as_written() -> None:
    assert label_of("dash") == "DASH"
    assert label_of("dash:lam=5e-2:alpha=1") == "DASH, lam=5e-2, alpha=1"
    assert label_of("forget(0.1,0)") == "forget(0.1,0)"
    assert label_of("unheard:of=1") == "unheard:of=1"
    assert read_text("sp:shrink=0.5", LABELS).label == "S&P, shrink=0.5"
    assert read_text("sp:shrink=0.5", LABELS).slug == "sp-shrink=0.5"
    assert not is_own(3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (3, "rule must be a name with options, got 3."),
        ("hot", "rule must be one of cold, warm, got 'hot'."),
        ("cold:lam", "options of rule cold must be name=value, each once, got 'lam'."),
        ("cold:lam=1:lam=2", "options of rule cold must be name=value, each once, got 'lam=2'."),
        ("cold:", "options of rule cold must be name=value, each once, got ''."),
        ("python:mine.py:Mine", "rule must be one of cold, warm, got 'python:mine.py:Mine'. Level 3 takes"),
    ],
)
def test_what_is_no_rule_is_refused_in_one_line(text: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}.*$"):
        read_text(text, ["cold", "warm"])


def test_rules_without_options_are_named_once_each() -> None:
    assert read_names("rules", ["warm", "cold"], ["cold", "warm"]) == ("warm", "cold")
    for texts, message in (
        ([], "rules must name at least one, each once, got ()"),
        (["cold", "cold"], "rules must name at least one, each once"),
        (["cold:lam=1"], "rules must be among cold, warm, got 'cold:lam=1'"),
        (["python:mine.py:Mine"], "rules must be one of cold, warm, got 'python:mine.py:Mine'. Level 3"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            read_names("rules", texts, ["cold", "warm"])
