"""DASH's factors from a share of every chunk."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dashtheory.rules import Dash, ShrinkReport, dash_factors
from tests.rules.control_cases import Stage


def report_of(rule: Dash, stage: Stage) -> ShrinkReport:
    stage.context.generator.manual_seed(5)
    report = rule.change_(copy.deepcopy(stage.twin), stage.context)
    assert report is not None
    return report


def test_a_share_is_dash_over_a_random_part_of_every_chunk_without_repeats() -> None:
    stage = Stage()
    report = report_of(Dash(share=0.5), stage)
    generator, parts = torch.Generator().manual_seed(5), []
    for inputs, labels in stage.chunks():
        chosen = sorted(torch.randperm(len(inputs), generator=generator)[: round(len(inputs) / 2)].tolist())
        parts.append((inputs[chosen], labels[chosen]))
    expected = dash_factors(stage.twin, parts, functional.cross_entropy)
    assert all(torch.equal(report[layer.name].cosines, layer.cosines) for layer in expected)
    whole = report_of(Dash(), stage)
    assert any(not torch.equal(whole[layer.name].cosines, layer.cosines) for layer in report)


def test_all_of_every_chunk_is_dash_and_draws_nothing() -> None:
    stage = Stage()
    state = stage.context.generator.get_state()
    report = Dash(share=1.0).change_(copy.deepcopy(stage.twin), stage.context)
    assert torch.equal(stage.context.generator.get_state(), state)
    expected = dash_factors(stage.twin, list(stage.chunks()), functional.cross_entropy)
    assert all(torch.equal(report[layer.name].cosines, layer.cosines) for layer in expected)


def test_a_tiny_share_takes_one_example() -> None:
    stage = Stage()
    sizes = []

    def loss(output: Tensor, labels: Tensor) -> Tensor:
        sizes.append(len(labels))
        return functional.cross_entropy(output, labels)

    Dash(share=1e-6).change_(copy.deepcopy(stage.twin), replace(stage.context, loss_fn=loss))
    assert sizes == [1, 1, 1]


def test_chunks_that_cannot_be_cut_are_refused() -> None:
    stage = Stage()

    def chunks() -> Iterator[tuple[object, object]]:
        for inputs, labels in stage.chunks():
            yield {"x": inputs}, labels

    with pytest.raises(
        ValueError, match=r"^share must be 1 unless chunks are pairs of tensors, of one length, got dict"
    ):
        Dash(share=0.5).change_(stage.twin, replace(stage.context, chunks=chunks))
