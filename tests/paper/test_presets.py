"""Presets say what the paper says, and anything else is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dashtheory._nested import flat
from dashtheory.deep.config import RunConfig
from dashtheory.deep.data import PictureAugmentation
from dashtheory.deep.models import PictureNetwork, build_model
from dashtheory.deep.task import DATA_VARIABLE, find_place, make_source, make_task
from dashtheory.paper import PUBLISHED, SUFFIXES, preset, preset_names
from dashtheory.protocol import Measures, PlainEngine
from dashtheory.rules import make_rule
from dashtheory.rules.spec import parse_spec
from dashtheory.seeds import torch_stream
from tests.paper.toys import toy

PICTURES = {"cifar10": 50_000, "cifar100": 50_000, "svhn": 50_000, "tiny_imagenet": 100_000}
STANDARD: dict[str, Any] = {
    "num_chunks": 50,
    "criterion": "accuracy",
    "threshold": 0.999,
    "optimizer": "sgd",
    "momentum": 0.9,
    "weight_decay": 0.0,
    "label_noise": 0.0,
    "num_test": 0,
    "balanced": False,
    "milestones": (),
    "warmup_epochs": 0,
    "anneal": 0,
    "pad": 0,
    "flip": False,
    "rotation": 0.0,
    "model_options": (),
    "precision": "bfloat16",
    "engine": "fast",
    "histograms": 10,
    "max_epochs": 200,
}
MODELS: dict[str, dict[str, Any]] = {
    "resnet18": {"learning_rate": 1e-3, "batch_size": 128},
    "vgg16": {"learning_rate": 1e-2, "batch_size": 256},
    "mlp": {"learning_rate": 1e-2, "batch_size": 128},
}
BEST: dict[str, Any] = {
    "model_options": ("max_pool=no",),
    "weight_decay": 5e-4,
    "learning_rate": 0.1,
    "batch_size": 128,
    "criterion": "epochs",
    "max_epochs": 260,
    "milestones": (60, 120, 160, 200),
    "decay": 0.2,
    "warmup_epochs": 1,
    "pad": 4,
    "flip": True,
    "num_chunks": 50,
    "momentum": 0.9,
    "optimizer": "sgd",
}


def holds(config: RunConfig, values: dict[str, Any]) -> bool:
    return flat(config).items() >= values.items()


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_can_be_built(name: str) -> None:
    config = preset(name)
    assert (config.data.name, config.model.name) == tuple(name.split("-")[:2])
    for rule in config.rules:
        parse_spec(rule).make()
    config.training.schedule(), config.model.values()
    assert (config.measures.canaries, config.measures.seconds) == (True, True)


def test_names_are_there_once_and_cover_data_and_models() -> None:
    names = preset_names()
    assert len(set(names)) == len(names)
    best = {f"{data}-resnet18-{suffix}" for data in PICTURES for suffix in ("sam", "adam", "sota")}
    plain = {f"{data}-{model}" for data in PICTURES for model in MODELS}
    further = {
        f"cifar10-resnet18-{suffix}"
        for suffix in ("modern", "half", "noise", "canaries", "lambdas", "alphas", "cut")
    }
    assert set(names) == plain | best | further | {"digits-mlp"}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("data", PICTURES)
def test_the_standard_setting_is_the_paper_s(data: str, model: str) -> None:
    config = preset(f"{data}-{model}")
    assert holds(config, {**STANDARD, **MODELS[model]})
    assert config.data.num_chunks * config.data.chunk_size == PICTURES[data]
    assert not config.training.augmented
    assert config.training.schedule() is None
    assert {"cold", "warm", "sp", "dash", "dash:lam=0.05", "uniform"} < set(config.rules)


def test_the_modern_recipe_ends_every_stage_after_fifteen_epochs_at_a_step_of_nearly_nothing() -> None:
    config = preset("cifar10-resnet18-modern")
    wanted = {
        "learning_rate": 0.1,
        "weight_decay": 5e-4,
        "criterion": "epochs",
        "max_epochs": 15,
        "pad": 4,
        "flip": True,
    }
    assert holds(config, {**{key: STANDARD[key] for key in ("num_chunks", "momentum", "optimizer")}, **wanted})
    schedule = config.training.schedule()
    assert schedule is not None
    factors = [factor for epoch in range(1, 16) for factor in schedule.factors(epoch, 8)]
    assert factors[:8] == [step / 8 for step in range(1, 9)]
    assert factors[8] == max(factors) == 1
    assert factors[8:] == sorted(factors[8:], reverse=True)
    assert 0 < factors[-1] < 0.001
    with pytest.raises(ValueError, match="preset of the modern recipe must be of resnet18"):
        preset("cifar10-vgg16-modern")


def test_rules_shrink_as_in_the_paper() -> None:
    dash, sp, uniform = make_rule("dash"), make_rule("sp"), make_rule("uniform")
    assert (dash.alpha, dash.lam) == (0.3, 0.3)  # type: ignore[attr-defined]
    assert (sp.shrink, sp.perturb) == (0.3, 0.01)  # type: ignore[attr-defined]
    assert (uniform.alpha, uniform.lam) == (0.3, 0.3)  # type: ignore[attr-defined]
    regularised = preset("cifar10-resnet18").rules[-1]
    assert parse_spec(regularised).training == {"weight_decay": 5e-4, "learning_rate": 0.1}
    assert parse_spec(regularised).rule.name == "cold"


@pytest.mark.parametrize("data", PICTURES)
def test_the_state_of_the_art_setting_is_the_paper_s(data: str) -> None:
    config = preset(f"{data}-resnet18-sota")
    assert holds(config, BEST)
    assert config.training.rotation == (15.0 if data == "cifar100" else 0.0)
    assert config.rules == ("cold", "warm", "sp", "dash")
    assert config.training.augmented
    schedule = config.training.schedule()
    assert schedule is not None
    assert schedule.factors(1, 2) == [0.5, 1.0]
    assert schedule.factors(201, 1) == [pytest.approx(0.2**4)]


def test_suffixes_change_what_they_say() -> None:
    plain = preset("cifar10-resnet18")
    assert holds(preset("cifar10-resnet18-sam"), {"optimizer": "sam", "rho": 0.1, "learning_rate": 0.001})
    assert holds(preset("cifar10-vgg16-adam"), {"optimizer": "adam", "learning_rate": 0.001, "batch_size": 256})
    assert holds(preset("tiny_imagenet-resnet18-half"), {"num_chunks": 2, "chunk_size": 50_000, "histograms": 1})
    assert preset("cifar10-resnet18-noise").data.label_noise == 0.2
    assert preset("cifar10-resnet18-canaries").data.label_noise == 0.02
    for suffix, option, values in (
        ("lambdas", "lam", [0.05, 0.1, 0.2, 0.3, 0.5]),
        ("alphas", "alpha", [0.1, 0.3, 0.5, 0.7, 1.0]),
    ):
        rules = preset(f"cifar10-resnet18-{suffix}").rules
        assert rules[:2] == ("cold", "warm")
        made = [parse_spec(rule).rule for rule in rules[2:]]
        assert [getattr(rule, option) for rule in made] == values
        other = "alpha" if option == "lam" else "lam"
        assert {getattr(rule, other) for rule in made} == {0.3}
    for suffix in ("sam", "noise", "canaries"):
        assert preset(f"cifar10-resnet18-{suffix}").rules == plain.rules


@pytest.mark.parametrize("model", MODELS)
def test_a_cut_is_smaller_in_everything(model: str) -> None:
    whole, cut = preset(f"cifar10-{model}"), preset(f"cifar10-{model}-cut")
    assert holds(cut, {"num_chunks": 8, "num_test": 2000, "max_epochs": 60, "histograms": 1})
    assert cut.data.chunk_size < whole.data.chunk_size
    assert cut.training.batch_size * 2 == whole.training.batch_size
    assert cut.training.learning_rate == 0.01 >= whole.training.learning_rate
    networks = [
        build_model(model, (3, 32, 32), 10, torch_stream(0, "init"), **one.model.values()) for one in (whole, cut)
    ]
    large, small = (sum(parameter.numel() for parameter in network.parameters()) for network in networks)
    assert small < large / 2
    assert preset(f"cifar10-{model}-half-cut").data.num_chunks == 2
    assert preset(f"cifar10-{model}-half-cut").data.chunk_size > cut.data.chunk_size
    assert preset(f"cifar10-{model}-cut", histograms=0).measures.histograms == 0


def test_suffixes_combine_in_one_order() -> None:
    both = preset("cifar10-resnet18-sota-noise-cut")
    assert holds(both, {"label_noise": 0.2, "num_chunks": 8, "max_epochs": 60})
    assert both.model.options == ("max_pool=no", "width=16")
    assert both.training.learning_rate == 0.1
    assert preset("digits-mlp-half").data.chunk_size == 700
    assert list(SUFFIXES) == [
        "sam",
        "adam",
        "sota",
        "modern",
        "half",
        "noise",
        "canaries",
        "lambdas",
        "alphas",
        "cut",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnist-mlp", r"preset must be one of cifar10, .*, got 'mnist'"),
        ("cifar10", r"preset must be one of resnet18, vgg16, mlp, got ''"),
        ("cifar10-lenet", r"preset must be one of resnet18, vgg16, mlp, got 'lenet'"),
        ("cifar10-mlp-fast", r"preset must be one of sam, adam, .*, got 'fast'"),
        ("cifar10-mlp-", r"preset must be one of sam, adam, .*, got ''"),
        (
            "cifar10-mlp-cut-noise",
            r"preset must have its suffixes in the order sam, .* got 'cifar10-mlp-cut-noise'",
        ),
        ("cifar10-mlp-noise-noise", r"preset must have its suffixes in the order"),
        ("cifar10-vgg16-sota", r"preset of the state of the art must be of resnet18"),
    ],
)
def test_other_names_are_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        preset(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"precision": "half"}, "precision must be one of float32, tf32, bfloat16"),
        ({"engine": "slow"}, "engine must be one of plain, fast"),
        ({"histograms": -1}, "histograms must be an integer >= 0"),
        ({"rotation": 200.0}, "rotation must be a number"),
        ({"milestones": (3, 2)}, "milestones must rise"),
        ({"criterion": "time"}, "criterion must be one of loss, accuracy, epochs"),
        ({"batch_size": 69}, "batch_size must leave no last batch of one picture"),
        ({"rules": ("dash:lam=2",)}, "lam"),
        ({"rules": ()}, "rules must name at least one"),
        ({"nonsense": 1}, "configuration of RunConfig has no value of this name, got 'nonsense'"),
    ],
)
def test_bad_values_name_the_field(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        toy(**changed)


def test_fields_of_a_preset_can_be_changed() -> None:
    config = preset("digits-mlp", rules=("cold",), flip=True, warmup_epochs=2)
    assert config.rules == ("cold",)
    assert make_task(config, make_source(config, 0)).augmentation == PictureAugmentation(pad=0, flip=True)
    assert config.training.schedule() is not None
    best = toy(pad=4, flip=True, rotation=15.0)
    found = make_task(best, make_source(best, 0)).augmentation
    assert found == PictureAugmentation(pad=4, flip=True, rotation=15.0)
    assert toy(pad=1).training.augmented
    assert toy(rotation=5.0).training.augmented
    assert toy(milestones=(1,)).training.schedule() is not None


def test_data_are_found_by_variables_or_named_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.delenv("DASHTHEORY_CIFAR10", raising=False)
    assert find_place("digits") == "digits"
    assert find_place("svhn:/somewhere") == "svhn:/somewhere"
    with pytest.raises(
        ValueError, match=r"DASHTHEORY_DATA must name the folder .* of svhn, got nothing\. Set it;"
    ):
        find_place("svhn")
    with pytest.raises(ValueError, match=r"got nothing\. Set it \(or DASHTHEORY_CIFAR10 to the pictures\)"):
        make_source(preset("cifar10-mlp"), 0)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "missing"))
    with pytest.raises(ValueError, match=r"must name the folder .* got '.*missing'"):
        find_place("cifar10")
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert find_place("cifar10") == f"cifar10:{tmp_path}"
    assert find_place("cifar100") == f"cifar100:{tmp_path}"
    monkeypatch.setenv("DASHTHEORY_CIFAR10", str(tmp_path))
    assert find_place("cifar10") == "cifar10"
    assert find_place("cifar100") == f"cifar100:{tmp_path}"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(DATA_VARIABLE, "~")
    assert find_place("svhn") == f"svhn:{tmp_path}"


def test_the_readable_engine_can_be_chosen() -> None:
    config = toy(engine="plain")
    task = make_task(config, make_source(config, 0))
    assert task.make_engine is PlainEngine
    learner = task.fresh(torch_stream(0, "init"))
    assert not learner.optimizer.param_groups[0]["fused"]
    fast = toy()
    other = make_task(fast, make_source(fast, 0)).fresh(torch_stream(0, "init"))
    assert other.optimizer.param_groups[0]["fused"] is True


def test_what_is_told_reaches_network_and_data() -> None:
    config = toy(precision="tf32", channels_last=True, num_test=20, balanced=True, label_noise=0.1)
    source = make_source(config, 0)
    network = make_task(config, source).fresh(torch_stream(0, "init")).model
    assert isinstance(network, PictureNetwork)
    assert (network.precision, network.layout) == ("tf32", torch.channels_last)
    assert network.mean.flatten().tolist() == pytest.approx(source.mean)
    assert network.std.flatten().tolist() == pytest.approx(source.std)
    assert source.stream.test.targets.bincount().tolist() == [2] * 10
    right = make_source(config, 0, label_noise=0.0)
    assert [chunk.targets.bincount().tolist() for chunk in right.stream.chunks] == [[7] * 10] * 3
    assert source.stream.chunks[0].inputs.dtype == torch.uint8
    plain = toy(channels_last=False)
    other = make_task(plain, make_source(plain, 0)).fresh(torch_stream(0, "init")).model
    assert isinstance(other, PictureNetwork)
    assert (other.precision, other.layout) == ("float32", torch.contiguous_format)
    assert len(make_source(plain, 0).stream.test) == 359


def test_wrong_labels_are_those_that_the_source_tells() -> None:
    config = toy(label_noise=0.1, retention=3, alignment=1, gradients=True, seconds=True)
    source = make_source(config, 0)
    assert [int(mask.sum()) for mask in source.noisy] == [7, 7, 7]
    assert [int(mask.sum()) for mask in make_source(toy(), 0).noisy] == [0, 0, 0]  # nothing to measure
    assert config.measures == Measures(
        retention=3, alignment=1, gradients=True, seconds=True, canaries=True, histograms=1
    )
    again = make_source(config, 0, label_noise=0.0)
    changed = [
        (ours.targets != theirs.targets)
        for ours, theirs in zip(source.stream.chunks, again.stream.chunks, strict=True)
    ]
    assert all(ours.equal(theirs) for ours, theirs in zip(changed, source.noisy, strict=True))


def test_what_the_authors_found_is_that_of_the_design() -> None:
    """One run each, as noted from the authors' logs: rule, metric, stage (0: mean over stages), value."""
    expected = {
        ("cold", "test_accuracy", 1, 0.299),
        ("cold", "test_accuracy", 10, 0.521),
        ("cold", "test_accuracy", 25, 0.605),
        ("cold", "test_accuracy", 50, 0.675),
        ("cold", "test_accuracy", 0, 0.576),
        ("cold", "steps", 50, 5083),
        ("cold", "steps", 0, 2833),
        ("warm", "test_accuracy", 10, 0.48),
        ("warm", "test_accuracy", 10, 0.50),
        ("warm", "test_accuracy", 29, 0.594),
        ("warm", "steps", 29, 681),
    }
    assert {(one.rule, one.metric, one.stage, one.value) for one in PUBLISHED} == expected
    assert len(PUBLISHED) == len(expected)
    assert {one.preset for one in PUBLISHED} == {"cifar10-resnet18"}
    assert all("one run of the authors" in one.source for one in PUBLISHED)
