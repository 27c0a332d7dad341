"""What all adapters share: the rule is that of by hand, and nothing else moves."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import BatchSampler, DataLoader, Dataset, SubsetRandomSampler, TensorDataset

from dashtheory.adapters.core import StageRule
from dashtheory.adapters.stages import is_due, refuse_unknown
from dashtheory.rules import dash_, plain_weights, shrink_and_perturb_
from dashtheory.seeds import torch_stream
from tests.adapters.toys import LOSS, NEW, OLD, network, same, shrunk, trained

TEXT = "dash:lam=0.05"


def plan(**options: Any) -> StageRule:
    return StageRule(**{"rule": TEXT, "loss_fn": LOSS, "chunks": [OLD, NEW], **options})


def learner(*, norm: bool = False) -> tuple[Any, torch.optim.Optimizer]:
    model = network(norm=norm)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    trained(model, optimizer)
    return model, optimizer


def test_it_is_dash_by_hand_to_the_bit() -> None:
    model, optimizer = learner()
    wanted = shrunk(model)
    report = plan().apply(model, [optimizer], stage=2)
    assert same(model, wanted)
    assert (report.chunks, report.optimizer) == ("2 chunks that were given", "kept")
    assert report.shrink is not None
    assert report.shrink.num_batches == 2


def test_noise_is_that_of_the_stage() -> None:
    model, optimizer = learner()
    wanted = copy.deepcopy(model)
    shrink_and_perturb_(wanted, shrink=0.5, perturb=0.1, generator=torch_stream(7, "perturbation", 3))
    StageRule(rule="sp:shrink=0.5:perturb=0.1", seed=7).apply(model, [optimizer], stage=3)
    assert same(model, wanted)


class Named(Dataset[tuple[dict[str, Tensor], int]]):
    """Inputs by name."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], int]:
        return {"x": torch.zeros(3)}, 0


class Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Draws from every global stream at each access."""

    def __len__(self) -> int:
        return len(OLD[0])

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        noise = torch.rand(()) + random.random() + float(np.random.rand())  # noqa: NPY002
        return OLD[0][index] + 0.01 * noise, OLD[1][index]


def streams(loader: DataLoader[Any]) -> list[Any]:
    numpy: Any = np.random.get_state()  # noqa: NPY002
    states = [torch.get_rng_state(), torch.tensor([*numpy[1].tolist(), numpy[2]])]
    assert loader.generator is not None
    return [*states, loader.generator.get_state(), torch.tensor(hash(random.getstate()))]


def test_streams_modes_gradients_and_the_loader_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimizer = learner(norm=True)
    model.train()
    model[1].eval()
    modes = [module.training for module in model.modules()]
    next(model.parameters()).grad = kept = torch.ones(16, 5)
    shuffled = DataLoader(Augmented(), batch_size=7, shuffle=True, generator=torch.Generator().manual_seed(3))
    before = streams(shuffled)
    plan(chunks=[shuffled]).apply(model, [optimizer], stage=2)
    plan(chunks=None).apply(model, [optimizer], stage=3, loader=shuffled)
    assert all(torch.equal(one, other) for one, other in zip(before, streams(shuffled), strict=True))
    assert modes == [module.training for module in model.modules()]
    assert [value.grad is kept for value in model.parameters()] == [True] + [False] * 5
    assert all(value.grad is None for value in list(model.parameters())[1:])


def test_the_loader_of_the_loop_is_one_chunk_in_order() -> None:
    model, optimizer = learner()
    wanted = shrunk(model, [DataLoader(TensorDataset(*OLD), batch_size=7)])
    report = plan(chunks=None).apply(
        model, [optimizer], stage=2, loader=DataLoader(TensorDataset(*OLD), batch_size=7, shuffle=True)
    )
    assert same(model, wanted)
    assert report.chunks == "the data of the training loop, as one chunk"


def loaders_in_another_way() -> dict[str, DataLoader[Any]]:
    """Loaders of the first 12 examples of `OLD`, shuffled."""
    data = TensorDataset(*OLD)
    subset = SubsetRandomSampler(range(12), generator=torch.Generator().manual_seed(0))
    first = OLD[0][:12].unflatten(0, (3, 4)), OLD[1][:12].unflatten(0, (3, 4))
    return {
        "a subset": DataLoader(data, batch_size=4, sampler=subset),
        "batches of a subset": DataLoader(data, batch_sampler=BatchSampler(subset, 4, drop_last=False)),
        "batches made already": DataLoader(TensorDataset(*first), batch_size=None, shuffle=True),
    }


@pytest.mark.parametrize("way", loaders_in_another_way())
def test_loaders_that_take_some_examples_or_no_batches_are_understood(way: str) -> None:
    model, optimizer = learner()
    wanted = shrunk(model, [DataLoader(TensorDataset(OLD[0][:12], OLD[1][:12]), batch_size=4)])
    plan(chunks=None).apply(model, [optimizer], stage=2, loader=loaders_in_another_way()[way])
    assert same(model, wanted)


def test_autocast_of_the_loop_is_off_in_the_pass() -> None:
    model, optimizer = learner()
    wanted = shrunk(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plan().apply(model, [optimizer], stage=2)
    assert same(model, wanted)


def batches_of_any_form() -> dict[str, dict[str, Any]]:
    asked = {"input": OLD[0], "labels": OLD[1]}
    triples = DataLoader(TensorDataset(*OLD, torch.zeros(24)), batch_size=24)
    by_name = {"pair": lambda batch: ({"input": batch["input"]}, batch["labels"])}
    called = {"forward": lambda model, inputs: model(**inputs)}
    return {
        "triples": {"chunks": [triples]},
        "a data set": {"chunks": [TensorDataset(*OLD)]},
        "a dictionary": {"chunks": [asked], **by_name, **called},
        "a function": {"chunks": lambda: iter([OLD])},
    }


@pytest.mark.parametrize("form", batches_of_any_form())
def test_batches_of_any_form_give_the_same(form: str) -> None:
    model, optimizer = learner()
    wanted = shrunk(model, [OLD])
    plan(**batches_of_any_form()[form]).apply(model, [optimizer], stage=2)
    torch.testing.assert_close(model.state_dict(), wanted.state_dict(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("fate", ["kept", "renewed", "touched"])
def test_the_fate_of_the_optimizer_without_a_new_object(fate: str) -> None:
    model, optimizer = learner(norm=True)
    groups = optimizer.param_groups
    norm = {id(value) for value in model[1].parameters()}
    report = plan(optimizer=fate).apply(model, [optimizer], stage=2)
    has = {id(value) for value in model.parameters() if optimizer.state.get(value)}
    assert has == {"kept": {id(v) for v in model.parameters()}, "renewed": set(), "touched": norm}[fate]
    assert optimizer.param_groups is groups
    assert report.optimizer == fate
    trained(model, optimizer)


def test_a_rule_that_renews_the_optimizer_does() -> None:
    model, optimizer = learner()
    assert StageRule(rule="fire").apply(model, [optimizer], stage=2).optimizer == "renewed"
    assert not optimizer.state


def test_tensors_stay_the_same_objects_and_computed_weights_get_what_they_are_computed_from() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(5, 16)), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before, again = [*model.parameters()], copy.deepcopy(model)
    plan().apply(model, [optimizer], stage=2)
    assert all(one is other for one, other in zip(before, model.parameters(), strict=True))
    with plain_weights(again) as plain:
        dash_(plain, [OLD, NEW], LOSS, lam=0.05)
    assert same(model, again)


def test_an_average_starts_anew() -> None:
    model, optimizer = learner()
    average = AveragedModel(model)
    average.update_parameters(model)
    plan(averages=[average]).apply(model, [optimizer], stage=2)
    assert same(average.module, model)


def test_statistics_are_those_of_the_changed_network() -> None:
    model, optimizer = learner(norm=True)
    plan(batch_norm="reestimated").apply(model, [optimizer], stage=2)
    seen = model[0](torch.cat([OLD[0], NEW[0]]))
    torch.testing.assert_close(model[1].running_mean, seen.mean(dim=0))
    torch.testing.assert_close(model[1].running_var, seen.var(dim=0))


def test_rules_that_go_back_get_the_start_and_new_networks() -> None:
    model, optimizer = learner()
    StageRule(rule="reset_full:to=own", start=network()).apply(model, [optimizer], stage=2)
    assert same(model, network())
    StageRule(rule="sp_ash_adams", fresh=network).apply(model, [optimizer], stage=2)
    assert not same(model, network())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: plan(rule="l2_init"), "rule must act between stages alone, got l2_init, which acts"),
        (lambda: plan(rule="ema"), "rule must act between stages alone, got ema, which acts"),
        (lambda: plan(rule="cold"), "rule must change the model that it is given in place, got cold"),
        (lambda: plan(rule="inject"), "rule must change the model that it is given in place, got inject"),
        (lambda: plan(rule=3), "rule must be a rule or its text, got int"),
        (lambda: plan(rule="warm_rm", optimizer="kept"), "optimizer must be left to this rule"),
        (lambda: plan(optimizer="keep"), "optimizer must be one of kept, renewed, touched"),
        (lambda: plan(batch_norm="no"), "batch_norm must be one of kept, reestimated"),
        (lambda: plan(loss_fn=None).apply(*learner_list(), stage=2), "loss_fn must be given for this rule"),
        (lambda: plan(chunks=[3]).apply(*learner_list(), stage=2), "chunks must be pairs, loaders or data sets"),
        (lambda: plan(chunks=[[]]).apply(*learner_list(), stage=2), "batches must hold targets that count"),
        (lambda: plan().apply(*learner_list(), stage=1), "stage must be an integer >= 2, got 1"),
        (lambda: plan(chunks=[{}]).apply(*learner_list(), stage=2), "pair must be given unless batches are"),
        (lambda: plan(rule="reset").apply(*learner_list(), stage=2), "fresh must be given for this rule"),
        (lambda: plan().apply(network(), [], stage=2), "optimizers must hold at least one"),
        (lambda: refuse_unknown(5, 0, 2), "checkpoint must tell its stage"),
    ],
)
def test_what_cannot_be_is_one_line(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}") as raised:
        make()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"forward": lambda model, inputs: model(inputs)}, "must be kept with forward="),
        ({"rule": "sp:perturb=0", "chunks": []}, "must be kept without data"),
        (
            {"rule": "sp:perturb=0", "chunks": [({"x": torch.zeros(2, 3)}, torch.zeros(2))]},
            "must be kept where inputs",
        ),
        (
            {"rule": "sp:perturb=0", "chunks": [DataLoader(Named(), batch_size=2)]},
            "must be kept where inputs",
        ),
    ],
)
def test_statistics_that_cannot_be_are_refused_before_a_weight_is_touched(
    options: dict[str, Any], words: str
) -> None:
    model, optimizer = learner(norm=True)
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match=f"^batch_norm {words}"):
        plan(batch_norm="reestimated", fresh=lambda: network(norm=True), **options).apply(
            model, [optimizer], stage=2
        )
    assert same(model, before)


def learner_list() -> tuple[nn.Module, list[torch.optim.Optimizer]]:
    model, optimizer = learner()
    return model, [optimizer]


def test_the_first_stage_and_a_resumed_one_are_not_due() -> None:
    assert [[is_due(stage, applied) for applied in (0, 1, 2, 3)] for stage in (1, 2, 3)] == [
        [False] * 4,
        [True, True, False, False],
        [True, True, True, False],
    ]
