"""FIRE: its iteration, what it touches, and the laws of a polar factor."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from dashtheory.rules import Fire, departure, make_rule
from dashtheory.rules.fire import polar
from dashtheory.rules.matrices import layer_weights
from tests.oracles.remedies import fire_by_hand
from tests.oracles.shrink import entries
from tests.rules.control_cases import Stage

SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(0, 1000))


def gaussian(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("steps", [1, 5, 10])
def test_it_is_its_transcription_and_leaves_all_else(steps: int) -> None:
    stage = Stage()
    groups = {"0.weight": 2, "3.weight": 1, "6.weight": 1, "8.weight": 1}
    stage.apply(Fire(steps=steps))
    stage.expect(
        {
            name: fire_by_hand(entries(stage.twin.get_parameter(name)), steps, number)
            for name, number in groups.items()
        }
    )


def test_of_packed_projections_query_key_and_value_are_matrices_of_their_own() -> None:
    for cut in (True, False):
        stage = Stage("attention")
        stage.apply(Fire(cut=cut))
        before = entries(stage.twin.get_parameter("attend.in_proj_weight"))
        parts = np.split(before, 3 if cut else 1)
        after = np.concatenate([fire_by_hand(part, 10) for part in parts])
        found = stage.learner.model.get_parameter("attend.in_proj_weight").detach()
        np.testing.assert_allclose(found, after, rtol=1e-10)


@given(SHAPES, st.floats(1e-3, 1e3), st.sampled_from([5, None]))
def test_it_forgets_size_and_turns_with_the_matrix(shape: tuple[int, int, int], factor: float, steps: int) -> None:
    rows, columns, seed = shape
    matrix = gaussian(rows, columns, seed)
    found = polar(matrix, steps=steps)
    torch.testing.assert_close(polar(factor * matrix, steps=steps), found, rtol=1e-6, atol=1e-7)
    left, right = (torch.linalg.qr(gaussian(size, size, seed + 1))[0] for size in (rows, columns))
    torch.testing.assert_close(
        polar(left @ matrix @ right, steps=steps), left @ found @ right, rtol=1e-6, atol=1e-7
    )


@given(SHAPES)
def test_the_exact_factor_is_orthonormal_nearest_and_its_own(shape: tuple[int, int, int]) -> None:
    matrix = gaussian(*shape)
    found = polar(matrix)
    small = found.T @ found if shape[0] >= shape[1] else found @ found.T
    torch.testing.assert_close(small, torch.eye(len(small), dtype=torch.float64))
    torch.testing.assert_close(polar(3 * found), found)
    near = torch.linalg.matrix_norm(matrix - found)
    for seed in range(5):
        other = torch.linalg.qr(gaussian(max(shape[:2]), min(shape[:2]), seed))[0]
        other = other if shape[0] >= shape[1] else other.T
        assert near <= torch.linalg.matrix_norm(matrix - other) + 1e-12
    torch.testing.assert_close(polar(matrix, steps=400), found, rtol=1e-5, atol=1e-6)


def test_zero_stays_zero_and_half_precision_is_computed_in_float32() -> None:
    assert not polar(torch.zeros(3, 2), steps=5).any()
    half = gaussian(40, 30).half()
    found = polar(half, steps=10)
    assert found.dtype == torch.half
    torch.testing.assert_close(found, polar(half.float(), steps=10).half())


def test_few_steps_leave_a_large_matrix_its_direction() -> None:
    """What is known of the published setting: 5 steps on a square Gaussian matrix mostly change its size."""
    matrix = gaussian(256, 256).float()
    layer = nn.Linear(256, 256, bias=False)
    few, exact = polar(matrix, steps=5), polar(matrix)
    assert float(torch.cosine_similarity(few.flatten(), matrix.flatten(), dim=0)) > 0.98
    assert float(torch.cosine_similarity(exact.flatten(), matrix.flatten(), dim=0)) < 0.9
    defects = []
    for steps in (5, 10, 20):
        with torch.no_grad():
            layer.weight.copy_(polar(matrix, steps=steps))
        defects.append(departure(layer_weights(layer))["weight"])
    assert 1 > defects[0] > defects[1] > defects[2] > 0


@pytest.mark.parametrize(("size", "cosine"), [(64, "0.986"), (768, "0.9998")])
def test_five_steps_on_a_square_gaussian_matrix_are_nearly_a_rescale(size: int, cosine: str) -> None:
    """As docs/remedies.md says."""
    drawn = torch.randn(size, size, generator=torch.Generator().manual_seed(0))
    found = float(torch.cosine_similarity(polar(drawn, steps=5).flatten(), drawn.flatten(), dim=0))
    assert f"{found:.{len(cosine) - 2}f}" == cosine
    page = (Path(__file__).parents[2] / "docs" / "remedies.md").read_text(encoding="utf-8")
    assert f"{cosine} at {size} x {size}" in page


def test_depthwise_and_transposed_kernels_stay() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.ConvTranspose2d(4, 4, 2), nn.Linear(3, 3))
    before = [value.clone() for value in model.parameters()]
    stage = Stage()
    Fire().change_(model, stage.context)
    same = [torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
    assert same == [True, True, True, True, False, True]


def test_only_the_named_layers_change() -> None:
    stage = Stage()
    stage.apply(make_rule("fire", only="8"))
    stage.expect({"8.weight": fire_by_hand(entries(stage.twin.get_parameter("8.weight")), 10)})
    with pytest.raises(ValueError, match=r"^only must name layers of the model, got to_q\. "):
        Stage().apply(make_rule("fire", only="to_q"))


def test_linear_layers_may_go_back_to_the_first_weights_instead() -> None:
    stage = Stage()
    stage.apply(make_rule("fire", linear="reset", optimizer="kept"))
    kernels = {"0.weight": 2, "3.weight": 1, "6.weight": 1}
    stage.expect(
        {
            name: fire_by_hand(entries(stage.twin.get_parameter(name)), 10, number)
            for name, number in kernels.items()
        }
        | {name: entries(stage.start[name]) for name in ("8.weight", "8.bias")}
    )


def test_norms_are_those_of_orthogonal_kernels() -> None:
    stage = Stage()
    stage.apply(Fire(exact=True))
    for name, shape in (("3.weight", (5, 6, 1)), ("6.weight", (3, 5, 6)), ("8.weight", (3, 18, 1))):
        out, into, places = shape
        norm = math.sqrt(out / into / places * min(out, into))
        assert float(stage.learner.model.get_parameter(name).detach().norm()) == pytest.approx(norm)
    assert max(departure(layer_weights(stage.learner.model)).values()) < 1e-20


def test_the_packed_projection_of_the_package_s_transformer_is_cut() -> None:
    weights = []
    for cut in (True, False):
        torch.manual_seed(0)
        layer = nn.Linear(4, 12).double()
        before = entries(layer.weight)
        Fire(cut=cut).change_(nn.ModuleDict({"query_key_value": layer}), Stage().context)
        after = np.concatenate([fire_by_hand(part, 10) for part in np.split(before, 3 if cut else 1)])
        np.testing.assert_allclose(layer.weight.detach(), after, rtol=1e-10)
        weights.append(after)
    assert not np.allclose(weights[0], weights[1])
