"""Controls and ablations: each rule against a transcription, the laws that make it a control, and two stages."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dashtheory.evaluate import cross_entropy
from dashtheory.protocol import StageResult, Task, TrainConfig, run_stages, train
from dashtheory.rules import (
    RULES,
    ColdShrunk,
    Context,
    Dash,
    L2Init,
    Learner,
    Permuted,
    Perturb,
    Reset,
    Rule,
    RuleState,
    ShrinkFresh,
    ShrinkPerturb,
    ShrinkReport,
    Threshold,
    Uniform,
    Warm,
    WarmRenewed,
    apply_factors_,
    dash_,
    dash_factors,
    group_cosines,
    make_rule,
    rule_options,
    shrink_and_perturb_,
    smoothed_descent,
    targets,
)
from dashtheory.seeds import torch_stream
from dashtheory.stream import Examples, Stream, cut
from tests.oracles.ablations import SharpnessAware, dash_in_groups, l2_init_by_hand, mean_factor, times
from tests.oracles.shrink import (
    NETWORKS,
    Attention,
    Chunk,
    Values,
    chunks,
    dash_by_hand,
    entries,
    network,
    noise_by_hand,
    shrunk_parameters,
)

DEFAULTS: dict[str, tuple[type[Rule], dict[str, Any]]] = {
    "warm_rm": (WarmRenewed, {}),
    "reset": (Reset, {"layer": "", "optimizer": "kept"}),
    "l2_init": (L2Init, {"l2": 1e-2, "form": "authors"}),
    "sp_ash_adams": (ShrinkFresh, {"shrink": 0.4, "perturb": 0.1, "optimizer": "kept"}),
    "perturb": (Perturb, {"perturb": 0.01, "optimizer": "kept"}),
    "uniform": (Uniform, {"alpha": 0.3, "lam": 0.3, "per_layer": False, "optimizer": "kept"}),
    "permuted": (Permuted, {"alpha": 0.3, "lam": 0.3, "optimizer": "kept"}),
    "threshold": (Threshold, {"alpha": 0.3, "threshold": 0.3, "factor": 0.3, "optimizer": "kept"}),
    "cold_shrunk": (ColdShrunk, {"factor": 0.45}),
}
IN_PLACE = [name for name in RULES if "optimizer" in rule_options(name, ablations=True)]
NEW_MODEL = ("cold", "cold_shrunk")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


class Stage:
    """A learner after some training, and a `Context` that notes what a rule asks of it."""

    def __init__(self, name: str = "convolutions") -> None:
        self.name = name
        self.learner = self.new()
        self.start = {key: value.detach().clone() for key, value in self.learner.model.named_parameters()}
        for inputs, labels in chunks(name):
            functional.cross_entropy(self.learner.model(inputs), labels).backward()
            self.learner.optimizer.step()
            self.learner.optimizer.zero_grad()
        self.twin = copy.deepcopy(self.learner.model)
        self.made: list[Learner] = []
        self.renewed: list[torch.optim.Optimizer] = []
        self.served: list[int] = []
        self.context = Context(
            chunks=self.chunks,
            loss_fn=functional.cross_entropy,
            fresh=self.fresh,
            generator=torch.Generator().manual_seed(5),
            renew=self.renew,
        )

    def new(self) -> Learner:
        """A learner before any training."""
        model = network(self.name)
        return Learner(model, torch.optim.Adam(model.parameters(), lr=0.01))

    def fresh(self) -> Learner:
        """Make a learner, and note it; torch's stream is put back."""
        with torch.random.fork_rng():
            torch.manual_seed(11)
            self.made.append(self.new())
        return self.made[-1]

    def renew(self, model: nn.Module) -> torch.optim.Optimizer:
        """Make an optimizer, and note it."""
        self.renewed.append(torch.optim.Adam(model.parameters(), lr=0.02))
        return self.renewed[-1]

    def chunks(self) -> Iterator[Chunk]:
        """Serve the chunks, and note how many were taken."""
        self.served.append(0)
        for chunk in chunks(self.name):
            self.served[-1] += 1
            yield chunk

    def apply(self, rule: Rule) -> tuple[Learner, ShrinkReport | None]:
        """Apply the rule."""
        return rule.apply(self.learner, self.context)

    def expect(self, expected: Mapping[str, Values]) -> None:
        """Check that the parameters named are as expected, and all else of the model is as it was."""
        model = self.learner.model
        for name, value in expected.items():
            after = model.get_parameter(name).detach()
            np.testing.assert_allclose(after, value, rtol=1e-12, atol=1e-14, err_msg=name)
        changed = {id(model.get_parameter(name)) for name in expected}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            assert id(parameter) in changed or torch.equal(parameter, self.twin.get_parameter(name)), name
        for name, buffer in model.named_buffers():
            assert torch.equal(buffer, self.twin.get_buffer(name)), name


def tensors_of(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{index} {key}": torch.as_tensor(value).clone()
        for index, entry in optimizer.state_dict()["state"].items()
        for key, value in entry.items()
    }


def equal(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


# ------------------------------------------------------------------------------------------- names and options


def test_all_rules_are_there_by_name() -> None:
    published = ["cold", "warm", "sp", "dash"]
    assert sorted(RULES) == sorted([*published, *DEFAULTS])
    assert list(RULES)[:4] == published
    assert IN_PLACE == ["sp", "dash", "reset", "sp_ash_adams", "perturb", "uniform", "permuted", "threshold"]


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
    found = {name: set(rule_options(name)) for name in RULES if rule_options(name)}
    assert found == {
        "sp": {"shrink", "perturb"},
        "dash": {"alpha", "lam"},
        "perturb": {"perturb"},
        "uniform": {"alpha", "lam"},
        "permuted": {"alpha", "lam"},
        "threshold": {"alpha"},
    }


BAD: list[tuple[str, str, Any, str]] = [
    *((name, "optimizer", "reset", "optimizer must be one of kept, renewed, got 'reset'") for name in IN_PLACE),
    ("dash", "granularity", "neuron", "granularity must be one of authors, row, filter, tensor, got 'neuron'"),
    ("dash", "training", 1, "training must be True or False, got 1"),
    ("dash", "newest_only", "no", "newest_only must be True or False, got 'no'"),
    ("uniform", "per_layer", 0, "per_layer must be True or False, got 0"),
    ("uniform", "alpha", 0, r"alpha must be a number in \(0, 1\], got 0"),
    ("uniform", "lam", 2, r"lam must be a number in \[0, 1\], got 2"),
    ("permuted", "alpha", 2, r"alpha must be a number in \(0, 1\], got 2"),
    ("permuted", "lam", -1, r"lam must be a number in \[0, 1\], got -1"),
    ("threshold", "alpha", 0, r"alpha must be a number in \(0, 1\], got 0"),
    ("threshold", "threshold", 1.5, r"threshold must be a number in \[-1, 1\], got 1.5"),
    ("threshold", "threshold", -1.5, r"threshold must be a number in \[-1, 1\], got -1.5"),
    ("threshold", "factor", 1.5, r"factor must be a number in \[0, 1\], got 1.5"),
    ("threshold", "factor", -0.1, r"factor must be a number in \[0, 1\], got -0.1"),
    ("perturb", "perturb", -1, r"perturb must be a number in \[0, inf\), got -1"),
    ("sp_ash_adams", "shrink", 1.1, r"shrink must be a number in \[0, 1\], got 1.1"),
    ("sp_ash_adams", "perturb", -1, r"perturb must be a number in \[0, inf\), got -1"),
    ("cold_shrunk", "factor", 0, r"factor must be a number in \(0, inf\), got 0"),
    ("l2_init", "l2", -1e-3, r"l2 must be a number in \[0, inf\), got -0.001"),
    ("l2_init", "form", "squared", "form must be one of authors, textbook, got 'squared'"),
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
    kept, renewed = Stage(), Stage()
    kept.learner.model.load_state_dict(renewed.learner.model.state_dict())
    before = tensors_of(kept.learner.optimizer)
    learner, report = kept.apply(make_rule(name))
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


@pytest.mark.parametrize("name", RULES)
def test_rules_draw_from_no_global_stream_and_change_no_gradient_nor_mode(name: str) -> None:
    stage = Stage()
    model = stage.learner.model
    model.get_submodule("1").eval()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    modes, state = [module.training for module in model.modules()], torch.get_rng_state()
    numbers = np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    stage.apply(make_rule(name))
    assert torch.equal(torch.get_rng_state(), state)
    assert np.random.get_state()[1].tolist() == numbers  # type: ignore[index]  # noqa: NPY002
    assert [module.training for module in model.modules()] == modes
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert (parameter.grad == 3).all()


@pytest.mark.parametrize("name", [name for name in RULES if name not in (*NEW_MODEL, "sp_ash_adams")])
def test_only_convolution_and_linear_parameters_change(name: str) -> None:
    for net in ("convolutions", "attention"):
        stage = Stage(net)
        stage.apply(make_rule(name))
        shrinkable = {target.name for target in targets(stage.twin)}
        after = stage.learner.model.state_dict()
        moved = {key for key, value in stage.twin.state_dict().items() if not torch.equal(value, after[key])}
        assert moved <= shrinkable
        assert bool(moved) == (name not in ("warm", "warm_rm", "l2_init"))


@pytest.mark.parametrize("name", [name for name in RULES if name not in NEW_MODEL])
def test_frozen_parameters_keep_their_bits(name: str) -> None:
    stage = Stage()
    frozen = [stage.learner.model.get_parameter(key) for key in ("0.weight", "8.weight")]
    bits = [value.detach().clone() for value in frozen]
    for value in frozen:
        value.requires_grad_(False)
    stage.apply(make_rule(name))
    assert all(torch.equal(a, b) for a, b in zip(frozen, bits, strict=True))


@pytest.mark.parametrize("name", RULES)
def test_a_pass_over_the_chunks_is_made_only_by_rules_that_need_one(name: str) -> None:
    stage = Stage()
    _, report = stage.apply(make_rule(name))
    needs = name in ("dash", "uniform", "permuted", "threshold")
    assert stage.served == ([3] if needs else [])
    assert (report is not None) == needs
    assert len(stage.made) == (name in ("cold", "cold_shrunk", "reset", "sp_ash_adams"))
    assert len(stage.renewed) == (name == "warm_rm")
    if report is not None:
        assert report.num_batches == 3


def test_most_rules_remember_nothing_and_add_no_penalty() -> None:
    stage = Stage()
    for name in RULES:
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


# ----------------------------------------------------------------------------------------------- rule by rule


def test_warm_rm_keeps_the_model_and_renews_the_optimizer() -> None:
    stage = Stage()
    learner, report = stage.apply(WarmRenewed())
    assert learner.model is stage.learner.model
    assert learner.optimizer is stage.renewed[0]
    assert report is None
    stage.expect({})


@pytest.mark.parametrize(
    ("net", "layer", "reset"),
    [
        ("convolutions", "", {"8.weight", "8.bias"}),
        ("convolutions", "3", {"3.weight"}),
        ("convolutions", "1", {"1.weight", "1.bias"}),
        ("perceptron", "", {"7.weight", "7.bias"}),
        ("attention", "", {"head.weight", "head.bias"}),
        ("tied_linear", "", {"4.weight", "4.bias"}),
    ],
)
def test_reset_copies_one_layer_of_a_fresh_model(net: str, layer: str, reset: set[str]) -> None:
    stage = Stage(net)
    Reset(layer=layer).apply(stage.learner, stage.context)
    fresh = stage.made[0].model.state_dict()
    after = stage.learner.model.state_dict()
    for name, before in stage.twin.state_dict().items():
        assert torch.equal(after[name], fresh[name] if name in reset else before), name
    assert all(
        not torch.equal(after[name], stage.twin.state_dict()[name]) for name in reset if net != "convolutions"
    )


def test_reset_names_its_classifier() -> None:
    assert Reset().classifier(network("convolutions")) == "8"
    assert Reset().classifier(Attention()) == "head"
    assert Reset(layer="keys").classifier(Attention()) == "keys"
    assert Reset().classifier(nn.Linear(2, 2)) == ""
    nested = nn.ModuleDict({"head": nn.Linear(2, 2), "body": nn.Sequential(nn.Linear(2, 2), nn.ReLU())})
    assert Reset().classifier(nested) == "body.0"  # the last in order of definition
    with pytest.raises(ValueError, match=r"^model must have a linear layer to reset, got Conv1d\. "):
        Reset().classifier(nn.Conv1d(2, 2, 2))
    with pytest.raises(ValueError, match=r"^layer must be one of , 0, .*, got 'fc'\. "):
        Reset(layer="fc").classifier(network("convolutions"))


def test_reset_of_a_whole_model_that_is_one_linear_layer() -> None:
    model, fresh = nn.Linear(2, 3), nn.Linear(2, 3)
    learner = Learner(model, torch.optim.SGD(model.parameters(), lr=0.1))
    context = dataclasses.replace(Stage().context, fresh=lambda: Learner(fresh, learner.optimizer))
    Reset().apply(learner, context)
    assert equal(model.state_dict(), fresh.state_dict())
    assert model.weight is not fresh.weight


@pytest.mark.parametrize("net", NETWORKS)
def test_ash_and_adams_mix_with_the_fresh_model_of_the_stage(net: str) -> None:
    stage = Stage(net)
    ShrinkFresh(shrink=0.6, perturb=0.25).apply(stage.learner, stage.context)
    fresh = dict(stage.made[0].model.named_parameters())
    after = stage.learner.model.state_dict()
    for name, value in stage.twin.named_parameters():
        np.testing.assert_allclose(after[name], 0.6 * entries(value) + 0.25 * entries(fresh[name]), rtol=1e-12)
    for name, buffer in stage.made[0].model.named_buffers():
        assert torch.equal(after[name], buffer)


def test_perturb_adds_the_noise_of_sp_and_shrinks_nothing() -> None:
    stage = Stage()
    Perturb(perturb=0.5).apply(stage.learner, stage.context)
    stage.expect(noise_by_hand(stage.twin, shrink=1, perturb=0.5, generator=torch.Generator().manual_seed(5)))
    sp = Stage()
    ShrinkPerturb(shrink=0, perturb=0.5).apply(sp.learner, sp.context)
    for target in targets(stage.learner.model):
        noise = sp.learner.model.get_parameter(target.name)
        np.testing.assert_allclose(
            (target.parameter - stage.twin.get_parameter(target.name)).detach(), noise.detach(), atol=1e-14
        )


@pytest.mark.parametrize("net", NETWORKS)
def test_uniform_multiplies_all_by_the_mean_factor_of_dash(net: str) -> None:
    stage = Stage(net)
    dash = dash_by_hand(stage.twin, chunks(net), functional.cross_entropy, alpha=0.6, lam=0.1)
    factor = mean_factor(stage.twin, dash)
    _, report = stage.apply(Uniform(alpha=0.6, lam=0.1))
    stage.expect(times(stage.twin, {name: np.full(layer.scales.shape, factor) for name, layer in dash.items()}))
    assert report is not None
    assert report.mean_scale == pytest.approx(factor, rel=1e-12)
    for layer in report:
        assert (layer.scales == layer.scales.flatten()[0]).all()
        np.testing.assert_allclose(layer.cosines, dash[layer.name].cosines, atol=1e-12)


@pytest.mark.parametrize("net", NETWORKS)
def test_uniform_per_layer_takes_the_mean_of_each_parameter(net: str) -> None:
    stage = Stage(net)
    dash = dash_by_hand(stage.twin, chunks(net), functional.cross_entropy, alpha=0.3, lam=0.3)
    stage.apply(Uniform(per_layer=True))
    factors = {name: np.full(layer.scales.shape, layer.scales.mean()) for name, layer in dash.items()}
    stage.expect(times(stage.twin, factors))


@pytest.mark.parametrize("per_layer", [False, True])
def test_uniform_keeps_every_cosine(per_layer: bool) -> None:
    stage = Stage()
    descent, _ = smoothed_descent(stage.twin, chunks("convolutions"), functional.cross_entropy, alpha=0.3)
    stage.apply(Uniform(per_layer=per_layer))
    for before, after in zip(targets(stage.twin), targets(stage.learner.model), strict=True):
        was, now = (group_cosines(t.parameter.detach(), descent[t.name], t.kind) for t in (before, after))
        np.testing.assert_allclose(now, was, atol=1e-14)


@pytest.mark.parametrize("net", NETWORKS)
def test_permuted_keeps_the_multiset_of_factors_of_each_layer(net: str) -> None:
    stage = Stage(net)
    dash = dash_factors(stage.twin, chunks(net), functional.cross_entropy, alpha=0.6, lam=0.0)
    _, report = stage.apply(Permuted(alpha=0.6, lam=0.0))
    assert report is not None
    moved = 0
    for old, new in zip(dash, report, strict=True):
        assert old.scales.shape == new.scales.shape
        assert old.scales.flatten().sort().values.tolist() == new.scales.flatten().sort().values.tolist()
        assert torch.equal(old.cosines, new.cosines)
        moved += not torch.equal(old.scales, new.scales)
    assert moved
    stage.expect(times(stage.twin, {layer.name: layer.scales.numpy() for layer in report}))


def test_permuted_draws_the_order_of_each_layer_from_the_stage() -> None:
    stage, again, other = Stage(), Stage(), Stage()
    for twin in (again, other):
        twin.learner.model.load_state_dict(stage.learner.model.state_dict())
    other.context.generator.manual_seed(6)
    dash = dash_factors(stage.twin, chunks("convolutions"), functional.cross_entropy, lam=0.0)
    generator = torch.Generator().manual_seed(5)
    reports = [twin.apply(Permuted(lam=0.0))[1] for twin in (stage, again, other)]
    assert all(report is not None for report in reports)
    first, second, third = (report for report in reports if report is not None)
    for layer in dash:
        order = torch.randperm(layer.scales.numel(), generator=generator)
        assert torch.equal(first[layer.name].scales.flatten(), layer.scales.flatten()[order])
        assert torch.equal(first[layer.name].scales, second[layer.name].scales)
    assert any(not torch.equal(a.scales, b.scales) for a, b in zip(first, third, strict=True))


@pytest.mark.parametrize("net", NETWORKS)
def test_threshold_shrinks_what_exceeds_it(net: str) -> None:
    stage = Stage(net)
    dash = dash_by_hand(stage.twin, chunks(net), functional.cross_entropy, alpha=0.6, lam=0)
    factors = {name: np.where(layer.cosines > 0.1, 0.25, 1.0) for name, layer in dash.items()}
    _, report = stage.apply(Threshold(alpha=0.6, threshold=0.1, factor=0.25))
    assert report is not None
    stage.expect(times(stage.twin, factors))
    entries_left = sum(layer.num_entries * float((factors[layer.name] == 1).mean()) for layer in report) / sum(
        layer.num_entries for layer in report
    )
    assert report.share_clamped == pytest.approx(entries_left)
    for layer in report:
        np.testing.assert_array_equal(layer.scales, factors[layer.name])


def test_threshold_leaves_a_cosine_that_equals_it() -> None:
    stage = Stage()
    dash = dash_factors(stage.twin, chunks("convolutions"), functional.cross_entropy)
    exactly = float(dash["8.weight"].cosines[1])
    _, report = stage.apply(Threshold(threshold=exactly))
    assert report is not None
    assert report["8.weight"].scales[1] == 1
    below = Stage()
    below.learner.model.load_state_dict(stage.twin.state_dict())
    _, report = below.apply(Threshold(threshold=float(np.nextafter(exactly, -1))))
    assert report is not None
    assert report["8.weight"].scales[1] == pytest.approx(0.3)


@pytest.mark.parametrize("options", [{"factor": 1}, {"threshold": 1}], ids=str)
def test_threshold_with_factor_one_or_threshold_one_is_the_identity_to_the_bit(options: dict[str, Any]) -> None:
    stage = Stage()
    _, report = stage.apply(Threshold(**options))
    assert equal(stage.learner.model.state_dict(), stage.twin.state_dict())
    assert report is not None
    assert report.mean_scale == 1


@pytest.mark.parametrize("net", NETWORKS)
def test_cold_shrunk_is_a_fresh_learner_with_shrunk_weights(net: str) -> None:
    stage = Stage(net)
    learner, report = stage.apply(ColdShrunk(factor=0.25))
    assert report is None
    assert stage.made == [learner]
    assert not learner.optimizer.state_dict()["state"]
    held = learner.optimizer.param_groups[0]["params"]
    assert all(a is b for a, b in zip(held, learner.model.parameters(), strict=True))
    unshrunk = Stage(net).fresh().model
    weights = {name for name, _, _ in shrunk_parameters(unshrunk) if not name.endswith("bias")}
    for name, value in unshrunk.named_parameters(remove_duplicate=False):
        factor = 0.25 if any(value is unshrunk.get_parameter(weight) for weight in weights) else 1.0  # exact
        assert torch.equal(learner.model.get_parameter(name), value * factor), name
    stage.expect({})


@pytest.mark.parametrize("granularity", ["authors", "row", "filter", "tensor"])
def test_dash_takes_every_granularity(granularity: str) -> None:
    stage = Stage("transposed")
    expected = dash_in_groups(
        stage.twin, chunks("transposed"), functional.cross_entropy, alpha=0.6, lam=0.1, granularity=granularity
    )
    stage.apply(Dash(alpha=0.6, lam=0.1, granularity=granularity))
    stage.expect({name: layer.weights for name, layer in expected.items()})


def test_dash_of_the_newest_chunk_is_alpha_one_at_the_price_of_one_chunk() -> None:
    newest, all_ = Stage(), Stage()
    all_.learner.model.load_state_dict(newest.learner.model.state_dict())
    _, report = newest.apply(Dash(alpha=0.2, newest_only=True))
    all_.apply(Dash(alpha=1))
    assert equal(newest.learner.model.state_dict(), all_.learner.model.state_dict())
    assert report is not None
    assert report.num_batches == 1


def test_dash_in_training_mode_draws_from_the_stage_alone() -> None:
    found = []
    start = Stage("perceptron").learner.model.state_dict()
    for global_seed, seed in ((1, 5), (2, 5), (1, 6)):
        stage = Stage("perceptron")
        stage.learner.model.load_state_dict(start)
        stage.context.generator.manual_seed(seed)
        torch.manual_seed(global_seed)
        state = torch.get_rng_state()
        stage.apply(Dash(training=True, lam=0.0))
        assert torch.equal(torch.get_rng_state(), state)
        found.append(stage.learner.model.state_dict())
    assert equal(found[0], found[1])
    assert not equal(found[0], found[2])
    twin = Stage("perceptron").learner.model
    twin.load_state_dict(start)
    seed = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(5)))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        dash_(twin, chunks("perceptron"), functional.cross_entropy, training=True, lam=0.0)
    assert equal(found[0], twin.state_dict())


def test_factors_alone_change_nothing_and_applied_they_are_dash() -> None:
    stage = Stage()
    report = dash_factors(stage.learner.model, chunks("convolutions"), functional.cross_entropy, lam=0.05)
    stage.expect({})
    apply_factors_(stage.learner.model, report)
    dash_(stage.twin, chunks("convolutions"), functional.cross_entropy, lam=0.05)
    assert equal(stage.learner.model.state_dict(), stage.twin.state_dict())


# --------------------------------------------------------------------------------------------------- L2 Init


@pytest.mark.parametrize("form", ["authors", "textbook"])
@pytest.mark.parametrize("net", NETWORKS)
def test_l2_init_and_its_gradient_equal_those_derived_by_hand(net: str, form: str) -> None:
    stage = Stage(net)
    rule = L2Init(l2=0.3, form=form)
    state = {
        target.name: torch.randn(target.parameter.shape, dtype=torch.float64) for target in targets(stage.twin)
    }
    penalty = rule.penalty(stage.learner.model, state)
    assert penalty is not None
    start = {name: entries(value) for name, value in state.items()}
    for _ in range(2):  # the second time after a step
        value, slopes = l2_init_by_hand(stage.learner.model, start, l2=0.3, form=form)
        stage.learner.optimizer.zero_grad()
        found = penalty()
        found.backward()
        assert found.shape == ()
        assert float(found.detach()) == pytest.approx(value, rel=1e-12)
        for name, slope in slopes.items():
            gradient = stage.learner.model.get_parameter(name).grad
            assert gradient is not None
            np.testing.assert_allclose(gradient, slope, rtol=1e-11, atol=1e-13, err_msg=name)
        with_gradient = [p for p in stage.learner.model.parameters() if p.grad is not None]
        assert len(with_gradient) == len(slopes)
        stage.learner.optimizer.step()


@pytest.mark.parametrize("form", ["authors", "textbook"])
def test_l2_init_starts_at_zero_with_a_gradient_of_zero(form: str) -> None:
    stage = Stage()
    rule = L2Init(form=form)
    penalty = rule.penalty(stage.learner.model, rule.start(stage.learner))
    assert penalty is not None
    found = penalty()
    found.backward()
    assert found == 0
    for target in targets(stage.learner.model):
        assert target.parameter.grad is not None
        assert (target.parameter.grad == 0).all()
    with torch.no_grad():  # one layer off its start, the others on it: still finite
        stage.learner.model.get_parameter("0.bias").add_(1)
    stage.learner.optimizer.zero_grad()
    penalty().backward()
    for target in targets(stage.learner.model):
        assert target.parameter.grad is not None
        assert target.parameter.grad.isfinite().all()
        assert bool(target.parameter.grad.any()) == (target.name == "0.bias")


def test_l2_init_remembers_tensors_that_do_not_move_with_the_model() -> None:
    stage = Stage()
    state = L2Init().start(stage.learner)
    assert set(state) == {name for name, _, _ in shrunk_parameters(stage.twin)}
    with torch.no_grad():
        for parameter in stage.learner.model.parameters():
            parameter.add_(1)
    for name, value in state.items():
        assert isinstance(value, Tensor)
        assert not value.requires_grad
        assert torch.equal(value, stage.twin.get_parameter(name))


def test_l2_init_is_warm_between_stages_and_without_strength() -> None:
    stage = Stage()
    learner, report = stage.apply(L2Init())
    assert learner is stage.learner
    assert report is None
    stage.expect({})
    assert L2Init(l2=0).penalty(stage.learner.model, L2Init().start(stage.learner)) is None


def test_a_state_of_another_model_is_refused() -> None:
    stage = Stage()
    state = dict(L2Init().start(stage.learner))
    with pytest.raises(ValueError, match=r"^state must hold where 0.weight began, \(6, 2, 3, 3\), got none\. "):
        L2Init().penalty(stage.learner.model, {})
    state["8.bias"] = torch.zeros(4)
    with pytest.raises(ValueError, match=r"^state must hold where 8.bias began, \(3,\), got \(4,\)\. "):
        L2Init().penalty(stage.learner.model, state)


# ------------------------------------------------------------------------------- two stages, every optimizer


def points(num: int, seed: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num) % 3
    inputs = torch.randn(num, 4, generator=generator, dtype=torch.float64)
    return Examples(inputs + functional.one_hot(labels, 4), labels)


def make_net(generator: torch.Generator) -> nn.Module:
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.2), nn.Linear(6, 3)).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator, dtype=torch.float64) - 0.5)
    return net


OPTIMIZERS: dict[str, Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]] = {
    "SGD with momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
    "Adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1),
    "SAM": SharpnessAware,
    "LBFGS": lambda parameters: torch.optim.LBFGS(parameters, lr=0.1, max_iter=2),
}
STREAM = Stream(cut(points(24, 0), 2), points(20, 1))
CONFIG = TrainConfig(batch_size=5, criterion="accuracy", threshold=1.0, max_epochs=2)


def stages(rule: Rule, optimizer: str, seed: int = 0) -> Iterator[StageResult]:
    task = Task(make_model=make_net, make_optimizer=OPTIMIZERS[optimizer])
    return run_stages(STREAM, rule, task, CONFIG, seed=seed)


def run(rule: Rule, optimizer: str, seed: int = 0) -> list[StageResult]:
    return list(stages(rule, optimizer, seed))


def fresh_by_hand(name: str, seed: int) -> nn.Module:
    """The new model of a rule that starts anew."""
    fresh = make_net(torch_stream(seed, "init", 2))
    if name == "cold_shrunk":
        with torch.no_grad():
            for layer in (0, 4):
                fresh.get_parameter(f"{layer}.weight").mul_(0.45)
    return fresh


def shrunk_by_hand(name: str, model: nn.Module, noise: torch.Generator) -> None:
    """DASH and what is made of its factors."""
    report = dash_factors(model, [(chunk.inputs, chunk.targets) for chunk in STREAM.chunks], cross_entropy)
    for key in ("0.weight", "0.bias", "4.weight", "4.bias"):
        factors = report[key].scales
        if name == "uniform":
            factors = torch.full_like(factors, report.mean_scale)
        elif name == "permuted":
            factors = factors.flatten()[torch.randperm(factors.numel(), generator=noise)].reshape(factors.shape)
        elif name == "threshold":
            factors = 1 - 0.7 * (report[key].cosines > 0.3).double()
        with torch.no_grad():
            model.get_parameter(key).mul_(factors[:, None] if key.endswith("weight") else factors)


def changed_by_hand(name: str, model: nn.Module, seed: int) -> None:
    """What a rule makes of the model before stage 2, in place."""
    noise, fresh = torch_stream(seed, "perturbation", 2), make_net(torch_stream(seed, "init", 2))
    if name == "reset":
        model.get_submodule("4").load_state_dict(fresh.get_submodule("4").state_dict())
    elif name in ("sp", "perturb"):
        shrink_and_perturb_(model, shrink=0.3 if name == "sp" else 1, perturb=0.01, generator=noise)
    elif name == "sp_ash_adams":
        shrink_and_perturb_(model, shrink=0.4, perturb=0.1, fresh=fresh)
    elif name in ("dash", "uniform", "permuted", "threshold"):
        shrunk_by_hand(name, model, noise)


def step_by_hand(model: nn.Module, optimizer: Any, inputs: Tensor, labels: Tensor, first: nn.Module | None) -> int:
    """One step with the authors' penalty (l2 = 0.1) if `first` is given; right answers before it."""
    right: list[int] = []
    statistics: list[dict[str, Tensor]] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = model(inputs)
        right.append(int((logits.argmax(-1) == labels).sum()))
        statistics.append({name: value.clone() for name, value in model.named_buffers()})
        total = functional.cross_entropy(logits, labels)
        if first is not None:
            apart = [
                (model.get_parameter(key) - first.get_parameter(key).detach()).square().sum()
                for key in ("0.weight", "0.bias", "4.weight", "4.bias")
            ]
            tiny = 1e-300  # so that the square root has a slope at zero
            total = total + 0.1 * ((apart[0] + apart[1] + tiny).sqrt() + (apart[2] + apart[3] + tiny).sqrt()) ** 2
        total.backward()
        return total

    optimizer.step(closure)
    for name, value in model.named_buffers():  # a batch counts once in running statistics
        value.copy_(statistics[0][name])
    return right[0]


def two_stages_by_hand(name: str, make: Any, seed: int) -> list[dict[str, Tensor]]:
    """The protocol in one plain loop; weights after each stage."""
    found = []
    model = make_net(torch_stream(seed, "init", 1))
    first = copy.deepcopy(model) if name == "l2_init" else None
    optimizer = make(model.parameters())
    for stage in (1, 2):
        if stage == 2:
            changed_by_hand(name, model, seed)
            model = fresh_by_hand(name, seed) if name in NEW_MODEL else model
            optimizer = make(model.parameters()) if name in (*NEW_MODEL, "warm_rm") else optimizer
        inputs = torch.cat([chunk.inputs for chunk in STREAM.chunks[:stage]])
        labels = torch.cat([chunk.targets for chunk in STREAM.chunks[:stage]])
        order = torch_stream(seed, "order", stage)
        model.train()
        with torch.random.fork_rng():
            torch.manual_seed(int(torch.randint(2**62, (), generator=torch_stream(seed, "layers", stage))))
            for _ in range(CONFIG.max_epochs):
                batches = torch.randperm(len(inputs), generator=order).split(CONFIG.batch_size)
                right = sum(step_by_hand(model, optimizer, inputs[i], labels[i], first) for i in batches)
                if right == len(inputs):
                    break
        found.append({key: value.clone() for key, value in model.state_dict().items()})
    return found


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", RULES)
def test_two_stages_with_every_optimizer_equal_their_transcription(name: str, optimizer: str) -> None:
    rule = make_rule(name, **({"l2": 0.1} if name == "l2_init" else {}))
    expected = two_stages_by_hand(name, OPTIMIZERS[optimizer], 3)
    for result, weights in zip(stages(rule, optimizer, 3), expected, strict=True):
        for key, value in result.learner.model.state_dict().items():
            # The penalty is summed in another order: roundings of 1e-16, grown by the steps of two stages.
            np.testing.assert_allclose(value, weights[key], rtol=1e-7, atol=1e-9, err_msg=f"{result.stage} {key}")


@pytest.mark.parametrize("optimizer", ["SGD with momentum", "Adam", "AdamW", "SAM"])
def test_the_penalty_holds_the_weights_back_in_every_stage(optimizer: str) -> None:
    def distances(l2: float) -> list[float]:
        found = []
        for result in stages(L2Init(l2=l2), optimizer):
            model = result.learner.model
            apart = [(model.get_parameter(name) - value).detach().norm() for name, value in result.state.items()]
            found.append(float(sum(apart)))
        return found

    free, held = distances(0), distances(0.1)
    assert held[0] < free[0]
    assert held[1] < free[1]


def test_l2_init_without_strength_is_warm_to_the_bit_and_its_start_is_the_first_initialization() -> None:
    first = make_net(torch_stream(0, "init", 1))
    nothing, warm, held = run(L2Init(l2=0), "Adam"), run(make_rule("warm"), "Adam"), run(L2Init(), "Adam")
    for a, b in zip(nothing, warm, strict=True):
        assert equal(a.learner.model.state_dict(), b.learner.model.state_dict())
        assert a.metrics() == b.metrics()
    for result in held:
        assert set(result.state) == {"0.weight", "0.bias", "4.weight", "4.bias"}
        assert all(torch.equal(value, first.get_parameter(name)) for name, value in result.state.items())
    assert warm[0].state == {}


def test_what_a_rule_remembers_reaches_it_at_every_stage() -> None:
    class Anchored(Warm):
        """Notes the state that each call is given."""

        def start(self, learner: Learner) -> dict[str, Tensor]:
            return {"first": learner.model.get_parameter("0.bias").detach().clone()}

        def apply(self, learner: Learner, context: Context) -> tuple[Learner, None]:
            seen.append(context.state["first"])
            return learner, None

        def penalty(self, model: nn.Module, state: RuleState) -> None:
            seen.append(state["first"])

    seen: list[Tensor] = []
    results = run(Anchored(), "Adam")
    first = make_net(torch_stream(0, "init", 1)).get_parameter("0.bias")
    assert len(seen) == 3  # penalty, apply, penalty
    assert all(torch.equal(value, first) for value in [*seen, *(result.state["first"] for result in results)])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", IN_PLACE)
def test_a_renewed_optimizer_starts_the_stage_without_state(name: str, optimizer: str) -> None:
    seen: list[int] = []

    def make(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        made = OPTIMIZERS[optimizer](parameters)
        seen.append(id(made))
        return made

    def states(results: list[StageResult]) -> list[int]:
        found = []
        for result in results:
            steps = [int(torch.as_tensor(v)) for v in tensors_of(result.learner.optimizer).values() if v.ndim == 0]
            found.append(max(steps, default=-1))
        return found

    task = Task(make_model=make_net, make_optimizer=make)
    rules = [make_rule(name, optimizer=kind) for kind in ("kept", "renewed")]
    kept, renewed = ([*run_stages(STREAM, rule, task, CONFIG, seed=0)] for rule in rules)
    assert kept[0].learner.optimizer is kept[1].learner.optimizer
    assert renewed[0].learner.optimizer is not renewed[1].learner.optimizer
    if optimizer in ("Adam", "AdamW"):
        assert states([kept[1]])[0] == sum(r.training.steps for r in kept)
        assert states([renewed[1]])[0] == renewed[1].training.steps


def test_scores_are_of_the_loss_without_the_penalty_and_of_the_first_call() -> None:
    def one_epoch(penalty: Callable[[], Tensor] | None, optimizer: str) -> Any:
        net = make_net(torch.Generator().manual_seed(0))
        learner = Learner(net, OPTIMIZERS[optimizer](net.parameters()))
        for group in learner.optimizer.param_groups:
            group["lr"] = 0.0
        config = TrainConfig(batch_size=24, criterion="loss", threshold=0.0, max_epochs=1)
        net[3].p = 0.0  # type: ignore[index]
        return train(learner, points(24, 0), config, torch.Generator().manual_seed(0), penalty=penalty).last_epoch

    plain = one_epoch(None, "Adam")
    for optimizer in ("Adam", "SAM", "SGD with momentum"):
        assert one_epoch(lambda: torch.tensor(7.0, requires_grad=True), optimizer) == plain


def test_an_optimizer_that_ignores_its_closure_is_refused() -> None:
    class Idle(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            return None

    net = make_net(torch.Generator())
    with pytest.raises(ValueError, match=r"^optimizer must call the closure of its step, got Idle\. "):
        train(Learner(net, Idle(net.parameters())), points(24, 0), CONFIG, torch.Generator())


@pytest.mark.parametrize(
    "options", [{"training": True}, {"newest_only": True}, {"granularity": "filter"}], ids=str
)
def test_ablations_of_dash_repeat_whatever_the_global_streams(options: dict[str, Any]) -> None:
    found = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        found.append(run(Dash(**options), "SGD with momentum")[-1].learner.model.state_dict())
    assert equal(*found)


def test_what_the_optimizer_minimizes_is_the_loss_with_the_penalty() -> None:
    told: list[float] = []

    class Listening(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            told.append(float(closure().detach()))

    net = make_net(torch.Generator().manual_seed(0))
    config = TrainConfig(batch_size=24, criterion="loss", threshold=0.0, max_epochs=1)
    learner = Learner(net, Listening(net.parameters(), lr=0.0))
    penalty = torch.tensor(7.0, dtype=torch.float64, requires_grad=True)
    done = train(
        learner, points(24, 0), config, torch.Generator().manual_seed(0), penalty=lambda: penalty * 1
    ).last_epoch
    assert told == [pytest.approx(done.loss + 7)]
