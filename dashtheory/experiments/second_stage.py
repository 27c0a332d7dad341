"""The second stage of a run, from a learner that has had its first elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Callable

from dashtheory.evaluate import Scores
from dashtheory.protocol import Task, TrainConfig, Training, context_of_stage, train_with_rule
from dashtheory.rules import Context, Learner, Rule, RuleState
from dashtheory.seeds import torch_stream, torch_streams
from dashtheory.stream import Examples


def copy_of(learner: Learner) -> Learner:
    """A copy of model and optimizer that belong together."""
    return Learner(*copy.deepcopy((learner.model, learner.optimizer)))


def second_stage(
    learner: Learner,
    rule: Rule,
    chunks: tuple[Examples, ...],
    examples: Examples,
    task: Task,
    config: TrainConfig,
    seed: int,
    *,
    after_rule: Callable[[Learner], None] | None = None,
    on_epoch: Callable[[Learner, int], None] | None = None,
) -> tuple[Learner, Training, RuleState]:
    """Let a rule act on a copy of a learner, and train that, with the streams of stage 2.

    Args:
        learner: that has had its first stage; unchanged.
        rule: which began with the run's first weights.
        chunks: that the rule may look at, oldest first.
        examples: that are trained on.
        task: what is trained.
        config: of the stage.
        seed: root seed.
        after_rule: told the learner right after the rule.
        on_epoch: told the learner and the epochs done.

    Returns:
        the learner, what its training took, and what the rule remembers.

    Raises:
        ValueError: as the rule and `dashtheory.protocol.train`.
    """
    state = rule.start(task.fresh(torch_stream(seed, "init", 1)))

    def context(moment: str) -> Context:
        return context_of_stage(chunks, task, seed, 2, state, moment=moment, batch_size=config.batch_size)

    mine, _ = rule.apply(copy_of(learner), context("perturbation"))
    if after_rule is not None:
        after_rule(mine)

    def told(epoch: int, scores: Scores) -> None:
        if on_epoch is not None:
            on_epoch(mine, epoch)

    training, state = train_with_rule(
        rule, mine, examples, task, config, torch_streams(seed, 2), context, on_epoch=told
    )
    return mine, training, state
