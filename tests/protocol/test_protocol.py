"""The warm-start protocol: stages, criteria, statuses, and measuring that never changes the run."""

from __future__ import annotations

import random
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dashtheory.protocol.stages as module
from dashtheory.errors import Diverged
from dashtheory.evaluate import Scores, cross_entropy, evaluate, num_right
from dashtheory.measure.network import alignment, gradient_norm
from dashtheory.protocol import (
    Measures,
    StageResult,
    Task,
    TrainConfig,
    Training,
    measure_at_end,
    measure_at_start,
    run_stages,
    train,
)
from dashtheory.rules import (
    RULES,
    Cold,
    Dash,
    L2Init,
    Learner,
    Rule,
    ShrinkPerturb,
    Warm,
    dash_,
    shrink_and_perturb_,
)
from dashtheory.seeds import torch_stream
from dashtheory.stream import Examples, Stream, cut, join


def blobs(num: int, seed: int, *, spread: float = 1.0) -> Examples:
    """Two classes of points in the plane."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(num) % 2
    inputs = torch.randn(num, 2, generator=generator) * spread + 2.0 * targets[:, None]
    return Examples(inputs, targets)


def make_net(generator: torch.Generator) -> nn.Module:
    net = nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.uniform_(-0.5, 0.5, generator=generator)
    return net


def make_sgd(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9)


TASK = Task(make_model=make_net, make_optimizer=make_sgd)
STREAM = Stream(cut(blobs(90, 0), 3), blobs(50, 1))
CONFIG = TrainConfig(batch_size=8, criterion="accuracy", threshold=0.9, max_epochs=30)


def run(rule: Rule, *, seed: int = 0, **options: Any) -> list[StageResult]:
    return list(run_stages(STREAM, rule, TASK, CONFIG, seed=seed, **options))


def bits(model: nn.Module) -> list[bytes]:
    return [value.detach().numpy().tobytes() for value in model.state_dict().values()]


def test_stage_j_trains_on_chunks_1_to_j() -> None:
    seen: list[set[float]] = []

    class Spy(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            if self.training and torch.is_grad_enabled():
                seen[-1].update(inputs[:, 0].tolist())
            return super().forward(inputs)

    task = Task(make_model=lambda generator: Spy(2, 2), make_optimizer=make_sgd)
    config = TrainConfig(batch_size=8, criterion="accuracy", threshold=1.0, max_epochs=1)
    seen.append(set())
    for result in run_stages(STREAM, Warm(), task, config, seed=0):
        assert seen[-1] == set(join(STREAM.chunks[: result.stage]).inputs[:, 0].tolist())
        seen.append(set())


def test_rules_of_one_seed_share_their_first_stage_to_the_bit() -> None:
    firsts = []
    for rule in (Cold(), Warm(), ShrinkPerturb(), Dash()):
        first = next(iter(run_stages(STREAM, rule, TASK, CONFIG, seed=3)))
        firsts.append((bits(first.learner.model), first.training, first.test))
    assert all(first == firsts[0] for first in firsts)


@pytest.mark.parametrize("rule", [Cold(), Warm(), ShrinkPerturb(), Dash()], ids=lambda rule: rule.name)
def test_the_same_seed_gives_the_same_bits_whatever_the_global_streams(rule: Rule) -> None:
    torch.manual_seed(1)
    first = run(rule)
    torch.manual_seed(2)
    again = run(rule)
    assert [r.metrics() for r in first] == [r.metrics() for r in again]
    assert bits(first[-1].learner.model) == bits(again[-1].learner.model)
    other = run(rule, seed=1)
    assert bits(other[-1].learner.model) != bits(first[-1].learner.model)


def test_a_run_leaves_the_global_streams_alone() -> None:
    random.seed(0)
    torch.manual_seed(0)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    run(Dash())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]  # type: ignore[index]  # noqa: NPY002


def test_a_factory_that_draws_globally_is_reproducible_too() -> None:
    task = Task(make_model=lambda generator: nn.Linear(2, 2), make_optimizer=make_sgd)
    first, again = (task.fresh(torch.Generator().manual_seed(5)).model.weight for _ in range(2))
    other = task.fresh(torch.Generator().manual_seed(6)).model.weight
    assert torch.equal(first, again)  # type: ignore[arg-type]
    assert not torch.equal(first, other)  # type: ignore[arg-type]


def test_cold_starts_anew_and_warm_goes_on() -> None:
    models = {rule.name: [id(r.learner.model) for r in run(rule)] for rule in (Cold(), Warm())}
    assert len(set(models["warm"])) == 1
    assert len(set(models["cold"])) > 1


def test_measuring_every_epoch_gives_the_same_bits_as_not_measuring() -> None:
    calls: list[tuple[int, int]] = []

    def watch(stage: int, epoch: int, scores: Scores) -> None:
        calls.append((stage, epoch))

    def evaluate_often(result: StageResult) -> StageResult:
        for _ in range(3):
            evaluate(result.learner.model, STREAM.test)
        return result

    plain = run(Dash())
    watched = [
        evaluate_often(result) for result in run_stages(STREAM, Dash(), TASK, CONFIG, seed=0, on_epoch=watch)
    ]
    assert bits(plain[-1].learner.model) == bits(watched[-1].learner.model)
    expected = [(r.stage, epoch) for r in plain for epoch in range(1, r.training.epochs + 1)]
    assert calls == expected


def test_status_steps_and_epochs_count_what_happened() -> None:
    learner = TASK.fresh(torch.Generator().manual_seed(0))
    data = blobs(30, 0)
    never = TrainConfig(batch_size=8, criterion="loss", threshold=0.0, max_epochs=3)
    capped = train(learner, data, never, torch.Generator().manual_seed(0))
    assert (capped.status, capped.epochs, capped.steps) == ("epoch_cap", 3, 3 * 4)
    at_once = TrainConfig(batch_size=8, criterion="accuracy", threshold=0.0, max_epochs=3)
    done = train(learner, data, at_once, torch.Generator().manual_seed(0))
    assert (done.status, done.epochs, done.steps) == ("converged", 1, 4)
    assert learner.model.training


def test_training_switches_to_training_mode_first() -> None:
    learner = TASK.fresh(torch.Generator().manual_seed(0))
    learner.model.eval()
    before = learner.model.state_dict()["1.running_mean"].clone()
    config = TrainConfig(batch_size=8, max_epochs=1)
    train(learner, blobs(30, 0), config, torch.Generator().manual_seed(0))
    assert all(module.training for module in learner.model.modules())
    assert not torch.equal(learner.model.state_dict()["1.running_mean"], before)


@pytest.mark.parametrize(("criterion", "threshold"), [("loss", 0.3), ("accuracy", 0.93)])
def test_training_stops_at_the_first_epoch_that_reaches_the_threshold(criterion: str, threshold: float) -> None:
    history: list[Scores] = []
    config = TrainConfig(batch_size=8, criterion=criterion, threshold=threshold, max_epochs=200)
    learner = TASK.fresh(torch.Generator().manual_seed(0))
    done = train(
        learner, blobs(30, 0), config, torch.Generator().manual_seed(0), on_epoch=lambda _, s: history.append(s)
    )
    reached = [s.loss <= threshold if criterion == "loss" else s.accuracy >= threshold for s in history]
    assert done.status == "converged"
    assert reached[-1]
    assert not any(reached[:-1])
    assert done.last_epoch == history[-1]


def test_an_epoch_visits_every_example_once() -> None:
    # With a learning rate of zero the scores of an epoch are those of the weights, short last batch included.
    net = nn.Linear(2, 2)
    data = blobs(29, 0)
    learner = Learner(net, torch.optim.SGD(net.parameters(), lr=0.0))
    config = TrainConfig(batch_size=8, criterion="loss", threshold=0.0, max_epochs=1)
    done = train(learner, data, config, torch.Generator().manual_seed(0))
    logits = net(data.inputs).detach().double()
    picked = logits.log_softmax(-1)[torch.arange(29), data.targets]
    assert done.last_epoch.loss == pytest.approx(-float(picked.mean()), rel=1e-6)  # float32 batch losses
    assert done.last_epoch.accuracy == int(num_right(logits, data.targets)) / 29
    assert done.steps == 4


def test_evaluation_weighs_by_target_not_by_batch() -> None:
    net = make_net(torch.Generator().manual_seed(0))
    data = blobs(50, 2)
    whole = evaluate(net, data, batch_size=50)
    for batch_size in (1, 7, 49):
        pieces = evaluate(net, data, batch_size=batch_size)
        assert pieces.accuracy == whole.accuracy
        assert pieces.loss == pytest.approx(whole.loss, rel=1e-6)  # float32 means of batches


def test_evaluation_leaves_the_model_as_it_was() -> None:
    net = make_net(torch.Generator().manual_seed(0)).train()
    net[1].eval()  # type: ignore[index]
    cross_entropy(net(blobs(10, 0).inputs), blobs(10, 0).targets).backward()
    before = bits(net), [p.grad.clone() for p in net.parameters() if p.grad is not None]
    modes, state = [m.training for m in net.modules()], torch.get_rng_state()
    evaluate(net, blobs(20, 3))
    assert bits(net) == before[0]
    after = [p.grad for p in net.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(after, before[1], strict=True))
    assert [m.training for m in net.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)


def test_evaluation_restores_modes_when_the_model_fails() -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)).train()
    with pytest.raises(RuntimeError):
        evaluate(net, blobs(4, 0))
    assert all(module.training for module in net.modules())


def test_targets_at_several_positions_count_each() -> None:
    logits = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(12).reshape(4, 3) % 5
    by_hand = [-float(logits[i, j].log_softmax(0)[targets[i, j]]) for i in range(4) for j in range(3)]
    assert float(cross_entropy(logits, targets)) == pytest.approx(np.mean(by_hand), rel=1e-6)
    right = sum(int(logits[i, j].argmax()) == int(targets[i, j]) for i in range(4) for j in range(3))
    assert int(num_right(logits, targets)) == right


def test_a_loss_that_explodes_is_an_error_not_a_result() -> None:
    net = nn.Linear(2, 2)
    learner = Learner(net, torch.optim.SGD(net.parameters(), lr=1e38))
    data = blobs(30, 0, spread=1e3)
    config = TrainConfig(batch_size=4, criterion="loss", threshold=0.0, max_epochs=50)
    with pytest.raises(Diverged, match=r"loss must stay finite in training, got .* Lower the learning rate"):
        train(learner, data, config, torch.Generator().manual_seed(0))


def test_shrinking_rules_report_what_they_did() -> None:
    results = run(Dash(lam=0.2))
    assert results[0].shrink is None
    assert "mean_scale" not in results[0].metrics()
    assert 0.2 <= results[1].metrics()["mean_scale"] <= 1.0
    assert results[1].shrink is not None
    assert results[1].shrink.num_batches == 2  # the gradient pass sees the new chunk too
    assert results[2].shrink is not None
    assert results[2].shrink.num_batches == 3
    assert "mean_scale" not in run(Warm())[1].metrics()


def test_cutting_and_joining_are_inverse() -> None:
    data = blobs(12, 0)
    again = join(cut(data, 4))
    assert torch.equal(again.inputs, data.inputs)
    assert torch.equal(again.targets, data.targets)
    assert [len(part) for part in cut(data, 4)] == [3] * 4


BAD: list[tuple[str, Any, str]] = [
    ("config", {"batch_size": 0}, "batch_size must be an integer >= 1, got 0"),
    ("config", {"max_epochs": 0}, "max_epochs must be an integer >= 1, got 0"),
    ("config", {"criterion": "speed"}, "criterion must be one of loss, accuracy, epochs, got 'speed'"),
    ("config", {"threshold": 1.5}, r"threshold must be a number in \[0, 1\], got 1.5"),
    ("config", {"criterion": "loss", "threshold": -1.0}, "threshold must be a number"),
    ("config", {"threshold": float("nan")}, "got nan"),
]


@pytest.mark.parametrize(("_", "options", "message"), BAD)
def test_bad_configurations_name_field_rule_and_value(_: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**options)


def test_bad_streams_are_refused() -> None:
    data = blobs(6, 0)
    with pytest.raises(ValueError, match=r"\(6, 2\) and \(5,\)"):
        Examples(data.inputs, data.targets[:5])
    with pytest.raises(ValueError, match="at least one example"):
        Examples(data.inputs[:0], data.targets[:0])
    with pytest.raises(ValueError, match="at least one chunk"):
        Stream((), data)
    with pytest.raises(ValueError, match="divide the 6 examples, got 4"):
        cut(data, 4)
    with pytest.raises(ValueError, match="at least one part"):
        join([])


# ------------------------------------------------------------------------- against a transcription of the protocol


def at_three_places(num: int, seed: int) -> Examples:
    """Inputs (n, 3, 2) with a target at each of the three places."""
    flat = blobs(3 * num, seed)
    return Examples(flat.inputs.reshape(num, 3, 2), flat.targets.reshape(num, 3))


class PerPlace(nn.Module):
    """Logits (n, 3, 2) by a net with batch norm and dropout over all places."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.net = make_net(generator)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.net(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2])
        return logits


def own_loss(logits: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(logits, targets) + 0.1 * logits.square().mean()


PLACES = Stream(cut(at_three_places(33, 5), 3), at_three_places(17, 6))
PLACES_TASK = Task(make_model=PerPlace, make_optimizer=make_sgd, loss_fn=own_loss)


def stages_by_hand(rule: str, config: TrainConfig, seed: int) -> list[tuple[list[bytes], dict[str, float]]]:
    """The protocol as DESIGN.md says it, in one plain loop: weights and metrics after each stage."""
    found = []
    model, optimizer = nn.Module(), torch.optim.SGD([torch.zeros(1)])
    for stage in range(1, len(PLACES.chunks) + 1):
        metrics: dict[str, float] = {}
        chunks = [(chunk.inputs, chunk.targets) for chunk in PLACES.chunks[:stage]]
        if stage == 1 or rule == "cold":
            model = PerPlace(torch_stream(seed, "init", stage))
            optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        elif rule == "sp":
            shrink_and_perturb_(model, generator=torch_stream(seed, "perturbation", stage))
        elif rule == "dash":
            report = dash_(model, chunks, own_loss)
            metrics = {"mean_scale": report.mean_scale, "share_clamped": report.share_clamped}
        inputs, targets = (torch.cat(parts) for parts in zip(*chunks, strict=True))
        order = torch_stream(seed, "order", stage)
        model.train()
        steps = epochs = 0
        done = False
        with torch.random.fork_rng():
            torch.manual_seed(int(torch.randint(2**62, (), generator=torch_stream(seed, "layers", stage))))
            while not done and epochs < config.max_epochs:
                loss_sum, right = 0.0, 0
                permutation = torch.randperm(len(inputs), generator=order)
                for start in range(0, len(inputs), config.batch_size):
                    index = permutation[start : start + config.batch_size]
                    optimizer.zero_grad()
                    logits = model(inputs[index])
                    loss = own_loss(logits, targets[index])
                    loss.backward()
                    loss_sum += loss.item() * 3 * len(index)
                    right += int((logits.argmax(-1) == targets[index]).sum())
                    optimizer.step()
                    steps += 1
                epochs += 1
                metrics["train_loss"], metrics["train_accuracy"] = (
                    loss_sum / targets.numel(),
                    right / targets.numel(),
                )
                done = metrics["train_loss"] <= config.threshold
        model.eval()
        with torch.no_grad():
            logits = model(PLACES.test.inputs)
        model.train()
        metrics |= {"steps": steps, "epochs": epochs, "converged": float(done)}
        metrics["test_loss"] = own_loss(logits, PLACES.test.targets).item()
        metrics["test_accuracy"] = float((logits.argmax(-1) == PLACES.test.targets).double().mean())
        found.append((bits(model), metrics))
    return found


@pytest.mark.parametrize("rule", ["cold", "warm", "sp", "dash"])
@pytest.mark.parametrize("seed", [0, 4])
def test_the_protocol_is_its_transcription_to_the_bit(rule: str, seed: int) -> None:
    config = TrainConfig(batch_size=7, criterion="loss", threshold=0.45, max_epochs=6)
    expected = stages_by_hand(rule, config, seed)
    for result, (weights, metrics) in zip(
        run_stages(PLACES, RULES[rule](), PLACES_TASK, config, seed=seed), expected, strict=True
    ):
        assert bits(result.learner.model) == weights, f"stage {result.stage}"
        # Sums of float32 losses are taken in another order: 1e-6 is a few of their units.
        assert result.metrics() == pytest.approx(metrics, rel=1e-6), f"stage {result.stage}"
    statuses = {metrics["converged"] for seed in (0, 4) for _, metrics in stages_by_hand(rule, config, seed)}
    assert statuses == {0.0, 1.0}, "the case should show both ways to end"


@pytest.mark.parametrize("criterion", ["loss", "accuracy"])
def test_a_threshold_that_is_met_exactly_ends_the_stage(criterion: str) -> None:
    def one_epoch(threshold: float, criterion: str) -> Training:
        net = nn.Linear(2, 2)
        nn.init.eye_(net.weight)
        nn.init.zeros_(net.bias)
        learner = Learner(net, torch.optim.SGD(net.parameters(), lr=0.1))
        config = TrainConfig(batch_size=8, criterion=criterion, threshold=threshold, max_epochs=1)
        return train(learner, blobs(30, 0), config, torch.Generator().manual_seed(0))

    reached = getattr(one_epoch(0.0, "loss").last_epoch, criterion)
    assert one_epoch(reached, criterion).status == "converged"
    beyond = np.nextafter(reached, 0.0 if criterion == "loss" else 1.0)
    assert one_epoch(float(beyond), criterion).status == "epoch_cap"


def test_weights_that_explode_in_the_last_step_are_an_error() -> None:
    task = Task(make_model=make_net, make_optimizer=lambda p: torch.optim.SGD(p, lr=1e30))
    config = TrainConfig(batch_size=100, criterion="loss", threshold=0.0, max_epochs=1)
    with pytest.raises(Diverged, match=r"loss must be finite on the test set, got .* after stage 1"):
        list(run_stages(STREAM, Warm(), task, config, seed=0))


def test_evaluation_draws_nothing_from_the_global_stream() -> None:
    class Noisy(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs) + torch.rand(())  # draws in evaluation mode too

    noisy = Noisy(2, 2)
    state = torch.get_rng_state()
    evaluate(noisy, blobs(10, 0))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_batch_counts_once_in_the_running_statistics_however_often_the_optimizer_looks() -> None:
    class Twice(torch.optim.SGD):
        """Calls its closure twice, as SAM does."""

        def step(self, closure: Any = None) -> Any:
            closure()
            return super().step(closure)

    def statistics(kind: type[torch.optim.SGD]) -> list[Tensor]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        data = Examples(torch.randn(12, 3), torch.randint(2, (12,)))
        config = TrainConfig(batch_size=4, threshold=1.0, max_epochs=2)
        optimizer = kind(model.parameters(), lr=0.0)  # the weights stay, so that both see the same
        train(Learner(model, optimizer), data, config, torch.Generator().manual_seed(0))
        return list(model[1].buffers())

    once, twice = statistics(torch.optim.SGD), statistics(Twice)
    assert int(once[2]) == 6
    assert all(map(torch.equal, once, twice))


# ----------------------------------------------------------------------------------------- what is measured beside


def test_measures_are_of_the_task_s_own_loss() -> None:
    measures, config = Measures(gradients=True, alignment=1), TrainConfig(batch_size=7, max_epochs=1)
    rule, init = Warm(), torch_stream(0, "init", 1)
    first = next(iter(run_stages(PLACES, rule, PLACES_TASK, config, seed=0, measures=measures)))
    model, chunk = PerPlace(init), PLACES.chunks[0]
    assert first.measured["gradient_norm_all"] == gradient_norm(model, chunk, loss_fn=own_loss)
    assert first.measured["gradient_norm_all"] != gradient_norm(model, chunk)
    for epoch, net in ((0, model), (1, first.learner.model)):  # one epoch: after it the stage has ended
        assert first.measured[f"alignment_epoch{epoch}"] == alignment(net, chunk, loss_fn=own_loss)
        assert first.measured[f"alignment_epoch{epoch}"] != alignment(net, chunk)


def test_seconds_are_those_of_the_rule_and_of_the_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that only the parts move: rule 10, measures 1000, each epoch 1, evaluation 100,000."""
    now = [0.0]

    def takes(seconds: float, function: Any) -> Any:
        def slower(*args: Any, **options: Any) -> Any:
            now[0] += seconds
            return function(*args, **options)

        return slower

    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(Dash, "apply", takes(10.0, Dash.apply))
    monkeypatch.setattr(module, "measure_at_start", takes(1000.0, measure_at_start))
    monkeypatch.setattr(module, "measure_at_end", takes(1000.0, measure_at_end))
    monkeypatch.setattr(module, "evaluate", takes(1e5, evaluate))
    results = run(Dash(), measures=Measures(seconds=True), on_epoch=takes(1.0, lambda *_: None))
    assert [r.measured["rule_seconds"] for r in results] == [0.0, 10.0, 10.0]
    assert [r.measured["train_seconds"] for r in results] == [r.training.epochs for r in results]


def test_a_rule_s_penalty_is_in_every_stage() -> None:
    def weights(rule: Rule) -> list[list[bytes]]:
        return [bits(result.learner.model) for result in run_stages(STREAM, rule, TASK, CONFIG, seed=0)]

    assert weights(L2Init(l2=0.0)) == weights(Warm())
    start = TASK.fresh(torch_stream(0, "init", 1)).model.get_parameter("0.weight").detach()
    far = run(Warm())[-1].learner.model.get_parameter("0.weight").detach() - start
    for result in run_stages(STREAM, L2Init(l2=1.0, form="textbook"), TASK, CONFIG, seed=0):
        near = result.learner.model.get_parameter("0.weight").detach() - start
        assert 3 * float(near.norm()) < float(far.norm()), result.stage
