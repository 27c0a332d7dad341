"""The warm-start protocol: at stage j, apply the rule, train on chunks 1..j to a criterion, and measure.

The same loop serves every network and every stream. All randomness comes from named streams of one root seed, so
that within a seed every rule sees the same data, the same first initialisation and the same order of examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dashtheory._check import fail
from dashtheory.protocol.stream import Examples, Stream, join
from dashtheory.protocol.train import Scores, TrainConfig, Training, cross_entropy, evaluate, train
from dashtheory.seeds import torch_stream
from dashtheory.shrink import Between, Learner, Rule, ShrinkReport


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is trained.

    Attributes:
        make_model: builds a model, its initialisation drawn from the generator given. (A factory that draws from
            torch's global stream instead is as reproducible: that stream is seeded for the call and put back.)
        make_optimizer: builds the optimizer of a model's parameters.
        loss_fn: mean loss of (logits, targets).
        device: where the model and the examples live.
    """

    make_model: Callable[[torch.Generator], nn.Module]
    make_optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    loss_fn: Callable[[Tensor, Tensor], Tensor] = cross_entropy
    device: str = "cpu"

    def fresh(self, generator: torch.Generator) -> Learner:
        """Build a learner from an initialisation stream."""
        with _global_stream(generator, self.device):
            model = self.make_model(generator).to(self.device)
        return Learner(model, self.make_optimizer(model.parameters()))


@dataclass(frozen=True, kw_only=True, eq=False)
class StageResult:
    """What a stage ended with.

    Attributes:
        stage: 1, 2, ..., J. training: status, steps, epochs, last epoch's means. test: scores on the test set.
        shrink: report of the rule that came before the stage, if it gives one.
        learner: the learner at the end of the stage; the next stage goes on with it, so do not change it.
    """

    stage: int
    training: Training
    test: Scores
    shrink: ShrinkReport | None
    learner: Learner

    def metrics(self) -> dict[str, float]:
        """The stage's numbers, by the names used in the tidy table."""
        found = {
            "test_loss": self.test.loss,
            "test_accuracy": self.test.accuracy,
            "train_loss": self.training.last_epoch.loss,
            "train_accuracy": self.training.last_epoch.accuracy,
            "steps": float(self.training.steps),
            "epochs": float(self.training.epochs),
            "converged": float(self.training.status == "converged"),
        }
        if self.shrink is not None:
            found["mean_scale"] = self.shrink.mean_scale
            found["share_clamped"] = self.shrink.share_clamped
        return found


def run_stages(
    stream: Stream,
    rule: Rule,
    task: Task,
    config: TrainConfig,
    *,
    seed: int,
    on_epoch: Callable[[int, int, Scores], None] | None = None,
) -> Iterator[StageResult]:
    """Run the protocol and yield each stage as it ends.

    Args:
        stream: chunks and test set. rule: applied before every stage from the second on.
        task: model, optimizer, loss. config: batch size and criterion of every stage.
        seed: root seed of the streams "init", "order", "layers" (dropout and the like) and "perturbation", each
            with the stage as its index.
        on_epoch: told the stage, the epochs done and their last scores; must not touch the run.
    Yields: one `StageResult` per chunk.
    Raises: ValueError if a training loss, or the test loss after a stage, is NaN or infinite.
    """
    chunks = tuple(chunk.to(task.device) for chunk in stream.chunks)
    test = stream.test.to(task.device)
    learner = task.fresh(torch_stream(seed, "init", 1))
    for stage in range(1, len(chunks) + 1):
        report = None
        if stage > 1:
            learner, report = rule.apply(learner, _between(chunks[:stage], task, seed, stage))
        with _global_stream(torch_stream(seed, "layers", stage), task.device):
            training = train(
                learner,
                join(chunks[:stage]),
                config,
                torch_stream(seed, "order", stage),
                loss_fn=task.loss_fn,
                on_epoch=_with_stage(on_epoch, stage),
            )
        scores = evaluate(learner.model, test, loss_fn=task.loss_fn)
        if not math.isfinite(scores.loss):
            fail(
                "loss",
                "must be finite on the test set",
                f"{scores.loss} after stage {stage}",
                "Train more slowly.",
            )
        yield StageResult(stage=stage, training=training, test=scores, shrink=report, learner=learner)


def _between(chunks: tuple[Examples, ...], task: Task, seed: int, stage: int) -> Between:
    return Between(
        chunks=lambda: ((chunk.inputs, chunk.targets) for chunk in chunks),
        loss_fn=task.loss_fn,
        fresh=lambda: task.fresh(torch_stream(seed, "init", stage)),
        generator=torch_stream(seed, "perturbation", stage),
    )


@contextmanager
def _global_stream(generator: torch.Generator, device: str) -> Iterator[None]:
    """Seed torch's global streams (the CPU's and `device`'s) from `generator` inside, and put them back after."""
    cuda = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator.clone_state())))
        yield


def _with_stage(
    on_epoch: Callable[[int, int, Scores], None] | None, stage: int
) -> Callable[[int, Scores], None] | None:
    if on_epoch is None:
        return None
    return lambda epoch, scores: on_epoch(stage, epoch, scores)
