"""Controls that keep DASH's factors or norms, and lose its places: what each of them keeps exactly."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dashtheory.rules import (
    NormMatched,
    Permuted,
    Scattered,
    ShrinkPerturb,
    ShrinkReport,
    Uniform,
    dash_factors,
    make_rule,
    parse_rule,
)
from tests.rules.control_cases import Stage


def before_and_after(rule: Any) -> tuple[ShrinkReport, ShrinkReport, Stage]:
    """DASH's report at that moment, the rule's, and the stage after it."""
    stage = Stage()
    dash = dash_factors(stage.twin, list(stage.chunks()), functional.cross_entropy)
    _, report = stage.apply(rule)
    assert report is not None
    return dash, report, stage


def counted(values: Tensor) -> Counter[float]:
    return Counter(values.flatten().tolist())


def test_within_filters_every_filter_keeps_its_factors_at_other_inputs() -> None:
    dash, report, _ = before_and_after(Permuted(move="within_filters"))
    for layer in dash:
        found = report[layer.name].scales
        if layer.kind == "kernel":
            assert [counted(row) for row in found] == [counted(row) for row in layer.scales]
        else:
            assert torch.equal(found, layer.scales)
    assert any(not torch.equal(report[layer.name].scales, layer.scales) for layer in dash)


def test_across_filters_every_filter_has_the_factors_of_another() -> None:
    dash, report, _ = before_and_after(Permuted(move="across_filters"))
    for layer in dash:
        found = report[layer.name].scales
        if layer.scales.ndim:
            assert sorted(row.tolist() for row in found) == sorted(row.tolist() for row in layer.scales)
        else:
            assert torch.equal(found, layer.scales)
    assert any(not torch.equal(report[layer.name].scales, layer.scales) for layer in dash)


def test_scattered_factors_are_those_of_the_layer_drawn_with_replacement() -> None:
    dash, report, stage = before_and_after(Scattered())
    for layer in dash:
        assert set(report[layer.name].scales.flatten().tolist()) <= set(layer.scales.flatten().tolist())
    assert any(counted(report[layer.name].scales) != counted(layer.scales) for layer in dash)
    again = Scattered().remade(dash, torch.Generator().manual_seed(5))
    assert all(torch.equal(again[layer.name].scales, layer.scales) for layer in report)
    for name, before in stage.twin.named_parameters():
        after = stage.learner.model.get_parameter(name)
        if name in report and report[name].kind == "row":
            torch.testing.assert_close(after, before * report[name].scales[:, None], rtol=1e-12, atol=0)


def test_many_scattered_factors_are_distributed_as_those_of_dash() -> None:
    """The share of the floor among 90,000 draws, within five standard deviations of that among the factors."""
    generator = torch.Generator().manual_seed(0)
    stage = Stage()
    dash = dash_factors(stage.twin, list(stage.chunks()), functional.cross_entropy, lam=0.3)
    layer = max(dash, key=lambda one: one.scales.numel())
    share = float((layer.scales == 0.3).double().mean())
    assert 0.1 < share < 0.9
    repeats = 90_000 // layer.scales.numel()
    drawn = [(Scattered().remade(dash, generator)[layer.name].scales == 0.3) for _ in range(repeats)]
    found = float(torch.stack(drawn).double().mean())
    assert abs(found - share) < 5 * (share * (1 - share) / (repeats * layer.scales.numel())) ** 0.5


@pytest.mark.parametrize("of", ["dash", ("dash", "lam=0.05"), "sp", ("permuted", "move=within_filters"), "reset"])
def test_each_tensor_has_the_norm_that_the_rule_would_leave_and_its_own_direction(of: Any) -> None:
    stage, other = Stage(), Stage()
    other.learner.model.load_state_dict(stage.learner.model.state_dict())
    other.apply(parse_rule(of if isinstance(of, str) else ":".join(of)))
    stage.apply(NormMatched(of=of))
    changed = 0
    for name, before in stage.twin.named_parameters():
        after, wanted = (one.learner.model.get_parameter(name) for one in (stage, other))
        if before.norm() == 0:
            assert torch.equal(after, before)
            continue
        torch.testing.assert_close(after.norm(), wanted.norm(), rtol=1e-12, atol=0)
        torch.testing.assert_close(after / after.norm(), before / before.norm(), rtol=1e-12, atol=1e-12)
        changed += not torch.equal(after, before)
    assert changed


def test_as_a_whole_the_total_norm_is_that_of_the_rule_by_one_factor() -> None:
    stage, other = Stage(), Stage()
    other.learner.model.load_state_dict(stage.learner.model.state_dict())
    other.apply(make_rule("dash"))
    _, report = stage.apply(NormMatched(whole=True))
    assert report is not None
    norms = [
        torch.cat([value.flatten() for value in one.learner.model.parameters()]).norm() for one in (stage, other)
    ]
    torch.testing.assert_close(norms[0], norms[1], rtol=1e-12, atol=0)
    (factor,) = {float(value) for layer in report for value in layer.scales.flatten()}
    assert 0.3 <= factor < 1


def test_the_norms_of_a_uniform_shrink_are_a_uniform_shrink() -> None:
    stage, other = Stage(), Stage()
    other.learner.model.load_state_dict(stage.learner.model.state_dict())
    _, wanted = other.apply(Uniform())
    _, report = stage.apply(NormMatched(of="uniform"))
    assert report is not None
    assert wanted is not None
    assert report.mean_scale == pytest.approx(wanted.mean_scale, rel=1e-12)
    for name, value in other.learner.model.named_parameters():
        torch.testing.assert_close(stage.learner.model.get_parameter(name), value, rtol=1e-12, atol=0)


def test_the_rule_on_the_copy_draws_what_the_rule_itself_would_draw() -> None:
    """So that the noise of S&P in its control is that of S&P, and buffers of the model stay."""
    stage = Stage()
    replica = copy.deepcopy(stage.twin)
    ShrinkPerturb().change_(replica, Stage().context)
    stage.apply(NormMatched(of="sp"))
    name = next(name for name, value in replica.named_parameters() if value.ndim > 1)
    after = stage.learner.model.get_parameter(name)
    assert float(after.detach().norm()) == pytest.approx(
        float(replica.get_parameter(name).detach().norm()), rel=1e-12
    )
    for buffer, value in stage.twin.named_buffers():
        assert torch.equal(stage.learner.model.get_buffer(buffer), value)


def test_zero_tensors_stay_where_the_rule_adds_noise() -> None:
    stage = Stage()
    bias = next(value for name, value in stage.learner.model.named_parameters() if name.endswith("bias"))
    nn.init.zeros_(bias)
    stage.apply(NormMatched(of="sp"))
    assert not bias.any()
