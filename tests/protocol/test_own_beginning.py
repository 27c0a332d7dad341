"""Rules with a network or an optimizer of their own: asked whenever one is made, the same bits for all others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from dashtheory.deep.config import RunConfig
from dashtheory.deep.run import run_rule
from dashtheory.deep.task import make_source, make_task
from dashtheory.experiments.pretraining_epochs import PretrainingConfig
from dashtheory.protocol import Checkpoints, Task, TrainConfig, run_resumable, run_stages
from dashtheory.protocol.origin import origin_of
from dashtheory.record import ORIGIN
from dashtheory.rules import Context, Learner, MakeOptimizer, Rule, from_the_start, make_rule, settings_of
from dashtheory.seeds import torch_stream
from tests.protocol.killed_run import network, stream

CONFIG = TrainConfig(batch_size=8, criterion="epochs", max_epochs=2)
NEW = ("crelu", "fourier", "aid", "layer_norm", "nap_norm", "sam", "muon", "upgd", "trac")
TASK = Task(
    make_model=network, make_optimizer=lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.5, weight_decay=0.2)
)


@dataclass(frozen=True)
class Own(Rule):
    """Adds a layer of drawn weights, and an optimizer of its own; makes whatever can be made."""

    acts: ClassVar[tuple[str, ...]] = ("network", "optimizer")
    seen: list[str] = field(default_factory=list, compare=False)

    def adapted(self, model: nn.Module, generator: torch.Generator) -> nn.Module:
        """A layer more, drawn from the generator."""
        self.seen.append("network")
        layer = nn.Linear(3, 3)
        with torch.no_grad():
            for value in layer.parameters():
                value.copy_(torch.rand(value.shape, generator=generator))
        return nn.Sequential(model, layer)

    def optimizer_for(self, model: nn.Module, make: MakeOptimizer) -> torch.optim.Optimizer:
        """Adam with the run's numbers."""
        self.seen.append("optimizer")
        run = settings_of(make(model.parameters()))
        self.seen.append(f"{run.learning_rate} {run.weight_decay} {run.momentum}")
        return torch.optim.Adam(model.parameters(), lr=run.learning_rate)

    def apply(self, learner: Learner, context: Context) -> tuple[Learner, None]:
        """Use all that makes something."""
        self.seen.append("apply")
        assert isinstance(context.fresh().optimizer, torch.optim.Adam)
        assert len(context.draw(context.generator)) == 2  # type: ignore[arg-type]
        return Learner(learner.model, context.renew(learner.model)), None


def test_they_are_asked_whenever_one_is_made() -> None:
    rule = Own()
    results = list(run_stages(stream(), rule, TASK, CONFIG, seed=0))
    numbers = "0.1 0.2 0.5"
    stage = ["apply", "network", "optimizer", numbers, "network", "optimizer", numbers]
    assert rule.seen == ["network", "optimizer", numbers, *stage * 4]
    assert all(isinstance(result.learner.optimizer, torch.optim.Adam) for result in results)


def test_a_run_that_is_stopped_goes_on_with_them(tmp_path: Path) -> None:
    def numbers(folder: Path | None, **options: Any) -> Any:
        kept = None if folder is None else Checkpoints(folder, {})
        return run_resumable(stream(), Own(), TASK, CONFIG, seed=0, checkpoints=kept, **options)

    whole = numbers(None)
    numbers(tmp_path, num_stages=2)
    torch.manual_seed(5)
    assert numbers(tmp_path) == whole


def test_first_weights_are_those_of_the_seed_before_a_rule_changes_them() -> None:
    """What comes from the stream is the same for every rule; a rule draws after it."""
    plain = TASK.fresh(torch_stream(0, "init", 1)).model.state_dict()
    ours = TASK.with_rule(Own()).fresh(torch_stream(0, "init", 1)).model.state_dict()
    assert all(torch.equal(value, ours[f"0.{name}"]) for name, value in plain.items())
    origin = origin_of(stream(), TASK, 0)
    assert origin == origin_of(stream(), TASK.with_rule(make_rule("aid")), 0)  # no weight is other
    assert origin != origin_of(stream(), TASK.with_rule(make_rule("crelu")), 0)


def test_a_task_holds_the_rule_of_the_run_alone() -> None:
    task = TASK.with_rule(Own())
    assert task.with_rule(make_rule("warm")).fresh(torch_stream(0, "init", 1)).model[0].__class__ is nn.Conv2d  # type: ignore[index]
    assert TASK.rule is None


def test_from_the_start_are_these_alone() -> None:
    from dashtheory.rules import RULES

    assert {name for name in RULES if from_the_start(make_rule(name))} == set(NEW)


SETTING: dict[str, Any] = {
    "data": "digits",
    "model": "convnet",
    "model_options": ("depth=2", "width=4"),
    "num_chunks": 2,
    "chunk_size": 60,
    "num_test": 40,
    "max_epochs": 2,
    "batch_size": 32,
}


@pytest.mark.parametrize("engine", ["plain", "fast"])
@pytest.mark.parametrize("rule", NEW)
def test_they_run_by_name_with_the_origin_of_all_others(rule: str, engine: str) -> None:
    config = RunConfig.of(**SETTING, engine=engine)
    tables = {name: run_rule(config, name, 0, "run", lambda share, text: None) for name in ("warm", rule)}
    assert tables["warm"].attrs[ORIGIN] == tables[rule].attrs[ORIGIN]
    assert len(tables[rule]) == len(tables["warm"])
    losses = [table.query("stage == 1 and metric == 'train_loss'")["value"].item() for table in tables.values()]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("rule", ["sam", "muon", "upgd", "trac"])
def test_learning_rate_and_decay_of_a_text_are_the_optimizer_s(rule: str) -> None:
    config = RunConfig.of(**SETTING)
    task = make_task(config, make_source(config, 0), learning_rate=0.25, weight_decay=0.125)
    optimizer = task.with_rule(make_rule(rule)).fresh(torch_stream(0, "init", 1)).optimizer
    group = optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (0.25, 0.125)


@pytest.mark.parametrize("rule", ["upgd:learning_rate=tuned", "crelu:weight_decay=tuned"])
def test_a_tuned_option_is_tuned_with_them(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Rule | None] = []
    fresh = Task.fresh

    def noted(task: Task, generator: torch.Generator) -> Learner:
        made.append(task.rule)
        return fresh(task, generator)

    monkeypatch.setattr(Task, "fresh", noted)
    config = RunConfig.of(**SETTING, rates=(0.01, 0.1), decays=(0.0, 0.1))
    run_rule(config, rule, 0, "run", lambda share, text: None)
    assert made[:2] == [None, None]  # origin
    assert [type(one).name for one in made[2:] if one is not None] == [rule.partition(":")[0]] * 3


def test_a_network_that_was_pretrained_for_all_is_refused_to_them() -> None:
    for rule in ("crelu", "upgd"):
        with pytest.raises(ValueError, match=r"^rules must take up the one network that was pretrained, got"):
            PretrainingConfig.of(rules=("warm", rule))


def test_a_rule_of_ones_own_can_say_so_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\nimport torch\nfrom dashtheory.rules import Warm\n\n\n"
        "@dataclass(frozen=True)\nclass Mine(Warm):\n    '''RMSprop.'''\n\n"
        "    def optimizer_for(self, model, make):\n"
        "        rate = make(model.parameters()).param_groups[0]['lr']\n"
        "        return torch.optim.RMSprop(model.parameters(), lr=rate)\n"
    )
    rule: Rule = make_rule(f"python:{tmp_path}/mine.py:Mine")
    results: Iterable[Any] = run_stages(stream(), rule, TASK, CONFIG, seed=0)
    assert all(type(result.learner.optimizer) is torch.optim.RMSprop for result in results)
