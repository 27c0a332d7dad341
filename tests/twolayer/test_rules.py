"""Rules on stacks: those of `dashtheory.rules` on the readable module, oracles by their laws, and the state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dashtheory.experiments.two_layer_dynamics import DynamicsConfig
from dashtheory.rules import GRANULARITIES, RULES, Context, L2Init, Learner, Rule, ShrinkReport, dash_
from dashtheory.seeds import torch_stream
from dashtheory.twolayer import (
    STACK_RULES,
    DashChannels,
    MLPConfig,
    Params,
    PatchConfig,
    Soft,
    StackContext,
    StackReport,
    StackState,
    TwoLayerConfig,
    TwoLayerRule,
    apply_rules,
    concatenate_data,
    draw_chunk,
    make_stack,
    make_stack_rule,
    of_replica,
    parse_stack_rule,
    run,
)
from dashtheory.twolayer.apply_rules import check_rule
from dashtheory.twolayer.rules import why_absent
from tests.twolayer.toys import toy_config

SEEDS = (0, 3)
NETWORKS: dict[str, PatchConfig | MLPConfig] = {
    "patch": PatchConfig(neurons=4),
    "mlp": MLPConfig(hidden=8, hidden_scale=0.1),
}
AXES = 10  # of features, in the toy


@dataclass(frozen=True, eq=False)
class Midway:
    """A stack after one stage, about to meet rules; every replica is the same."""

    config: TwoLayerConfig
    stack_state: StackState
    context: StackContext

    def after(self, rules: Sequence[TwoLayerRule]) -> tuple[StackState, dict[int, StackReport]]:
        return apply_rules(rules, self.stack_state, self.context)


def midway(network: str, number: int, num_classes: int = 2) -> Midway:
    config = toy_config(NETWORKS[network], num_classes, num_stages=2)
    names = [f"soft:lam={1 - 0.01 * place}" for place in range(number)]  # not applied before stage 2
    ended = run(toy_config(NETWORKS[network], num_classes, num_stages=1), names, SEEDS)
    stack = make_stack(config)
    data = concatenate_data([draw_chunk(config, SEEDS, stage) for stage in (1, 2)])
    context = StackContext(stack=stack, samples=stack.samples(data), chunk_size=12, seeds=SEEDS, stage=2)
    return Midway(config, ended.stack_state, context)


def on_module(rule: Rule, made: Midway, seed: int) -> tuple[Params, ShrinkReport | None]:
    """What the rule of `dashtheory.rules` does to the readable module of the first replica."""
    stack = made.context.stack

    def module_of(params: Params) -> Learner:
        module = stack.module().double()
        module.load_state_dict(params)
        return Learner(module, torch.optim.SGD(module.parameters(), 0.1))

    def chunks() -> list[tuple[object, object]]:
        parts = [draw_chunk(made.config, SEEDS, stage).of_seed(seed) for stage in (1, 2)]
        return [(part.x(), part.labels) for part in parts]

    first = module_of(of_replica(made.stack_state.initial, seed, 0))
    context = Context(
        state=rule.start(first),
        chunks=chunks,
        loss_fn=functional.cross_entropy,
        fresh=lambda: module_of(stack.draw(torch_stream(SEEDS[seed], "init", 2))),
        generator=torch_stream(SEEDS[seed], "perturbation", 2),
        renew=lambda model: torch.optim.SGD(model.parameters(), 0.1),
    )
    learner, report = rule.apply(module_of(of_replica(made.stack_state.params, seed, 0)), context)
    return {name: value.detach() for name, value in learner.model.named_parameters()}, report


def worst(ours: Params, theirs: Params) -> float:
    return max(float((ours[name] - theirs[name]).abs().max()) for name in theirs)


SPECS = (
    *("cold", "warm", "warm_rm", "sp", "sp:shrink=0.9:perturb=0", "sp_ash_adams", "perturb", "cold_shrunk"),
    *("dash", "dash:lam=0.05", "dash:lam=0:alpha=1", "dash:lam=0:newest_only=yes", "dash:lam=0:alpha=0.7"),
    *(f"dash:lam=0:granularity={name}" for name in GRANULARITIES),
    *("uniform:lam=0.05", "uniform:lam=0.05:per_layer=yes", "permuted:lam=0.05"),
    *("threshold", "threshold:threshold=0.05:factor=0.1"),
    *(
        "sp_init",
        "sp_init:c=0.3:to=fresh",
        "sp_init:linear=1:optimizer=kept",
        "sp_all",
        "sp_all:shrink=0.3:perturb=0.1",
    ),
    *("reset_full", "reset_full:to=fresh", "scattered:lam=0.05", "permuted:lam=0:move=within_filters"),
    *(
        "permuted:lam=0:move=across_filters",
        "norm_matched",
        "norm_matched:of=dash+lam=0",
        "norm_matched:of=sp+perturb=0.1",
    ),
    *("norm_matched:of=sp_init+c=0.4:whole=yes", "norm_matched:of=scattered+lam=0.05:whole=yes"),
)


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_rule_does_to_a_stack_what_it_does_to_each_module(network: str, num_classes: int) -> None:
    specs = [*SPECS, *(["reset"] if network == "mlp" else [])]
    made = midway(network, len(specs), num_classes)
    stack_state, reports = made.after([parse_stack_rule(spec) for spec in specs])
    for place, spec in enumerate(specs):
        rule = parse_stack_rule(spec)
        assert isinstance(rule, Rule)
        for seed in range(len(SEEDS)):
            expected, report = on_module(rule, made, seed)
            assert worst(of_replica(stack_state.params, seed, place), expected) < 1e-12, spec
            assert (report is None) == (place not in reports)
            if report is not None:
                ours = reports[place]
                for layer in report:
                    torch.testing.assert_close(ours.cosines[layer.name][seed], layer.cosines)
                    torch.testing.assert_close(ours.scales[layer.name][seed], layer.scales)
                assert float(ours.mean_scale[seed]) == pytest.approx(report.mean_scale)
                assert float(ours.share_clamped[seed]) == pytest.approx(report.share_clamped)


def test_stacked_dash_is_dash_on_the_readable_module() -> None:
    made = midway("mlp", 1)
    stack_state, _ = made.after([parse_stack_rule("dash:lam=0.05")])
    module = made.context.stack.module().double()
    module.load_state_dict(of_replica(made.stack_state.params, 1, 0))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    chunks = [draw_chunk(made.config, SEEDS, stage).of_seed(1) for stage in (1, 2)]
    dash_(module, [(one.x(), one.labels) for one in chunks], functional.cross_entropy, lam=0.05)
    assert worst(of_replica(stack_state.params, 1, 0), module.state_dict()) < 1e-12
    assert worst(module.state_dict(), before) > 0.01


def test_the_rules_that_are_offered() -> None:
    assert {"ideal", "soft", "oracle", "dash_channels", "dash", "cold", "sp"} <= set(STACK_RULES)
    for name in ("l2_init", "rewarm", "fire"):  # nothing on a stack does what they do
        assert name not in STACK_RULES
    assert parse_stack_rule("soft:lam=0.25") == Soft(lam=0.25)
    assert make_stack_rule("dash_channels", signal_channels=3) == DashChannels(signal_channels=3)


@pytest.mark.parametrize("network", NETWORKS)
def test_ideal_and_soft_change_weights_on_noise_alone(network: str) -> None:
    made = midway(network, 4)
    before = made.stack_state
    after, _ = made.after(
        [parse_stack_rule(spec) for spec in ("ideal", "soft:lam=0", "soft:lam=0.25", "soft:lam=1")]
    )
    first = "hidden.weight"
    start, was, now = before.initial[first], before.params[first], after.params[first]
    assert torch.equal(now[..., :AXES], was[..., :AXES])
    for name in set(was_names := set(before.params)) - {first}:
        assert torch.equal(after.params[name], before.params[name])
    assert first in was_names
    learned = (was - start)[..., AXES:]
    assert float(learned.norm()) > 0.1
    for place, lam in enumerate((0.0, 0.0, 0.25, 1.0)):
        left = now[:, place, :, AXES:] - start[:, place, :, AXES:]
        torch.testing.assert_close(left, lam * learned[:, place])
    assert after.rho is not None
    assert before.rho is not None
    torch.testing.assert_close(after.rho[:, 2], 0.25 * before.rho[:, 2])


@pytest.mark.parametrize("network", NETWORKS)
def test_oracle_keeps_the_half_with_the_larger_share_of_features(network: str) -> None:
    made = midway(network, 1)
    after, _ = made.after([parse_stack_rule("oracle:top=0.9:rest=0.1")])
    learned = made.stack_state.learned()[:, 0]
    shares = learned[..., :AXES].square().sum(-1) / learned.square().sum(-1)
    for seed in range(2):
        weight, was = after.params["hidden.weight"][seed, 0], made.stack_state.params["hidden.weight"][seed, 0]
        factors = (weight / was)[:, 0].tolist()
        half = shares[seed].median().item()  # of an even number: the lower of the middle two
        expected = [0.9 if share > half else 0.1 for share in shares[seed].tolist()]
        assert factors == pytest.approx(expected)
        torch.testing.assert_close(weight, was * torch.tensor(expected)[:, None].double())


def cosine(left: Tensor, right: Tensor) -> float:
    return float(left @ right / left.norm() / right.norm())


def test_channels_have_cosines_of_their_own_and_one_channel_is_dash() -> None:
    made = midway("mlp", 3)
    rules = [
        parse_stack_rule("dash_channels:lam=0:num_channels=4:signal_channels=2"),
        parse_stack_rule("dash_channels:lam=0:num_channels=1:signal_channels=1"),
        parse_stack_rule("dash:lam=0"),
    ]
    stack_state, reports = made.after(rules)
    assert worst(of_replica(stack_state.params, 0, 1), of_replica(stack_state.params, 0, 2)) < 1e-12
    weights = torch.full((24,), 0.3 * 0.7 / 12, dtype=torch.float64)
    weights[12:] = 0.3 / 12
    descent = made.context.stack.gradient(made.stack_state.params, made.context.samples, weights)["hidden.weight"]
    row, down = made.stack_state.params["hidden.weight"][1, 0, 3], -descent[1, 0, 3]
    # 2 classes x 5 features in channels 0, 1, 0, 1, 0; 40 dimensions of noise in four tens
    members = [
        [0, 2, 4, 5, 7, 9, *range(10, 20)],
        [1, 3, 6, 8, *range(20, 30)],
        [*range(30, 40)],
        [*range(40, 50)],
    ]
    expected = [cosine(row[one], down[one]) for one in members]
    assert reports[0].cosines["hidden.weight"][1, 3].tolist() == pytest.approx(expected)
    scaled = row.clone()
    for one, value in zip(members, expected, strict=True):
        scaled[one] *= max(value, 0.0)
    torch.testing.assert_close(stack_state.params["hidden.weight"][1, 0, 3], scaled)
    assert stack_state.rho is not None
    assert stack_state.rho[:, 0].isnan().any()
    assert not stack_state.rho[:, 1:].isnan().any()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("options", [{}, {"velocity": "kept", "weight_decay": 0.01, "batch_size": 5}])
def test_the_books_balance_after_every_rule(network: str, options: dict[str, Any]) -> None:
    """W_noise = origin_noise + rho Xi through stages and rules, and no step of training enters the origin."""
    specs = [
        "cold",
        "warm",
        "sp",
        "dash:lam=0.05",
        "permuted",
        "ideal",
        "soft",
        "oracle",
        "cold_shrunk",
        "perturb",
        "sp_init",
        "sp_all",
        "reset_full",
        "scattered",
        "norm_matched",
    ]
    config = toy_config(NETWORKS[network], **options)
    found = run(config, specs, SEEDS)
    stack_state, first = found.stack_state, "hidden.weight"
    noise = concatenate_data([draw_chunk(config, SEEDS, stage) for stage in (1, 2, 3)]).noise
    assert stack_state.rho is not None
    rebuilt = stack_state.origin[first][..., AXES:] + stack_state.rho @ noise[:, None]
    torch.testing.assert_close(rebuilt, stack_state.params[first][..., AXES:], rtol=1e-10, atol=1e-12)
    assert float((stack_state.rho @ noise[:, None]).norm()) > 0.1
    if not options:  # without weight decay only rules touch the origin
        factor = {"warm": 1.0, "ideal": 1.0, "cold": 1.0, "soft": 1.0, "cold_shrunk": 1.0}
        for spec, kept in factor.items():
            place = specs.index(spec)
            torch.testing.assert_close(
                stack_state.origin[first][:, place], kept * stack_state.initial[first][:, place]
            )


def test_a_renewed_optimizer_forgets_and_a_kept_one_does_not() -> None:
    specs = ["warm", "warm_rm", "dash", "dash:optimizer=renewed", "cold", "sp"]
    made = midway("mlp", len(specs))
    after, _ = made.after([parse_stack_rule(spec) for spec in specs])
    for name, value in after.moments.tensors[0].items():
        lost = [not value[:, place].any() for place in range(len(specs))]
        assert lost == [False, True, False, True, True, False], name


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("no_rule", "rule must be one of cold"),
        ("dash:lamda=1", "options of rule dash must be among"),
        ("dash:lam", "options of rule dash must be name=value"),
        ("dash:lam=1:lam=1", "options of rule dash must be name=value, each once"),
        ("soft:lam=2", "lam must be a number in"),
        ("dash:warmup_epochs=2", "options of rule dash must be among"),
        ("oracle:rest=-1", "rest must be a number in"),
        ("dash_channels:signal_channels=11", "signal_channels must be at most num_channels = 10"),
    ],
)
def test_a_bad_rule_is_refused(spec: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_stack_rule(spec)


@pytest.mark.parametrize("name", [name for name in RULES if name not in STACK_RULES])
def test_a_rule_that_is_not_offered_has_a_reason(name: str) -> None:
    for make in (parse_stack_rule, make_stack_rule, lambda spec: DynamicsConfig(rules=(f"{spec}:x=1",))):
        with pytest.raises(
            ValueError, match=rf"^rule must be one for stacks [^\n]* got {name}, which \w+ [^\n]*$"
        ):
            make(name)
    told = why_absent(name)
    acts = set(RULES[name].acts)
    assert ("in the loss" in told) == ("loss" in acts)
    assert ("after steps" in told) == ("steps" in acts)
    assert ("optimizer" in told) == (acts == {"optimizer"} and name != "rewarm")


def test_rules_that_do_not_fit_the_network_are_refused() -> None:
    patch = make_stack(toy_config(NETWORKS["patch"]))
    with pytest.raises(ValueError, match="rules may reset the output of an MLP alone"):
        check_rule(parse_stack_rule("reset"), patch)
    with pytest.raises(ValueError, match="num_channels must be at most noise_dim = 40"):
        check_rule(DashChannels(num_channels=41), patch)
    with pytest.raises(ValueError, match=r"rule must be one for stacks .* got l2_init, which acts in"):
        check_rule(L2Init(), patch)
    with pytest.raises(ValueError, match=r"rule must be one for stacks .* got fire, which mixes neurons"):
        check_rule(parse_stack_rule("norm_matched:of=fire"), patch)
    with pytest.raises(ValueError, match="rule must be a name with options"):
        parse_stack_rule(3)  # type: ignore[arg-type]
