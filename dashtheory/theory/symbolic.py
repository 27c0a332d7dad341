"""The formulas of the population limit as sympy expressions, derived from the model and not typed in.

A sample of a class shows feature k with probability p_k, independently; features are numbered in the order in
which they are learned, so p_1 >= p_2 >= ... . A sample is unsure if it shows fewer than tau learned features. With
the first k features learned, the number of shown ones has the generating function

    G_k(z) = (1 - p_1 + p_1 z) ... (1 - p_k + p_k z)                                                (1)

and everything here follows from its coefficients:

    F_k = sum of the coefficients of z^0 .. z^(tau-1)     chance that a sample is unsure            (2)
    g_k = p_k F_(k-1)                                     chance to be unsure and show feature k    (3)
    j_k = the least j with n j g_k >= gamma               stage at which cold learns feature k      (4)

with n samples per class in a chunk and j chunks at stage j. The equations (1) and (2) of
`dashtheory.theory.population` are (3) and (4) in numbers. Derived here, unless a docstring names another source.

`numeric` turns an expression into a function of numpy arrays. It first rewrites the expanded polynomials, whose
terms cancel, as sums of products of p and 1 - p, whose terms do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
import sympy as sp  # type: ignore[import-untyped]
from numpy.typing import ArrayLike, NDArray

from dashtheory._check import fail, integer

Floats = NDArray[np.float64]
Argument: TypeAlias = "sp.Symbol | tuple[sp.Symbol, ...]"

MAX_FEATURES = 12  # an expanded F of 12 features has up to 2^12 terms

CHUNK = sp.Symbol("n", positive=True)  # samples per class in a chunk; need not be whole
GAMMA = sp.Symbol("gamma", positive=True)  # active samples that must show a feature to learn it
STAGE = sp.Symbol("j", integer=True, positive=True)  # the first stage is 1
CLASSES = sp.Symbol("C", integer=True, positive=True)
NUM_LEARNED = sp.Symbol("k", integer=True, nonnegative=True)  # learned features, where p is equal for all
EQUAL_P = sp.Symbol("p", positive=True)  # the probability of every feature, where it is equal for all
RATE = sp.Symbol("lambda", positive=True)  # sum of p over the learned features, in the Poisson limit
FORGOTTEN = sp.Symbol("phi", positive=True)  # share of the memorised noise that is forgotten between stages

_MARK = sp.Symbol("z")  # the argument of the generating function


def probability_symbols(num_features: int, label: str = "") -> tuple[sp.Symbol, ...]:
    """Positive symbols p_1, ..., p_k, or p_{label,1}, ..., p_{label,k} for one of several classes.

    Args:
        num_features: 0 to 12.
        label: name of the class.

    Raises:
        ValueError: if `num_features` is out of range.
    """
    count = _features("num_features", num_features, minimum=0)
    return tuple(_probability(f"{{{label},{i}}}" if label else str(i)) for i in range(1, count + 1))


def tail(num_learned: int, tau: int) -> sp.Expr:
    """F_k of equation (2), an expanded polynomial in p_1, ..., p_k; 1 if k < tau.

    Args:
        num_learned: k, 0 to 12 (seconds at 12).
        tau: >= 1.

    Raises:
        ValueError: if an argument is out of range.
    """
    return _tail(probability_symbols(_features("num_learned", num_learned, minimum=0)), _tau(tau))


def accuracy(num_learned: int, tau: int) -> sp.Expr:
    """Expected test accuracy 1 - (1 - 1/C) F_k if every class has the same F; in p_1, ..., p_k and C.

    A sample that is not unsure is right, an unsure one with chance 1/C: (1 - F) + F / C.

    Args:
        num_learned: k, 0 to 12.
        tau: >= 1.

    Raises:
        ValueError: if an argument is out of range.
    """
    return 1 - (1 - 1 / CLASSES) * tail(num_learned, tau)


def accuracy_of_classes(num_learned: Sequence[int], tau: int) -> sp.Expr:
    """Expected test accuracy of classes that differ: the mean over c of 1 - (1 - 1/C) F_c.

    Args:
        num_learned: learned features of each class, 0 to 12 each; C is their number.
        tau: >= 1.

    Returns:
        a polynomial in `probability_symbols(k, "1")`, ..., `probability_symbols(k, "C")`.

    Raises:
        ValueError: if an argument is out of range, or there is no class.
    """
    counts = [_features("num_learned", count, minimum=0) for count in num_learned]
    if not counts:
        fail("num_learned", "must give at least one class", repr(num_learned), "Give a count for each class.")
    classes, tau = sp.Integer(len(counts)), _tau(tau)
    tails = [_tail(probability_symbols(count, str(c)), tau) for c, count in enumerate(counts, start=1)]
    weight = -(1 - 1 / classes) / classes
    # Left unevaluated, the products keep the polynomials of the classes apart, which `numeric` needs.
    return sp.Add(1, *(sp.Mul(weight, unsure, evaluate=unsure.is_number or not weight) for unsure in tails))


def gain(rank: int, tau: int) -> sp.Expr:
    """g_k = p_k F_(k-1) of equation (3): the share of samples that are unsure and show feature k.

    Args:
        rank: k, 1 to 12, the place of the feature in the order of learning.
        tau: >= 1.

    Raises:
        ValueError: if an argument is out of range.
    """
    last = probability_symbols(_features("rank", rank, minimum=1))[-1]
    return last * tail(rank - 1, tau)


def threshold(rank: int, tau: int) -> sp.Expr:
    """The largest gamma at which cold has learned k features after stage j: n j g_k.

    It is g_k that decides, and not the gains of the features before, because g_k never rises with k.

    Args:
        rank: k, 1 to 12.
        tau: >= 1.

    Raises:
        ValueError: if an argument is out of range.
    """
    return CHUNK * STAGE * gain(rank, tau)


def stage_of_feature(rank: int, tau: int) -> sp.Expr:
    """j_k = ceiling(gamma / (n g_k)) of equation (4): the stage from which cold has learned k features.

    Args:
        rank: k, 1 to 12.
        tau: >= 1.

    Raises:
        ValueError: if an argument is out of range.
    """
    return sp.ceiling(_chunks_before(CHUNK * STAGE, gain(rank, tau)))


def chunks_until_next(rank: int, tau: int) -> sp.Expr:
    """max(j_k - j, 0): chunks that cold at stage j, with k - 1 features learned, still needs for feature k.

    Args:
        rank: k, 1 to 12, the next feature.
        tau: >= 1.

    Raises:
        ValueError: if an argument is out of range.
    """
    return sp.Max(stage_of_feature(rank, tau) - STAGE, 0)


def stage_of_advantage(num_warm: int, tau: int) -> sp.Expr:
    """The stage from which cold is more accurate in a class than warm, which has learned m features of it.

    It is j_k with k = max(m + 1, tau): fewer than tau learned features leave F = 1, so the first feature that
    lowers the F of cold below that of warm is number m + 1 or, if later, number tau.

    Args:
        num_warm: m, 0 to 11.
        tau: 1 to 12.

    Raises:
        ValueError: if an argument is out of range.
    """
    next_rank = _features("num_warm", num_warm, minimum=0, maximum=MAX_FEATURES - 1) + 1
    return stage_of_feature(max(next_rank, _features("tau", tau, minimum=1)), tau)


def tail_equal(tau: int) -> sp.Expr:
    """F of k learned features that all have probability p < 1: a sum of tau binomial terms in k and p.

    The coefficient of z^s in (1 - p + p z)^k, by its s-th derivative at z = 0. At p = 1 and k < tau, where the
    terms hold 0 / 0, use `tail`.

    Args:
        tau: 1 to 12.

    Raises:
        ValueError: if `tau` is out of range.
    """
    return _tail_equal(_features("tau", tau, minimum=1))


def next_stage_equal(tau: int) -> sp.Expr:
    """Chunks until cold learns one feature more than k, all of probability p: ceiling(gamma / (n p F)).

    Args:
        tau: 1 to 12.

    Returns:
        an expression in k, p, n and gamma, with F = `tail_equal(tau)` of the k learned features.

    Raises:
        ValueError: if `tau` is out of range.
    """
    return sp.ceiling(_chunks_before(CHUNK * STAGE, EQUAL_P * tail_equal(tau)))


def tail_poisson(tau: int) -> sp.Expr:
    """The limit of `tail_equal` for many rare features: k to infinity with lambda = k p fixed.

    sympy takes the limit of the whole sum (p = lambda / k); the result is exp(-lambda) times the first tau terms
    of the series of exp(lambda).

    Args:
        tau: 1 to 12.

    Raises:
        ValueError: if `tau` is out of range.
    """
    return _tail_poisson(_features("tau", tau, minimum=1))


def effective_samples() -> sp.Expr:
    """Samples per class that count at stage j if features are kept and a share phi of the noise is forgotten.

    Let M be the chunks' worth of unsure samples whose noise is held after the stage before. Of the j chunks at
    stage j, j - (1 - phi) M have a non-zero gradient if unsure. Their noise is memorised by the end of the stage,
    which then holds (1 - phi) M + j - (1 - phi) M = j whatever M was; so M = j - 1, and n (1 + phi (j - 1)) count.

    Returns:
        an expression in n, phi and j. phi = 1 is cold (n j), phi = 0 is warm (n).
    """
    held = sp.Symbol("M", nonnegative=True)
    kept = (1 - FORGOTTEN) * held
    active = STAGE - kept
    held_after = sp.expand(kept + active)
    counted = active.subs(held, held_after.subs(STAGE, STAGE - 1))
    return CHUNK * (1 + sp.factor(sp.expand(counted - 1)))


def stage_with_forgetting(rank: int, tau: int) -> sp.Expr:
    """Stage at which k features are learned if features are kept and a share phi in (0, 1] of the noise forgotten.

    max(1, ceiling(1 + (gamma / (n g_k) - 1) / phi)): the least j >= 1 at which `effective_samples` times g_k
    reaches gamma.

    Args:
        rank: k, 1 to 12.
        tau: >= 1.

    Raises:
        ValueError: if an argument is out of range.
    """
    return sp.Max(1, sp.ceiling(_chunks_before(effective_samples(), gain(rank, tau))))


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Two expressions that are equal for all values of their symbols.

    Attributes:
        name: what the identity is about.
        left: the two sides, each computed from its own generating function.
        right: the two sides, each computed from its own generating function.
    """

    name: str
    left: sp.Expr
    right: sp.Expr

    def difference(self) -> sp.Expr:
        """Left side less right side, expanded; 0 if and only if the polynomials are equal."""
        return sp.expand(self.left - self.right)


def recursion_identity(num_known: int, tau: int) -> Identity:
    """F(A + {v}) = F(A) - p_v E(A), with E(A) = P(exactly tau - 1 features of A are shown).

    A sample stops being unsure by feature v if it shows v and exactly tau - 1 features of A.

    Args:
        num_known: features in A, 0 to 11.
        tau: >= 1.

    Raises:
        ValueError: if an argument is out of range.
    """
    known, tau = _known(num_known), _tau(tau)
    new = _probability("v")
    right = _tail(known, tau) - new * _coefficients(known)[tau - 1 : tau].sum()
    return Identity(name="recursion", left=_tail((*known, new), tau), right=right)


def exchange_identity(num_known: int, tau: int) -> Identity:
    """p_u F(A + {m}) - p_m F(A + {u}) = (p_u - p_m) F(A).

    If p_u >= p_m, then p_u F(A + {m}) >= p_m F(A + {u}): a set that holds m and lacks the more probable u gains
    at least as much from u as the set with the two exchanged gains from m. So every subset of the m most probable
    features is completed to all of them.

    Args:
        num_known: features in A, 0 to 11.
        tau: >= 1.

    Raises:
        ValueError: if an argument is out of range.
    """
    known, tau = _known(num_known), _tau(tau)
    first, last = _probability("u"), _probability("m")
    left = first * _tail((*known, last), tau) - last * _tail((*known, first), tau)
    return Identity(name="exchange", left=left, right=(first - last) * _tail(known, tau))


def loss_identity(num_known: int, tau: int) -> Identity:
    """F(A + {v}) - (1 - p_v) F(A) = p_v P(fewer than tau - 1 features of A are shown).

    The right side is >= 0, so a feature leaves at least a share 1 - p_v of the unsure samples unsure.

    Args:
        num_known: features in A, 0 to 11.
        tau: >= 1.

    Raises:
        ValueError: if an argument is out of range.
    """
    known, tau = _known(num_known), _tau(tau)
    new = _probability("v")
    left = _tail((*known, new), tau) - (1 - new) * _tail(known, tau)
    return Identity(name="loss", left=left, right=new * _tail(known, tau - 1))


def identities(num_known: int, tau: int) -> tuple[Identity, ...]:
    """The identities that the proofs use: recursion, exchange and loss, for a set A of `num_known` features.

    Args:
        num_known: 0 to 11.
        tau: >= 1.

    Raises:
        ValueError: if an argument is out of range.
    """
    return tuple(make(num_known, tau) for make in (recursion_identity, exchange_identity, loss_identity))


def latex_table(num_learned: int = 3, tau: int = 2) -> dict[str, str]:
    """Every formula of this module for k = `num_learned`, as LaTeX equations without dollar signs.

    Args:
        num_learned: k, 1 to 12; 3 fits on a line.
        tau: 1 to 12.

    Returns:
        name of the formula -> "left = right".

    Raises:
        ValueError: if an argument is out of range.
    """
    k, tau = _features("num_learned", num_learned, minimum=1), _features("tau", tau, minimum=1)
    rows = {
        "tail": (f"F_{{{k}}}", tail(k, tau)),
        "accuracy": (r"\mathrm{accuracy}", accuracy(k, tau)),
        "gain": (f"g_{{{k}}}", gain(k, tau)),
        "threshold": (r"\gamma_{\max}", threshold(k, tau)),
        "stage_of_feature": (f"j_{{{k}}}", stage_of_feature(k, tau)),
        "chunks_until_next": (r"\Delta j", chunks_until_next(k, tau)),
        "stage_of_advantage": (r"j_{\mathrm{adv}}", stage_of_advantage(k - 1, tau)),
        "tail_equal": (r"F_{k}", tail_equal(tau)),
        "next_stage_equal": (r"j_{k+1}", next_stage_equal(tau)),
        "tail_poisson": (r"F_{\infty}", tail_poisson(tau)),
        "effective_samples": (r"n_{\mathrm{eff}}", effective_samples()),
        "stage_with_forgetting": (rf"j_{{{k}}}(\phi)", stage_with_forgetting(k, tau)),
    }
    table = {name: f"{left} = {sp.latex(right)}" for name, (left, right) in rows.items()}
    for identity in identities(k - 1, tau):
        table[identity.name] = f"{sp.latex(identity.left)} = {sp.latex(identity.right)}"
    return table


def numeric(expression: sp.Expr, *arguments: Argument) -> Callable[..., Floats]:
    """A function of numpy arrays that evaluates `expression`.

        numeric(stage_of_feature(3, 2), probability_symbols(3), CHUNK, GAMMA)(p, 500, 50)

    Polynomials in up to 12 probabilities are rewritten without cancelling terms first, so that a small F keeps
    its relative precision; larger ones keep their absolute precision only.

    Args:
        expression: in any symbols of this module.
        *arguments: what the function takes, in order: a symbol, or a tuple of symbols for an array whose last axis
            runs over them.

    Returns:
        a function of as many arrays, broadcast against each other (without that last axis), to float64. A stage is
        a whole number, or infinity where the feature is never learned. The function raises ValueError if the
        number of arrays or the length of a last axis does not fit.

    Raises:
        ValueError: if a symbol of the expression is missing from `arguments`, or one is named twice.
    """
    expression = sp.sympify(expression)
    groups = [argument if isinstance(argument, tuple) else (argument,) for argument in arguments]
    names = [symbol for group in groups for symbol in group]
    missing = sorted(str(symbol) for symbol in expression.free_symbols - set(names))
    if missing:
        fail("arguments", "must hold every symbol of the expression", f"none for {', '.join(missing)}", "Add it.")
    if len(set(names)) < len(names):
        fail("arguments", "must name each symbol once", ", ".join(map(str, names)), "Remove the repeated one.")
    compiled = sp.lambdify(names, _without_canceling(expression), modules="numpy", cse=True)

    def evaluate(*values: ArrayLike) -> Floats:
        if len(values) != len(arguments):
            fail("values", f"must be {len(arguments)} arrays, one per argument", len(values), "Match `numeric`.")
        columns: list[Floats] = []
        for argument, value in zip(arguments, values, strict=True):
            columns += _columns(argument, np.asarray(value, dtype=np.float64))
        shape = np.broadcast_shapes(*(column.shape for column in columns))
        with np.errstate(divide="ignore"):  # g_k = 0: never learned, infinity
            return np.array(np.broadcast_to(compiled(*columns), shape), dtype=np.float64)

    return evaluate


def _columns(argument: Argument, values: Floats) -> list[Floats]:
    """One array for each symbol of one argument of `numeric`."""
    if not isinstance(argument, tuple):
        return [values]
    if values.ndim == 0 or values.shape[-1] != len(argument):
        rule = f"must have a last axis of length {len(argument)}, one for each of {', '.join(map(str, argument))}"
        fail("values", rule, f"shape {values.shape}", "Give one value for each symbol.")
    return [values[..., i] for i in range(len(argument))]


def _features(name: str, value: object, *, minimum: int, maximum: int = MAX_FEATURES) -> int:
    """Return `value` if it is an integer from `minimum` to `maximum`."""
    fix = f"Formulas are made for {minimum} to {maximum}; `population` takes any number."
    count = integer(name, value, minimum=minimum, fix=fix)
    if count > maximum:
        fail(name, f"must be at most {maximum}", count, fix)
    return count


def _tau(value: object) -> int:
    return integer("tau", value, minimum=1, fix="Give the number of learned features a sample needs.")


def _known(num_known: object) -> tuple[sp.Symbol, ...]:
    return probability_symbols(_features("num_known", num_known, minimum=0, maximum=MAX_FEATURES - 1))


def _probability(index: str) -> sp.Symbol:
    return sp.Symbol(f"p_{index}", positive=True)


def _is_probability(symbol: sp.Symbol) -> bool:
    return bool(symbol.name.startswith("p_"))


@cache
def _coefficients(symbols: tuple[sp.Symbol, ...]) -> NDArray[np.object_]:
    """P(exactly s of the features are shown), s = 0, 1, ...: the coefficients of equation (1)."""
    factors = (sp.Poly(1 - p + p * _MARK, _MARK) for p in symbols)
    product = sp.prod(factors, start=sp.Poly(1, _MARK))
    return np.array([sp.expand(term) for term in reversed(product.all_coeffs())], dtype=np.object_)


@cache
def _tail(symbols: tuple[sp.Symbol, ...], tau: int) -> sp.Expr:
    """P(fewer than `tau` of the features are shown), expanded; 0 for tau = 0."""
    return sp.expand(sp.Add(*_coefficients(symbols)[:tau]))


@cache
def _tail_equal(tau: int) -> sp.Expr:
    not_shown = sp.Symbol("q", positive=True)  # 1 - p; its own symbol, of known sign, while terms are simplified
    generating = (not_shown + EQUAL_P * _MARK) ** NUM_LEARNED
    terms = [sp.diff(generating, _MARK, s).subs(_MARK, 0) / sp.factorial(s) for s in range(tau)]
    return sp.Add(*(sp.powsimp(sp.factor(term)).subs(not_shown, 1 - EQUAL_P) for term in terms))


@cache
def _tail_poisson(tau: int) -> sp.Expr:
    return sp.factor(sp.limit(_tail_equal(tau).subs(EQUAL_P, RATE / NUM_LEARNED), NUM_LEARNED, sp.oo))


def _chunks_before(samples: sp.Expr, rate: sp.Expr) -> sp.Expr:
    """The real j at which `samples` (of stage j) times `rate` equals gamma."""
    elapsed, share = sp.Symbol("t", real=True), sp.Symbol("g", positive=True)
    (solution,) = sp.solve(samples.subs(STAGE, elapsed) * share - GAMMA, elapsed)
    return sp.expand(solution).subs(share, rate)


def _without_canceling(expression: sp.Expr) -> sp.Expr:
    """Replace sums that are polynomials in probabilities by sums of products of p and 1 - p."""
    if not expression.args:
        return expression
    symbols = sorted(expression.free_symbols, key=str)
    if expression.is_Add and 0 < len(symbols) <= MAX_FEATURES and all(map(_is_probability, symbols)):
        polynomial = expression.as_poly(*symbols)
        if polynomial is not None and max(polynomial.degree_list()) <= 1:
            return _branched(polynomial, {})
    return expression.func(*(_without_canceling(part) for part in expression.args))


def _branched(polynomial: sp.Poly | sp.Expr, known: dict[sp.Poly, sp.Expr]) -> sp.Expr:
    """A polynomial f of degree 1 in each p as (1 - p) f(p = 0) + p f(p = 1), and so on for the next p.

    What is left at the end are the values of f at the corners of the cube, 0 or 1 for a probability: no
    differences remain but 1 - p.
    """
    if not isinstance(polynomial, sp.Poly):
        return polynomial
    if polynomial not in known:
        p = polynomial.gens[0]
        unshown, shown = (_branched(polynomial.eval(p, value), known) for value in (0, 1))
        known[polynomial] = unshown if unshown == shown else (1 - p) * unshown + p * shown
    return known[polynomial]
