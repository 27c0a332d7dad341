"""A stage replayed: it starts and ends where the simulation does, and every step is the learner's own choice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dashtheory.discrete import DISCRETE_RULES, Forgetting, StageTrace, pack_features, simulate, trace_stage


@st.composite
def traces(draw: st.DrawFn) -> tuple[StageTrace, dict[str, Any]]:
    """A trace of a small world, and what it was made from."""
    num_stages, size, num_classes = draw(st.integers(1, 4)), draw(st.integers(1, 6)), draw(st.integers(1, 2))
    shape = (num_classes, draw(st.integers(1, 5)), num_stages * size)
    features = draw(arrays(np.bool_, shape))
    gamma, tau = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    rule, stage = draw(st.sampled_from(DISCRETE_RULES)), draw(st.integers(1, num_stages))
    run = simulate(features, size, gamma=gamma, tau=tau, rule=rule)
    given_data = pack_features(features) if draw(st.booleans()) else features
    trace = trace_stage(given_data, run, stage=stage, tau=tau)
    return trace, {"features": features, "run": run, "gamma": gamma, "tau": tau, "size": size}


@given(traces())
def test_it_starts_and_ends_where_the_simulation_does(made: tuple[StageTrace, dict[str, Any]]) -> None:
    trace, facts = made
    run, last = facts["run"], trace.stage - 1
    assert trace.num_active[0] == run.active_at_start[last]
    assert np.array_equal(trace.learned[-1], run.learned[last])
    end = trace.memorized.shape[1]
    assert np.array_equal(trace.memorized, run.memorized[last, :, :end])
    assert not (trace.active & trace.held).any()
    assert np.array_equal(np.bincount(trace.chunk)[1:], np.full(trace.stage, facts["size"]))


@given(traces())
def test_each_step_learns_the_most_frequent_feature_and_none_is_left(
    made: tuple[StageTrace, dict[str, Any]],
) -> None:
    trace, facts = made
    for moment, (label, feature) in enumerate(trace.steps.tolist()):
        counts = np.where(trace.learned[moment], -1, trace.counts[moment])
        assert counts[label, feature] == counts.max() >= facts["gamma"]
        assert (label, feature) == tuple(np.argwhere(counts == counts.max())[0])  # ties: smallest class, feature
        assert trace.learned[moment + 1, label, feature]
        assert trace.learned[moment + 1].sum() == trace.learned[moment].sum() + 1
    left = trace.counts[-1][~trace.learned[-1]]
    assert (left < facts["gamma"]).all()


@given(traces())
def test_active_samples_are_those_that_miss_features(made: tuple[StageTrace, dict[str, Any]]) -> None:
    trace, facts = made
    features, tau = facts["features"], facts["tau"]
    for moment, known in enumerate(trace.learned):
        for label, row in enumerate(trace.active[moment]):
            for sample, active in enumerate(row.tolist()):
                hits = int((features[label, :, sample] & known[label]).sum())
                assert active == (hits < tau and not trace.held[label, sample])


def test_bad_input_is_refused() -> None:
    features = np.zeros((1, 2, 4), dtype=bool)
    run = simulate(features, 2, gamma=1, tau=1)
    with pytest.raises(ValueError, match="stage must be at most 2, got 3"):
        trace_stage(features, run, stage=3, tau=1)
    with pytest.raises(ValueError, match="stage must be an integer >= 1"):
        trace_stage(features, run, stage=0, tau=1)
    with pytest.raises(ValueError, match="features must have the simulated shape"):
        trace_stage(features[:, :1], run, stage=1, tau=1)
    with pytest.raises(ValueError, match="tau must be"):
        trace_stage(features, run, stage=1, tau=0)
    generator = np.random.default_rng(0)
    forgets = simulate(features, 2, gamma=1, tau=1, rule=Forgetting(0.5, 0), generator=generator)
    with pytest.raises(ValueError, match="rule must be one of cold, warm, ideal"):
        trace_stage(features, forgets, stage=1, tau=1)
