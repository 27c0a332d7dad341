"""The warm-start protocol: at stage j, apply the rule, train on chunks 1..j to a criterion, and measure.

The same loop serves every network and every stream. All randomness comes from named streams of one root seed, so
that within a seed every rule sees the same data, the same first initialisation and the same order of examples.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from dashtheory._check import fail
from dashtheory._door import door
from dashtheory.errors import Diverged
from dashtheory.evaluate import Scores, cross_entropy, evaluate
from dashtheory.protocol.checkpoint import Checkpoint
from dashtheory.protocol.engine import Augmentation, MakeEngine, PlainEngine
from dashtheory.protocol.measures import bytes_kept, measure_after_epoch, measure_at_end, measure_at_start
from dashtheory.protocol.part import Keeper, Part, Parts
from dashtheory.protocol.settings import Measures, Schedule, TrainConfig
from dashtheory.protocol.training import Training, train
from dashtheory.rules import AfterStep, BatchPenalty, Context, Learner, Rule, RuleState, ShrinkReport
from dashtheory.scoring import ScoreChoice, checked_score
from dashtheory.seeds import seeded_globals, torch_stream, torch_streams
from dashtheory.stream import Examples, Stream, join


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is trained.

    Attributes:
        make_model: builds a model, its initialisation drawn from the generator given. (A factory that draws from
            torch's global stream instead is as reproducible: that stream is seeded for the call and put back.)
        make_optimizer: builds the optimizer of a model's parameters.
        loss_fn: mean loss of (logits, targets).
        score: what is right and what counts (`dashtheory.scoring`): a name, a function
            `score(output, target) -> (right, counted)`, or None where loss and shapes leave one way.
        device: where the model and the examples live.
        make_engine: how epochs are trained (`dashtheory.protocol.engine`).
        schedule: of the step size within a stage, or None.
        augmentation: of training inputs, or None; rules see the inputs as they are.
        rule: whose network and optimizer take the place of those above, if it has any (`with_rule`).
    """

    make_model: Callable[[torch.Generator], nn.Module]
    make_optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    loss_fn: Callable[[Tensor, Tensor], Tensor] = cross_entropy
    score: ScoreChoice = None
    device: str = "cpu"
    make_engine: MakeEngine = PlainEngine
    schedule: Schedule | None = None
    augmentation: Augmentation | None = None
    rule: Rule | None = None

    def __post_init__(self) -> None:
        checked_score(self.score)

    def fresh(self, generator: torch.Generator) -> Learner:
        """Build a learner from an initialisation stream."""
        model = self.fresh_model(generator)
        return Learner(model, self.fresh_optimizer(model))

    def fresh_model(self, generator: torch.Generator) -> nn.Module:
        """Build a model from an initialisation stream."""
        with global_stream(generator, self.device):
            model = self.make_model(generator)
            return (model if self.rule is None else self.rule.adapted(model, generator)).to(self.device)

    def fresh_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Build an optimizer of a model."""
        other = None if self.rule is None else self.rule.optimizer_for(model, self.make_optimizer)
        return self.make_optimizer(model.parameters()) if other is None else other

    def beside_learner(self) -> dict[str, object]:
        """What takes part in training beside the learner, by name; it may remember what it has seen."""
        return {name: getattr(self, name) for name in ("rule", "loss_fn", "score", "augmentation", "schedule")}

    def with_rule(self, rule: Rule) -> Task:
        """The same with the network and the optimizer of a rule, if it has any; those of one before are let go."""
        return replace(self, rule=rule)


@dataclass(frozen=True, kw_only=True, eq=False)
class StageResult:
    """What a stage ended with.

    Attributes:
        stage: 1, 2, ..., J.
        training: status, steps, epochs, last epoch's means.
        test: scores on the test set.
        shrink: report of the rule that came before the stage, if it gives one.
        learner: the learner at the end of the stage; the next stage goes on with it, so do not change it.
        state: what the rule remembers at the end of the stage (`Rule.finish`).
        measured: numbers of `Measures`, by name; empty without.
    """

    stage: int
    training: Training
    test: Scores
    shrink: ShrinkReport | None
    learner: Learner
    state: RuleState = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict)

    def metrics(self) -> dict[str, float]:
        """The stage's numbers, by the names used in the tidy table; no accuracy of a regression."""
        found = {
            "test_loss": self.test.loss,
            "test_accuracy": self.test.accuracy,
            "train_loss": self.training.last_epoch.loss,
            "train_accuracy": self.training.last_epoch.accuracy,
            "steps": float(self.training.steps),
            "epochs": float(self.training.epochs),
            "converged": float(self.training.status != "epoch_cap"),
        }
        if self.shrink is not None:
            found["mean_scale"] = self.shrink.mean_scale
            found["share_clamped"] = self.shrink.share_clamped
        found |= self.measured
        return {name: value for name, value in found.items() if "accuracy" not in name or not math.isnan(value)}


@door()
def train_stage(
    learner: Learner,
    examples: Examples,
    task: Task,
    config: TrainConfig,
    stream: Callable[[str], torch.Generator],
    *,
    on_epoch: Callable[[int, Scores], None] | None = None,
    penalty: Callable[[], Tensor] | None = None,
    batch_penalty: BatchPenalty | None = None,
    after_step: AfterStep | None = None,
    begun: Part | None = None,
) -> Training:
    """Train a learner in one stage: order of examples, layers that draw and augmentation get their streams here.

    Args:
        learner: trained in place.
        examples: all data of the stage, on `task.device`.
        task: what is trained.
        config: batch size and criterion.
        stream: makes the CPU streams "order", "layers" (dropout and the like) and "augmentation" by name.
        on_epoch: as in `train`.
        penalty: as in `train`.
        batch_penalty: as in `train`.
        after_step: as in `train`.
        begun: the same stage after some of its epochs, from which it goes on.

    Returns:
        `Training`.

    Raises:
        ValueError: as `train`, or if a part does not fit.
    """
    order, draws = stream("order"), stream("augmentation")
    with global_stream(stream("layers"), task.device):
        if begun is not None:
            begun.restore(learner, {"order": order, "augmentation": draws}, task.device)
        return train(
            learner,
            examples,
            config,
            order,
            loss_fn=task.loss_fn,
            score=task.score,
            on_epoch=on_epoch,
            penalty=penalty,
            make_engine=task.make_engine,
            schedule=task.schedule,
            augmentation=task.augmentation,
            draws=draws,
            batch_penalty=batch_penalty,
            after_step=after_step,
            begun=None if begun is None else (begun.epochs, begun.scores),
        )


def train_with_rule(
    rule: Rule,
    learner: Learner,
    examples: Examples,
    task: Task,
    config: TrainConfig,
    stream: Callable[[str], torch.Generator],
    context: Callable[[str], Context],
    *,
    on_epoch: Callable[[int, Scores], None] | None = None,
    begun: Part | None = None,
) -> tuple[Training, RuleState]:
    """Train a learner in one stage with what the rule does meanwhile.

    Args:
        rule: whose penalties and hooks are taken.
        learner: as in `train_stage`.
        examples: as in `train_stage`.
        task: as in `train_stage`.
        config: as in `train_stage`.
        stream: as in `train_stage`.
        context: what the rule may use, by the name of its stream: "loss", "steps" and "finish".
        on_epoch: as in `train_stage`.
        begun: as in `train_stage`; for a rule that leaves loss and steps alone.

    Returns:
        `Training`, and what the rule remembers from then on.

    Raises:
        ValueError: as `train`.
    """
    training = train_stage(
        learner,
        examples,
        task,
        config,
        stream,
        on_epoch=on_epoch,
        penalty=rule.penalty(learner.model, context("loss").state),
        batch_penalty=rule.batch_penalty(learner.model, context("loss")),
        after_step=rule.after_step(learner, context("steps")),
        begun=begun,
    )
    return training, rule.finish(learner, context("finish"))


@door()
def run_stages(
    stream: Stream,
    rule: Rule,
    task: Task,
    config: TrainConfig,
    *,
    seed: int,
    on_epoch: Callable[[int, int, Scores], None] | None = None,
    measures: Measures | None = None,
    noisy: Sequence[Tensor] = (),
    resume: Checkpoint | None = None,
    only: Collection[int] | None = None,
    parts: Parts | None = None,
) -> Iterator[StageResult]:
    """Run the protocol and yield each stage as it ends.

    Args:
        stream: chunks, test set, and which of the chunks a stage sees.
        rule: applied before every stage from the second on; its penalty, if any, holds in every stage.
        task: model, optimizer, loss.
        config: batch size and criterion of every stage.
        seed: root seed of the streams "init", "order", "layers" (dropout and the like), "augmentation",
            "perturbation", "loss", "steps" and "finish" (the last four of the rule), each with the stage as its
            index.
        on_epoch: told the stage, the epochs done and their last scores; must not touch the run.
        measures: what to measure beside the scores; taken on copies, so that the run stays the same to the bit.
        noisy: per chunk a bool tensor, which of its labels are wrong, for the measures that ask for it.
        resume: goes on after the stage of this checkpoint of the same run, as if it had never stopped.
        only: run these stages alone, with the numbers that they have among all; for rules that start `anew`.
        parts: keeps a stage under way, and goes on with one that was; only for rules that leave loss and steps
            alone.

    Yields:
        one `StageResult` per chunk (that `resume` has not seen).

    Raises:
        dashtheory.errors.Diverged: if a training loss, the test loss after a stage, or what DASH looks at is NaN
            or infinite.
        ValueError: if a checkpoint does not fit, or gradients are switched off.
    """
    if not torch.is_grad_enabled():
        fail("run_stages", "must be able to take gradients", "torch.no_grad or inference_mode", "Leave it before.")
    if only is not None and not rule.anew:
        fail("only", "must be None for a rule that goes on from the stage before", f"{only}", "Run all stages.")
    stream, task = stream.to(task.device), task.with_rule(rule)
    chunks, test = stream.chunks, stream.test
    learner = task.fresh(torch_stream(seed, "init", 1))
    with global_stream(torch_stream(seed, "rule", 1), task.device):
        state = rule.start(learner)
    if resume is not None:
        state = {name: tensor.to(task.device) for name, tensor in resume.rule.items()}
        learner = rule.rebuild(learner, state)
        resume.restore(learner)
    for stage in range(1 if resume is None else resume.stage + 1, len(chunks) + 1):
        if only is not None and stage not in only:
            continue
        report, seen, wrong = None, stream.at(stage, chunks), stream.at(stage, noisy)
        context = _contexts(seen, task, config, seed, stage, state)
        started = time.perf_counter()
        if stage > 1:
            with global_stream(torch_stream(seed, "rule", stage), task.device):
                learner, report = rule.apply(learner, context("perturbation"))
        rule_seconds = time.perf_counter() - started
        measured = {}
        if measures is not None:
            with global_stream(torch_stream(seed, "measures", stage), task.device):
                measured = measure_at_start(
                    measures, learner.model, seen, task.loss_fn, wrong, learner.optimizer, score=task.score
                )
        streams = torch_streams(seed, stage)
        keeper = Keeper(parts, rule, stage, learner, streams, task.device, task.beside_learner())
        measured |= keeper.measured
        training, state = train_with_rule(
            rule,
            learner,
            join(seen),
            task,
            config,
            keeper.stream,
            context,
            on_epoch=_each_epoch(on_epoch, stage, learner, seen, task, measures, measured, keeper),
            begun=keeper.begun,
        )
        train_seconds = keeper.seconds
        with global_stream(torch_stream(seed, "test", stage), task.device):
            scores = evaluate(rule.evaluated(learner.model, state), test, loss_fn=task.loss_fn, score=task.score)
        if not math.isfinite(scores.loss):
            fail(
                "loss",
                "must be finite on the test set",
                f"{scores.loss} after stage {stage}",
                "Train more slowly.",
                error=Diverged,
            )
        if measures is not None:
            with global_stream(torch_stream(seed, "measures", stage), task.device):
                measured |= measure_at_end(
                    measures, learner.model, seen, test, task.loss_fn, wrong, learner.optimizer, score=task.score
                )
            seconds = {"rule_seconds": rule_seconds, "train_seconds": train_seconds}
            measured |= _of_the_run(measures, learner, state, seconds)
        yield StageResult(
            stage=stage,
            training=training,
            test=scores,
            shrink=report,
            learner=learner,
            state=state,
            measured=measured,
        )


def _of_the_run(
    measures: Measures, learner: Learner, state: RuleState, seconds: dict[str, float]
) -> dict[str, float]:
    """What a stage costs beside its steps, if that is asked for."""
    kept = bytes_kept(learner.optimizer, state) if measures.memory else {}
    return {**(seconds if measures.seconds else {}), **kept}


def context_of_stage(
    chunks: tuple[Examples, ...],
    task: Task,
    seed: int,
    stage: int,
    state: RuleState,
    *,
    moment: str = "perturbation",
    batch_size: int = 128,
) -> Context:
    """What a rule may use in a stage of a run.

    Args:
        chunks: of the stage, the newest last.
        task: of the run, with its rule (`Task.with_rule`).
        seed: of the run.
        stage: of the run.
        state: of `Rule.start`, or of `Rule.finish` of the stage before.
        moment: name of the rule's stream: "perturbation" before the stage; "loss", "steps", "finish".
        batch_size: examples per step.
    """
    return Context(
        chunks=lambda: ((chunk.inputs, chunk.targets) for chunk in chunks),
        loss_fn=task.loss_fn,
        fresh=lambda: task.fresh(torch_stream(seed, "init", stage)),
        generator=torch_stream(seed, moment, stage),
        renew=task.fresh_optimizer,
        state=state,
        steps_per_epoch=-(-sum(map(len, chunks)) // batch_size),
        draw=task.fresh_model,
    )


def _contexts(
    chunks: tuple[Examples, ...], task: Task, config: TrainConfig, seed: int, stage: int, state: RuleState
) -> Callable[[str], Context]:
    """What makes the contexts of a stage, by the name of the rule's stream."""
    size = config.batch_size
    return lambda moment: context_of_stage(chunks, task, seed, stage, state, moment=moment, batch_size=size)


@contextmanager
def global_stream(generator: torch.Generator, device: str) -> Iterator[None]:
    """Seed the global streams of torch, numpy and `random` from `generator` inside, and put them back after.

    Args:
        generator: left as it is.
        device: whose stream is seeded beside the CPU's.
    """
    cuda = [torch.device(device)] if torch.device(device).type == "cuda" else []
    value = int(torch.randint(2**62, (), generator=generator.clone_state()))
    with torch.random.fork_rng(devices=cuda), seeded_globals(value):
        torch.manual_seed(value)
        yield


def _each_epoch(
    on_epoch: Callable[[int, int, Scores], None] | None,
    stage: int,
    learner: Learner,
    chunks: tuple[Examples, ...],
    task: Task,
    measures: Measures | None,
    measured: dict[str, float],
    keeper: Keeper,
) -> Callable[[int, Scores], None]:
    """What happens after every epoch: followed measures go into `measured`, it is kept, and the caller is told."""

    def after(epoch: int, scores: Scores) -> None:
        if measures is not None:
            found = measure_after_epoch(measures, learner.model, chunks, epoch, task.loss_fn, score=task.score)
            measured.update(found)
        keeper.after_epoch(epoch, scores, measured)
        if on_epoch is not None:
            on_epoch(stage, epoch, scores)

    return after
