"""Chances over all outcomes of few features, and the formulas as functions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import sympy as sp  # type: ignore[import-untyped]
from numpy.typing import NDArray

from dashtheory.theory import symbolic as sy

Floats = NDArray[np.float64]


def chance(symbols: Sequence[sp.Symbol], allowed: Callable[[int], bool]) -> sp.Expr:
    """P(the number of shown features is allowed), by listing all 2^k outcomes."""
    total = sp.Integer(0)
    for shown in itertools.product((False, True), repeat=len(symbols)):
        if allowed(sum(shown)):
            total += sp.prod(p if here else 1 - p for p, here in zip(symbols, shown, strict=True))
    return sp.expand(total)


def fewer(symbols: Sequence[sp.Symbol], tau: int) -> sp.Expr:
    return chance(symbols, lambda shown: shown < tau)


@cache
def stage_function(rank: int, tau: int) -> Callable[..., Floats]:
    return sy.numeric(sy.stage_of_feature(rank, tau), sy.probability_symbols(rank), sy.CHUNK, sy.GAMMA)
