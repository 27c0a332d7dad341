"""A rule that was run under its options in two orders is one rule on the page."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashtheory._spec import split_text
from dashtheory.paper import render
from dashtheory.paper.spelling import in_one_spelling, spellings
from dashtheory.paper.summary import parts_run
from dashtheory.record import COMPLETE, DEVICE, Results, run_name
from dashtheory.rules.spec import parse_spec
from tests.paper.test_report import number, results_of, rows_of
from tests.paper.toys import made_table

ONE = "cold:learning_rate=0.1:weight_decay=0.0005"
OTHER = "cold:weight_decay=0.0005:learning_rate=0.1"  # as the preset has it


def with_run(found: Results, rule: str, seed: int, stages: tuple[int, ...]) -> Results:
    table = made_table(number, (rule,), (seed,), max(stages))
    table = table[table["stage"].isin(stages)].reset_index(drop=True)
    table.attrs |= {COMPLETE: stages == (1, 2, 3), DEVICE: "cpu"}
    return found.with_run(run_name(rule, seed), table, identity={}, seconds=1.0)


@given(
    options=st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["1", "0.5", "no", "2+3"]), max_size=4),
)
def test_a_spelling_reads_as_the_text_does_and_is_that_of_every_order(options: dict[str, str]) -> None:
    parts = [f"{name}={value}" for name, value in options.items()]
    texts = [":".join(["python:mine.py:Mine", *order]) for order in itertools.permutations(parts)]
    found = spellings(texts)
    assert list(found) == list(dict.fromkeys(texts))
    (text,) = set(found.values())
    assert (parse_spec(text).name, parse_spec(text).options) == (
        "python:mine.py:Mine",
        parse_spec(texts[0]).options,
    )
    assert list(split_text(text)[1]) == sorted(parts)


def test_rules_are_told_apart_by_what_is_read() -> None:
    texts = [
        "dash:lam=0.05",
        "dash:lam=5e-2",
        "dash",
        "dash:lam=0.1",
        "sp:shrink=0.3",
        "cold:weight_decay=tuned",
        "cold",
    ]
    assert spellings(texts) == {
        **{text: text for text in texts},
        "dash:lam=5e-2": "dash:lam=0.05",  # one number
    }


def test_a_rule_under_two_spellings_has_one_row() -> None:
    found = with_run(results_of("cifar10-resnet18", rules=("cold",)), ONE, 0, (1, 2, 3))
    for text in (render({("cuda", found.name): found}), render({("cpu", found.name): found})):
        rows = rows_of(text, "cifar10-resnet18 on")
        assert "cold, weight_decay=0.0005, learning_rate=0.1" not in text
        assert rows["cold, learning_rate=0.1, weight_decay=0.0005"][0] == "1"
    both = with_run(found, OTHER, 1, (1, 2, 3))
    rows = rows_of(render({("cuda", both.name): both}), "cifar10-resnet18 on")
    assert rows["cold, learning_rate=0.1, weight_decay=0.0005"][0] == "2"


@pytest.mark.parametrize("order", [(ONE, OTHER), (OTHER, ONE)])
def test_of_two_runs_on_a_seed_the_longer_one_counts(order: tuple[str, str]) -> None:
    found = results_of("cifar10-resnet18", rules=("warm",), seeds=1)
    for rule in order:
        found = with_run(found, rule, 0, (1, 2, 3) if rule == OTHER else (1, 2))
    one = in_one_spelling(found)
    assert list(one.tables) == list(one.runs) == [run_name("warm", 0), run_name(OTHER, 0)]
    assert set(one.tables[run_name(OTHER, 0)]["rule"]) == {ONE}
    assert one.table is not None
    assert one.table["rule"].nunique() == 2


def test_a_rule_without_a_whole_run_says_how_far_it_has_come() -> None:
    found = results_of("cifar10-resnet18", rules=("warm",), seeds=1)
    found = with_run(with_run(found, "dash", 0, (1, 2)), "dash", 1, (1,))
    found = with_run(found, ONE, 0, (2, 3))
    text = render({("cuda", found.name): found})
    rows = rows_of(text, "cifar10-resnet18 on")
    assert rows["DASH"] == ["0", "unfinished (2 of 3 stages; 1 of 3 stages)", "–", "–", "–", "–"]
    assert rows["cold, learning_rate=0.1, weight_decay=0.0005"][:2] == ["0", "unfinished (stages 2, 3 of 3)"]
    assert rows["S&P"][:2] == ["0", "not run"]
    assert "dash-seed1: 1 of 3 stages; cold-learning_rate=0.1-weight_decay=0.0005-seed0: stages 2, 3 of 3." in text


def test_stages_that_were_left_out_are_not_counted() -> None:
    table = made_table(number, ("cold",), (0,), 5)
    assert parts_run([table], 50) == "5 of 50 stages"
    assert parts_run([table, table], 50) == "5 of 50 stages"
    assert parts_run([table[table["stage"].isin([2, 5])]], 50) == "stages 2, 5 of 50"
    assert parts_run([table[table["stage"] == 5]], 50) == "stage 5 of 50"


def test_a_rule_that_is_none_any_more_is_written_as_it_was() -> None:
    assert spellings(["a_rule_of_old:b=2:a=1", "dash:lam=0.05"]) == {
        "a_rule_of_old:b=2:a=1": "a_rule_of_old:a=1:b=2",
        "dash:lam=0.05": "dash:lam=0.05",
    }
