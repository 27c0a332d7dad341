"""What changes from task to task, and how a stream of tasks is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from dashtheory._check import choice, fail, integer, real
from dashtheory._spec import read_text, write_text
from dashtheory.rules.rule import OPTIMIZER_FATES

_PERMUTED = ("compose", "share", "blend")
KINDS: Mapping[str, tuple[str, ...]] = {
    "input_permuted": _PERMUTED,
    "label_permuted": _PERMUTED,
    "random_labels": (),
    "class_incremental": ("classes", "classes_per_task"),
    "two_class": (),
    "regression": ("flip", "bits", "noise_bits", "units", "beta"),
}
"""Kinds of change, with the options of `StreamConfig` that each has besides `num_tasks` and `task_size`."""
CLASSES, FLIPS, HEADS = ("cumulative", "new"), ("one", "all"), ("kept", "zeroed")
OPTIMIZERS = ("sgd", "adam")


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """A stream of short tasks.

    Attributes:
        kind: of `KINDS`.
            input_permuted: the positions of the inputs change places.
            label_permuted: the classes change names.
            random_labels: the same inputs in every task, labels drawn anew, uniform: memorisation.
            class_incremental: more classes, or others, from task to task.
            two_class: two classes at a time, told apart.
            regression: bits of which one flips between tasks (`dashtheory.streams.regression`).
        num_tasks: tasks, >= 1.
        task_size: examples of a task (class_incremental: of what is new in it), as many of each class where
            classes come by task; 0: all that there are (by class: as many as the smallest has).
        compose: whether a permutation acts on the one before, or on the data as they are. If all places change the
            two have the same law; with a share below 1 composed tasks drift away, the others stay near the data.
        share: of the places that a permutation moves, in (0, 1].
        blend: share of a task over which it passes gradually into its own form, in [0, 1]: inputs are mixed, a
            label is of the new task with a chance that grows. 0: at once.
        classes: "cumulative" (all so far) or "new" (those of the task alone).
        classes_per_task: that come with a task; their order is drawn.
        flip: "one" bit between tasks, or "all" drawn anew.
        bits: that stay through a task, >= 1.
        noise_bits: drawn anew for every example.
        units: threshold units of the target.
        beta: share of the inputs that must fit for a unit to fire, in (0, 1].

    Raises:
        ValueError: if a value is out of range, or an option is not of this kind.
    """

    kind: str = "input_permuted"
    num_tasks: int = 50
    task_size: int = 0
    compose: bool = True
    share: float = 1.0
    blend: float = 0.0
    classes: str = "cumulative"
    classes_per_task: int = 1
    flip: str = "one"
    bits: int = 15
    noise_bits: int = 5
    units: int = 100
    beta: float = 0.7

    def __post_init__(self) -> None:
        choice("kind", self.kind, KINDS)
        integer("num_tasks", self.num_tasks, minimum=1, fix="It is the length of the stream.")
        integer("task_size", self.task_size, minimum=0, fix="0 takes all that there are.")
        if not isinstance(self.compose, bool):
            fail("compose", "must be True or False", repr(self.compose), "Say which.")
        real("share", self.share, low=0, high=1, open_low=True, fix="1 lets all places move.")
        real("blend", self.blend, low=0, high=1, fix="0 changes at once.")
        choice("classes", self.classes, CLASSES)
        choice("flip", self.flip, FLIPS)
        for name in ("classes_per_task", "bits", "units"):
            integer(name, getattr(self, name), minimum=1, fix="It is a number of things.")
        integer("noise_bits", self.noise_bits, minimum=0, fix="It is a number of inputs.")
        real("beta", self.beta, low=0, high=1, open_low=True, fix="0.7 is usual.")
        self._only_its_own()
        if self.kind == "regression" and not self.task_size:
            fail("task_size", "must be given for regression", "0", "Its examples are drawn: say how many.")

    def _only_its_own(self) -> None:
        known = {"kind", "num_tasks", "task_size", *KINDS[self.kind]}
        for one in fields(self):
            if one.name not in known and getattr(self, one.name) != one.default:
                rule = f"must be left alone for {self.kind}, which has {', '.join(KINDS[self.kind]) or 'none'}"
                fail(one.name, rule, repr(getattr(self, one.name)), "It changes nothing there.")

    @property
    def is_regression(self) -> bool:
        """Whether targets are numbers."""
        return self.kind == "regression"

    @property
    def text(self) -> str:
        """As `read_stream` reads it: the kind and what is not as usual."""
        changed = {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if one.name != "kind" and getattr(self, one.name) != one.default
        }
        return write_text(self.kind, changed)


@dataclass(frozen=True, kw_only=True)
class StreamTraining:
    """How every task of a stream is trained, and the network: linear layers with ReLUs between them.

    Attributes:
        widths: of the hidden layers; at least one.
        optimizer: "sgd" or "adam".
        learning_rate: > 0.
        momentum: of sgd, in [0, 1).
        batch_size: examples per step; a last short batch is trained on too.
        epochs: passes over a task. In the first, examples come in the order of the task, in later ones in an order
            that is drawn. 1: online.
        task_optimizer: "kept" between tasks, or "renewed".
        head: what becomes of the last layer between tasks: "kept", or "zeroed" (Dohare et al., continual
            ImageNet), for twins at their beginning too.
        replay: finished tasks whose data a rule takes its gradient over, the newest last; 1: the task just
            finished.
        probe: examples on which units and ranks are measured at the end of a task; 0: they are not.
        probe_every: tasks from one such measurement to the next; the first and the last task are always measured.

    Raises:
        ValueError: if a value is out of range.
    """

    widths: tuple[int, ...] = (100, 100)
    optimizer: str = "adam"
    learning_rate: float = 0.001
    momentum: float = 0.0
    batch_size: int = 16
    epochs: int = 1
    task_optimizer: str = "kept"
    head: str = "kept"
    replay: int = 1
    probe: int = 200
    probe_every: int = 1

    def __post_init__(self) -> None:
        choice("optimizer", self.optimizer, OPTIMIZERS)
        choice("task_optimizer", self.task_optimizer, OPTIMIZER_FATES)
        choice("head", self.head, HEADS)
        real("learning_rate", self.learning_rate, low=0, open_low=True, fix="0.001 is usual for adam.")
        real("momentum", self.momentum, low=0, high=1, fix="0.9 is usual.")
        if self.momentum == 1 or (self.momentum and self.optimizer != "sgd"):
            fail("momentum", "must be below 1, and 0 but for sgd", str(self.momentum), "Adam has its own.")
        for name in ("batch_size", "epochs", "replay", "probe_every"):
            integer(name, getattr(self, name), minimum=1, fix="It is a number of things.")
        integer("probe", self.probe, minimum=0, fix="0 measures nothing.")
        if not isinstance(self.widths, tuple) or not self.widths:
            fail("widths", "must be a tuple of one size or more", repr(self.widths), "Two layers: (100, 100).")
        for width in self.widths:
            integer("widths", width, minimum=1, fix="It lists the sizes of hidden layers.")
        if 0 < self.probe < self.widths[-1]:
            rule = f"must be 0 or at least the width of the last hidden layer, {self.widths[-1]}"
            fail("probe", rule, str(self.probe), "A rank cannot exceed the number of examples.")


_OF_TRAINING = tuple(one.name for one in fields(StreamTraining))


def read_stream(text: str, training: StreamTraining) -> tuple[StreamConfig, StreamTraining]:
    """A stream as written on a command line, "random_labels:task_size=300:epochs=20".

    Args:
        text: a kind, and options of `StreamConfig` or of `StreamTraining`.
        training: whose values hold where the text has none.

    Raises:
        ValueError: in one line if it has no such kind or option, or a value does not fit.
    """
    read = read_text(text, KINDS, argument="streams")
    own = {"num_tasks", "task_size", *KINDS[read.name]}
    for name in read.options:
        if name not in own and name not in _OF_TRAINING:
            known = ", ".join([*sorted(own), *_OF_TRAINING])
            fail("streams", f"may have for {read.name} {known}", repr(name), "Drop it.")
    ours = {name: value for name, value in read.options.items() if name in own}
    theirs = {name: value for name, value in read.options.items() if name not in own}
    if isinstance(theirs.get("widths"), int):
        theirs["widths"] = (theirs["widths"],)
    kept = {name: getattr(training, name) for name in _OF_TRAINING}
    config, made = StreamConfig(kind=read.name, **ours), StreamTraining(**{**kept, **theirs})
    if config.blend and made.epochs > 1:
        fail("blend", "must be 0 with several epochs", str(config.blend), "A change is gradual in one pass.")
    return config, made
