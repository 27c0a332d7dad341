"""What is chosen of a protocol: when a stage ends, how the step size moves, what is measured.

These are numbers and words alone: nothing here needs torch, so that a command line can check them at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from dashtheory._check import choice, fail, integer, real
from dashtheory._nested import check_kinds

CRITERIA = ("loss", "accuracy", "epochs")
PRECISIONS = ("float32", "tf32", "bfloat16")
"""Arithmetic of the forward and backward pass; weights and their gradients are float32 in all of them."""
HELD_OUT = 5
"""One example in so many is held out where an option is tuned (`dashtheory.protocol.tuning`)."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a stage is trained, and when it ends.

    Raises:
        ValueError: if a value is out of range.
    """

    batch_size: int = field(default=128, metadata={"help": "examples per step; a smaller last batch is kept"})
    criterion: str = field(
        default="accuracy",
        metadata={
            "help": "what must reach the threshold: loss, accuracy; epochs: nothing, all max_epochs are run"
        },
    )
    threshold: float = field(
        default=0.999, metadata={"help": "of the epoch's mean (loss in nats; accuracy 0 to 1)"}
    )
    max_epochs: int = field(default=1000, metadata={"help": "epochs after which a stage ends unconverged"})

    def __post_init__(self) -> None:
        integer("batch_size", self.batch_size, minimum=1, fix="It counts examples.")
        integer("max_epochs", self.max_epochs, minimum=1, fix="It counts epochs.")
        choice("criterion", self.criterion, CRITERIA)
        real(
            "threshold",
            self.threshold,
            low=0,
            high=float("inf") if self.criterion == "loss" else 1,
            fix="Accuracies are fractions; losses are in nats.",
        )


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Step sizes within a stage, as factors of the optimizer's own.

        factor = decay ** (milestones that have passed), times t / steps of the warm-up in the t-th step of it
        and, after the warm-up, times (1 + cos(pi u)) / 2, u the share of the steps up to the end of `anneal`
        epochs that lie behind the step

    Attributes:
        milestones: epochs (counted from 1) after which the step size falls.
        decay: the factor of each fall.
        warmup_epochs: epochs over which it first rises linearly, step by step.
        anneal: epochs, those of the warm-up included, at whose end it has fallen to 0 along half a cosine; 0:
            none.

    Raises:
        ValueError: if a value is out of range or the milestones do not rise.
    """

    milestones: tuple[int, ...] = field(default=(), metadata={"help": "epochs after which the step size falls"})
    decay: float = field(default=0.2, metadata={"help": "factor of each fall"})
    warmup_epochs: int = field(default=0, metadata={"help": "epochs over which the step size first rises"})
    anneal: int = field(default=0, metadata={"help": "epochs over which it falls along a cosine", "neutral": 0})

    def __post_init__(self) -> None:
        for milestone in self.milestones:
            integer("milestones", milestone, minimum=1, fix="They are epochs, from 1.")
        if list(self.milestones) != sorted(set(self.milestones)):
            fail("milestones", "must rise", str(self.milestones), "Sort them, each once.")
        real("decay", self.decay, low=0, high=1, open_low=True, fix="The paper takes 0.2.")
        integer("warmup_epochs", self.warmup_epochs, minimum=0, fix="It counts epochs.")
        integer("anneal", self.anneal, minimum=0, fix="It counts epochs; 0 leaves the step size as it is.")
        if 0 < self.anneal <= self.warmup_epochs:
            got = f"{self.anneal} with a warm-up of {self.warmup_epochs}"
            fail("anneal", "must last longer than the warm-up", got, "It counts the epochs of both.")

    def factors(self, epoch: int, num_steps: int) -> list[float]:
        """Factors of the steps of an epoch.

        Args:
            epoch: from 1.
            num_steps: steps of every epoch of the stage.
        """
        fallen = self.decay ** sum(epoch > milestone for milestone in self.milestones)
        warm, done = num_steps * self.warmup_epochs, (epoch - 1) * num_steps
        if epoch <= self.warmup_epochs:
            return [fallen * (done + step) / warm for step in range(1, num_steps + 1)]
        if not self.anneal:
            return [fallen] * num_steps
        left = num_steps * self.anneal - warm
        behind = [min((done + step - warm) / left, 1) for step in range(num_steps)]
        return [fallen * (1 + math.cos(math.pi * share)) / 2 for share in behind]


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What is measured beside training and test scores (`dashtheory.protocol.measures` says how).

    Attributes:
        reestimate: test accuracy with batch-norm statistics re-estimated on the stage's training data.
        retention: training accuracy on the old chunks right after the rule, and after each of so many epochs of
            the stage (0: only right after the rule; -1: not at all).
        gradients: norm of the loss gradient on old, new and all data at the start of the stage.
        weights: norm of the shrinkable weights at the start and the end of the stage.
        effective_step: geometric mean over scale-invariant layers of step size over squared norm, at the start
            (after the rule) and the end of the stage (`dashtheory.measure.effective_step`).
        alignment: mean cosine of the groups of weights with the negative gradient on all data, at the start of the
            stage and after each of so many epochs (-1: not at all).
        canaries: share of the wrong labels, where it is known which they are, that are predicted as they stand.
        histograms: cosines of weights with descent are counted after every so many stages; 0: never.
        seconds: wall time of the rule and of the training of each stage, the only measure that differs from run to
            run: off by default, so that tables can be compared to the byte.
        memory: bytes that a run keeps from stage to stage beside its weights: the rule's and the optimizer's.

    Raises:
        ValueError: if a number is out of range.
    """

    reestimate: bool = field(
        default=True, metadata={"help": "test accuracy with re-estimated batch-norm statistics: yes or no"}
    )
    retention: int = field(default=0, metadata={"help": "epochs over which old accuracy is followed; -1: not"})
    gradients: bool = field(default=False, metadata={"help": "gradient norms on old, new and all data: yes or no"})
    weights: bool = field(default=True, metadata={"help": "norm of the weights: yes or no"})
    effective_step: bool = field(
        default=False,
        metadata={"help": "step size over squared norm of scale-invariant layers: yes or no", "neutral": False},
    )
    alignment: int = field(default=-1, metadata={"help": "epochs over which weight-descent cosines are followed"})
    canaries: bool = field(
        default=False, metadata={"help": "how many wrong labels are predicted as they stand: yes or no"}
    )
    histograms: int = field(
        default=0, metadata={"help": "cosines are counted after every so many stages; 0: never"}
    )
    seconds: bool = field(
        default=False,
        metadata={"help": "wall time of each stage (the table then differs in every run): yes or no"},
    )
    memory: bool = field(
        default=False,
        metadata={"help": "bytes that rule and optimizer keep from stage to stage: yes or no", "neutral": False},
    )

    def __post_init__(self) -> None:
        check_kinds(self)
        for name in ("retention", "alignment"):
            integer(name, getattr(self, name), minimum=-1, fix="It counts epochs; -1 leaves the measure out.")
        integer("histograms", self.histograms, minimum=0, fix="It counts stages; 0 leaves them out.")
