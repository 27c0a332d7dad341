"""Controls and ablations: names, options, and the laws that make each a control."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch.nn import functional

from dashtheory.rules import (
    RULES,
    ColdShrunk,
    Context,
    L2Init,
    NormMatched,
    Permuted,
    Perturb,
    Proportional,
    Reset,
    Rewarm,
    Rule,
    Scattered,
    ShrinkFresh,
    Threshold,
    Uniform,
    WarmRenewed,
    make_rule,
    rule_options,
    targets,
)
from tests.rules.control_cases import IN_PLACE, NEW_MODEL, Stage, equal, tensors_of

DEFAULTS: dict[str, tuple[type[Rule], dict[str, Any]]] = {
    "warm_rm": (WarmRenewed, {}),
    "reset": (Reset, {"layer": "", "optimizer": "kept"}),
    "l2_init": (L2Init, {"l2": 1e-2, "form": "authors", "on": "layers", "to": "own"}),
    "sp_ash_adams": (ShrinkFresh, {"shrink": 0.4, "perturb": 0.1, "optimizer": "kept"}),
    "perturb": (Perturb, {"perturb": 0.01, "optimizer": "kept"}),
    "uniform": (Uniform, {"alpha": 0.3, "lam": 0.3, "per_layer": False, "optimizer": "kept"}),
    "permuted": (Permuted, {"alpha": 0.3, "lam": 0.3, "move": "anywhere", "optimizer": "kept"}),
    "scattered": (Scattered, {"alpha": 0.3, "lam": 0.3, "optimizer": "kept"}),
    "norm_matched": (NormMatched, {"of": "dash", "whole": False, "optimizer": "kept"}),
    "proportional": (Proportional, {"alpha": 0.3, "lam": 0.3, "per_layer": False, "optimizer": "kept"}),
    "threshold": (Threshold, {"alpha": 0.3, "threshold": 0.3, "factor": 0.3, "optimizer": "kept"}),
    "cold_shrunk": (ColdShrunk, {"factor": 0.45}),
    "rewarm": (Rewarm, {"factor": 0.3, "momentum": "kept"}),
}


THESE = ("cold", "warm", "sp", "dash", *DEFAULTS)
"""The rules of this file; laws of all rules are in `test_all_rules`."""


# ------------------------------------------------------------------------------------------- names and options


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_are_those_of_the_docstring(name: str) -> None:
    rule_class, options = DEFAULTS[name]
    rule = make_rule(name)
    assert type(rule) is rule_class is RULES[name]
    assert rule.name == name
    assert dataclasses.asdict(rule) == options  # type: ignore[call-overload]
    assert set(rule_options(name, ablations=True)) == set(options)
    assert rule == make_rule(name, **options)
    for option, value in options.items():
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(rule, option, value)


def test_options_that_experiments_set_for_all_rules() -> None:
    found = {name: set(rule_options(name)) for name in THESE if rule_options(name)}
    assert found == {
        "sp": {"shrink", "perturb"},
        "dash": {"alpha", "lam"},
        "perturb": {"perturb"},
        "uniform": {"alpha", "lam"},
        "permuted": {"alpha", "lam"},
        "scattered": {"alpha", "lam"},
        "proportional": {"alpha", "lam"},
        "threshold": {"alpha"},
    }


BAD: list[tuple[str, str, Any, str]] = [
    *((name, "optimizer", "reset", "optimizer must be one of kept, renewed, got 'reset'") for name in IN_PLACE),
    ("dash", "granularity", "neuron", "granularity must be one of authors, row, filter, tensor, got 'neuron'"),
    ("dash", "training", 1, "training must be True or False, got 1"),
    ("dash", "newest_only", "no", "newest_only must be True or False, got 'no'"),
    ("dash", "share", 0, r"share must be a number in \(0, 1\], got 0"),
    ("uniform", "per_layer", 0, "per_layer must be True or False, got 0"),
    ("uniform", "alpha", 0, r"alpha must be a number in \(0, 1\], got 0"),
    ("uniform", "lam", 2, r"lam must be a number in \[0, 1\], got 2"),
    ("permuted", "alpha", 2, r"alpha must be a number in \(0, 1\], got 2"),
    ("permuted", "lam", -1, r"lam must be a number in \[0, 1\], got -1"),
    ("permuted", "move", "up", "move must be one of anywhere, within_filters, across_filters, got 'up'"),
    ("norm_matched", "of", "cold", "of must be a rule that changes weights in place, got cold"),
    ("norm_matched", "of", "dsh", "rule must be one of cold, .*, got 'dsh'"),
    ("norm_matched", "whole", 1, "whole must be True or False, got 1"),
    ("proportional", "per_layer", 1, "per_layer must be True or False, got 1"),
    ("proportional", "lam", 2, r"lam must be a number in \[0, 1\], got 2"),
    ("threshold", "alpha", 0, r"alpha must be a number in \(0, 1\], got 0"),
    ("threshold", "threshold", 1.5, r"threshold must be a number in \[-1, 1\], got 1.5"),
    ("threshold", "threshold", -1.5, r"threshold must be a number in \[-1, 1\], got -1.5"),
    ("threshold", "factor", 1.5, r"factor must be a number in \[0, 1\], got 1.5"),
    ("threshold", "factor", -0.1, r"factor must be a number in \[0, 1\], got -0.1"),
    ("perturb", "perturb", -1, r"perturb must be a number in \[0, inf\), got -1"),
    ("sp_ash_adams", "shrink", 1.1, r"shrink must be a number in \[0, 1\], got 1.1"),
    ("sp_ash_adams", "perturb", -1, r"perturb must be a number in \[0, inf\), got -1"),
    ("cold_shrunk", "factor", 0, r"factor must be a number in \(0, inf\), got 0"),
    ("rewarm", "factor", 0, r"factor must be a number in \(0, inf\), got 0"),
    ("rewarm", "momentum", "renewed", "momentum must be one of kept, scaled, got 'renewed'"),
    ("l2_init", "l2", -1e-3, r"l2 must be a number in \[0, inf\), got -0.001"),
    ("l2_init", "form", "squared", "form must be one of authors, textbook, norm, got 'squared'"),
    ("reset", "layer", None, "layer must be the name of a module, got None"),
    ("reset", "lam", 1, r"options of rule reset must be among \['layer', 'optimizer'\], got 'lam'"),
    ("warm_rm", "optimizer", "kept", "options of rule warm_rm must be among none, got 'optimizer'"),
]


@pytest.mark.parametrize(("name", "option", "value", "message"), BAD)
def test_bad_options_are_refused_in_one_line_when_the_rule_is_made(
    name: str, option: str, value: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=rf"^{message}\. [^\n]+$"):
        make_rule(name, **{option: value})


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("threshold", "threshold", -1),
        ("threshold", "threshold", 1),
        ("threshold", "factor", 0),
        ("threshold", "factor", 1),
        ("l2_init", "l2", 0),
        ("sp_ash_adams", "shrink", 1),
        ("sp_ash_adams", "shrink", 0),
        ("cold_shrunk", "factor", 2),
    ],
)
def test_options_at_the_ends_of_their_range_are_taken(name: str, option: str, value: float) -> None:
    assert getattr(make_rule(name, **{option: value}), option) == value


# --------------------------------------------------------------------------------------- laws of all rules


@pytest.mark.parametrize("name", IN_PLACE)
def test_the_optimizer_is_kept_unless_renewed(name: str) -> None:
    kept = Stage()
    torch.manual_seed(0)
    renewed = Stage()
    before = tensors_of(kept.learner.optimizer)
    options = {"moments": "kept"} if "moments" in rule_options(name, ablations=True) else {}
    learner, report = kept.apply(make_rule(name, optimizer="kept", **options))
    assert learner.model is kept.learner.model
    assert learner.optimizer is kept.learner.optimizer
    assert equal(tensors_of(learner.optimizer), before)
    assert not kept.renewed
    other, same_report = renewed.apply(make_rule(name, optimizer="renewed"))
    assert (report is None) == (same_report is None)
    if report is not None and same_report is not None:
        assert report.mean_scale == same_report.mean_scale
    assert other.model is renewed.learner.model
    assert renewed.renewed == [other.optimizer]
    assert not other.optimizer.state_dict()["state"]
    held = other.optimizer.param_groups[0]["params"]
    assert all(a is b for a, b in zip(held, other.model.parameters(), strict=True))
    assert equal(learner.model.state_dict(), other.model.state_dict())  # the optimizer moves no weight


@pytest.mark.parametrize("name", [name for name in THESE if name not in (*NEW_MODEL, "sp_ash_adams")])
def test_only_convolution_and_linear_parameters_change(name: str) -> None:
    for net in ("convolutions", "attention") if name not in ("proportional", "rewarm") else ("convolutions",):
        stage = Stage(net)
        stage.apply(make_rule(name))
        shrinkable = {target.name for target in targets(stage.twin)}
        after = stage.learner.model.state_dict()
        moved = {key for key, value in stage.twin.state_dict().items() if not torch.equal(value, after[key])}
        if name == "proportional":  # and running statistics, with what they are of
            moved = {key for key in moved if "running" not in key}
        assert moved <= shrinkable
        assert bool(moved) == (name not in ("warm", "warm_rm", "l2_init", "rewarm"))


@pytest.mark.parametrize("name", THESE)
def test_a_pass_over_the_chunks_is_made_only_by_rules_that_need_one(name: str) -> None:
    stage = Stage()
    _, report = stage.apply(make_rule(name))
    needs = name in ("dash", "uniform", "permuted", "scattered", "norm_matched", "proportional", "threshold")
    assert stage.served == ([3] if needs else [1] if name == "rewarm" else [])
    assert (report is not None) == needs
    assert len(stage.made) == (name in ("cold", "cold_shrunk", "reset", "sp_ash_adams"))
    assert len(stage.renewed) == (name == "warm_rm")
    if report is not None:
        assert report.num_batches == 3


def test_most_rules_remember_nothing_and_add_no_penalty() -> None:
    stage = Stage()
    for name in THESE:
        if name != "l2_init":
            rule = make_rule(name)
            assert rule.start(stage.learner) == {}
            assert rule.penalty(stage.learner.model, {}) is None


def test_a_between_without_a_way_to_renew_says_so() -> None:
    stage = Stage()
    context = Context(
        chunks=stage.chunks,
        loss_fn=functional.cross_entropy,
        fresh=stage.fresh,
        generator=torch.Generator(),
    )
    with pytest.raises(
        ValueError, match=r"^renew must be given to Context when the rule renews the optimizer, got"
    ):
        WarmRenewed().apply(stage.learner, context)
    assert context.state == {}
