"""A stage that was stopped after some of its epochs goes on after them, and ends as if it had not been."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import random
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dashtheory.evaluate import Scores
from dashtheory.protocol import Checkpoints, Measures, Schedule, Task, TrainConfig, run_resumable
from dashtheory.protocol.part import Part, Parts, Pause, can_be_parted
from dashtheory.rules import RULES, Context, Learner, Rule, make_rule, parse_rule
from tests.protocol.killed_run import Always, network, optimizer, run, stream

FEW = {"cold", "dash", "warm"}
ALL = Measures(retention=9, gradients=True, alignment=2, effective_step=True)
CONFIG = TrainConfig(batch_size=8, criterion="epochs", max_epochs=4)
PARTED = sorted(name for name in RULES if can_be_parted(make_rule(name)))

Told = Callable[[int, int, Scores], None]


class Stopped(Exception):  # noqa: N818
    """As a signal stops a run."""


def until(stage: int, epoch: int) -> Told:
    """Stops a run after an epoch of a stage."""

    def told(at: int, epochs: int, scores: Scores) -> None:
        if (at, epochs) == (stage, epoch):
            raise Stopped

    return told


def listing(seen: list[tuple[int, int]]) -> Told:
    """Writes down what was trained."""
    return lambda stage, epoch, scores: seen.append((stage, epoch))


@pytest.mark.parametrize("rule", PARTED)
def test_it_goes_on_after_its_last_epoch_to_the_same_bits(rule: str, tmp_path: Path) -> None:
    """Adam, batch norm and dropout; stopped in the first stage, where nothing is kept yet, and in the third."""
    measures = ALL if rule in FEW else None
    whole = run(None, rule, measures=measures)
    for stage in (1, 3):
        stop = int(whole[stage - 1]["epochs"]) - 1
        assert stop >= 1
        with pytest.raises(Stopped):
            run(tmp_path, rule, measures=measures, pause=Always(), on_epoch=until(stage, stop))
        assert (tmp_path / f"stage-{stage:04d}.part").exists()
        torch.manual_seed(99)  # what the next call finds in the global streams must not matter
    seen: list[tuple[int, int]] = []
    assert run(tmp_path, rule, measures=measures, on_epoch=listing(seen)) == whole
    assert seen[0] == (3, int(whole[2]["epochs"]))
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("rule", sorted(set(RULES) - set(PARTED)))
def test_a_rule_that_acts_in_loss_or_steps_begins_its_stage_again(rule: str, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(tmp_path, rule, pause=Always(), on_epoch=until(2, 1))
    assert not list(tmp_path.glob("*.part"))
    assert Checkpoints(tmp_path, {"rule": rule}).stages() == [1]


def test_which_rules_these_are() -> None:
    assert {"warm", "cold", "sp", "dash", "uniform", "permuted", "rewarm", "l2_init", "ema"} & set(PARTED) == {
        *("warm", "cold", "sp", "dash", "uniform", "permuted", "rewarm")
    }


def test_killed_at_random_moments_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    """Kept after every epoch, so that kills fall into writing too; as in the tests of whole stages."""
    whole, draws = run(None, "dash"), random.Random(0)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.protocol.killed_run", "torch._dynamo"])
    kills = 0
    for call in itertools.count():
        process = context.Process(target=run, args=(tmp_path, "dash"), kwargs={"pause": Always()})
        process.start()
        process.join(draws.uniform(0.0, 0.2) + 0.02 * call)
        if process.exitcode is not None:
            break
        process.kill()
        process.join()
        kills += 1
    assert process.exitcode == 0
    assert kills > 0
    assert not list(tmp_path.glob("*.part"))
    assert run(tmp_path, "dash") == whole


def sgd(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """SGD with momentum."""
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9)


def own_run(
    folder: Path | None,
    make_model: Callable[[torch.Generator], nn.Module],
    made: Mapping[str, Any] | None = None,
    *,
    rule: Rule | None = None,
    **more: object,
) -> list[dict[str, float]]:
    """Four epochs a stage of a model of one's own, warm, with SGD whose step size moves from step to step."""
    options = {"make_optimizer": sgd, **(made or {})}
    return run_resumable(
        stream(),
        rule or make_rule("warm"),
        Task(make_model=make_model, schedule=Schedule(warmup_epochs=1, anneal=4), **options),
        CONFIG,
        seed=3,
        checkpoints=None if folder is None else Checkpoints(folder, {}),
        **more,  # type: ignore[arg-type]
    )


class Wrapped(nn.Module):
    """Has a network inside."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body


class Noisy(Wrapped):
    """Adds noise from Python's and numpy's global streams."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        noise = random.gauss(0, 1) + np.random.standard_normal()  # noqa: NPY002
        found: torch.Tensor = self.body(inputs + 0.1 * noise)
        return found


def test_all_global_streams_go_on(tmp_path: Path) -> None:
    whole = own_run(None, lambda generator: Noisy(network(generator)))
    with pytest.raises(Stopped):
        own_run(tmp_path, lambda generator: Noisy(network(generator)), pause=Always(), on_epoch=until(2, 3))
    seen: list[tuple[int, int]] = []
    assert own_run(tmp_path, lambda generator: Noisy(network(generator)), on_epoch=listing(seen)) == whole
    assert seen[0] == (2, 4)


class Counting(Wrapped):
    """Counts its passes where no state dict looks."""

    lost: torch.Tensor

    def __init__(self, body: nn.Module, where: str) -> None:
        super().__init__(body)
        self.where, self.passes, self._passes, self.inner, self.unseen = where, 0, 0, Counter(), [nn.Linear(1, 1)]
        self.register_buffer("lost", torch.zeros(()), persistent=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.where == "public":
            self.passes += 1
        elif self.where == "private":
            self._passes += 1
        elif self.where == "inner":
            self.inner()
        elif self.where == "buffer":
            self.lost.add_(1)
        elif self.where == "unseen":
            self.unseen[0].bias.data += 1
        found: torch.Tensor = self.body(inputs)
        return found


class Counter:
    """A callable that counts its calls; a loss too."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *given: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return nn.functional.cross_entropy(given[0], given[1]) if given else torch.zeros(())


class Summing(nn.Module):
    """A loss that counts its calls in a buffer, which is in no learner's state dict."""

    calls: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        self.calls.add_(1)
        return nn.functional.cross_entropy(logits, targets)


def counted(count: Counter, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """A loss that has its count as an argument."""
    return count(logits, targets)


LOSSES: dict[str, Callable[[], Any]] = {
    "loss": Counter,
    "loss of a module": Summing,
    "loss by a method": lambda: Counter().__call__,
    "loss with an argument": lambda: partial(counted, Counter()),
}


class CountingSGD(torch.optim.SGD):
    """Counts its steps where its state dict does not look."""

    _taken = 0

    def step(self, closure: Any = None) -> Any:
        self._taken += 1
        return super().step(closure)


class Hooking(Rule):
    """Its gradients are noisy from the second stage on: by a hook, with a stream that nothing saves."""

    def apply(self, learner: Learner, context: Context) -> tuple[Learner, None]:
        generator = context.generator
        for one in learner.model.parameters():
            one.register_hook(lambda gradient: gradient + 0.1 * torch.randn(gradient.shape, generator=generator))
        return learner, None


@pytest.mark.parametrize(
    ("where", "named"),
    [
        ("public", "passes"),
        ("private", "_passes"),
        ("inner", "inner"),
        ("unseen", "unseen"),
        ("buffer", "lost"),
        ("optimizer", "optimizer._taken"),
        *((name, "loss_fn") for name in LOSSES),
        ("hook", "hooks of model"),
        ("optimizer's hook", "hooks of optimizer"),
    ],
)
def test_a_stage_that_changes_what_no_state_dict_holds_is_not_kept(where: str, named: str, tmp_path: Path) -> None:
    def model(generator: torch.Generator) -> nn.Module:
        found = Counting(network(generator), where)
        if where == "hook":
            found.register_forward_pre_hook(lambda *_: None)
        return found

    def hooked(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        found = sgd(parameters)
        found.register_step_post_hook(lambda *_: None)
        return found

    made: dict[str, Any] = {"loss_fn": LOSSES[where]()} if where in LOSSES else {}
    if where.startswith("optimizer"):
        made["make_optimizer"] = partial(CountingSGD, lr=0.05) if where == "optimizer" else hooked
    told: list[str] = []
    with pytest.raises(Stopped):
        own_run(tmp_path, model, made, pause=Always(), on_epoch=until(1, 3), on_problem=told.append)
    assert not list(tmp_path.glob("*.part"))
    assert told == [f"stage 1 is not kept while it is under way: {named} outside state_dict"]
    own_run(tmp_path, lambda generator: Counting(network(generator), "nowhere"), pause=Always())
    with pytest.raises(Stopped):
        own_run(tmp_path / "kept", lambda _: Counting(network(_), ""), pause=Always(), on_epoch=until(1, 3))
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["stage-0001.part"]


def test_a_rule_that_hooks_gradients_has_its_stages_begun_again(tmp_path: Path) -> None:
    told: list[str] = []
    whole = own_run(None, network, rule=Hooking())
    with pytest.raises(Stopped):
        own_run(tmp_path, network, rule=Hooking(), pause=Always(), on_epoch=until(2, 3), on_problem=told.append)
    assert told[0].startswith("stage 2 is not kept while it is under way: hooks of ")
    assert own_run(tmp_path, network, rule=Hooking())[:2] == whole[:2]


@pytest.mark.parametrize("epoch", [1, 4])
def test_the_last_epoch_before_the_cap_is_not_made_twice(epoch: int, tmp_path: Path) -> None:
    whole, seen = own_run(None, network), list[tuple[int, int]]()
    with pytest.raises(Stopped):
        own_run(tmp_path, network, pause=Always(), on_epoch=until(1, epoch))
    assert own_run(tmp_path, network, on_epoch=listing(seen)) == whole
    assert seen[0] == ((1, 2) if epoch == 1 else (2, 1))


def test_seconds_are_those_of_all_calls(tmp_path: Path) -> None:
    seconds = Measures(seconds=True)
    with pytest.raises(Stopped):
        own_run(tmp_path, network, pause=Always(), on_epoch=until(1, 3), measures=seconds)
    path = tmp_path / "stage-0001.part"
    found = Parts(Checkpoints(tmp_path, {}), Always()).load(1)
    assert found is not None
    assert 0 < found.seconds < 60
    Parts(Checkpoints(tmp_path, {}), Always()).save(with_seconds(found, 1000.0))
    whole = own_run(tmp_path, network, measures=seconds)
    assert 1000 < whole[0]["train_seconds"] < 1060
    assert whole[1]["train_seconds"] < 60
    assert not path.exists()


def with_seconds(part: Part, seconds: float) -> Part:
    return Part(**{**vars(part), "seconds": seconds})


@pytest.mark.parametrize("damage", ["short", "head", "number", "other", "origin"])
def test_damage_costs_the_part_and_is_told(damage: str, tmp_path: Path) -> None:
    origin = {"data": "a"}
    whole = own_run(None, network)
    with pytest.raises(Stopped):
        own_run(tmp_path, network, pause=Always(), on_epoch=until(2, 3), origin=origin)
    path = tmp_path / "stage-0002.part"
    line, _, body = path.read_bytes().partition(b"\n")
    head = json.loads(line)
    if damage == "short":
        path.write_bytes(line + b"\n" + body[:-7])
    elif damage == "head":
        path.write_bytes(b"[]\n" + body)
    elif damage == "number":
        path.write_bytes(json.dumps({**head, "epochs": 2}).encode() + b"\n" + body)
    elif damage == "other":
        Parts(Checkpoints(tmp_path, {"a": 1}), Always(), origin).save(read(tmp_path, 2))
    else:
        Parts(Checkpoints(tmp_path, {}), Always(), {"data": "b"}).save(read(tmp_path, 2))
    told, seen = list[str](), list[tuple[int, int]]()
    options: dict[str, Any] = {"on_problem": told.append, "on_epoch": listing(seen), "origin": origin}
    assert own_run(tmp_path, network, **options) == whole
    assert seen[0] == (2, 1)
    assert len(told) == 1
    assert str(path) in told[0]


def read(folder: Path, stage: int) -> Part:
    found = Parts(Checkpoints(folder, {}), Always()).load(stage)
    assert found is not None
    return found


def test_a_part_whose_stages_before_are_made_again_is_dropped(tmp_path: Path) -> None:
    whole, seen = own_run(None, network), list[tuple[int, int]]()
    with pytest.raises(Stopped):
        own_run(tmp_path, network, pause=Always(), on_epoch=until(3, 3))
    for path in tmp_path.glob("*.checkpoint"):
        path.unlink()
    assert own_run(tmp_path, network, on_epoch=listing(seen)) == whole
    assert seen[:9] == [(stage, epoch) for stage in (1, 2, 3) for epoch in (1, 2, 3, 4)][:9]


def test_stages_of_a_cold_start_are_kept_each_by_itself(tmp_path: Path) -> None:
    """Those of one call outlive another that wants other stages."""
    whole, seen = run(None, "cold"), list[tuple[int, int]]()
    for wanted, stage, epoch in (((4,), 4, 2), ((2, 4), 2, 1), ((3,), 3, 1)):
        with pytest.raises(Stopped):
            run(tmp_path, "cold", pause=Always(), at=wanted, on_epoch=until(stage, epoch))
    names = {path.name for path in tmp_path.glob("*.part")}
    assert names == {f"stage-000{stage}.part" for stage in (2, 3, 4)}
    found = run(tmp_path, "cold", at=(2, 4), on_epoch=listing(seen))
    assert [found[1], found[3]] == [whole[1], whole[3]]
    assert (seen[0], seen[int(whole[1]["epochs"]) - 1]) == ((2, 2), (4, 3))
    assert {path.name for path in tmp_path.glob("*.part")} == {"stage-0003.part"}


def test_a_call_that_wants_fewer_stages_leaves_the_part(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        own_run(tmp_path, network, pause=Always(), on_epoch=until(3, 2))
    assert len(own_run(tmp_path, network, num_stages=2)) == 2
    assert (tmp_path / "stage-0003.part").exists()


def test_what_a_kill_leaves_of_a_part_goes_with_the_next_stage(tmp_path: Path) -> None:
    tmp_path.joinpath(".stage-0001-abcdefgh.part").write_bytes(b"half")
    own_run(tmp_path, network)
    assert {path.name for path in tmp_path.iterdir()} == {f"stage-000{stage}.checkpoint" for stage in (4, 5)}


def test_numbers_that_are_not_torch_s_cost_the_part_and_no_more(tmp_path: Path) -> None:
    """A step size from numpy is pickled as what `weights_only` refuses."""
    made = {"make_optimizer": lambda parameters: torch.optim.SGD(parameters, lr=np.float64(0.05))}
    whole, told = own_run(None, network, made), list[str]()
    with pytest.raises(Stopped):
        own_run(tmp_path, network, made, pause=Always(), on_epoch=until(1, 2))
    assert own_run(tmp_path, network, made, on_problem=told.append) == whole
    assert len(told) == 1
    assert f"must hold tensors and plain numbers alone, got '{tmp_path / 'stage-0001.part'}'" in told[0]


def test_a_part_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        own_run(tmp_path, network, pause=Always(), on_epoch=until(1, 2))
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"part.*must fit the model"):
        read(tmp_path, 1).restore(Learner(model, optimizer(model.parameters())), {})


def test_a_pause_begins_anew_when_it_is_over() -> None:
    now = [0.0]
    pause = Pause(10.0, lambda: now[0])
    found = []
    for now[0] in (5.0, 10.0, 12.0, 19.0, 21.0, 50.0, 55.0):
        found.append(pause.is_due())
    assert found == [False, True, False, False, True, True, False]


def test_by_default_short_stages_write_nothing(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(tmp_path, "warm", on_epoch=until(1, 1))
    assert not list(tmp_path.iterdir())


def test_options_decide_too() -> None:
    assert can_be_parted(parse_rule("sp:optimizer=renewed"))
