"""Laws that the rules of the registry are held to, in words, with the test of each.

Those of all rules are in `tests/rules/test_all_rules.py` and a few other files, those of single rules told in
`dashtheory.rules.single_laws`; `tests/rules/test_pages.py` holds this table to the tests: a law that is tested for
other rules than is said here, or of `test_all_rules.py` and not told here, fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from dashtheory.rules.single_laws import SINGLE_LAWS

WHERE = "tests/rules/test_all_rules.py"
"""The file of most laws of all rules."""


@dataclass(frozen=True, kw_only=True)
class Law:
    """What is held for rules.

    Attributes:
        test: its test in `where`.
        words: the law, of "it", a rule.
        holds: whether it is held for a class of rules.
        where: the file of the test.
    """

    test: str
    words: str
    holds: Callable[[type[Any]], bool] = lambda kind: True
    where: str = WHERE


def _has_options(kind: type[Any]) -> bool:
    return any(option.init for option in fields(kind))


def _in_place(kind: type[Any]) -> bool:
    return any(option.name == "optimizer" for option in fields(kind))


def _one_of(names: tuple[str, ...]) -> Callable[[type[Any]], bool]:
    return lambda kind: kind.name in names


LAWS = (
    Law(
        test="test_it_is_a_value_that_says_what_it_does",
        words="it is a value: equal if its options are, and frozen; its docstring tells of each option",
    ),
    Law(
        test="test_what_is_no_value_of_an_option_is_refused_in_one_line",
        words="what is no value of an option is refused in one line",
        holds=_has_options,
    ),
    Law(
        test="test_where_it_acts_is_what_it_says",
        words="it acts where it says, and nowhere else: without `between` no weight moves between stages",
    ),
    Law(
        test="test_it_draws_from_no_global_stream_and_changes_no_gradient_nor_mode",
        words="it draws from no global random stream, and leaves gradients and training modes as they are",
    ),
    Law(
        test="test_frozen_parameters_keep_their_bits",
        words="frozen parameters keep their bits, or are refused",
        holds=lambda kind: not kind.anew,
    ),
    Law(
        test="test_the_optimizer_holds_what_is_trained",
        words="after it the optimizer holds what is trained: no more and no less, in every stage of a run",
    ),
    Law(
        test="test_the_memory_format_changes_no_number",
        words="the memory format (channels last) changes no number of two stages of training but by rounding",
        where="tests/rules/test_memory_format.py",
    ),
    Law(
        test="test_its_norms_alone_can_be_had_as_a_control",
        words="`norm_matched` of it gives each tensor the norm that it does",
        holds=lambda kind: _in_place(kind) and kind.name != "norm_matched",
    ),
    Law(
        test="test_its_inert_setting_is_warm_to_the_bit",
        words="its inert setting is warm to the bit: scores, weights and the optimizer's state",
        holds=lambda kind: bool(kind.inert),
    ),
    Law(
        test="test_a_run_repeats_whatever_the_global_streams",
        words="a run repeats to the bit, whatever the global random streams",
    ),
    Law(
        test="test_its_penalty_is_positive_after_a_step_and_has_the_slope_of_finite_differences",
        words="what it adds to the loss is positive after a step, and its gradient is that of finite differences",
        holds=lambda kind: "loss" in kind.acts,
    ),
    Law(
        test="test_its_penalty_at_the_beginning_has_no_slope_that_is_no_number",
        words="what it adds to the loss is finite at the first weights, and so is its gradient",
        holds=lambda kind: "loss" in kind.acts,
    ),
    Law(
        test="test_it_trains_any_network_or_refuses_it_at_once",
        words="it trains networks of many kinds, or refuses one before anything has moved",
    ),
    Law(
        test="test_two_calls_give_what_one_gives",
        words="a run in two calls, with a checkpoint between them, ends with the numbers of one call",
        where="tests/protocol/test_resume.py",
    ),
    *(
        Law(test=test, words=words, holds=_one_of(names), where=where)
        for where, told in SINGLE_LAWS.items()
        for test, (names, words) in told.items()
    ),
)
"""All of them."""


def laws_of(kind: type[Any]) -> tuple[Law, ...]:
    """The laws that are held for a class of rules of the registry."""
    return tuple(law for law in LAWS if law.holds(kind))
