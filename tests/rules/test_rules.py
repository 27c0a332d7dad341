"""The rules between stages: each does what its name says, and nothing else."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dashtheory.rules import (
    RULES,
    Cold,
    Context,
    Dash,
    Learner,
    Rule,
    ShrinkPerturb,
    Warm,
    dash_,
    make_rule,
    shrink_and_perturb_,
)
from tests.oracles.shrink import Chunk, chunks, network

PUBLISHED: dict[str, tuple[type[Rule], dict[str, Any]]] = {
    "cold": (Cold, {}),
    "warm": (Warm, {}),
    "sp": (ShrinkPerturb, {"shrink": 0.3, "perturb": 0.01, "optimizer": "kept"}),
    "dash": (
        Dash,
        {
            "alpha": 0.3,
            "lam": 0.3,
            "granularity": "authors",
            "training": False,
            "newest_only": False,
            "share": 1.0,
            "optimizer": "kept",
        },
    ),
}
IN_PLACE = sorted(PUBLISHED.keys() - {"cold"})


class Stage:
    """A learner after some training, and a `Context` that counts what a rule asks of it."""

    def __init__(self) -> None:
        self.learner = self.new()
        for inputs, labels in chunks("convolutions"):
            functional.cross_entropy(self.learner.model(inputs), labels).backward()
            self.learner.optimizer.step()
            self.learner.optimizer.zero_grad()
        self.made: list[Learner] = []
        self.served = 0
        self.context = Context(
            chunks=self.chunks,
            loss_fn=functional.cross_entropy,
            fresh=self.fresh,
            generator=torch.Generator().manual_seed(5),
        )

    @staticmethod
    def new() -> Learner:
        """A learner before any training."""
        model = network("convolutions")
        return Learner(model, torch.optim.Adam(model.parameters(), lr=0.01))

    def fresh(self) -> Learner:
        """Make a learner, and note it."""
        self.made.append(self.new())
        return self.made[-1]

    def chunks(self) -> Iterator[Chunk]:
        """Serve the chunks, and note that they were asked for."""
        self.served += 1
        yield from chunks("convolutions")


def everything(learner: Learner) -> dict[str, Tensor]:
    """Every tensor of the model and of the optimizer's state."""
    found = {name: value.detach().clone() for name, value in learner.model.state_dict().items()}
    for index, entry in learner.optimizer.state_dict()["state"].items():
        found.update({f"state {index} {key}": value.clone() for key, value in entry.items()})
    return found


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


CONVOLUTION_AND_LINEAR = {"0.weight", "0.bias", "3.weight", "6.weight", "6.bias", "8.weight", "8.bias"}


def test_cold_starts_from_a_fresh_learner() -> None:
    stage = Stage()
    before = everything(stage.learner)
    learner, report = Cold().apply(stage.learner, stage.context)
    assert stage.made == [learner]
    assert learner.model is not stage.learner.model
    assert learner.optimizer is not stage.learner.optimizer
    assert not learner.optimizer.state_dict()["state"]
    assert report is None
    assert not changed(before, everything(stage.learner))
    assert stage.served == 0


def test_warm_keeps_the_same_objects_and_bits() -> None:
    stage = Stage()
    before = everything(stage.learner)
    stream = stage.context.generator.get_state()
    learner, report = Warm().apply(stage.learner, stage.context)
    assert learner is stage.learner
    assert report is None
    assert not changed(before, everything(learner))
    assert (stage.served, stage.made) == (0, [])
    assert torch.equal(stage.context.generator.get_state(), stream)


def test_sp_is_shrink_and_perturb_with_the_stream_of_the_stage() -> None:
    stage = Stage()
    twin = copy.deepcopy(stage.learner.model)
    learner, report = ShrinkPerturb(shrink=0.6, perturb=0.2).apply(stage.learner, stage.context)
    shrink_and_perturb_(twin, shrink=0.6, perturb=0.2, generator=torch.Generator().manual_seed(5))
    assert report is None
    for name, value in twin.state_dict().items():
        assert torch.equal(learner.model.state_dict()[name], value), name
    assert (stage.served, stage.made) == (0, [])


def test_dash_is_dash_on_the_chunks_of_the_stage() -> None:
    stage = Stage()
    twin = copy.deepcopy(stage.learner.model)
    learner, report = Dash(alpha=0.6, lam=0.1).apply(stage.learner, stage.context)
    expected = dash_(twin, chunks("convolutions"), functional.cross_entropy, alpha=0.6, lam=0.1)
    assert report is not None
    assert report.num_batches == expected.num_batches == 3
    assert report.mean_scale == expected.mean_scale
    for name, value in twin.state_dict().items():
        assert torch.equal(learner.model.state_dict()[name], value), name
    assert (stage.served, stage.made) == (1, [])


@pytest.mark.parametrize("name", ["sp", "dash"])
def test_sp_and_dash_keep_the_optimizer_and_change_only_convolutions_and_linear_layers(name: str) -> None:
    stage = Stage()
    before, groups = everything(stage.learner), copy.deepcopy(stage.learner.optimizer.state_dict()["param_groups"])
    optimizer, parameters = stage.learner.optimizer, list(stage.learner.model.parameters())
    learner, _ = make_rule(name).apply(stage.learner, stage.context)
    assert learner is stage.learner
    assert learner.optimizer is optimizer
    assert changed(before, everything(learner)) == CONVOLUTION_AND_LINEAR
    assert optimizer.state_dict()["param_groups"] == groups
    held = optimizer.param_groups[0]["params"]
    assert all(a is b is c for a, b, c in zip(parameters, learner.model.parameters(), held, strict=True))


@pytest.mark.parametrize("name", IN_PLACE)
def test_rules_draw_from_no_global_stream(name: str) -> None:
    stage = Stage()
    state = torch.get_rng_state()
    make_rule(name).apply(stage.learner, stage.context)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", PUBLISHED)
def test_defaults_are_the_published_ones(name: str) -> None:
    rule_class, options = PUBLISHED[name]
    rule = make_rule(name)
    assert type(rule) is rule_class is RULES[name]
    assert rule.name == name
    assert dataclasses.asdict(rule) == options  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("name", "options"),
    [("sp", {"shrink": 0.5}), ("sp", {"shrink": 1, "perturb": 0}), ("dash", {"alpha": 1, "lam": 0})],
)
def test_options_reach_the_rule(name: str, options: dict[str, float]) -> None:
    expected = {**PUBLISHED[name][1], **options}
    assert dataclasses.asdict(make_rule(name, **options)) == expected  # type: ignore[call-overload]


@pytest.mark.parametrize("name", PUBLISHED)
def test_rules_are_values_that_cannot_be_changed(name: str) -> None:
    assert make_rule(name) == make_rule(name)
    for option, value in PUBLISHED[name][1].items():
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(make_rule(name), option, value)


@pytest.mark.parametrize(
    ("name", "option", "known"),
    [
        ("dash", "shrink", r"\['alpha', 'granularity', 'lam', 'newest_only', 'optimizer', 'share', 'training'\]"),
        ("sp", "lam", r"\['optimizer', 'perturb', 'shrink'\]"),
        ("warm", "lam", "none"),
        ("cold", "alpha", "none"),
    ],
)
def test_an_unknown_option_is_named_with_the_rule_and_its_options(name: str, option: str, known: str) -> None:
    with pytest.raises(ValueError, match=rf"^options of rule {name} must be among {known}, got '{option}'\."):
        make_rule(name, **{option: 0.3})


@pytest.mark.parametrize("name", ["Dash", "", "s&p", 3, None, ["warm"]])
def test_an_unknown_rule_is_refused_with_the_names_of_all(name: Any) -> None:
    with pytest.raises(ValueError, match=r"^rule must be one of cold, warm, sp, dash\b.*, got "):
        make_rule(name)


@pytest.mark.parametrize(
    ("name", "option", "value", "interval"),
    [
        ("dash", "alpha", 0, r"\(0, 1\]"),
        ("dash", "alpha", "0.3", r"\(0, 1\]"),
        ("dash", "alpha", float("nan"), r"\(0, 1\]"),
        ("dash", "lam", 1.5, r"\[0, 1\]"),
        ("dash", "lam", True, r"\[0, 1\]"),
        ("sp", "shrink", -1, r"\[0, 1\]"),
        ("sp", "shrink", 1.5, r"\[0, 1\]"),
        ("sp", "perturb", -0.1, r"\[0, inf\)"),
        ("sp", "perturb", float("inf"), r"\[0, inf\)"),
    ],
)
def test_options_out_of_range_are_refused_when_the_rule_is_made(
    name: str, option: str, value: Any, interval: str
) -> None:
    with pytest.raises(ValueError, match=rf"^{option} must be a number in {interval}, got {value!r}\."):
        make_rule(name, **{option: value})
