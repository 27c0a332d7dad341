"""One pass for every alpha and lam: each pair is `dash_` with its numbers, to the bit."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import benchmarks.shrink as bench
from benchmarks.discrete import ROOT
from dashtheory.rules import GRANULARITIES, ShrinkGrid, ShrinkReport, dash_, dash_factors, shrink_grid, targets
from tests.oracles.ablations import dash_in_groups
from tests.oracles.shrink import NETWORKS, Chunk, chunks, network

ALPHAS, LAMS = (0.1, 0.3, 1.0), (0.0, 0.05, 0.3, 1.0)


def grid_of(model: nn.Module, data: list[Chunk], **options: Any) -> ShrinkGrid:
    return shrink_grid(model, data, functional.cross_entropy, ALPHAS, LAMS, **options)


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same_bits(left: nn.Module, right: nn.Module) -> bool:
    ours, theirs = left.state_dict(), right.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def same_reports(left: ShrinkReport, right: ShrinkReport) -> None:
    assert [layer.name for layer in left] == [layer.name for layer in right]
    for a, b in zip(left, right, strict=True):
        assert (a.kind, a.num_entries, a.lam) == (b.kind, b.num_entries, b.lam)
        assert torch.equal(a.cosines, b.cosines), a.name
        assert torch.equal(a.scales, b.scales), a.name
    assert (left.untouched, left.num_batches, left.granularity) == (
        right.untouched,
        right.num_batches,
        right.granularity,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_pair_is_dash_to_the_bit(name: str, dtype: torch.dtype) -> None:
    model, data = network(name, dtype), chunks(name, 3, dtype)
    grid = grid_of(model, data)
    assert list(grid) == [(alpha, lam) for alpha in ALPHAS for lam in LAMS]
    assert len(grid) == 12
    for alpha, lam in grid:
        ours, theirs = copy.deepcopy(model), copy.deepcopy(model)
        applied = grid.apply_(ours, alpha, lam)
        expected = dash_(theirs, data, functional.cross_entropy, alpha=alpha, lam=lam)
        same_reports(applied, expected)
        same_reports(grid.report(alpha, lam), expected)
        assert same_bits(ours, theirs)


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_every_granularity_and_mode_is_dash_to_the_bit(granularity: str) -> None:
    for name, training in (("transposed", False), ("perceptron", True)):  # the perceptron has dropout
        model, data = network(name), chunks(name)
        grid = grid_of(model, data, training=training, granularity=granularity)
        twin = copy.deepcopy(model)
        expected = dash_(
            twin,
            data,
            functional.cross_entropy,
            alpha=0.1,
            lam=0.05,
            training=training,
            granularity=granularity,
        )
        same_reports(grid.apply_(model, 0.1, 0.05), expected)
        assert same_bits(model, twin)


def test_the_model_is_not_changed_and_each_batch_is_asked_for_once() -> None:
    model, data = network("convolutions"), chunks("convolutions")
    before, stream = state_of(model), torch.get_rng_state()
    passes = []

    class Counted(list[Chunk]):
        def __iter__(self) -> Any:
            passes.append(1)
            return super().__iter__()

    modes = [module.training for module in model.modules()]
    grid = grid_of(model, Counted(data), training=True)
    assert passes == [1]
    assert grid.num_batches == 3
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), stream)
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_grid_does_not_change_with_the_model_and_serves_many_copies() -> None:
    model, data = network("convolutions"), chunks("convolutions")
    copies = [copy.deepcopy(model) for _ in range(3)]
    grid = grid_of(model, data)
    grid.apply_(copies[0], 0.3, 0.05)
    grid.apply_(copies[1], 0.3, 0.05)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    grid.apply_(copies[2], 0.3, 0.05)
    assert same_bits(copies[0], copies[1])
    assert same_bits(copies[0], copies[2])


def test_one_by_one_is_a_grid_too_and_numbers_of_other_types_find_their_pair() -> None:
    model, data = network("perceptron"), chunks("perceptron")
    grid = shrink_grid(model, data, functional.cross_entropy, [1], np.array([0.25]))  # type: ignore[arg-type]
    assert (grid.alphas, grid.lams, len(grid)) == ((1.0,), (0.25,), 1)
    same_reports(grid.report(1, 0.25), dash_factors(model, data, functional.cross_entropy, alpha=1, lam=0.25))


def test_works_in_inference_mode() -> None:
    model, data = network("perceptron"), chunks("perceptron")
    with torch.inference_mode():
        grid = grid_of(model, data)
    same_reports(grid.report(0.3, 0.3), dash_factors(model, data, functional.cross_entropy))
    for alignment in grid.alignments[0]:
        assert not alignment.cosines.is_inference()


@pytest.mark.parametrize(
    ("alphas", "lams", "message"),
    [
        ([], [0.3], r"alphas must list at least one number, each once, got \[\]"),
        ([0.3], [], r"lams must list at least one number, each once, got \[\]"),
        ([0.3, 0.3], [0.3], r"alphas must list at least one number, each once, got \[0.3, 0.3\]"),
        ([0.3], [0, 0.0], r"lams must list .* each once"),
        ([0.3, 0], [0.3], r"alpha must be a number in \(0, 1\], got 0\."),
        ([0.3], [0.3, 1.1], r"lam must be a number in \[0, 1\], got 1.1\."),
        ([float("nan")], [0.3], "alpha must be a number"),
    ],
)
def test_bad_axes_are_refused(alphas: list[float], lams: list[float], message: str) -> None:
    model = network("perceptron")
    with pytest.raises(ValueError, match=f"^{message}"):
        shrink_grid(model, chunks("perceptron"), functional.cross_entropy, alphas, lams)


def test_bad_models_batches_and_granularities_are_refused_as_dash_refuses_them() -> None:
    model, data = network("perceptron"), chunks("perceptron")
    cases: list[tuple[Any, Any, dict[str, Any], str]] = [
        ("model", data, {}, "model must be a torch.nn.Module, got str"),
        (model, 3, {}, "batches must yield"),
        (model, [], {}, "batches must yield one"),
        (model, data, {"granularity": "neuron"}, "granularity must be one of authors, row, filter, tensor, got"),
        (nn.ReLU(), data, {}, "model must have a convolution or linear layer"),
    ]
    for bad, batches, options, message in cases:
        for call in (
            lambda bad=bad, batches=batches, options=options: grid_of(bad, batches, **options),
            lambda bad=bad, batches=batches, options=options: dash_(
                bad, batches, functional.cross_entropy, **options
            ),
        ):
            with pytest.raises(ValueError, match=f"^{message}"):
                call()


def test_a_pair_outside_the_grid_and_another_architecture_are_refused_before_any_change() -> None:
    grid = grid_of(network("perceptron"), chunks("perceptron"))
    with pytest.raises(ValueError, match=r"^alpha must be one of 0\.1, 0\.3, 1\.0, got 0\.2\. "):
        grid.report(0.2, 0.3)
    with pytest.raises(ValueError, match=r"^lam must be one of 0\.0, 0\.05, 0\.3, 1\.0, got 0\.2\. "):
        grid.report(0.3, 0.2)
    longer = nn.Sequential(*network("perceptron").children(), nn.Linear(3, 3, dtype=torch.float64))
    wider = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 5))
    for other, got in ((longer, r"\(8.weight: groups \(3,\)\), got none"), (wider, r"\(1.weight: .*, got none")):
        before = state_of(other)
        with pytest.raises(ValueError, match=rf"^report must be about the parameters of this model {got}\."):
            grid.apply_(other, 0.3, 0.0)
        assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    shorter = nn.Sequential(nn.Linear(4, 6))
    with pytest.raises(ValueError, match=r"\(4.weight: none\), got groups \(5,\)\."):
        grid.apply_(shorter, 0.3, 0.0)
    other_width = network("perceptron")
    other_width[0] = nn.Linear(4, 7)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"\(0.weight: groups \(7,\)\), got groups \(6,\)\."):
        grid.apply_(other_width, 0.3, 0.0)


def test_memory_holds_a_descent_per_alpha_whatever_the_number_of_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = network("perceptron"), chunks("perceptron", 6)
    made = []
    real = torch.zeros_like

    def counting(*args: Any, **kwargs: Any) -> Tensor:
        made.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(torch, "zeros_like", counting)
    grid_of(model, data)
    assert len(made) == len(ALPHAS) * 5  # 5 shrinkable parameters
    monkeypatch.undo()
    few, many = (grid_of(model, data[:number]) for number in (1, 6))
    assert few.num_batches == 1
    assert many.num_batches == 6


# ----------------------------------------------------------------------------------------------- granularities


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("name", NETWORKS)
def test_groups_of_every_granularity_equal_the_transcription(name: str, granularity: str) -> None:
    model, data = network(name), chunks(name)
    expected = dash_in_groups(model, data, functional.cross_entropy, alpha=0.3, lam=0.05, granularity=granularity)
    report = dash_(model, data, functional.cross_entropy, alpha=0.3, lam=0.05, granularity=granularity)
    assert [layer.name for layer in report] == list(expected)
    assert report.granularity == granularity
    for layer in report:
        oracle = expected[layer.name]
        assert layer.cosines.shape == layer.scales.shape == oracle.scales.shape, layer.name
        np.testing.assert_allclose(layer.cosines, oracle.cosines, atol=1e-12, err_msg=layer.name)
        np.testing.assert_allclose(layer.scales, oracle.scales, atol=1e-12, err_msg=layer.name)
        after = model.get_parameter(layer.name).detach()
        np.testing.assert_allclose(after, oracle.weights, rtol=1e-12, atol=1e-14, err_msg=layer.name)


def test_tensor_is_one_factor_per_tensor_and_filters_are_those_of_each_output() -> None:
    model = nn.Sequential(
        nn.ConvTranspose2d(4, 6, 3, groups=2), nn.Conv2d(6, 8, (2, 3), groups=2), nn.Linear(3, 5)
    )
    counts = {
        granularity: [target.group_shape.numel() for target in targets(model, granularity)]
        for granularity in GRANULARITIES
    }
    assert counts == {
        "authors": [4 * 3, 1, 8 * 3, 1, 5, 1],
        "row": [4 * 3 * 3, 1, 8 * 3 * 2, 1, 5, 1],
        "filter": [6, 1, 8, 1, 5, 1],
        "tensor": [1, 1, 1, 1, 1, 1],
    }


def test_authors_is_the_default_granularity() -> None:
    model, data = network("transposed"), chunks("transposed")
    same_reports(
        dash_factors(model, data, functional.cross_entropy),
        dash_factors(model, data, functional.cross_entropy, granularity="authors"),
    )


# ------------------------------------------------------------------------------------------------ the benchmark


def test_the_benchmark_writes_a_complete_record(tmp_path: Path) -> None:
    bench.main(["--quick", "--out", str(tmp_path / "new")])
    text = (tmp_path / "new" / "shrink.json").read_text()
    assert str(ROOT) not in text
    record = json.loads(text)
    assert record["quick"] is True
    assert "torch" in record["versions"]
    for setting in ("text", "images"):
        plain, dash, grid = record[setting]["passes"]
        assert [row["name"] for row in (plain, dash, grid)] == [
            "forward and backward",
            "dash_",
            "shrink_grid, 5 x 5",
        ]
        for row in (plain, dash, grid):
            assert 0 < row["seconds_min"] <= row["seconds_median"] <= row["seconds_max"]
        assert grid["ratio_of_minima_to"]["dash_"] == grid["seconds_min"] / dash["seconds_min"]
        assert set(dash["median_ratio_to"]) == {"forward and backward"}
        assert [(row["rule"], row["stage"]) for row in record[setting]["stages"]] == [("dash", 2), ("sp", 2)]
        for row in record[setting]["stages"]:
            assert row["share"] == row["seconds_rule"] / row["seconds_training"] > 0


def test_a_grid_that_differs_from_dash_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = network("perceptron"), chunks("perceptron")
    bench.require_equal(model, data)
    backwards = lambda model, batches, *rest: shrink_grid(model, batches[::-1], *rest)  # noqa: E731
    monkeypatch.setattr(bench, "shrink_grid", backwards)
    with pytest.raises(RuntimeError, match="a grid and dash_ differ"):
        bench.require_equal(model, data)


def test_the_benchmark_refuses_a_folder_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as stopped:
        bench.main(["--quick", "--out", str(tmp_path / "file")])
    assert stopped.value.code == 2
    assert "--out must be a folder that can be written" in capsys.readouterr().err
