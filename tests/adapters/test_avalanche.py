"""Avalanche: experiences after the first begin as after `dash_` by hand, and a saved strategy goes on exactly.

Against a fake that keeps its order of hooks, and against itself where it is installed.
"""

from __future__ import annotations

import copy
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from dashtheory.adapters.core import StageRule
from tests.adapters import fake_avalanche
from tests.adapters.toys import LOSS, NEW, OLD, network, same, shrunk

pytestmark = pytest.mark.filterwarnings("ignore")
REAL = importlib.util.find_spec("avalanche") is not None


class Labelled(TensorDataset):
    """Tensors with the labels where Avalanche looks for them."""

    def __init__(self, inputs: torch.Tensor, labels: torch.Tensor) -> None:
        super().__init__(inputs, labels)
        self.targets = labels.tolist()


def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    core = ModuleType("avalanche.core")
    core.SupervisedPlugin = fake_avalanche.SupervisedPlugin  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "avalanche", ModuleType("avalanche"))
    monkeypatch.setitem(sys.modules, "avalanche.core", core)

    def start(model: nn.Module, plugins: list[Any]) -> tuple[Any, list[Any]]:
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        return fake_avalanche.Naive(model, optimizer, LOSS, plugins), [TensorDataset(*OLD), TensorDataset(*NEW)]

    return start


def real(monkeypatch: pytest.MonkeyPatch) -> Any:
    if not REAL:
        pytest.skip("avalanche is not installed")
    benchmarks = pytest.importorskip("avalanche.benchmarks", exc_type=ImportError)
    from avalanche.benchmarks.utils import as_classification_dataset
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.supervised import Naive

    def start(model: nn.Module, plugins: list[Any]) -> tuple[Any, list[Any]]:
        data = [as_classification_dataset(Labelled(*chunk)) for chunk in (OLD, NEW)]
        strategy = Naive(
            model=model,
            optimizer=torch.optim.Adam(model.parameters(), lr=0.01),
            criterion=nn.CrossEntropyLoss(),
            train_mb_size=8,
            plugins=plugins,
            evaluator=EvaluationPlugin(loggers=[]),
        )
        return strategy, list(benchmarks.benchmark_from_datasets(train=data).train_stream)

    return start


@pytest.fixture(params=[fake, real], ids=["fake", "real"])
def start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    name = "dashtheory.adapters.avalanche"
    monkeypatch.delitem(sys.modules, name, raising=False)
    yield request.param(monkeypatch)
    sys.modules.pop(name, None)


def plugin(**options: Any) -> Any:
    from dashtheory.adapters.avalanche import AvalancheRule

    return AvalancheRule(StageRule(**{"rule": "dash:lam=0.05", "chunks": [OLD, NEW], **options}))


def train(strategy: Any, experience: Any) -> None:
    torch.manual_seed(3)
    strategy.train(experience)


def test_the_second_experience_begins_after_dash_by_hand(start: Any) -> None:
    rule = plugin()
    ours, stream = start(network(), [rule])
    by_hand, _ = start(network(), [])
    for strategy in (ours, by_hand):
        train(strategy, stream[0])
    assert rule.report is None
    assert same(ours.model, by_hand.model)
    by_hand.model.load_state_dict(shrunk(by_hand.model).state_dict())
    for strategy in (ours, by_hand):
        train(strategy, stream[1])
    assert getattr(rule.report, "stage", None) == 2
    assert same(ours.model, by_hand.model)


def test_the_data_of_the_experience_are_one_chunk(start: Any) -> None:
    rule = plugin(chunks=None)
    ours, stream = start(network(), [rule])
    train(ours, stream[0])
    wanted = shrunk(ours.model, [NEW])
    ours.clock.train_exp_counter = 1
    ours.adapted_dataset = TensorDataset(*NEW) if not hasattr(stream[1], "dataset") else stream[1].dataset
    rule.before_training_exp(ours)
    torch.testing.assert_close(ours.model.state_dict(), wanted.state_dict(), rtol=1e-5, atol=1e-6)
    assert rule.report.chunks == "the data of the training loop, as one chunk"


def test_a_saved_strategy_goes_on_exactly(start: Any) -> None:
    whole, stream = start(network(), [plugin()])
    first, _ = start(network(), [plugin()])
    for experience in stream:
        train(whole, experience)
    train(first, stream[0])
    again = copy.deepcopy(first)  # what a checkpoint between experiences holds
    train(again, stream[1])
    assert same(again.model, whole.model)


def test_an_experience_that_begins_again_has_no_second_rule(start: Any) -> None:
    rule = plugin()
    ours, stream = start(network(), [rule])
    for experience in stream:
        train(ours, experience)
    report = rule.report
    ours.clock.train_exp_counter = 1
    train(ours, stream[1])
    assert report is not None
    assert rule.report is report


def test_step_sizes_are_left_to_the_framework(start: Any) -> None:
    with pytest.raises(ValueError, match=r"^rule must leave step sizes to the framework and"):
        plugin(rule="rewarm")
