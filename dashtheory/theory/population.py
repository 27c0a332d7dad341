"""The discrete framework without sampling: every count equals its expectation (the limit of large chunks).

Write n for the samples per class of a chunk and F(L) for the chance that a sample of the class shows fewer than
tau features of the learned set L. With every chunk alike, any rule meets the features in one order v_1, v_2, ...
(`dashtheory.theory.greedy`), with gains

    g_k = share of the samples that show v_k and fewer than tau of v_1..v_(k-1),  never rising with k          (1)

and a stage that counts s samples learns up to m(s) = #{k : s g_k >= gamma} of them. For independent features
g_k = p_k F_(k-1), and the order is that of p (ties by index). At stage j:

    rule                  counted, s      learned   active at the start       memorised after
    cold                  n j             m(s)      n j                       n j F_j
    ideal                 n j             m(s)      n j F_(j-1)               n j F_j
    warm                  n               m(n)      n F_(j-1)                 n j F_j
    Forgetting(phi, 0)    n (1+phi(j-1))  m(s)      n (1+phi(j-1)) F_(j-1)    n (j F_j + H_j)                  (2)

where F_j is F after stage j (F_0 = 1), and H_j = (1 - phi) (H_(j-1) + (j-1) (F_(j-1) - F_j)) are samples that are
explained by now but still held. With independent features, Forgetting(phi, psi) learns and holds what
Forgetting(phi, 0) does, whatever is forgotten; only the start of a stage changes: a sample that was last unsure
after stage i, and shows fewer than tau features that are *kept*, is active with

    j - i (1 - phi)^(j-i)   of its j copies; the mean over what is kept is taken                               (3)

Features that depend on each other make the learned set depend on what was forgotten: there a `FeatureTable` is run
with a generator, draw by draw. Proofs: docs/theory.md. The framework is that of Section 3 of arXiv:2410.23495.

For features that depend on each other, `dashtheory.discrete.Mixture` keeps the closed form, and `FeatureTable`
gives the frequency of each combination of features, on which the learner itself runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dashtheory._check import choice, fail, integer, numpy_generator, real
from dashtheory._memory import must_fit
from dashtheory.discrete import DISCRETE_RULES, Forgetting, Mixture
from dashtheory.theory.greedy import greedy_order
from dashtheory.theory.table import FeatureTable

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Population:
    """What the rule learns and memorises, stage by stage, when every count equals its expectation.

    Attributes:
        rule: its name.
        learned: bool (J, C, K), after each stage.
        unsure: float64 (J, C), chance that a test sample shows fewer than tau learned features, after each stage.
        accuracy: float64 (J,), expected test accuracy, classes weighted by their samples, in [1/C, 1].
        num_memorized: float64 (J,), samples whose noise is held after each stage, all classes together.
        active_at_start: float64 (J,), non-zero-gradient samples at the start of each stage.
    """

    rule: str
    learned: NDArray[np.bool_]
    unsure: Floats
    accuracy: Floats
    num_memorized: Floats
    active_at_start: Floats

    @property
    def num_learned(self) -> NDArray[np.int64]:
        """int64 (J,): learned features after each stage, all classes together."""
        return np.asarray(np.count_nonzero(self.learned, axis=(1, 2)), dtype=np.int64)


def population(
    distribution: ArrayLike | Mixture | FeatureTable,
    per_class_chunk_size: ArrayLike,
    num_stages: int,
    *,
    gamma: float = 50,
    tau: int = 3,
    rule: str | Forgetting = "cold",
    generator: np.random.Generator | None = None,
) -> Population:
    """Run the discrete framework in the limit of large chunks, with no sampling of data.

    Where a count equals gamma up to rounding, either side may win. Time: O(C G K (K + tau) + J C K); a
    FeatureTable takes O(R K) per stage.

    Args:
        distribution: probabilities (C, K) of independent features, a `Mixture`, or a `FeatureTable`.
        per_class_chunk_size: samples of each class in a chunk, N / C, > 0, a number or (C,), as large as you like;
            need not be whole.
        num_stages: J.
        gamma: active samples that must show a feature to learn it, > 0.
        tau: learned features that give a sample a zero gradient, >= 1.
        rule: "cold", "warm", "ideal" or a `Forgetting`.
        generator: what a `Forgetting` with phi_feature strictly between 0 and 1 draws its forgotten features from
            (on a FeatureTable; the closed forms of independent features average over them and draw nothing).

    Returns:
        `Population`.

    Raises:
        ValueError: if an argument is out of range, or a `Forgetting` has no closed form in this world.
    """
    num_stages = integer("num_stages", num_stages, minimum=1, fix="It counts stages.")
    gamma = real("gamma", gamma, low=0, open_low=True, infinite=True, fix="It is a count.")
    tau = integer("tau", tau, minimum=1, fix="Give the number of learned features a sample needs.")
    phi = rule if isinstance(rule, Forgetting) else _CORNERS[choice("rule", rule, DISCRETE_RULES)]
    if isinstance(distribution, FeatureTable):
        sizes = _check_sizes(per_class_chunk_size, len(distribution.combinations))
        return _run_table(distribution, sizes, num_stages, gamma, tau, phi, str(rule), generator)
    world = distribution if isinstance(distribution, Mixture) else Mixture.independent(distribution)
    return _closed_form(
        world, _check_sizes(per_class_chunk_size, world.shape[0]), num_stages, gamma, tau, phi, str(rule)
    )


_CORNERS = {"cold": Forgetting(1, 1), "warm": Forgetting(0, 0), "ideal": Forgetting(1, 0)}


def _check_sizes(per_class_chunk_size: ArrayLike, num_classes: int) -> Floats:
    """Samples per class per chunk, float64 (C,)."""
    sizes = np.atleast_1d(np.array(per_class_chunk_size, dtype=object))
    for size in sizes.ravel().tolist():
        real("per_class_chunk_size", size, low=0, open_low=True, fix="It counts samples per class.")
    if sizes.shape not in ((1,), (num_classes,)):
        fail(
            "per_class_chunk_size",
            f"must be a number or have shape (C,) = ({num_classes},)",
            str(sizes.shape),
            "Mend it.",
        )
    return np.broadcast_to(sizes.astype(np.float64), (num_classes,))


def _closed_form(
    world: Mixture, sizes: Floats, num_stages: int, gamma: float, tau: int, phi: Forgetting, name: str
) -> Population:
    """Equations (2) and (3)."""
    corner = phi == _CORNERS["cold"]
    if phi.phi_feature > 0 and not corner and world.shape[1] > 1:
        fail(
            "rule",
            "must be cold, warm, ideal or Forgetting(phi, 0) in a mixture of components",
            name,
            "Run a FeatureTable with a generator: FeatureTable.sampled(world, ...).",
        )
    must_fit("num_stages", num_stages, world.shape[0] * (2.0 * world.shape[-1] + 64))
    steps = greedy_order(world, tau)
    stages = np.arange(1, num_stages + 1, dtype=np.float64)[:, None]
    copies = 1 + phi.phi_noise * (stages - 1)  # (J, 1): chunks that a stage counts
    num_learned = ((copies * sizes)[:, :, None] * steps.gains >= gamma).sum(axis=2)  # (J, C)
    learned = steps.learned(num_learned)
    tails = np.take_along_axis(steps.tails, num_learned.T, axis=1).T  # (J, C)
    before = np.concatenate([np.ones((1, len(sizes))), tails[:-1]])
    active = copies * before
    if corner:
        active = np.broadcast_to(stages, active.shape)
    elif phi.phi_feature > 0:
        for label, order in enumerate(steps.order):
            p = world.probabilities[label, 0, order]
            active[:, label] = _active_with_forgetting(p, num_learned[:, label], min(tau, len(p) + 1), phi)
    held = np.zeros_like(tails)
    for stage in range(1, num_stages):
        explained = stage * (tails[stage - 1] - tails[stage])
        held[stage] = (1 - phi.phi_noise) * (held[stage - 1] + explained)
    unsure = np.take_along_axis(steps.test_tails, num_learned.T, axis=1).T
    return Population(
        rule=name,
        learned=learned,
        unsure=unsure,
        accuracy=1 - (1 - 1 / world.num_labels) * (unsure @ sizes / sizes.sum()),
        num_memorized=(stages * tails + held) @ sizes,
        active_at_start=active @ sizes,
    )


def _active_with_forgetting(p: Floats, num_learned: NDArray[np.int64], tau: int, phi: Forgetting) -> Floats:
    """Expected active samples at the start of each stage, in chunks, of independent features: equation (3).

    Args:
        p: (K,), in the order in which features are learned.
        num_learned: (J,), never falling; of one class.
        tau: >= 1.
        phi: chances of forgetting.
    """
    stages = np.arange(1, len(num_learned) + 1)
    kept = p * (1 - phi.phi_feature)
    unsure = np.zeros((tau, tau))  # P(h shown, t of them kept), h < tau
    unsure[0, 0] = 1
    explained = np.zeros((len(stages), tau))  # copies that come back if t kept features are shown, by stage
    active = np.ones(len(stages))
    for k in range(int(num_learned[-1]) + 1):  # k features have been gone through
        now = np.append(False, num_learned[:-1] == k)
        active[now] = (1 + phi.phi_noise * (stages[now] - 1)) * unsure.sum() + explained[now].sum(axis=1)
        if k == len(p):
            break
        last_unsure = int(np.searchsorted(num_learned, k, side="right"))  # the last stage that had not learned it
        age = np.maximum(stages - last_unsure, 0)
        copies = stages - last_unsure * (1 - phi.phi_noise) ** age
        crossing = unsure[-1] * (p[k] - kept[k])
        crossing[1:] += unsure[-1, :-1] * kept[k]
        later = explained * (1 - kept[k])
        later[:, 1:] += explained[:, :-1] * kept[k]
        explained = later + copies[:, None] * crossing
        grown = unsure * (1 - p[k])
        grown[1:] += unsure[:-1] * (p[k] - kept[k])
        grown[1:, 1:] += unsure[:-1, :-1] * kept[k]
        unsure = grown
    return active


def _run_table(
    table: FeatureTable,
    sizes: Floats,
    num_stages: int,
    gamma: float,
    tau: int,
    phi: Forgetting,
    name: str,
    generator: np.random.Generator | None,
) -> Population:
    """The learner itself, on frequencies in place of samples."""
    num_classes, _, num_features = table.combinations.shape
    learned = np.zeros((num_stages, num_classes, num_features), dtype=np.bool_)
    unsure, num_memorized, active = np.zeros((3, num_stages, num_classes))
    for label, size in enumerate(sizes.tolist()):
        rows, shares = table.combinations[label], size * table.frequencies[label]
        known = np.zeros(num_features, dtype=np.bool_)
        held = np.zeros(len(rows))  # copies of each row whose noise is held, in chunks
        for stage in range(num_stages):
            if stage:
                held *= 1 - phi.phi_noise
                known &= ~_forgotten(phi.phi_feature, num_features, generator)
            hits = np.count_nonzero(rows & known, axis=1)
            mass = shares * (stage + 1 - held) * (hits < tau)
            active[stage, label] = mass.sum()
            _learn_stage_(known, rows, mass, hits, gamma, tau)
            held[hits < tau] = stage + 1
            learned[stage, label] = known
            unsure[stage, label] = table.frequencies[label] @ (hits < tau)
            num_memorized[stage, label] = shares @ held
    return Population(
        rule=name,
        learned=learned,
        unsure=unsure,
        accuracy=1 - (1 - 1 / num_classes) * (unsure @ sizes / sizes.sum()),
        num_memorized=num_memorized.sum(axis=1),
        active_at_start=active.sum(axis=1),
    )


def _forgotten(chance: float, num_features: int, generator: np.random.Generator | None) -> NDArray[np.bool_]:
    """Features that are forgotten; draws only where chance decides."""
    if chance in (0, 1):
        return np.full(num_features, chance == 1)
    return numpy_generator("generator", generator).random(num_features) < chance


def _learn_stage_(
    known: NDArray[np.bool_],
    rows: NDArray[np.bool_],
    mass: Floats,
    hits: NDArray[np.int64],
    gamma: float,
    tau: int,
) -> None:
    """Learn the most frequent feature until none reaches gamma; updates `known`, `mass` (active rows), `hits`."""
    values = rows.astype(np.float64)
    counts = np.where(known, -np.inf, mass @ values)
    alike = 1e-12 * mass.sum()  # counts that differ by rounding alone are ties, and go to the smallest index
    while True:
        best = int((counts >= counts.max() - alike).argmax())
        if not counts[best] >= gamma:
            return
        known[best] = True
        hits += rows[:, best]
        explained = (hits >= tau) & (mass > 0)
        counts -= mass[explained] @ values[explained]
        counts[best] = -np.inf
        mass[explained] = 0
