"""The symbolic formulas as identities, LaTeX and numbers, and what they refuse."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sympy as sp  # type: ignore[import-untyped]
from matplotlib.mathtext import MathTextParser

from dashtheory.theory import symbolic as sy
from tests.theory.symbolic_cases import chance, fewer, stage_function

P_V, P_U, P_M = (sp.Symbol(f"p_{index}", positive=True) for index in "vum")


@pytest.mark.parametrize("tau", [1, 2, 3, 4])
@pytest.mark.parametrize("num_known", [0, 1, 2, 3, 4])
def test_both_sides_of_each_identity_are_what_they_say_and_are_equal(num_known: int, tau: int) -> None:
    known = sy.probability_symbols(num_known)
    before, with_v = fewer(known, tau), fewer((*known, P_V), tau)
    exchanged = P_U * fewer((*known, P_M), tau) - P_M * fewer((*known, P_U), tau)
    expected = {
        "recursion": (with_v, before - P_V * chance(known, lambda shown: shown == tau - 1)),
        "exchange": (exchanged, (P_U - P_M) * before),
        "loss": (with_v - (1 - P_V) * before, P_V * chance(known, lambda shown: shown < tau - 1)),
    }
    found = sy.identities(num_known, tau)
    assert [identity.name for identity in found] == list(expected)
    for identity in found:
        left, right = expected[identity.name]
        assert sp.expand(identity.left - left) == 0
        assert sp.expand(identity.right - right) == 0
        assert identity.difference() == 0


def test_a_wrong_identity_has_a_difference() -> None:
    true = sy.recursion_identity(3, 2)
    assert sy.Identity(name="wrong", left=true.left, right=true.right + P_V).difference() == -P_V


def test_the_latex_table_holds_every_formula_and_can_be_drawn() -> None:
    table = sy.latex_table()
    assert table["tail"] == "F_{3} = 2 p_{1} p_{2} p_{3} - p_{1} p_{2} - p_{1} p_{3} - p_{2} p_{3} + 1"
    assert table["tail_poisson"] == r"F_{\infty} = \left(\lambda + 1\right) e^{- \lambda}"
    assert table["effective_samples"] == r"n_{\mathrm{eff}} = n \left(\phi \left(j - 1\right) + 1\right)"
    assert table["stage_of_feature"].startswith(r"j_{3} = \left\lceil{\frac{\gamma}{n p_{3}")
    assert table["loss"].startswith("2 p_{1} p_{2} p_{v}")
    others = {"accuracy", "gain", "threshold", "chunks_until_next", "stage_of_advantage", "tail_equal"}
    others |= {"next_stage_equal", "stage_with_forgetting", "recursion", "exchange"}
    assert set(table) == others | {"tail", "tail_poisson", "effective_samples", "stage_of_feature", "loss"}
    parser = MathTextParser("path")
    for formula in table.values():
        assert " = " in formula
        assert parser.parse(f"${formula}$").width > 0
    assert sy.latex_table(4, 3)["gain"] == r"g_{4} = p_{4} \left(- p_{1} p_{2} p_{3} + 1\right)"


def test_numeric_broadcasts_and_says_never_with_infinity() -> None:
    stage = stage_function(3, 2)
    p = np.random.default_rng(2).uniform(0.1, 0.9, (4, 1, 3))
    sizes = np.array([50.0, 100.0])
    found = stage(p, sizes, 20)
    assert found.shape == (4, 2)
    assert found.dtype == np.float64
    one_by_one = [[float(stage(row[0], size, 20)) for size in sizes] for row in p]
    assert found.tolist() == one_by_one
    assert stage([1.0, 1.0, 0.5], 50, 20) == np.inf  # no sample is unsure after two certain features
    constant = sy.numeric(sy.tail(2, 3), sy.probability_symbols(2), sy.CHUNK)
    assert constant(np.ones((2, 2)), 7).tolist() == [1.0, 1.0]


BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: sy.tail(-1, 2), "num_learned must be an integer >= 0, got -1"),
    (lambda: sy.tail(13, 2), "num_learned must be at most 12, got 13"),
    (lambda: sy.tail(True, 2), "num_learned must be an integer >= 0, got True"),
    (lambda: sy.tail(2, 0), "tau must be an integer >= 1, got 0"),
    (lambda: sy.accuracy(2, 0), "tau must be an integer >= 1, got 0"),
    (lambda: sy.accuracy_of_classes([], 2), "num_learned must give at least one class, got []"),
    (lambda: sy.accuracy_of_classes([1, -2], 2), "num_learned must be an integer >= 0, got -2"),
    (lambda: sy.accuracy_of_classes([1], 0), "tau must be an integer >= 1, got 0"),
    (lambda: sy.gain(0, 2), "rank must be an integer >= 1, got 0"),
    (lambda: sy.threshold(13, 2), "rank must be at most 12, got 13"),
    (lambda: sy.stage_of_feature(1, 1.5), "tau must be an integer >= 1, got 1.5"),  # type: ignore[arg-type]
    (lambda: sy.stage_of_advantage(12, 2), "num_warm must be at most 11, got 12"),
    (lambda: sy.stage_of_advantage(1, 13), "tau must be at most 12, got 13"),
    (lambda: sy.tail_equal(0), "tau must be an integer >= 1, got 0"),
    (lambda: sy.tail_poisson(13), "tau must be at most 12, got 13"),
    (lambda: sy.identities(12, 2), "num_known must be at most 11, got 12"),
    (lambda: sy.loss_identity(2, 0), "tau must be an integer >= 1, got 0"),
    (lambda: sy.latex_table(0), "num_learned must be an integer >= 1, got 0"),
    (lambda: sy.numeric(sy.gain(2, 1), sy.CHUNK), "every symbol of the expression, got none for p_1, p_2"),
    (lambda: sy.numeric(sy.CHUNK, sy.CHUNK, sy.CHUNK), "arguments must name each symbol once, got n, n"),
    (lambda: sy.numeric(sy.CHUNK, sy.CHUNK)(1, 2), "values must be 1 arrays, one per argument, got 2"),
    (
        lambda: stage_function(2, 1)([0.5], 1, 1),
        "a last axis of length 2, one for each of p_1, p_2, got shape (1,)",
    ),
    (lambda: stage_function(2, 1)(0.5, 1, 1), "a last axis of length 2, one for each of p_1, p_2, got shape ()"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments_are_named_with_their_value(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
