"""Lightning: the fit that follows is that of `dash_` by hand, and a killed one goes on as if it had not been."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from tests.adapters.toys import LOSS, NEW, OLD, network, same, shrunk

pl: Any = pytest.importorskip("lightning.pytorch", exc_type=ImportError)

from dashtheory.adapters import LightningRule, StageRule  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # it warns of missing workers, loggers and the like


class Net(pl.LightningModule):
    """A small network."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = network(norm=True)
        self.seen: list[Tensor] = []

    def forward(self, inputs: Tensor) -> Any:
        return self.layers(inputs)

    def training_step(self, batch: Any, index: int) -> Tensor:
        if index == 0:
            self.seen.append(torch.cat([value.detach().flatten() for value in self.parameters()]))
        loss = LOSS(self(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def loader() -> DataLoader[Any]:
    return DataLoader(TensorDataset(*NEW), batch_size=8)


class Killed(Exception):  # noqa: N818
    """The process ends here."""


class Kill(pl.Callback):
    """Ends a fit."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == self.epoch:
            raise Killed


def trainer(*callbacks: Any, epochs: int = 4, folder: Path | None = None) -> Any:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    saved = [pl.callbacks.ModelCheckpoint(dirpath=folder, save_last=True)] if folder else []
    return pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[*callbacks, *saved],
        enable_checkpointing=bool(folder),
        **quiet,
    )


def rule(stage: int = 2, **options: Any) -> LightningRule:
    given = {"rule": "dash:lam=0.05", "loss_fn": LOSS, "chunks": [OLD, NEW], **options}
    return LightningRule(StageRule(**given), stage=stage)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(5)


def test_the_fit_is_that_after_dash_by_hand() -> None:
    ours, by_hand = Net(), shrunk(Net())
    callback = rule()
    for model, callbacks in ((ours, [callback]), (by_hand, [])):
        torch.manual_seed(5)
        trainer(*callbacks).fit(model, loader())
    assert same(ours, by_hand)
    assert torch.equal(ours.seen[0], cast(Net, by_hand).seen[0])
    assert callback.report is not None
    assert callback.report.stage == 2


def test_the_first_stage_has_no_rule() -> None:
    ours, plain = Net(), Net()
    for model, callbacks in ((ours, [rule(stage=1)]), (plain, [])):
        torch.manual_seed(5)
        trainer(*callbacks).fit(model, loader())
    assert same(ours, plain)


def test_a_killed_fit_goes_on_without_a_second_rule(tmp_path: Path) -> None:
    def net() -> Any:
        model = Net()
        model.layers[3] = torch.nn.Identity()  # dropout's streams are not in a checkpoint of Lightning
        return model

    whole, first, again = net(), net(), net()
    trainer(rule()).fit(whole, loader())
    with pytest.raises(Killed):
        trainer(rule(), Kill(2), folder=tmp_path).fit(first, loader())
    resumed = rule()
    trainer(resumed).fit(again, loader(), ckpt_path=tmp_path / "last.ckpt")
    assert resumed.report is None
    assert same(again, whole)


def test_the_next_stage_from_the_checkpoint_of_the_one_before_has_its_rule(tmp_path: Path) -> None:
    trainer(rule(stage=1), epochs=2, folder=tmp_path).fit(Net(), loader())
    following = rule(stage=2)
    trainer(following, epochs=3).fit(Net(), loader(), ckpt_path=tmp_path / "last.ckpt")
    assert following.report is not None


def test_a_checkpoint_that_does_not_know_its_stage_is_refused(tmp_path: Path) -> None:
    trainer(epochs=1, folder=tmp_path).fit(Net(), loader())
    with pytest.raises(ValueError, match=r"^checkpoint must tell its stage"):
        trainer(rule()).fit(Net(), loader(), ckpt_path=tmp_path / "last.ckpt")


def test_its_own_loader_is_one_chunk_and_is_not_moved() -> None:
    def shuffled() -> DataLoader[Any]:
        stream = torch.Generator().manual_seed(1)
        return DataLoader(TensorDataset(*NEW), batch_size=8, shuffle=True, generator=stream)

    ours, by_hand = Net(), shrunk(Net(), [DataLoader(TensorDataset(*NEW), batch_size=8)])
    for model, callbacks in ((ours, [rule(chunks=None)]), (by_hand, [])):
        torch.manual_seed(5)
        trainer(*callbacks).fit(model, shuffled())
    assert same(ours, by_hand)


def test_a_weight_average_and_early_stopping_begin_with_the_changed_weights() -> None:
    averaging = pl.callbacks.WeightAveraging()
    stopping = pl.callbacks.EarlyStopping("loss", patience=3, check_on_train_epoch_end=True)
    stopping.best_score, stopping.wait_count = torch.tensor(0.0), 2
    seen: dict[str, Any] = {}

    class Look(pl.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            seen["same"] = same(averaging._average_model.module, copy.deepcopy(pl_module))

    trainer(averaging, stopping, rule(batch_norm="kept"), Look(), epochs=1).fit(Net(), loader())
    assert seen["same"]
    assert 0 < float(stopping.best_score) < 10


def test_sharded_strategies_are_refused_by_name() -> None:
    callback = rule()
    held = trainer(callback, epochs=1)
    type(held.strategy).restore_checkpoint_after_setup, before = True, False
    try:
        with pytest.raises(ValueError, match=r"^strategy must keep whole weights .* got SingleDeviceStrategy"):
            callback.on_train_start(held, Net())
    finally:
        type(held.strategy).restore_checkpoint_after_setup = before


def test_a_stage_is_explicit() -> None:
    with pytest.raises(ValueError, match=r"^stage must be an integer >= 1, got None"):
        LightningRule(StageRule(), stage=None)  # type: ignore[arg-type]


def test_step_sizes_are_left_to_the_framework() -> None:
    with pytest.raises(ValueError, match=r"^rule must leave step sizes to the framework and"):
        LightningRule(StageRule(rule="rewarm"), stage=2)
