r"""Does a table that was computed again agree with the committed one, whatever machine computed it?

On one kind of processor, with the same versions, a table comes out the same to the bit. On another one sums are
rounded otherwise, and training makes another run of that. What the table says, the mean over seeds of each metric
at each rule, stage and point (a *mean* below), must then agree within what the seeds allow.

**The rule.** A mean over the n seeds that both tables have, values a_s of the committed table and b_s of the new
one, gives

    t = |mean(b) - mean(a)| / sqrt(2 V / n),   V = (var(a) + var(b)) / 2   (var with n - 1),

its distance in standard errors, and the chance of a larger one under Student's distribution with 2 n - 2 degrees
of freedom, corrected by Holm's method for all means of the table. A corrected chance of at most `ALARM` makes the
table *different*, and so does a value that is a number in one table and none (NaN, infinity) in the other.

**Its rate of false alarms.** Let a_s and b_s be normal with one mean and one variance s^2, and with correlation
rho. Given what a seed fixes (data, first weights) they are two draws of one law, so that their covariance is the
variance of what the seed explains, and rho >= 0. Then u = (a + b) / sqrt(2) and v = (b - a) / sqrt(2) are
independent, with variances (1 + rho) s^2 and (1 - rho) s^2, var(a) + var(b) = var(u) + var(v), and

    t^2 = 2 (n - 1) z^2 / (c U + W),   c = (1 + rho) / (1 - rho) >= 1,

with z^2, U, W independent, chi-squared with 1, n - 1 and n - 1 degrees of freedom. For c = 1 (draws that have
nothing in common) this is Student's t squared; it falls as c grows. So each mean alarms by itself at most as often
as its level says, and a whole table with a chance of at most `ALARM`, however its means hang together (Holm).

**Few seeds, and values that are not normal.** Runs may fall in two kinds (they succeed or fail), and an accuracy
is a count of pictures: a few seeds can be all alike by chance, and their spread says nothing then. So V is taken
as no smaller than two others, which makes t smaller only, so that the rate above stays:

- the median of V over all means of that metric at that stage, in both tables;
- (h / 2)^2, the largest variance of values that are all at one of two neighboring steps, with h the smallest
  step between values of that metric at that stage in either table.

`tests/record/test_agreement.py` holds the rate against draws, and against halves of the committed tables' seeds.

**No chance in it.** Level 1 (`EXACT`) trains nothing: there, and where a table has one seed, each number must be
the same up to rounding, half of the digits of the arithmetic relative to the largest value of its metric
(sqrt(2^-52), or sqrt(2^-23) where networks are evaluated). How many differ by less is said all the same.

**What it does not see.** "Equal" is: not told apart. With few seeds and many means that is a wide net: under three
to ten seeds and a thousand means a mean must move by 7 to 20 standard errors. So every comparison says which shift
would just have been told (`Agreement.unseen`), and an interval of the results may well be narrower than that. Nor
does it see spread that changes while means do not, or a single seed that runs wild (which widens the new table's
interval too).

Wall times are not results (`is_time`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from dashtheory._check import fail
from dashtheory.record.coordinates import write_coordinate
from dashtheory.record.paired import holm
from dashtheory.record.table import check_table, coordinate_names

ALARM = 0.01
"""Largest chance that a table of the same law is called different."""
EXACT = ("discrete",)
"""Levels whose numbers do not depend on the processor but for rounding: counts, sets and closed forms."""
_UNIT = 8 * float(np.finfo(np.float32).eps)  # relative: what is nearer than that is one value, rounded twice

Verdict = Literal["identical", "equal", "different"]


def is_time(metric: str) -> bool:
    """Whether a metric is a wall time, which differs from run to run: `seconds`, or named `..._seconds`."""
    return metric == "seconds" or metric.endswith("_seconds")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A mean over seeds that differs, or, where no chance is in it, a single number.

    Attributes:
        rule: of its rows.
        stage: of its rows.
        metric: its name.
        point: coordinates, by name, as text; those that it does not have are left out.
        seed: of a single number; None for a mean.
        committed: value in the committed table.
        new: value in the new one.
        errors: their distance in standard errors of the difference of means; NaN for one seed.
    """

    rule: str
    stage: int
    metric: str
    point: dict[str, str]
    seed: int | None
    committed: float
    new: float
    errors: float


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What a comparison of two tables found.

    Attributes:
        verdict: "identical" (to the bit, what both have), "equal" (within intervals or rounding), "different".
        exact: whether no chance is in the numbers, so that they are compared one by one.
        num_seeds: that both tables have.
        seeds_apart: that one of them has.
        num_means: means over seeds (numbers, if `exact`) that both tables have.
        num_changed: of these, how many are not the same to the bit.
        furthest: the one that is furthest off; None if all are the same.
        differences: that are too large, furthest first.
        missing: means of the committed table that the new one lacks.
        further: means of the new table that the committed one lacks.
        unseen: by metric, the shift of a mean at the last stage that would just have been told: the median over
            rules and points; empty where no chance is in the numbers.
    """

    verdict: Verdict
    exact: bool
    num_seeds: int
    seeds_apart: int
    num_means: int
    num_changed: int
    furthest: Difference | None
    differences: tuple[Difference, ...]
    missing: int
    further: int
    unseen: Mapping[str, float] = field(default_factory=dict)


def agreement(committed: pd.DataFrame, new: pd.DataFrame, *, whole: bool = True) -> Agreement:
    """Compare a table that was computed again with the committed one, by the rule of this module.

    Args:
        committed: tidy table of one experiment.
        new: tidy table of the same experiment and setting.
        whole: whether means that one table lacks make them different; otherwise what both have is compared.

    Raises:
        ValueError: if a table is of several experiments, or they have nothing in common, or one seed of several.
    """
    both, points = _joined(_results(committed, "committed"), _results(new, "new"))
    keys = [*points, "rule", "stage", "metric"]
    there = both[(both["_merge"] == "both")].copy()
    if there.empty:
        fail("new", "must have numbers of the committed table", "none", "Compare tables of one setting.")
    same = there["committed"].eq(there["new"]) | (there["committed"].isna() & there["new"].isna())
    there["changed"] = ~same
    several = max(one["seed"].nunique() for one in (committed, new)) > 1
    if several and there["seed"].nunique() == 1 and there["changed"].any() and not _exact(there).all():
        fix = "Compute two seeds or more: differences are judged by the spread of the seeds."
        fail("new", "must have two seeds of the committed table", "one", fix)
    numbers = _judged(there.assign(exact=_exact(there) | (not several)), keys)
    lacking = both[both["_merge"] != "both"]
    alone = _alone(lacking, there, keys)
    missing, further = (int((alone["_merge"] == side).sum()) for side in ("left_only", "right_only"))
    beyond = numbers[numbers["beyond"]]
    different = len(beyond) > 0 or (whole and missing + further > 0)
    verdict: Verdict = "different" if different else "identical" if same.all() else "equal"
    changed = numbers[numbers["changed"]]
    return Agreement(
        verdict=verdict,
        exact=bool(numbers["exact"].all()),
        num_seeds=there["seed"].nunique(),
        seeds_apart=len({*committed["seed"]} ^ {*new["seed"]}),
        num_means=len(numbers),
        num_changed=len(changed),
        furthest=next(iter(_told(_furthest_first(changed).head(1), points)), None),
        differences=tuple(_told(_furthest_first(beyond), points)),
        missing=missing,
        further=further,
        unseen=_unseen(numbers),
    )


def _results(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The table without times; coordinates as text, so that an empty column fits any."""
    checked = check_table(table, name)
    if checked["experiment"].nunique() > 1:
        fail(name, "must be of one experiment", ", ".join(sorted(set(checked["experiment"]))), "Choose one.")
    checked = checked[~checked["metric"].map(is_time)]
    texts = {point: write_coordinate(checked[point]) for point in coordinate_names(checked)}
    return checked.assign(**texts)


def _joined(committed: pd.DataFrame, new: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Rows of both side by side, with the names of their coordinates."""
    points = sorted({*coordinate_names(committed), *coordinate_names(new)})
    on = ["level", "experiment", *points, "rule", "stage", "metric", "seed"]
    sides = [
        table.assign(**{name: "" for name in points if name not in table}).rename(columns={"value": side})
        for side, table in (("committed", committed), ("new", new))
    ]
    return sides[0].merge(sides[1], on=on, how="outer", indicator=True, sort=False), points


def _exact(rows: pd.DataFrame) -> pd.Series:
    return rows["level"].isin(EXACT)


def _alone(lacking: pd.DataFrame, there: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Means of which one table has no row at all, a row each."""
    known = pd.MultiIndex.from_frame(there[keys])
    groups = lacking.drop_duplicates([*keys, "_merge"])
    return groups[~pd.MultiIndex.from_frame(groups[keys]).isin(known)]


def _judged(there: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """What is compared, a row each: means over seeds, and single numbers where no chance is in them."""
    there = _scaled(there)
    there = _with_errors(there, keys)
    singles = there[there["exact"]].copy()
    singles["beyond"] = singles["changed"] & ~(
        (singles["committed"] - singles["new"]).abs() <= _rounding(singles) * singles["scale"]
    )
    means = there[~there["exact"]].groupby(keys, sort=False, as_index=False)
    found = means.agg(
        committed=("committed", "mean"),
        new=("new", "mean"),
        changed=("changed", "any"),
        errors=("errors", "first"),
        error=("error", "first"),
        n=("n", "first"),
    ).assign(exact=False)
    # NaN, no verdict, where one seed of several is left.
    chances = [_chance(t, n) for t, n in found[["errors", "n"]].to_numpy()]
    found["beyond"] = [chance <= ALARM for chance in holm(chances)]
    return pd.concat([one for one in (found, singles) if len(one)], ignore_index=True)


def _chance(errors: float, n: float) -> float:
    """Of a larger distance, in standard errors, between the means of n seeds."""
    return 0.0 if np.isinf(errors) else 2 * float(stats.t.sf(errors, 2 * n - 2))


def _unseen(numbers: pd.DataFrame) -> dict[str, float]:
    """`Agreement.unseen`: the first step of Holm's method asks for the level divided by the number of means."""
    means = numbers[~numbers["exact"]]
    means = means[means["n"] > 1]
    if means.empty:
        return {}
    last = means[means["stage"] == means.groupby("metric")["stage"].transform("max")]
    needed = stats.t.isf(ALARM / (2 * len(means)), 2 * last["n"].to_numpy() - 2)
    shifts = last.assign(shift=needed * last["error"].to_numpy())
    return {str(metric): float(value) for metric, value in shifts.groupby("metric")["shift"].median().items()}


def _rounding(rows: pd.DataFrame) -> np.ndarray:
    """Half of the digits of the arithmetic of each row."""
    double, single = (float(np.sqrt(np.finfo(kind).eps)) for kind in (np.float64, np.float32))
    return np.where(_exact(rows), double, single)


def _scaled(there: pd.DataFrame) -> pd.DataFrame:
    """With the largest size of each metric, and the smallest step between values of it at one stage."""
    values = there[["committed", "new"]].where(np.isfinite(there[["committed", "new"]]))
    largest = values.abs().max(axis=1).groupby(there["metric"]).max()
    scale = there["metric"].map(largest).fillna(0.0)
    steps = {
        place: _smallest_step(values.loc[rows.index].to_numpy(), _UNIT * float(scale[rows.index[0]]))
        for place, rows in there.groupby(["metric", "stage"], sort=False)
    }
    step = [steps[place] for place in zip(there["metric"], there["stage"], strict=True)]
    return there.assign(scale=scale, step=step)


def _smallest_step(values: np.ndarray, unit: float) -> float:
    """The smallest distance of values that are not nearer than `unit`; `unit` if all are."""
    steps = np.diff(np.unique(values[np.isfinite(values)]))
    return float(min(steps[steps > unit], default=unit))


def _with_errors(there: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The rows with three numbers of their mean.

    They are n, the seeds that have a number in both tables; the standard `error` of the difference of means; and
    `errors`, how many of them the means are apart (NaN for one seed; infinity where a number of one table is none
    in the other).
    """
    sides = ["committed", "new"]
    known = pd.Series(np.isfinite(there[sides].to_numpy()).all(axis=1), index=there.index)
    finite = {side: there[side].where(known) for side in sides}
    rows = there.assign(broken=there["changed"] & ~known, **finite)
    groups = rows.groupby(keys, sort=False)
    n = groups["new"].transform("count").to_numpy()
    apart = (groups["new"].transform("mean") - groups["committed"].transform("mean")).abs().to_numpy()
    apart = np.where(groups["changed"].transform("any"), apart, 0.0)
    own = (groups["committed"].transform("var") + groups["new"].transform("var")) / 2
    usual = own.groupby([rows["metric"], rows["stage"]]).transform("median")
    least = np.fmax(usual.to_numpy(), (rows["step"].to_numpy() / 2) ** 2)
    error = np.sqrt(2 * np.fmax(own.to_numpy(), least) / np.maximum(n, 1))
    errors = np.zeros(len(rows))
    np.divide(apart, error, out=errors, where=apart > 0)
    errors = np.where(n > 1, errors, np.nan)
    errors[groups["broken"].transform("any")] = np.inf  # a number in one table is none in the other
    return there.assign(n=n, error=error, errors=errors)


def _furthest_first(numbers: pd.DataFrame) -> pd.DataFrame:
    size = (numbers["committed"] - numbers["new"]).abs()
    return numbers.assign(size=size).sort_values(["errors", "size"], ascending=False, kind="stable")


def _told(numbers: pd.DataFrame, points: Sequence[str]) -> list[Difference]:
    return [
        Difference(
            rule=row["rule"],
            stage=int(row["stage"]),
            metric=row["metric"],
            point={name: row[name] for name in points if row[name]},
            seed=int(row["seed"]) if row["exact"] else None,
            committed=float(row["committed"]),
            new=float(row["new"]),
            errors=float(row["errors"]),
        )
        for row in numbers.to_dict("records")
    ]
