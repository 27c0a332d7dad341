"""Soft weight rescaling and the projection of Normalize-and-Project: norms, biases, and what the network says."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dashtheory.rules import Clip, Learner, Project, SoftRescale
from dashtheory.rules.rule import Rule
from tests.oracles.remedies import soft_rescaling_by_hand
from tests.oracles.shrink import entries
from tests.rules.control_cases import Stage, run


def called(rule: Rule, stage: Stage, number: int = 1) -> dict[str, Tensor]:
    """The weights after some calls of the rule's hook."""
    hook = rule.after_step(stage.learner, dataclasses.replace(stage.context, state=rule.start(stage.first)))
    assert hook is not None
    for step in range(1, number + 1):
        hook.call(step)
    return {name: value.detach() for name, value in stage.learner.model.named_parameters()}


@pytest.mark.parametrize("lams", [(0.3, 0.3), (0.2, 0.9), (1.0, 0.0)])
@pytest.mark.parametrize("net", ["convolutions", "perceptron"])
def test_rescaling_is_its_transcription(net: str, lams: tuple[float, float]) -> None:
    stage = Stage(net)
    start = {name: entries(value) for name, value in stage.start.items()}
    now = {name: entries(value) for name, value in stage.twin.named_parameters()}
    expected = soft_rescaling_by_hand(stage.twin, now, start, *lams)
    after = called(SoftRescale(features=lams[0], classifier=lams[1]), stage)
    for name, value in expected.items():
        np.testing.assert_allclose(after[name], value, rtol=1e-12, atol=1e-14, err_msg=name)


def relu_network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3)).double()


def test_rescaling_scales_the_output_of_a_network_of_relus_by_the_product() -> None:
    stage, model = Stage("perceptron"), relu_network()
    rule = SoftRescale(features=0.4, classifier=0.7)
    state = rule.start(dataclasses.replace(stage.learner, model=model))
    with torch.no_grad():
        for index, value in enumerate(model.parameters()):
            value.mul_(1.5 + index)
    before = copy.deepcopy(model)
    learner = dataclasses.replace(stage.learner, model=model)
    hook = rule.after_step(learner, dataclasses.replace(stage.context, state=state))
    assert hook is not None
    hook.call(1)
    inputs = torch.randn(9, 5, dtype=torch.float64)
    ratio = (model(inputs) / before(inputs)).detach()
    torch.testing.assert_close(ratio, torch.full_like(ratio, float(ratio[0, 0])), rtol=1e-10, atol=0)
    product = 1.0
    for index in (0, 2, 4):
        weight, old = model.get_parameter(f"{index}.weight"), before.get_parameter(f"{index}.weight")
        product *= float((weight.norm() / old.norm()).detach())
    assert float(ratio[0, 0]) == pytest.approx(product)
    assert 0 < product < 1


@pytest.mark.parametrize("affine", [True, False])
def test_rescaling_starts_its_product_anew_at_the_last_norm_whether_that_has_weights_or_not(affine: bool) -> None:
    torch.manual_seed(3)
    model = nn.Sequential(
        *(nn.Linear(5, 7), nn.LayerNorm(7, eps=0, elementwise_affine=affine), nn.ReLU()),
        *(nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3)),
    ).double()
    rule, learner = SoftRescale(features=0.4, classifier=0.7), Learner(model, torch.optim.SGD(model.parameters()))
    state = rule.start(learner)
    with torch.no_grad():
        for index, value in enumerate(model.parameters()):
            value.mul_(1.5 + index).add_(0.1)
    before = copy.deepcopy(model)
    hook = rule.after_step(learner, dataclasses.replace(Stage().context, state=state))
    assert hook is not None
    hook.call(1)
    inputs = torch.randn(9, 5, dtype=torch.float64)
    ratio = (model(inputs) / before(inputs)).detach()
    torch.testing.assert_close(ratio, torch.full_like(ratio, float(ratio[0, 0])), rtol=1e-9, atol=0)


def test_rescaling_at_one_pins_norms_and_norms_above_the_first_never_grow() -> None:
    stage = Stage()
    norms = [value.norm() for name, value in stage.start.items() if name.endswith("weight")]
    after = called(SoftRescale(features=1, classifier=1), stage)
    found = [value.norm() for name, value in after.items() if name.endswith("weight")]
    torch.testing.assert_close(found, norms, rtol=1e-12, atol=0)
    stage = Stage()
    with torch.no_grad():
        for value in stage.learner.model.parameters():
            value.mul_(3)
    before = {name: float(value.detach().norm()) for name, value in stage.learner.model.named_parameters()}
    after = called(SoftRescale(features=0.1, classifier=0.1), stage)
    assert all(float(after[name].norm()) <= norm for name, norm in before.items())


@pytest.mark.parametrize("affine", ["joint", "free"])
def test_projected_weights_keep_their_first_norm_and_their_direction(affine: str) -> None:
    stage = Stage()
    after = called(Project(affine=affine), stage)
    for name in ("0.weight", "3.weight", "6.weight", "8.weight"):
        now, before = after[name], stage.twin.get_parameter(name).detach()
        assert float(now.norm()) == pytest.approx(float(stage.start[name].norm()), rel=1e-12)
        torch.testing.assert_close(now / now.norm(), before / before.norm())
    for name in ("0.bias", "6.bias", "8.bias"):
        assert torch.equal(after[name], stage.twin.get_parameter(name))
    for layer in ("1", "4"):
        joint = torch.cat([after[f"{layer}.weight"], after[f"{layer}.bias"]]).norm()
        first = torch.cat([stage.start[f"{layer}.weight"], stage.start[f"{layer}.bias"]]).norm()
        assert (float(joint) == pytest.approx(float(first), rel=1e-12)) == (affine == "joint")


def test_the_classifier_may_be_left_out_of_the_projection() -> None:
    stage = Stage()
    after = called(Project(last=False), stage)
    assert torch.equal(after["8.weight"], stage.twin.get_parameter("8.weight"))
    assert not torch.equal(after["6.weight"], stage.twin.get_parameter("6.weight"))


def test_what_a_scale_invariant_layer_says_survives_its_projection() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8, eps=0.0), nn.Tanh(), nn.Linear(8, 3)).double()
    stage, rule = Stage("perceptron"), Project(last=False, affine="free")
    learner = dataclasses.replace(stage.learner, model=model)
    state = rule.start(learner)
    with torch.no_grad():
        model[0].weight.mul_(7)  # type: ignore[operator]
        model[0].bias.zero_()  # type: ignore[operator]
    inputs = torch.randn(6, 4, dtype=torch.float64)
    before = model(inputs)
    rule.after_step(learner, dataclasses.replace(stage.context, state=state)).call(1)
    torch.testing.assert_close(model(inputs), before)


@pytest.mark.parametrize("bound", ["torch", "kaiming", "drawn"])
def test_clipped_weights_end_at_their_bound_and_all_others_keep_their_bits(bound: str) -> None:
    stage = Stage()
    before = {name: value.detach().clone() for name, value in stage.learner.model.named_parameters()}
    after = called(Clip(kappa=0.2, bound=bound, last=False), stage)
    inputs = {"0": 18, "3": 6, "6": 30}  # of groups, a channel of the 1 x 1 layer, and 2 x 3 kernels
    for name, value in before.items():
        home = name.split(".")[0]
        if home not in inputs:
            assert torch.equal(after[name], value), name
            continue
        drawn = float(stage.start[f"{home}.weight"].abs().max())
        most = 0.2 * {"torch": inputs[home] ** -0.5, "kaiming": (6 / inputs[home]) ** 0.5, "drawn": drawn}[bound]
        expected = [min(max(entry, -most), most) for entry in value.flatten().tolist()]
        np.testing.assert_allclose(after[name].flatten(), expected, rtol=1e-12)
        inside = value.abs() < most
        assert torch.equal(after[name][inside], value[inside])
    assert any((after[name] != before[name]).any() for name in before)


def test_weights_may_be_clipped_every_so_many_steps() -> None:
    stage = Stage()
    rule = Clip(every=3)
    context = dataclasses.replace(stage.context, state=rule.start(stage.first))
    assert rule.after_step(stage.learner, context).every == 3


def test_a_layer_that_begins_with_zeros_has_no_drawn_bound() -> None:
    stage = Stage()
    nn.init.zeros_(stage.first.model.get_parameter("6.weight"))
    with pytest.raises(ValueError, match=r"bound must not be drawn where .* zero, got zeros in 6\.w"):
        Clip(bound="drawn").start(stage.first)
    assert float(Clip().start(stage.first)["6.weight"]) > 0


def test_in_a_run_the_norms_after_every_stage_are_the_first() -> None:
    for result in run(Project(), "Adam"):
        for name in ("0.weight", "4.weight"):
            found = float(result.learner.model.get_parameter(name).detach().norm())
            assert found == pytest.approx(float(result.state[name]), rel=1e-10)
