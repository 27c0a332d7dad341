"""What can be said of cold, warm and ideal, as statements that a computer can check case by case.

A `Claim` is a sentence with its assumptions, and a function that lists, for one universe, the comparisons it
stands for. A theorem is proved in `docs/theory.md` (the idea stands beside each function here); a refuted claim
is kept with its smallest counterexample, because it is what one would expect. `CLAIMS` holds them all, by name.

Words: *active* samples have a non-zero gradient when a stage starts; *unsure* samples show fewer than tau learned
features. v_k, g_k and F_k are the greedy order of `dashtheory.theory.stationary`; m_1 is the number of features
learned in stage 1. Derived here, for the framework of Section 3 of arXiv:2410.23495.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashtheory._check import choice, fail, integer, real
from dashtheory.discrete.sample import check_probabilities
from dashtheory.theory.population import Population, population
from dashtheory.theory.stationary import Feature, Limits, Universe, greedy, run, small_universes

STATUSES = ("theorem", "refuted")
"""What is known of a claim: proved in docs/theory.md, or false in some universe."""

FINITE = (
    "With sampled chunks, which repeat only on average, warm_stops, cold_equals_ideal and inclusion fail: counts "
    "fluctuate from chunk to chunk, so a warm learner can find a feature frequent in a later chunk, and can know "
    "one that ideal does not; and a cold learner can take another path and lack a feature that it had learned a "
    "stage before, which ideal keeps."
)
"""What the claims do not say."""

ROUNDING = 1e-12
"""Relative tolerance for counts of `population`: F_k is a sum of products of k factors with no cancellation, so
its relative error is about 3 k 2^-53, which is 3e-14 for 100 features."""

Side = int | float | frozenset[Feature]
Comparisons = Iterator["Comparison"]

_RELATIONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<=": operator.le,  # of sets: is contained in
    ">": operator.gt,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class IndependentWorld:
    """Independent features in the limit of large chunks (`dashtheory.theory.population`).

    Attributes:
        probabilities: float64 (C, K), in [0, 1]. Kept as a read-only copy.
        per_class_chunk_size: samples of each class in a chunk, N / C, > 0; need not be whole.
        gamma: samples that must show a feature to learn it, > 0.
        tau: learned features that give a sample a zero gradient, >= 1.
        num_stages: J >= 1.

    Raises:
        ValueError: if an argument is out of range.
    """

    probabilities: NDArray[np.float64]
    per_class_chunk_size: float
    gamma: float
    tau: int
    num_stages: int

    def __post_init__(self) -> None:
        p = np.array(check_probabilities(self.probabilities))
        p.setflags(write=False)
        object.__setattr__(self, "probabilities", p)
        real(
            "per_class_chunk_size",
            self.per_class_chunk_size,
            low=0,
            open_low=True,
            fix="It counts samples per class.",
        )
        real("gamma", self.gamma, low=0, open_low=True, fix="It is a count.")
        integer("tau", self.tau, minimum=1, fix="Give the number of learned features a sample needs.")
        integer("num_stages", self.num_stages, minimum=1, fix="It counts stages.")

    def describe(self) -> str:
        """Lines for people: the numbers, then the probabilities of each class, counted from 1."""
        head = (
            f"independent features, {self.per_class_chunk_size:g} samples per class and chunk, "
            f"{self.num_stages} stages, gamma {self.gamma:g}, tau {self.tau}"
        )
        rows = enumerate(self.probabilities.tolist(), 1)
        return "\n".join(
            [head, *(f"  class {c}: probabilities {', '.join(f'{p:g}' for p in row)}" for c, row in rows)]
        )


Case = Any
"""What a claim is about: a `Universe`, an `IndependentWorld`, a `NormedNet`; it can `describe` itself."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One thing that a claim says of one stage: left, relation, right.

    Attributes:
        stage: from 1.
        left: numbers, or sets of (class, feature) from 0.
        right: numbers, or sets of (class, feature) from 0.
        relation: "=", "<=" (for sets: is contained in) or ">".
        left_is: what they are, in words.
        right_is: what they are, in words.
        rounding: relative tolerance of "<=" between floats; 0 where both sides are whole.
    """

    stage: int
    left_is: str
    left: Side
    relation: str
    right_is: str
    right: Side
    rounding: float = 0

    @property
    def holds(self) -> bool:
        """Whether the relation is true."""
        right = self.right
        if self.rounding and not isinstance(right, frozenset):
            right = right * (1 + self.rounding)
        return _RELATIONS[self.relation](self.left, right)

    def __str__(self) -> str:
        left, right = _side(self.left), _side(self.right)
        relation = "contained in" if self.relation == "<=" and isinstance(self.left, frozenset) else self.relation
        sides = f"{self.left_is} {left}, {self.right_is} {right}"
        return f"stage {self.stage}: {sides}; claimed: {left} {relation} {right}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdict:
    """What a claim says of one case.

    Attributes:
        claim: the claim's name.
        statement: its words.
        universe: the case, a `Universe` or an `IndependentWorld`.
        applies: whether the assumptions are met, at one stage at least.
        failure: the first comparison that is false; None if all hold, or the claim does not apply.
    """

    claim: str
    statement: str
    universe: Case
    applies: bool
    failure: Comparison | None

    @property
    def holds(self) -> bool:
        """Whether nothing contradicts the claim (True where it does not apply)."""
        return self.failure is None

    @property
    def stage(self) -> int | None:
        """The stage of the first failure, from 1; None if there is none."""
        return None if self.failure is None else self.failure.stage

    def explain(self) -> str:
        """The claim, the universe, and the stage and numbers of the first failure, in a few lines."""
        if self.failure is not None:
            word, last = "fails", f"\n  {self.failure}"
        else:
            word, last = ("holds" if self.applies else "does not apply"), ""
        universe = self.universe.describe().replace("\n", "\n  ")
        return f"{self.claim} {word}: {self.statement}\n  {universe}{last}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Claim:
    """A statement about every universe (or every independent world).

    Attributes:
        name: as in `CLAIMS`.
        statement: plain words and a formula.
        assumptions: what it asks of the universe beyond being one.
        section: where `docs/theory.md` proves or refutes it, as "docs/theory.md#warm-stops".
        status: "theorem" or "refuted".
        about: the type of its cases, such as `Universe` or `IndependentWorld`.
        compare: the comparisons of one case, in order of stages, at the stages where the assumptions are met.

    Raises:
        ValueError: if the status is unknown.
    """

    name: str
    statement: str
    assumptions: tuple[str, ...] = ()
    section: str
    status: str
    about: type[Any] = Universe
    compare: Callable[[Any], Comparisons]

    def __post_init__(self) -> None:
        choice("status", self.status, STATUSES)

    def check(self, universe: Case) -> Verdict:
        """Compare the two sides, stage by stage, up to the first failure.

        Raises:
            ValueError: if `universe` is not of the type that the claim is about.
        """
        if not isinstance(universe, self.about):
            rule = f"of {self.name} must be of type {self.about.__name__}"
            fail("universe", rule, type(universe).__name__, "Build one from dashtheory.theory.")
        applies, failure = False, None
        for comparison in self.compare(universe):
            applies = True
            if not comparison.holds:
                failure = comparison
                break
        return Verdict(
            claim=self.name, statement=self.statement, universe=universe, applies=applies, failure=failure
        )

    def require(self, universe: Case) -> None:
        """Accept a universe where the claim holds or does not apply.

        Raises:
            ValueError: with the explanation if the claim fails.
        """
        verdict = self.check(universe)
        if not verdict.holds:
            raise ValueError(verdict.explain())

    def counterexample(
        self, universes: Iterable[Case] | None = None, *, limits: Limits | None = None
    ) -> Verdict | None:
        """The first universe where the claim fails.

        Args:
            universes: where to look; if not given, `small_universes(limits)`, so that the first is a smallest.
            limits: of that list; only without `universes`.

        Returns:
            its `Verdict`, or None if the claim fails in none of them.

        Raises:
            ValueError: if both are given, or neither for a claim about independent worlds.
        """
        if universes is None:
            if self.about is not Universe:
                fail("universes", f"must be given for {self.name}", "None", "List some independent worlds.")
            universes = small_universes(limits)
        elif limits is not None:
            fail("limits", "must be left out where universes are given", repr(limits), "Give one of the two.")
        return next((verdict for verdict in map(self.check, universes) if not verdict.holds), None)


def _side(value: Side) -> str:
    if not isinstance(value, frozenset):
        return f"{value:.15g}"
    return "{" + ", ".join(f"{feature + 1} of class {label + 1}" for label, feature in sorted(value)) + "}"


def _each_stage(
    left_is: str,
    left: Iterable[Side],
    relation: str,
    right_is: str,
    right: Iterable[Side],
    *,
    last: int | None = None,
) -> Comparisons:
    """One comparison per stage, up to the stage `last`."""
    for stage, (one, other) in enumerate(zip(left, right, strict=True), 1):
        if last is None or stage <= last:
            yield Comparison(
                stage=stage, left_is=left_is, left=one, relation=relation, right_is=right_is, right=other
            )


def _alternate(*columns: Comparisons) -> Comparisons:
    """Several comparisons per stage, in order of stages."""
    for one_stage in zip(*columns, strict=True):
        yield from one_stage


def _active(universe: Universe, rule: str) -> list[int]:
    active: list[int] = run(universe, rule).active_at_start.tolist()
    return active


def _greedy_prefix(universe: Universe) -> Comparisons:
    """A cold stage j sees every count j times; gains never rise (`dashtheory.theory.stationary`)."""
    found, cold = greedy(universe), run(universe, "cold").sets
    pairs = list(zip(found.order, found.gains, strict=True))
    predicted = [
        frozenset(v for v, gain in pairs if stage * gain >= universe.gamma) for stage in range(1, len(cold) + 1)
    ]
    yield from _each_stage("learned by cold", cold, "=", "features v_k with j g_k >= gamma", predicted)


def _warm_stops(universe: Universe) -> Comparisons:
    """All old samples are sure or memorised, so a later stage counts one chunk, as stage 1 did when it stopped."""
    sets = run(universe, "warm").sets
    yield from _each_stage("learned by warm", sets, "=", "learned in stage 1", [sets[0]] * len(sets))


def _cold_equals_ideal(universe: Universe) -> Comparisons:
    """Ideal resumes the greedy order where cold passes: what stage j - 1 learned has j g_k >= gamma too."""
    cold, ideal = run(universe, "cold").sets, run(universe, "ideal").sets
    yield from _each_stage("learned by cold", cold, "=", "learned by ideal", ideal)


def _inclusion(universe: Universe) -> Comparisons:
    """Both are prefixes of the greedy order; warm's is that of stage 1, cold's grows with j."""
    cold, warm, ideal = (run(universe, rule).sets for rule in ("cold", "warm", "ideal"))
    yield from _alternate(
        _each_stage("learned by warm", warm, "<=", "learned by ideal", ideal),
        _each_stage("learned by cold one stage before", [frozenset(), *cold[:-1]], "<=", "learned by cold", cold),
    )


def _accuracy_order(universe: Universe) -> Comparisons:
    """Unsure samples fall along the greedy order, strictly at v_k; cold reaches v_k once j g_k >= gamma."""
    cold, warm, ideal = (run(universe, rule).unsure.tolist() for rule in ("cold", "warm", "ideal"))
    strict_from = first_strict_stage(universe)
    from_words = "never" if strict_from is None else f"from stage {strict_from}"
    for stage, (c, w, i) in enumerate(zip(cold, warm, ideal, strict=True), 1):
        yield Comparison(
            stage=stage,
            left_is="unsure per chunk after ideal",
            left=i,
            relation="=",
            right_is="after cold",
            right=c,
        )
        yield Comparison(
            stage=stage,
            left_is=f"unsure per chunk after warm (strictly more {from_words})",
            left=w,
            relation="=" if strict_from is None or stage < strict_from else ">",
            right_is="after ideal",
            right=i,
        )


def first_strict_stage(universe: Universe) -> int | None:
    """The first stage after which warm leaves more samples unsure than ideal does, whatever the number of stages.

    j* = ceil(gamma / g_k), with k the first index > m_1 whose F_k < F_(m_1). (Then g_k >= 1, because some unsure
    sample shows v_k.)

    Args:
        universe: its number of stages does not matter.

    Returns:
        int | None: j*, or None if there is no such k: no feature that warm lacks would make a sample sure.
    """
    found = greedy(universe)
    learned = sum(gain >= universe.gamma for gain in found.gains)
    for gain, unsure in zip(found.gains[learned:], found.unsure[learned + 1 :], strict=True):
        if unsure < found.unsure[learned]:
            return -(-universe.gamma // gain)
    return None


def _ideal_never_longer_than_cold(universe: Universe) -> Comparisons:
    """Ideal starts stage j with those of the j chunks that are unsure; cold with all of them."""
    yield from _each_stage(
        "active of ideal", _active(universe, "ideal"), "<=", "of cold", _active(universe, "cold")
    )


def _warm_never_longer_than_ideal(universe: Universe, last: int | None = None) -> Comparisons:
    """Warm: F_(m_1), from stage 2. Ideal: j F with the F of the stage before, which can be below F_(m_1) / j."""
    warm, ideal = _active(universe, "warm"), _active(universe, "ideal")
    yield from _each_stage("active of warm", warm, "<=", "of ideal", ideal, last=last)


def _warm_never_longer_up_to_stage_2(universe: Universe) -> Comparisons:
    """Stage 1 is the same, and stage 2 starts from the same set: 2 F_(m_1) >= F_(m_1)."""
    yield from _warm_never_longer_than_ideal(universe, last=2)


def _warm_never_longer_with_remainder(universe: Universe) -> Comparisons:
    """F >= rho whatever is learned, so j F >= 3 rho >= F_(m_1) for j >= 3; stage 2 needs no assumption."""
    if 3 * universe.remainder >= int(run(universe, "cold").unsure[0]):
        yield from _warm_never_longer_than_ideal(universe)


def _warm_never_longer_cumulatively(universe: Universe, last: int | None = None) -> Comparisons:
    """With n samples per chunk: n + (j - 1) F_(m_1) against n + 2 F_(m_1) + 3 F + 4 F' + ..."""
    warm, ideal = accumulate(_active(universe, "warm")), accumulate(_active(universe, "ideal"))
    yield from _each_stage("active of warm so far", warm, "<=", "of ideal so far", ideal, last=last)


def _cumulative_up_to_stage_3(universe: Universe) -> Comparisons:
    """At stage 3: n + 2 F_(m_1) <= n + 2 F_(m_1) + 3 F."""
    yield from _warm_never_longer_cumulatively(universe, last=3)


def _independent_never_longer(world: IndependentWorld) -> Comparisons:
    """As for universes; independence alone does not help."""
    warm, ideal = (_population(world, rule).active_at_start.tolist() for rule in ("warm", "ideal"))
    for stage, (one, other) in enumerate(zip(warm, ideal, strict=True), 1):
        yield Comparison(
            stage=stage,
            left_is="active of warm",
            left=one,
            relation="<=",
            right_is="of ideal",
            right=other,
            rounding=ROUNDING,
        )


def _independent_odds(world: IndependentWorld) -> Comparisons:
    """F_m against F_(m_1), m being what cold and ideal have learned when stage j + 1 starts.

    A sample that is unsure with m - 1 features and does not show the m-th stays unsure: F_m >= (1 - p_m) F_(m-1).
    That is (b). For (c): stage j learned the m-th and stage 1 did not learn the next one, so j n p_m F_(m-1) >=
    gamma > n p_(m_1+1) F_(m_1), and (j + 1) F_m >= (1 + 1/j) ((1 - p_m) / p_m) p_(m_1+1) F_(m_1) >= F_(m_1).
    """
    learned = _population(world, "cold").learned.sum(axis=2).tolist()
    sorted_p = (-np.sort(-world.probabilities, axis=1)).tolist()
    for comparison in list(_independent_never_longer(world))[2:]:
        rows = zip(sorted_p, learned[0], learned[comparison.stage - 2], strict=True)
        if all(_odds_suffice(p, first, now, comparison.stage) for p, first, now in rows):
            yield comparison


def _odds_suffice(p: list[float], first: int, now: int, stage: int) -> bool:
    """Whether one class, with probabilities p falling, meets (a), (b) or (c) of independent_odds at a stage."""
    if now == first:
        return True
    last, following = p[now - 1], p[first]
    if now == first + 1 and last <= 1 - 1 / stage:
        return True
    return last <= stage / (stage - 1) * following * (1 - last)


def _population(world: IndependentWorld, rule: str) -> Population:
    return population(
        world.probabilities,
        world.per_class_chunk_size,
        world.num_stages,
        gamma=world.gamma,
        tau=world.tau,
        rule=rule,
    )


def _claim(status: str, name: str, statement: str, compare: Callable[[Any], Comparisons], **details: Any) -> Claim:
    section = f"docs/theory.md#{name.replace('_', '-')}"
    return Claim(name=name, statement=statement, section=section, status=status, compare=compare, **details)


_ALL = (
    _claim(
        "theorem",
        "greedy_prefix",
        "after stage j cold has learned the features v_k of the greedy order with j g_k >= gamma",
        _greedy_prefix,
    ),
    _claim("theorem", "warm_stops", "warm learns nothing after stage 1: L_warm(j) = L_warm(1)", _warm_stops),
    _claim(
        "theorem",
        "cold_equals_ideal",
        "cold and ideal have learned the same set after every stage: L_cold(j) = L_ideal(j)",
        _cold_equals_ideal,
    ),
    _claim(
        "theorem",
        "inclusion",
        "what warm has learned, ideal has learned, and cold's set grows: L_warm(j) is contained in L_ideal(j), "
        "and L_cold(j-1) in L_cold(j)",
        _inclusion,
    ),
    _claim(
        "theorem",
        "accuracy_order",
        "warm leaves at least as many samples unsure as ideal and cold, which leave the same: F_warm(j) >= "
        "F_ideal(j) = F_cold(j), strictly from stage j* = ceil(gamma / g_k) on and not before, where k is the "
        "first index > m_1 with F_k < F_(m_1) (never, if there is none)",
        _accuracy_order,
    ),
    _claim(
        "theorem",
        "ideal_never_longer_than_cold",
        "ideal starts each stage with at most as many active samples as cold: A_ideal(j) <= A_cold(j)",
        _ideal_never_longer_than_cold,
    ),
    _claim(
        "refuted",
        "warm_never_longer_than_ideal",
        "warm starts each stage with at most as many active samples as ideal: A_warm(j) <= A_ideal(j)",
        _warm_never_longer_than_ideal,
    ),
    _claim(
        "theorem",
        "warm_never_longer_up_to_stage_2",
        "warm starts stages 1 and 2 with at most as many active samples as ideal: A_warm(j) <= A_ideal(j), j <= 2",
        _warm_never_longer_up_to_stage_2,
    ),
    _claim(
        "theorem",
        "warm_never_longer_than_ideal_with_remainder",
        "with enough samples that can only be memorised, warm starts each stage with at most as many active "
        "samples as ideal: 3 rho >= F_(m_1) gives A_warm(j) <= A_ideal(j)",
        _warm_never_longer_with_remainder,
        assumptions=(
            "the samples per chunk that show fewer than tau features at all, rho, number at least a third of "
            "those that are unsure after stage 1: 3 rho >= F_(m_1)",
        ),
    ),
    _claim(
        "refuted",
        "warm_never_longer_cumulatively",
        "the active samples of stages 1 to j add up to at most as many for warm as for ideal: A_warm(1) + ... + "
        "A_warm(j) <= A_ideal(1) + ... + A_ideal(j)",
        _warm_never_longer_cumulatively,
    ),
    _claim(
        "theorem",
        "cumulative_up_to_stage_3",
        "the active samples of stages 1 to j add up to at most as many for warm as for ideal: A_warm(1) + ... + "
        "A_warm(j) <= A_ideal(1) + ... + A_ideal(j), j <= 3",
        _cumulative_up_to_stage_3,
    ),
    _claim(
        "refuted",
        "independent_warm_never_longer",
        "with independent features, in the limit of large chunks, warm starts each stage with at most as many "
        "active samples as ideal: A_warm(j) <= A_ideal(j)",
        _independent_never_longer,
        about=IndependentWorld,
    ),
    _claim(
        "theorem",
        "independent_odds",
        "with independent features, in the limit of large chunks, warm starts stage j + 1 with at most as many "
        "active samples as ideal: A_warm(j+1) <= A_ideal(j+1)",
        _independent_odds,
        about=IndependentWorld,
        assumptions=(
            "j >= 2",
            "in each class, with m features learned by cold after stage j, one of: (a) m = m_1; (b) m = m_1 + 1 "
            "and p_m <= 1 - 1/(j+1); (c) the odds of the least probable of them are at most (1 + 1/j) times the "
            "probability of the feature that warm would learn next: p_m / (1 - p_m) <= (1 + 1/j) p_(m_1+1)",
        ),
    ),
)

CLAIMS: Mapping[str, Claim] = MappingProxyType({claim.name: claim for claim in _ALL})
"""Every claim, by name."""
