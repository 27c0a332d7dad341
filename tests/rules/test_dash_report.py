"""The report of DASH: counts and means by hand, read by name and in order."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dashtheory.rules import ShrinkReport, dash_
from tests.oracles.shrink import chunks, network, shrunk_parameters
from tests.rules.dash_cases import holding, minus_inner, pair, toward, weights_of


def test_report_counts_groups_and_entries_by_hand() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows, self.shift = holding(torch.tensor([[3.0, 4.0], [1.0, 0.0]])), nn.Linear(2, 4)

        def forward(self, value: Tensor) -> tuple[Tensor, Tensor]:
            return self.rows(value), self.shift(torch.zeros(1, 2))

    def loss(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
        return minus_inner(output[0], target) - output[1].sum()

    both = Both()
    both.shift.weight.requires_grad_(False)
    with torch.no_grad():
        both.shift.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 1.0]))
    # The rows meet (1, 0) at cosines 0.6 and 1, the bias meets (1, 1, 1, 1) at 0.5.
    report = dash_(both, [toward(torch.tensor([[1.0, 0.0], [1.0, 0.0]]))], loss, lam=0.7)
    assert isinstance(report, ShrinkReport)
    assert [(layer.name, layer.kind, layer.num_entries, layer.lam) for layer in report.layers] == [
        ("rows.weight", "row", 4, 0.7),
        ("shift.bias", "vector", 4, 0.7),
    ]
    assert report["rows.weight"].cosines.tolist() == pytest.approx([0.6, 1])
    assert report["rows.weight"].scales.tolist() == pytest.approx([0.7, 1])
    assert report["rows.weight"].share_clamped == 0.5
    assert report["rows.weight"].mean_scale == pytest.approx(0.85)
    assert report["shift.bias"].cosines.item() == pytest.approx(0.5)
    assert report["shift.bias"].cosines.shape == ()
    assert report["shift.bias"].share_clamped == 1
    assert report.mean_scale == pytest.approx((4 * 0.85 + 4 * 0.7) / 8)
    assert report.share_clamped == 0.75
    assert report.untouched == ("shift.weight",)
    assert report.num_batches == 1
    with pytest.raises(KeyError, match=r"shift\.weight"):
        report["shift.weight"]


def test_report_means_weigh_by_entries() -> None:
    model = network("convolutions")
    before = weights_of(model)
    report = dash_(model, chunks("convolutions"), functional.cross_entropy, lam=0.05)
    shrunk = [name for name, _, _ in shrunk_parameters(model)]
    ratios = torch.cat([(model.get_parameter(name).detach() / before[name]).flatten() for name in shrunk])
    assert report.mean_scale == pytest.approx(float(ratios.mean()))
    assert report.share_clamped == pytest.approx(float((ratios < 0.05 + 1e-9).double().mean()))


def test_report_does_not_change_when_the_model_does() -> None:
    model = network("perceptron")
    report = dash_(model, chunks("perceptron"), functional.cross_entropy)
    before = [(layer.cosines.clone(), layer.scales.clone()) for layer in report.layers]
    dash_(model, chunks("perceptron", seed=4), functional.cross_entropy)
    for layer, (cosines, scales) in zip(report.layers, before, strict=True):
        assert torch.equal(layer.cosines, cosines)
        assert torch.equal(layer.scales, scales)
        assert not layer.cosines.requires_grad
        assert not layer.scales.requires_grad


def test_a_report_can_be_read_by_name_and_in_order() -> None:
    model = pair()
    report = dash_(model, chunks("perceptron"), functional.cross_entropy)
    names = [layer.name for layer in report]
    assert names == [layer.name for layer in report.layers]
    assert all(name in report and report[name].name == name for name in names)
    assert "no such layer" not in report
