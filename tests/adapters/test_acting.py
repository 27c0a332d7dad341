"""A rule in a training loop that is not ours acts, or is refused in one line: none is taken and does nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from dashtheory.adapters.acting import refuse_step_sizes
from dashtheory.adapters.core import StageRule
from dashtheory.rules import RULES, Context, InPlace, Learner, Rule, from_the_start, make_rule
from tests.adapters.toys import LOSS, NEW, OLD, network, trained

OPTIMIZERS = [name for name in RULES if "optimizer_for" in vars(RULES[name])]
NETWORKS = [name for name in RULES if RULES[name].acts == ("network",)]
CALL_THE_MODEL = ("bn", "rewarm")


def learner() -> tuple[nn.Sequential, torch.optim.Optimizer]:
    model = network(norm=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    trained(model, optimizer)
    return model, optimizer


def loaders() -> list[DataLoader[Any]]:
    return [DataLoader(TensorDataset(*chunk), batch_size=7) for chunk in (OLD, NEW)]


def traces(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[Any]:
    """All that a rule can change in place."""
    sizes = {id(value): group["lr"] for group in optimizer.param_groups for value in group["params"]}
    rates = [sizes[id(value)] for value in model.parameters()]
    averages = [value for entry in optimizer.state.values() for value in entry.values()]
    return [value.tolist() for value in (*model.state_dict().values(), *averages)] + [rates]


@pytest.mark.parametrize("name", [name for name in RULES if name != "warm"])
@pytest.mark.parametrize("data", ["pairs", "loaders", "none"])
def test_every_rule_acts_or_is_refused_in_one_line(name: str, data: str) -> None:
    model, optimizer = learner()
    chunks: Any = {"pairs": [OLD, NEW], "loaders": loaders(), "none": None}[data]
    before = traces(model, optimizer)
    refused = ""
    try:
        plan = StageRule(
            rule=name, loss_fn=LOSS, chunks=chunks, fresh=lambda: network(norm=True), start=network(norm=True)
        )
        plan.apply(model, [optimizer], stage=2)
    except ValueError as error:
        refused = str(error)
    assert (traces(model, optimizer) == before) == bool(refused)
    if refused:
        kind = RULES[name]
        assert refused.startswith(("rule must", "batches must yield one", "chunks must hold data"))
        assert "\n" not in refused
        assert data == "none" or kind.acts != ("between",) or kind.anew or kind.rebuild is not Rule.rebuild


@pytest.mark.parametrize("name", [*OPTIMIZERS, *NETWORKS])
def test_what_acts_from_the_first_stage_on_is_refused_with_the_method_that_makes_it(name: str) -> None:
    method = "optimizer_for" if name in OPTIMIZERS else "adapted"
    with pytest.raises(
        ValueError, match=rf"^rule must act between stages alone, got {name}, .* {method}\(model, "
    ):
        StageRule(rule=name)
    assert from_the_start(make_rule(name))


def test_there_are_rules_of_both_kinds() -> None:
    assert {"sam", "muon", "upgd", "trac"} <= set(OPTIMIZERS)
    assert {"crelu", "fourier", "aid", "layer_norm"} <= set(NETWORKS)


@dataclass(frozen=True, kw_only=True)
class Silent(InPlace):
    """Says nothing of where it acts."""

    def change_(self, model: nn.Module, context: Context) -> None:
        """Nothing."""


class Penalized(Silent):
    """Acts in the loss."""

    def penalty(self, model: nn.Module, state: Any) -> Any:
        """The weights themselves."""
        return lambda: sum((value.square().sum() for value in model.parameters()), torch.zeros(()))


class Remembering(Silent):
    """Remembers the end of a stage."""

    def finish(self, learner: Learner, context: Context) -> dict[str, Tensor]:
        """The first parameter."""
        return {"first": next(learner.model.parameters()).detach().clone()}


class Steered(Silent):
    """Has an optimizer of its own."""

    acts: ClassVar[tuple[str, ...]] = ("between",)

    def optimizer_for(self, model: nn.Module, make: Any) -> torch.optim.Optimizer:
        """Plain descent."""
        return torch.optim.SGD(model.parameters(), lr=0.1)


@pytest.mark.parametrize("kind", [Penalized, Remembering, Steered])
def test_the_methods_of_a_rule_of_ones_own_tell_and_not_what_it_says(kind: type[Silent]) -> None:
    with pytest.raises(ValueError, match=f"^rule must act between stages alone, got {kind.__name__}, which"):
        StageRule(rule=kind())
    StageRule(rule=Silent())


@pytest.mark.parametrize("name", CALL_THE_MODEL)
@pytest.mark.parametrize("asked", ["forward", "names"])
def test_rules_that_call_the_model_themselves_say_what_they_cannot_have(name: str, asked: str) -> None:
    options: dict[str, Any] = {
        "forward": {"chunks": [OLD], "forward": lambda model, inputs: model(inputs)},
        "names": {"chunks": [({"input": OLD[0]}, OLD[1])]},
    }
    model, optimizer = learner()
    with pytest.raises(ValueError, match=r"^(forward must be left out|chunks must have tensors) [^\n]*$"):
        StageRule(rule=name, **options[asked]).apply(model, [optimizer], stage=2)


@pytest.mark.parametrize("name", CALL_THE_MODEL)
def test_data_in_batches_are_the_same_data(name: str) -> None:
    found = []
    for chunks in ([OLD, NEW], loaders()):
        model, optimizer = learner()
        StageRule(rule=name, chunks=chunks).apply(model, [optimizer], stage=2)
        found.append([value.clone() for value in model.state_dict().values()])
        sizes = [group["lr"] for group in optimizer.param_groups]
        assert sizes == ([0.01, pytest.approx(0.01 / 0.3)] if name == "rewarm" else [0.01])
    torch.testing.assert_close(found[0], found[1])


def test_step_sizes_are_left_to_frameworks_with_schedules() -> None:
    refuse_step_sizes(make_rule("dash"))
    with pytest.raises(ValueError, match=r"^rule must leave step sizes to the framework and"):
        refuse_step_sizes(make_rule("rewarm"))
