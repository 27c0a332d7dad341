"""skorch: a fit is that after `dash_` by hand, and a killed one goes on exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

skorch = pytest.importorskip("skorch", exc_type=ImportError)

from skorch.callbacks import Callback, LoadInitState, TrainEndCheckpoint  # noqa: E402

from dashtheory.adapters import SkorchRule, StageRule  # noqa: E402
from tests.adapters.toys import LOSS, NEW, OLD, network, same, shrunk  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


class Net(nn.Module):
    """A small network."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = network()
        self.layers[2] = nn.Identity()  # the streams of dropout are not in a checkpoint of skorch

    def forward(self, inputs: torch.Tensor) -> Any:
        return self.layers(inputs)


def plan(**options: Any) -> StageRule:
    return StageRule(**{"rule": "dash:lam=0.05", "chunks": [OLD, NEW], **options})


def net(*callbacks: Any, epochs: int = 4, **options: Any) -> Any:
    given = {
        "criterion": nn.CrossEntropyLoss,
        "optimizer": torch.optim.Adam,
        "max_epochs": epochs,
        "batch_size": 8,
        "train_split": None,
        "warm_start": True,
        "verbose": 0,
        **options,
    }
    return skorch.NeuralNetClassifier(Net, callbacks=[*callbacks], **given)


def fit(net: Any, data: Any = NEW) -> Any:
    torch.manual_seed(4)
    return net.fit(data[0].numpy(), data[1].numpy())


def test_the_second_fit_is_that_after_dash_by_hand() -> None:
    ours, by_hand = net(("rule", SkorchRule(plan(), stage=1))), net()
    fit(ours, OLD)
    fit(by_hand, OLD)
    assert same(ours.module_, by_hand.module_)
    by_hand.module_.load_state_dict(shrunk(by_hand.module_).state_dict())
    ours.set_params(callbacks__rule__stage=2)
    fit(ours)
    fit(by_hand)
    assert same(ours.module_, by_hand.module_)
    assert ours.history[:, "event_stage"] == [1] * 4 + [2] * 4


def test_fitting_on_is_no_new_stage() -> None:
    ours = net(("rule", SkorchRule(plan(), stage=2)))
    fit(ours)
    first = dict(ours.callbacks_)["rule"].report_
    fit(ours)
    assert first is not None
    assert dict(ours.callbacks_)["rule"].report_ is first


class Kill(Callback):
    """Ends a fit."""

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        if len(net.history) == 2:
            raise KeyboardInterrupt


def test_a_killed_fit_goes_on_without_a_second_rule(tmp_path: Path) -> None:
    whole = net(SkorchRule(plan(), stage=2))
    fit(whole)
    saved = TrainEndCheckpoint(dirname=str(tmp_path))
    fit(net(SkorchRule(plan(), stage=2), Kill(), saved))
    saved = TrainEndCheckpoint(dirname=str(tmp_path))
    again = net(saved, LoadInitState(saved), SkorchRule(plan(), stage=2), epochs=2)
    torch.manual_seed(4)
    again.fit(NEW[0].numpy(), NEW[1].numpy())
    assert len(again.history) == 4
    assert dict(again.callbacks_)["SkorchRule"].report_ is None
    assert same(again.module_, whole.module_)


def test_what_would_undo_the_rule_is_refused(tmp_path: Path) -> None:
    load = LoadInitState(TrainEndCheckpoint(dirname=str(tmp_path)))
    with pytest.raises(ValueError, match=r"^callbacks must have LoadInitState before the rule"):
        fit(net(SkorchRule(plan(), stage=2), load))


def test_data_of_the_fit_without_its_validation_split_are_one_chunk() -> None:
    rule = SkorchRule(plan(chunks=None, loss_fn=LOSS), stage=2)
    ours = net(("rule", rule), train_split=skorch.dataset.ValidSplit(4))
    ours.initialize()
    train, _ = ours.get_split_datasets(NEW[0].numpy(), NEW[1].numpy())
    wanted = shrunk(ours.module_, [(NEW[0][train.indices], NEW[1][train.indices])])
    ours.set_params(max_epochs=0)
    fit(ours)
    torch.testing.assert_close(ours.module_.state_dict(), wanted.state_dict(), rtol=1e-5, atol=1e-6)


def test_a_random_split_is_one_and_the_same_for_the_rule_and_the_fit() -> None:
    splits: list[list[int]] = []

    class Split:
        def split(self, data: Any, y: Any = None, groups: Any = None) -> Any:
            order = np.random.permutation(len(data)).tolist()  # noqa: NPY002
            splits.append(order[6:])
            yield order[6:], order[:6]

    ours = net(
        ("rule", SkorchRule(plan(chunks=None, loss_fn=LOSS), stage=2)),
        train_split=skorch.dataset.ValidSplit(Split()),
        epochs=1,
    )
    ours.initialize()
    fit(ours)
    assert len(splits) == 2
    assert splits[0] == splits[1]


def test_a_stage_is_explicit() -> None:
    with pytest.raises(ValueError, match=r"^stage must be an integer >= 1"):
        fit(net(SkorchRule(plan(), stage=0)))


def test_step_sizes_are_left_to_the_framework() -> None:
    with pytest.raises(ValueError, match=r"^rule must leave step sizes to the framework and"):
        fit(net(SkorchRule(StageRule(rule="rewarm"), stage=1)))
