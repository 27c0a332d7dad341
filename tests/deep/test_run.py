"""Specs, sources, tuning and presets: what stands between `dashtheory run` and the protocol."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dashtheory.deep.config import RunConfig
from dashtheory.deep.data import find_data, make_stream
from dashtheory.deep.data.cifar import CIFAR10
from dashtheory.deep.models.transformer import CharTransformer, TransformerConfig
from dashtheory.deep.presets import PRESETS, ComparisonConfig, describe_data, describe_setting, folder_of
from dashtheory.deep.run import data_facts, run_rule
from dashtheory.deep.source import Source, find_function, make_network
from dashtheory.experiments.warm_start_text import TextConfig, run_text
from dashtheory.protocol import Task, TrainConfig
from dashtheory.protocol.optimizers import make_optimizer
from dashtheory.protocol.tuning import hold_out, tune
from dashtheory.rules import make_rule
from dashtheory.rules.spec import parse_rule, parse_spec
from dashtheory.seeds import numpy_stream, torch_stream
from dashtheory.stream import Examples, Stream, cut

MLP = {"model": "mlp", "model_options": ("widths=16+16",), "num_chunks": 2, "chunk_size": 60, "num_test": 100}
FAST = {**MLP, "batch_size": 16, "max_epochs": 6, "learning_rate": 0.1}


def silent(share: float, text: str) -> None:
    """No progress."""


def test_a_spec_has_options_of_the_rule_and_of_its_training() -> None:
    spec = parse_spec("dash:lam=0.05:weight_decay=1e-3:alpha=1")
    assert spec.rule == make_rule("dash", lam=0.05, alpha=1)
    assert (spec.training, spec.tuned) == ({"weight_decay": 1e-3}, "")
    tuned = parse_spec("cold:learning_rate=tuned:weight_decay=0")
    assert (tuned.rule, tuned.training, tuned.tuned) == (make_rule("cold"), {"weight_decay": 0.0}, "learning_rate")
    assert parse_rule("sp:shrink=0.5") == make_rule("sp", shrink=0.5)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "cold:weight_decay=tuned:learning_rate=tuned",
            "rule cold may have one tuned option, got learning_rate and",
        ),
        ("cold:weight_decay=-1", r"weight_decay must be a number in \[0, inf\), got -1. Or say tuned"),
        ("cold:learning_rate=0", r"learning_rate must be a number in \(0, inf\)"),
        ("cold:weight_decay=much", "weight_decay must be a number"),
        ("cold:momentum=0.5", "options of rule cold must be among none"),
    ],
)
def test_bad_specs_are_refused(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_spec(spec).make()


def test_a_rule_alone_has_no_training() -> None:
    with pytest.raises(ValueError, match="rule must have options of the rule alone"):
        parse_rule("cold:weight_decay=0.1")
    with pytest.raises(ValueError, match="rule must have options of the rule alone"):
        parse_rule("cold:weight_decay=tuned")


def test_training_options_of_a_spec_are_the_run_s_for_that_rule() -> None:
    decayed = run_rule(RunConfig(**FAST), "warm:weight_decay=0.05", 0, "x", silent)  # type: ignore[arg-type]
    whole = run_rule(RunConfig(**FAST, weight_decay=0.05), "warm", 0, "x", silent)  # type: ignore[arg-type]
    plain = run_rule(RunConfig(**FAST), "warm", 0, "x", silent)  # type: ignore[arg-type]
    assert decayed["value"].tolist() == whole["value"].tolist()
    assert decayed["value"].tolist() != plain["value"].tolist()


# Tuning.


class Fixed(nn.Module):
    """A classifier whose training does nothing: its logits are the inputs, times a number."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.sign = sign

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.sign * inputs + 0 * self.weight


def labelled(count: int, num_chunks: int) -> Stream:
    """One-hot inputs, so that sign 1 is always right and sign -1 never."""
    labels = torch.arange(count) % 3
    examples = Examples(nn.functional.one_hot(labels, 3).float(), labels)
    return Stream(cut(examples, num_chunks), Examples(examples.inputs, (labels + 1) % 3))


def test_the_last_fifth_of_every_chunk_is_held_out() -> None:
    stream = Stream(
        cut(Examples(torch.arange(20.0)[:, None], torch.arange(20)), 2),
        Examples(torch.zeros(1, 1), torch.zeros(1)),
    )
    train_part, held_out = hold_out(stream)
    assert train_part.targets.tolist() == [*range(8), *range(10, 18)]
    assert held_out.targets.tolist() == [8, 9, 18, 19]
    for size in (2, 3, 5):  # one at least
        kept, held = hold_out(labelled(2 * size, 2))
        assert (len(kept), len(held)) == (2 * (size - 1), 2)
    with pytest.raises(ValueError, match="chunks must have two examples or more"):
        hold_out(labelled(3, 3))


def test_tuning_is_its_transcription_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(60, 3, generator=generator)
    stream = Stream(cut(Examples(inputs, (inputs[:, 0] > 0).long()), 2), Examples(inputs, torch.zeros(60).long()))

    def network(generator: torch.Generator) -> nn.Module:
        made = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.uniform_(-0.5, 0.5, generator=generator)
        return made

    def own_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(logits, labels) + 0.1 * logits.square().mean()

    models: list[nn.Module] = []

    def task(candidate: float) -> Task:
        def make(generator: torch.Generator) -> nn.Module:
            models.append(network(generator))
            return models[-1]

        return Task(
            make_model=make,
            make_optimizer=lambda parameters: torch.optim.SGD(parameters, lr=candidate),
            loss_fn=own_loss,
        )

    def by_hand(rate: float) -> tuple[nn.Module, float, float]:
        model = network(torch_stream(5, "tuning init"))
        optimizer, order = torch.optim.SGD(model.parameters(), lr=rate), torch_stream(5, "tuning order")
        x, y = (torch.cat([part[:24], part[30:54]]) for part in (inputs, (inputs[:, 0] > 0).long()))
        with torch.random.fork_rng():
            torch.manual_seed(int(torch.randint(2**62, (), generator=torch_stream(5, "tuning layers"))))
            for _ in range(3):
                for batch in torch.randperm(48, generator=order).split(7):
                    optimizer.zero_grad()
                    own_loss(model(x[batch]), y[batch]).backward()
                    optimizer.step()
        model.eval()
        held = torch.cat([inputs[24:30], inputs[54:]])
        right = (model(held).argmax(1) == (held[:, 0] > 0)).double().mean()
        return model, float(right), float((model(x).argmax(1) == y).double().mean())

    told: list[tuple[float, float]] = []
    config = TrainConfig(batch_size=7, criterion="loss", threshold=0.0, max_epochs=3)
    rates = (0.01, 0.1, 0.01)
    tune(stream, task, config, rates, seed=5, on_candidate=lambda *one: told.append(one))
    for rate, model, (candidate, score) in zip(rates, models, told, strict=True):
        mine, right, on_trained = by_hand(rate)
        assert all(map(torch.equal, mine.parameters(), model.parameters()))
        assert (candidate, score) == (rate, right)
        assert right != on_trained


def test_errors_that_are_not_of_training_are_not_taken_for_divergence() -> None:
    def task(candidate: float) -> Task:
        return Task(
            make_model=lambda generator: nn.Linear(3, 3),
            make_optimizer=lambda parameters: torch.optim.SGD(parameters, lr=candidate),
            loss_fn=lambda logits, labels: (_ for _ in ()).throw(ValueError("mistaken loss")),
        )

    with pytest.raises(ValueError, match="mistaken loss"):
        tune(labelled(30, 2), task, TrainConfig(batch_size=4, max_epochs=1), (0.1, 0.2), seed=0)


def test_tuning_takes_the_best_on_held_out_data_and_the_first_of_equals() -> None:
    told: list[tuple[float, float]] = []

    def task(candidate: float) -> Task:
        return Task(
            make_model=lambda generator: Fixed(1.0 if candidate >= 2 else -1.0),
            make_optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        )

    config = TrainConfig(batch_size=4, max_epochs=1)
    # The stream's test labels are wrong for every sign: only the training chunks can say that 2 and 3 are best.
    best = tune(labelled(30, 2), task, config, (1.0, 2.0, 3.0), seed=0, on_candidate=lambda *one: told.append(one))
    assert best == 2.0
    assert told == [(1.0, 0.0), (2.0, 1.0), (3.0, 1.0)]
    with pytest.raises(ValueError, match="candidates must hold at least one value"):
        tune(labelled(30, 2), task, config, (), seed=0)


def test_a_candidate_that_diverges_counts_as_never_right() -> None:
    def task(candidate: float) -> Task:
        return Task(
            make_model=lambda generator: nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 3)),
            make_optimizer=lambda parameters: torch.optim.SGD(parameters, lr=candidate),
        )

    config = TrainConfig(batch_size=4, max_epochs=8)
    assert tune(labelled(30, 2), task, config, (1e30, 0.1), seed=0) == 0.1
    with pytest.raises(ValueError, match="candidates must hold one that trains"):
        tune(labelled(30, 2), task, config, (1e30,), seed=0)
    last_step = TrainConfig(batch_size=100, max_epochs=1)  # it explodes in the only step, after its loss was read
    with pytest.raises(ValueError, match="candidates must hold one that trains"):
        tune(labelled(30, 2), task, last_step, (1e30,), seed=0)


def test_the_chosen_value_is_in_the_table_and_is_what_was_run() -> None:
    config = RunConfig(**FAST, decays=(0.0, 0.02, 5.0))  # type: ignore[arg-type]
    table = run_rule(config, "cold:weight_decay=tuned", 0, "x", silent)
    chosen = set(table[table["metric"] == "chosen_weight_decay"]["value"])
    assert len(chosen) == 1
    again = run_rule(config, f"cold:weight_decay={chosen.pop()}", 0, "x", silent)
    assert table[table["metric"] != "chosen_weight_decay"]["value"].tolist() == again["value"].tolist()
    assert set(again["metric"]) == set(table["metric"]) - {"chosen_weight_decay"}


def test_each_option_is_tuned_over_its_own_values_as_tune_says() -> None:
    config = RunConfig(**FAST, decays=(0.0, 0.02, 5.0), rates=(0.001, 0.2))  # type: ignore[arg-type]
    source = config.source(3)
    for spec, name, values, others in (
        ("cold:weight_decay=tuned", "weight_decay", config.decays, {}),
        ("cold:learning_rate=tuned:weight_decay=3", "learning_rate", config.rates, {"weight_decay": 3.0}),
    ):
        told: list[str] = []
        table = run_rule(config, spec, 3, "x", lambda share, text, told=told: told.append(text))  # type: ignore[misc]
        scores: list[float] = []
        chosen = tune(
            source.stream,
            lambda value, name=name, others=others: config.task(source, **{**others, name: value}),  # type: ignore[misc]
            config.training(),
            values,
            seed=3,
            on_candidate=lambda value, score, scores=scores: scores.append(score),  # type: ignore[misc]
        )
        assert set(table[table["metric"] == f"chosen_{name}"]["value"]) == {chosen}
        assert told[: len(values)] == [
            f"{name} {value:g}: held-out accuracy {100 * score:.1f}%"
            for value, score in zip(values, scores, strict=True)
        ]


def test_progress_rises_within_a_run_and_never_beyond_it() -> None:
    told: list[tuple[float, str]] = []
    run_rule(RunConfig(**{**FAST, "num_chunks": 3}), "warm", 0, "x", lambda *one: told.append(one))  # type: ignore[arg-type]
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    for stage in (1, 2, 3):  # a stage is as long as its data: 1, 2 and 3 parts of 6
        own = [share for share, text in told if text.startswith(f"stage {stage}/3")]
        assert stage * (stage - 1) / 12 < min(own) <= max(own) < stage * (stage + 1) / 12


def test_checkpoints_of_another_seed_rule_or_setting_are_refused(tmp_path: Path) -> None:
    config = RunConfig(**FAST)  # type: ignore[arg-type]
    table = run_rule(config, "warm", 0, "x", silent, tmp_path)
    for other, rule, seed in ((config, "warm", 1), (config, "cold", 0), (RunConfig(**FAST, rho=1.0), "warm", 0)):  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="must be of this run and stage"):
            run_rule(other, rule, seed, "x", silent, tmp_path)
    told: list[str] = []
    newest = max(tmp_path.glob("*.checkpoint"))
    newest.write_bytes(newest.read_bytes()[:-1])
    again = run_rule(config, "warm", 0, "x", lambda share, text: told.append(text), tmp_path)
    assert again.equals(table)
    assert str(newest) in told[0]
    assert told[1].startswith("stage 2/2")


def test_spans_of_measures_are_their_own() -> None:
    table = run_rule(
        RunConfig(**{**FAST, "threshold": 1.0, "batch_size": 64}, retention=1, alignment=3, gradients=True),  # type: ignore[arg-type]
        "warm",
        0,
        "x",
        silent,
    )
    names = set(table[table["stage"] == 2]["metric"])
    assert {name for name in names if "_epoch" in name and "reestimated" not in name} == {
        *(f"old_accuracy_epoch{epoch}" for epoch in (0, 1)),
        *(f"alignment_epoch{epoch}" for epoch in (0, 1, 2, 3)),
    }
    assert {f"gradient_norm_{part}" for part in ("old", "new", "all")} < names


def test_the_optimizer_is_that_of_the_configuration() -> None:
    options: dict[str, Any] = {"learning_rate": 0.02, "momentum": 0.3, "weight_decay": 0.004}
    for name in ("sgd", "sam"):
        config = RunConfig(**{**MLP, **options}, optimizer=name, rho=0.7)
        made = config.task(config.source(0)).fresh(torch.Generator().manual_seed(0)).optimizer
        same = make_optimizer(name, [nn.Parameter(torch.zeros(1))], rho=0.7, **options)
        settings = [
            {key: value for key, value in each.param_groups[0].items() if key != "params"} for each in (made, same)
        ]
        assert settings[0] == settings[1]
        assert settings[0]["momentum"] == 0.3
        if name == "sam":
            assert settings[0]["rho"] == 0.7


# Sources.


def test_pictures_are_those_of_the_seed_s_stream_as_asked() -> None:
    config = RunConfig(data="digits", num_chunks=2, chunk_size=50, num_test=60, size=4, balanced=True)
    plain = dataclasses.replace(config, balanced=False, label_noise=0.2)
    for which, options in ((config, {"balanced": True}), (plain, {"label_noise": 0.2})):
        for seed in (0, 3):
            mine = which.source(seed)
            generator = numpy_stream(seed, "data")
            sizes = {"num_chunks": 2, "chunk_size": 50, "num_test": 60, "size": 4}
            made = make_stream(find_data("digits"), **sizes, generator=generator, **options)  # type: ignore[arg-type]
            for part, same in zip(
                (*mine.stream.chunks, mine.stream.test), (*made.stream.chunks, made.stream.test), strict=True
            ):
                assert torch.equal(part.inputs, same.inputs)
                assert torch.equal(part.targets, same.targets)
            assert mine.input_shape == (1, 4, 4)
            assert mine.num_classes == 10
    counts = [torch.bincount(chunk.targets).tolist() for chunk in config.source(0).stream.chunks]
    assert counts == [[5] * 10] * 2


def test_text_runs_under_the_same_command_and_gives_the_text_experiment_s_numbers() -> None:
    sizes = {"num_chunks": 2, "batch_size": 16, "learning_rate": 0.002, "max_epochs": 2, "threshold": 1.0}
    config = RunConfig(
        data="text",
        model="transformer",
        model_options=("width=16", "num_layers=1"),
        chunk_size=8,
        num_test=8,
        size=16,
        optimizer="adam",
        criterion="loss",
        **sizes,  # type: ignore[arg-type]
    )
    mine = run_rule(config, "dash", 0, "x", silent)
    theirs = run_text(
        TextConfig(context=16, width=16, num_layers=1, chunk_size=8, num_test=8, **sizes),  # type: ignore[arg-type]
        "dash",
        0,
        "x",
        silent,
    )
    both = mine.merge(theirs, on=["stage", "metric"])
    assert len(both) == len(theirs)
    # That experiment uses the fused Adam, whose roundings differ.
    assert np.allclose(both["value_x"], both["value_y"], rtol=1e-4)
    assert data_facts(config)["symbols"]


def test_text_has_windows_of_64_and_400_to_test_unless_told() -> None:
    config = RunConfig(data="text", model="transformer", num_chunks=1, chunk_size=8)
    source = config.source(0)
    assert tuple(source.stream.test.inputs.shape) == (400, 64)
    own = RunConfig(data="text", model="python:mine.py:network", num_chunks=1, chunk_size=8, size=16, num_test=8)
    assert tuple(own.source(0).stream.test.inputs.shape) == (8, 16)
    options = {"width": 24, "num_heads": 3, "num_layers": 2}
    network = make_network("transformer", source, torch.Generator().manual_seed(0), options)
    same = CharTransformer(
        TransformerConfig(context=64, width=24, num_heads=3, num_layers=2),
        source.num_classes,
        torch.Generator().manual_seed(0),
    )
    assert all(map(torch.equal, network.parameters(), same.parameters()))


def test_a_user_s_data_and_network_run_under_the_same_command(tmp_path: Path) -> None:
    place = tmp_path / "mine.py"
    place.write_text(
        "import torch\n"
        "from torch import nn\n"
        "from dashtheory.deep.data import stream_of_tensors\n"
        "def data(generator):\n"
        "    x = torch.from_numpy(generator.normal(size=(60, 5))).float()\n"
        "    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()\n"
        "    return stream_of_tensors(x[:40], y[:40], x[40:], y[40:], 2)\n"
        "def network(shape, classes, generator, hidden=4):\n"
        "    assert (shape, classes) == ((5,), 3)\n"
        "    return nn.Sequential(nn.Linear(5, hidden), nn.ReLU(), nn.Linear(hidden, classes))\n"
        "not_a_function = 3\n"
        "def nothing(*args, **options): return None\n"
    )
    config = RunConfig(
        data=f"python:{place}:data", model=f"python:{place}:network", model_options=("hidden=8",), max_epochs=3
    )
    table = run_rule(config, "sp", 0, "x", silent)
    assert set(table["stage"]) == {1, 2}
    assert data_facts(config)["source"] == f"python:{place}:data"
    assert data_facts(config)["sha256"] == hashlib.sha256(place.read_bytes()).hexdigest()
    network = make_network(config.model, config.source(0), torch.Generator(), config.options())
    assert [layer.out_features for layer in network.modules() if isinstance(layer, nn.Linear)] == [8, 3]
    for field, name, message in (
        ("data", f"python:{place}:nothing", "must return a Stream, got NoneType"),
        ("model", f"python:{place}:nothing", "must return a torch.nn.Module, got NoneType"),
        ("data", f"python:{place}:not_a_function", "data must name a function of"),
        ("data", f"python:{tmp_path}/none.py:data", "data must name a file that is there"),
        ("model", "python:no_such_module:f", "model must name a module that can be imported"),
        ("model", "python:f", "model must be python:FILE.py:NAME or python:MODULE:NAME"),
    ):
        changes: dict[str, Any] = {"model_options": (), field: name}
        with pytest.raises(ValueError, match=message):
            run_rule(dataclasses.replace(config, **changes), "warm", 0, "x", silent)


@pytest.mark.parametrize("highest_in", ["chunks", "test"])
def test_the_classes_of_a_user_s_data_are_those_of_all_its_parts(highest_in: str, tmp_path: Path) -> None:
    place = tmp_path / "mine.py"
    place.write_text(
        "import torch\n"
        "from dashtheory.stream import Examples, Stream\n"
        "def data(generator):\n"
        "    x, few, many = torch.zeros(8, 2), torch.arange(8) % 2, torch.arange(8) % 4\n"
        f"    y, y_test = (many, few) if '{highest_in}' == 'chunks' else (few, many)\n"
        "    return Stream((Examples(x, y), Examples(x, y % 2)), Examples(x, y_test))\n"
    )
    assert RunConfig(data=f"python:{place}:data", model="mlp").source(0).num_classes == 4


def test_an_importable_module_will_do() -> None:
    function, facts = find_function("model", "python:json:loads")
    assert function("[1]") == [1]
    assert facts["source"] == "python:json:loads"


def test_a_network_s_options_reach_it() -> None:
    source = Source(stream=labelled(6, 2), num_classes=3)
    model = make_network("mlp", source, torch.Generator().manual_seed(0), {"widths": (7,)})
    assert [layer.out_features for layer in model.modules() if isinstance(layer, nn.Linear)] == [7, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "text"}, "model must fit the data, got narrow_resnet for text"),
        ({"model": "transformer"}, "model must fit the data, got transformer for digits"),
        (
            {"data": "text", "model": "transformer", "label_noise": 0.1},
            "label_noise and balanced must be off for text",
        ),
        (
            {"data": "text", "model": "transformer", "balanced": True},
            "label_noise and balanced must be off for text",
        ),
        (
            {"model_options": ("height=",)},
            "options of model narrow_resnet must be name=value, each once, got 'height='",
        ),
        ({"model_options": ("height=3",)}, "model_options of model narrow_resnet must be among"),
        ({"rules": ("cold:weight_decay=tuned",), "decays": ()}, "decays and rates must offer a weight_decay"),
        ({"rates": (0.0,)}, "rates must be a number in"),
        (
            {"chunk_size": 103, "batch_size": 46, "rules": ("cold:weight_decay=tuned",)},
            "batch_size must leave no last batch",
        ),
        ({"decays": (-1.0,)}, "decays must be a number in"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunConfig(**options)  # type: ignore[arg-type]


def test_wall_time_is_measured_on_request_alone() -> None:
    plain = run_rule(RunConfig(**FAST), "dash", 0, "x", silent)  # type: ignore[arg-type]
    timed = run_rule(RunConfig(**FAST, seconds=True), "dash", 0, "x", silent)  # type: ignore[arg-type]
    names = {"rule_seconds", "train_seconds"}
    assert set(timed["metric"]) - set(plain["metric"]) == names
    assert (timed[timed["metric"].isin(names)]["value"] >= 0).all()
    assert (timed[timed["metric"] == "train_seconds"]["value"] > 0).all()
    assert timed[~timed["metric"].isin(names)]["value"].tolist() == plain["value"].tolist()


# Presets.


@pytest.fixture
def no_cifar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASHTHEORY_CIFAR10", raising=False)


@pytest.mark.usefixtures("no_cifar")
def test_auto_is_what_lies_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert ComparisonConfig() == ComparisonConfig(data="digits")
    assert ComparisonConfig().data_name == "scikit-learn's digits with 20% wrong training labels"
    monkeypatch.setenv("DASHTHEORY_CIFAR10", str(tmp_path))
    pictures = ComparisonConfig()
    assert (pictures.data, pictures.data_name) == ("cifar10", "CIFAR-10 (JPEG) at 8 x 8 pixels")
    (tmp_path / CIFAR10.file.name).write_bytes(b"")
    assert ComparisonConfig().data_name == "CIFAR-10 at 8 x 8 pixels"


@pytest.mark.usefixtures("no_cifar")
@pytest.mark.parametrize("data", sorted(PRESETS))
def test_what_is_given_stands_and_the_rest_is_the_preset_s(data: str) -> None:
    config = ComparisonConfig(data=data, chunk_size=32, threshold=0.5)
    for name, value in PRESETS[data].items():
        given = {"chunk_size": 32, "threshold": 0.5}
        assert getattr(config, name) == given.get(name, value)
    assert dataclasses.replace(config) == config  # all fields are set: nothing is left to be filled in
    assert folder_of(config) == (Path("figures") if data == "digits" else Path("figures") / data)
    assert "chunks of 32" in describe_setting(config)


@pytest.mark.usefixtures("no_cifar")
def test_other_data_take_the_preset_of_cifar10_but_for_the_size() -> None:
    own, theirs = ComparisonConfig(data="folder:there"), ComparisonConfig(data="cifar10")
    for name in PRESETS["cifar10"]:
        assert getattr(own, name) == (0 if name == "size" else getattr(theirs, name))
    assert folder_of(own) == Path("figures/folder")


def test_words_for_data_and_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DASHTHEORY_CIFAR10", str(tmp_path))  # JPEG pictures; a ROOT has the official files
    assert describe_data(RunConfig(data="cifar10")) == "CIFAR-10 (JPEG)"
    assert describe_data(RunConfig(data="cifar10:there", size=8)) == "CIFAR-10 at 8 x 8 pixels"
    assert describe_data(RunConfig(data="svhn:there")) == "SVHN"
    text = RunConfig(data="text", model="transformer", size=64, criterion="loss", threshold=1.0, num_chunks=2)
    assert describe_data(text) == "Python's help texts"
    training = "sgd, learning rate 0.01, batch 64"
    assert describe_setting(text) == (
        f"character transformer; 2 chunks of 200 windows of text; {training}; every stage trains to loss 1 nat"
    )
    digits = RunConfig(chunk_size=600, num_chunks=2, max_epochs=7)
    assert describe_setting(digits).endswith("every stage trains to accuracy 0.999")
    assert describe_setting(digits, stages=False) == f"narrow ResNet; 1,200 pictures; {training}, 7 epochs"
    assert folder_of(text, "text") == Path("figures")
    assert folder_of(digits, "text") == Path("figures/digits")


@pytest.mark.usefixtures("no_cifar")
def test_zero_can_be_given() -> None:
    assert ComparisonConfig(data="digits", label_noise=0.0).label_noise == 0
    assert ComparisonConfig(data="cifar10", size=0).size == 0


def test_the_text_preset_is_the_setting_of_the_text_figure() -> None:
    config, theirs = ComparisonConfig(data="text"), TextConfig()
    assert config.chunk_size == theirs.chunk_size
    assert config.num_test == theirs.num_test
    assert config.size == theirs.context
    for name in ("num_chunks", "learning_rate", "batch_size", "threshold", "max_epochs"):
        assert getattr(config, name) == getattr(theirs, name)
