"""Drawing of packed samples: the published generator, exact chances, and bits that are independent."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dashtheory.discrete import Mixture, PackedFeatures, draw_data
from dashtheory.discrete._draw import bernoulli_word, draw_class, draw_lost, next_word, thresholds
from dashtheory.seeds import numpy_stream
from tests.oracles.discrete import NaiveWords, draw_class_naively, draw_lost_naively, threshold_of

Bools = NDArray[np.bool_]
Words = NDArray[np.uint64]
ONES = 2**64 - 1

words64 = st.integers(0, ONES)
states = st.tuples(words64, words64, words64, st.integers(1, ONES))
any_threshold = words64 | st.integers(0, 64).map(lambda shift: min(1 << shift, ONES)) | st.sampled_from([0, ONES])
any_chance = st.floats(0, 1) | st.sampled_from([0.0, 0.5, 1.0, 2.0**-64, 1 - 2.0**-53])


def state_of(words: tuple[int, ...]) -> Words:
    return np.array(words, dtype=np.uint64)


def seeded(seed: int) -> Words:
    return np.random.default_rng(seed).integers(0, 2**64, size=4, dtype=np.uint64)


def unpack(words: Words, num_bits: int) -> Bools:
    """Bit i of a row is bit i % 64 of word i // 64: (..., W) -> bool (..., num_bits)."""
    places = np.arange(num_bits)
    return (words[..., places // 64] >> (places % 64).astype(np.uint64) & np.uint64(1)).astype(np.bool_)


def assert_share(share: float, chance: float, count: int) -> None:
    """A share of `count` independent trials lies within 5 standard errors of its chance."""
    assert abs(share - chance) <= 5 * math.sqrt(chance * (1 - chance) / count), (share, chance)


# ---------------------------------------------------------------------------------------------- the words


def test_the_first_words_are_the_published_ones() -> None:
    """Of the reference implementation, for the state 1, 2, 3, 4."""
    state = state_of((1, 2, 3, 4))
    assert [int(next_word(state)) for _ in range(10)] == [
        41943041,
        58720359,
        3588806011781223,
        3591011842654386,
        9228616714210784205,
        9973669472204895162,
        14011001112246962877,
        12406186145184390807,
        15849039046786891736,
        10450023813501588000,
    ]


@given(start=states)
def test_words_equal_those_of_plain_integers(start: tuple[int, ...]) -> None:
    state, naive = state_of(start), NaiveWords(start)
    assert [int(next_word(state)) for _ in range(20)] == [naive.next() for _ in range(20)]
    assert state.tolist() == naive.state


# ------------------------------------------------------------------------------------------- the chances


@given(chance=any_chance)
@example(chance=float(np.nextafter(1, 0)))
@example(chance=5e-324)
def test_a_threshold_is_the_chance_rounded_down_to_a_multiple_of_two_to_the_minus_64(chance: float) -> None:
    assert int(thresholds(chance)) == threshold_of(chance)
    if chance < 1:
        assert 0 <= Fraction(chance) - Fraction(int(thresholds(chance)), 2**64) < Fraction(1, 2**64)


@given(numerator=st.integers(0, 2**20 - 1), digits=st.integers(20, 64))
def test_dyadic_chances_are_exact(numerator: int, digits: int) -> None:
    assert int(thresholds(numerator / 2**digits)) == numerator << (64 - digits)


def test_thresholds_keep_the_shape_and_rise_with_the_chance() -> None:
    chances = np.linspace(0, 1, 60).reshape(3, 4, 5)
    found = thresholds(chances)
    assert found.shape == (3, 4, 5)
    assert found.dtype == np.uint64
    assert (found.ravel()[1:] > found.ravel()[:-1]).all()
    assert [int(found.flat[0]), int(found.flat[-1])] == [0, ONES]
    assert thresholds([0, 1]).tolist() == [0, ONES]  # integers and lists too


# ------------------------------------------------------------------------------------- 64 bits at a time


@given(threshold=any_threshold, start=states)
@settings(max_examples=200)
def test_a_bit_is_set_where_the_lane_s_number_is_below_the_threshold(
    threshold: int, start: tuple[int, ...]
) -> None:
    """All 64 digits of all 64 numbers, although the function stops as soon as they no longer matter."""
    naive = NaiveWords(start)
    digits = [naive.next() for _ in range(64)]
    numbers = [sum((word >> lane & 1) << (63 - place) for place, word in enumerate(digits)) for lane in range(64)]
    expected = sum((number < threshold) << lane for lane, number in enumerate(numbers))
    assert int(bernoulli_word(np.uint64(threshold), state_of(start))) == expected


@given(threshold=any_threshold, start=states)
@settings(max_examples=60)
def test_no_word_is_drawn_once_every_lane_is_decided(threshold: int, start: tuple[int, ...]) -> None:
    state, naive = state_of(start), NaiveWords(start)
    lanes = naive.bernoulli(threshold)
    assert int(bernoulli_word(np.uint64(threshold), state)) == sum(bit << lane for lane, bit in enumerate(lanes))
    assert state.tolist() == naive.state


@given(start=states)
def test_a_chance_of_zero_draws_nothing_and_a_half_draws_one_word(start: tuple[int, ...]) -> None:
    state = state_of(start)
    assert int(bernoulli_word(np.uint64(0), state)) == 0
    assert tuple(state.tolist()) == start
    word = NaiveWords(start).next()
    assert int(bernoulli_word(thresholds(0.5)[()], state)) == ONES ^ word  # first digit 0: below a half


@given(start=states)
def test_a_chance_of_one_sets_every_bit(start: tuple[int, ...]) -> None:
    state = state_of(start)
    for _ in range(5):
        assert int(bernoulli_word(thresholds(1.0)[()], state)) == ONES


def test_64_lanes_take_about_eight_words() -> None:
    """The last of 64 lanes is decided after m words with chance (1 - 2^-m)^64: 7.35 words on average."""
    mean = sum(1 - (1 - 2.0**-m) ** 64 for m in range(200))
    square = sum((2 * m + 1) * (1 - (1 - 2.0**-m) ** 64) for m in range(200))
    assert 7 < mean < 8
    for chance in (0.1, 0.7, 1 / 3):
        naive, threshold, rounds = NaiveWords(seeded(1).tolist()), threshold_of(chance), 400
        for _ in range(rounds):
            naive.bernoulli(threshold)
        state, again = seeded(1), NaiveWords(seeded(1).tolist())
        for _ in range(rounds):
            bernoulli_word(np.uint64(threshold), state)
        for _ in range(naive.used):
            again.next()
        assert state.tolist() == again.state  # so the compiled function drew as many
        assert abs(naive.used / rounds - mean) < 5 * math.sqrt((square - mean**2) / rounds)


@pytest.mark.parametrize("chance", [2.0**-10, 0.01, 0.1, 1 / 3, 0.5, 0.75, 0.99])
def test_frequencies_are_the_chances_in_every_lane(chance: float) -> None:
    drawn = draw_class(64 * 5000, thresholds([[chance]]), thresholds([1.0]), seeded(2))
    bits = unpack(drawn, 64 * 5000)
    assert_share(bits.mean(), chance, bits.size)
    for share in bits.reshape(5000, 64).mean(axis=0):
        assert_share(share, chance, 5000)


# ----------------------------------------------------------------------------------------- the samples


@given(
    num_samples=st.integers(1, 200),
    table=st.integers(1, 3).flatmap(
        lambda num_features: st.lists(
            st.tuples(any_chance, st.lists(any_chance, min_size=num_features, max_size=num_features)),
            min_size=1,
            max_size=3,
        )
    ),
    start=states,
)
@settings(max_examples=60)
def test_samples_equal_a_transcription_in_plain_python(
    num_samples: int, table: list[tuple[float, list[float]]], start: tuple[int, ...]
) -> None:
    shares, features = [share for share, _ in table], [row for _, row in table]
    state, naive = state_of(start), NaiveWords(start)
    drawn = draw_class(num_samples, thresholds(features), thresholds(shares), state)
    rows = [[threshold_of(chance) for chance in row] for row in features]
    expected = draw_class_naively(num_samples, rows, [threshold_of(share) for share in shares], naive)
    assert drawn.shape == (len(features[0]), -(-num_samples // 64))
    np.testing.assert_array_equal(unpack(drawn, num_samples), expected)
    assert state.tolist() == naive.state


@pytest.mark.parametrize("num_samples", [1, 63, 64, 65, 127, 128, 129])
def test_bits_past_the_last_sample_are_zero(num_samples: int) -> None:
    features = thresholds([[1.0, 0.7], [0.4, 1.0]])
    drawn = draw_class(num_samples, features, thresholds([0.5, 1.0]), seeded(3))
    PackedFeatures(words=drawn[None], num_samples=num_samples)  # refuses set bits past the end
    assert not unpack(drawn, drawn.shape[1] * 64)[:, num_samples:].any()
    full = draw_class(num_samples, thresholds([[1.0]]), thresholds([1.0]), seeded(3))
    assert unpack(full, num_samples).all()


@given(chance=any_chance, num_stages=st.integers(1, 4), num_bits=st.integers(1, 150), start=states)
@settings(max_examples=40)
def test_what_is_forgotten_equals_a_transcription(
    chance: float, num_stages: int, num_bits: int, start: tuple[int, ...]
) -> None:
    state, naive = state_of(start), NaiveWords(start)
    lost = draw_lost(thresholds(chance)[()], num_stages, num_bits, state)
    assert lost.shape == (num_stages, -(-num_bits // 64))
    expected = draw_lost_naively(threshold_of(chance), num_stages, num_bits, naive)
    np.testing.assert_array_equal(unpack(lost, num_bits), expected)
    assert state.tolist() == naive.state


def test_features_are_independent_of_each_other() -> None:
    """Every pair is shown together as often as the product of the chances says."""
    chances, num_samples = [0.05, 0.3, 0.5, 0.8, 0.95], 200_000
    (packed,) = draw_data([chances], num_samples, 4)
    shown = packed.unpack()[0]
    for k, m in itertools.combinations(range(5), 2):
        assert_share((shown[k] & shown[m]).mean(), chances[k] * chances[m], num_samples)


def test_neighboring_samples_are_independent() -> None:
    """Within a word (lanes 1 to 64 apart) and from word to word."""
    num_samples = 200_000
    (packed,) = draw_data([[0.3]], num_samples, 5)
    shown = packed.unpack()[0, 0]
    for apart in [*range(1, 66), 127, 128]:
        together = shown[:-apart] & shown[apart:]
        # Pairs overlap: P(together) = p^2, and the variance of the mean is at most 3 p^2 / n.
        assert abs(together.mean() - 0.09) < 5 * math.sqrt(3 * 0.09 / num_samples), apart


def test_classes_and_seeds_are_independent() -> None:
    num_samples = 100_000
    one, two = draw_data([[0.4], [0.4]], num_samples, 6)
    (other,) = draw_data([[0.4]], num_samples, 7)
    tables = [packed.unpack()[0, 0] for packed in (one, two, other)]
    for first, second in itertools.combinations(tables, 2):
        assert_share((first & second).mean(), 0.16, num_samples)


# ------------------------------------------------------------------------------------- the components


@pytest.mark.parametrize(
    "weights",
    [
        [1.0],
        [0.25, 0.75],
        [0.0, 1.0],
        [1.0, 0.0],
        [0.5, 0.0, 0.5],
        [0.5, 0.5, 0.0],
        [0.1] * 10,
        [1 / 3, 1 / 3, 1 / 3],
        [0.7, 0.2, 0.1],
        [0.02, 0.9, 0.08],
        [0.5 + 4e-10, 0.5],
        [0.5, 0.5 - 4e-10],
    ],
)
def test_components_have_their_shares(weights: list[float]) -> None:
    """Component g shows feature g and nothing else, so every sample shows exactly one feature."""
    marks = np.eye(len(weights))[None]
    world = Mixture(probabilities=marks, weights=np.array([weights]))
    num_samples = 100_001
    shown = draw_data(world, num_samples, 8)[0].unpack()[0]
    assert (shown.sum(axis=0) == 1).all()
    for share, weight in zip(shown.mean(axis=1), weights, strict=True):
        if weight in (0.0, 1.0):
            assert share == weight
        else:
            assert_share(share, weight, num_samples)


def test_components_have_their_own_chances() -> None:
    """Two marks tell the component; within each, the other features are independent with its chances."""
    chances = np.array([[[1, 0, 0.2, 0.5], [0, 1, 0.6, 0.9]], [[1, 0, 0.3, 0.0], [0, 1, 1.0, 0.4]]])
    world = Mixture(probabilities=chances, weights=np.array([[0.3, 0.7], [0.6, 0.4]]))
    num_samples = 100_000
    for label, packed in enumerate(draw_data(world, num_samples, 9)):
        shown = packed.unpack()[0]
        for component in range(2):
            members = shown[:, shown[component]]
            count = members.shape[1]
            p = chances[label, component, 2:]
            for k in range(2):
                assert_share(members[2 + k].mean(), p[k], count)
            assert_share((members[2] & members[3]).mean(), p[0] * p[1], count)
        for feature, marginal in enumerate(world.marginals[label]):
            assert_share(shown[feature].mean(), marginal, num_samples)


# --------------------------------------------------------------------------------------- the data sets


def naive_data(world: Mixture, sizes: list[int], seed: int) -> list[Bools]:
    """Bool (K, n_c) per class: all classes from one stream, one after the other."""
    start = numpy_stream(seed, "batch data").integers(0, 2**64, size=4, dtype=np.uint64)
    words, tables = NaiveWords(start.tolist()), []
    for label, size in enumerate(sizes):
        weights = [Fraction(float(weight)) for weight in world.weights[label]]
        before = [sum(weights[:component], Fraction(0)) for component in range(len(weights))]
        shares = [
            threshold_of(float(w / (1 - taken))) if taken < 1 else 0
            for w, taken in zip(weights, before, strict=True)
        ]
        rows = [[threshold_of(float(p)) for p in row] for row in world.probabilities[label]]
        tables.append(draw_class_naively(size, rows, shares, words))
    return tables


@pytest.mark.parametrize("num_components", [1, 2, 4])
@pytest.mark.parametrize("seed", [0, 12])
def test_data_sets_equal_a_transcription(seed: int, num_components: int) -> None:
    """With dyadic weights, for which the shares among those left are exact."""
    generator = np.random.default_rng(seed)
    weights = {1: [1.0], 2: [0.25, 0.75], 4: [0.5, 0.25, 0.125, 0.125]}[num_components]
    world = Mixture(
        probabilities=generator.random((2, num_components, 4)), weights=np.array([weights, weights[::-1]])
    )
    sizes = [70, 129]
    found = draw_data(world, sizes, seed)
    for packed, expected in zip(found, naive_data(world, sizes, seed), strict=True):
        assert packed.num_samples == expected.shape[1]
        np.testing.assert_array_equal(packed.unpack()[0], expected)


def test_data_sets_depend_on_the_seed_alone() -> None:
    world = [[0.2, 0.4], [0.5, 0.9]]
    first, again, other = (draw_data(world, 100, seed) for seed in (3, 3, 4))
    for label in range(2):
        np.testing.assert_array_equal(first[label].words, again[label].words)
        assert (first[label].words != other[label].words).any()
    for packed, same in zip(draw_data(Mixture.independent(world), 100, 3), first, strict=True):
        np.testing.assert_array_equal(packed.words, same.words)


def test_sizes_may_differ_between_classes() -> None:
    packed = draw_data([[1.0, 1.0]] * 3, [1, 64, 100], 0)
    assert [one.num_samples for one in packed] == [1, 64, 100]
    assert [one.words.shape for one in packed] == [(1, 2, 1), (1, 2, 1), (1, 2, 2)]
    assert all(one.unpack().all() for one in packed)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (([[0.5]], 0, 0), "num_samples must be an integer >= 1, got 0"),
        (([[0.5]], -3, 0), "num_samples must be an integer >= 1, got -3"),
        (([[0.5]], 2.0, 0), r"num_samples must be an integer >= 1, got 2\.0"),
        (([[0.5]], True, 0), "num_samples must be an integer >= 1, got True"),
        (([[0.5]], [5, 6], 0), r"num_samples must fit the shape \(1,\), got shape \(2,\)"),
        (([[0.5], [0.1]], [5, 0], 0), "num_samples must be an integer >= 1, got 0"),
        (([[0.5]], 5, -1), "seed must be an integer >= 0, got -1"),
        (([[0.5]], 5, 1.0), r"seed must be an integer >= 0, got 1\.0"),
        (([[1.5]], 5, 0), r"probabilities must lie in \[0, 1\], got 1\.5"),
        (([0.5], 5, 0), r"probabilities must have shape \(C, K\)"),
    ],
)
def test_bad_input_is_refused_by_name_and_value(arguments: tuple[object, object, int], told: str) -> None:
    world, sizes, seed = arguments
    with pytest.raises(ValueError, match=f"^{told}"):
        draw_data(world, sizes, seed)  # type: ignore[arg-type]
