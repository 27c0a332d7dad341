"""A stage that is under way: what it needs to go on after some of its epochs as if it had never stopped.

A stage of hours must not begin anew because the call ended. On going on, all that comes before its first epoch is
done again (the weights of the stage before, the rule, the measures at the start: all of it is made from named
streams, and costs no training); then weights, optimizer and the streams that training draws from are put as they
were. A rule that acts in the loss or after steps may hold what no state dict does: its stages are not kept in
parts. Nor is one in which training changes what no state dict holds (`dashtheory.protocol.outside`).
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dashtheory._check import fail
from dashtheory.errors import DamagedFile
from dashtheory.evaluate import Scores
from dashtheory.protocol.checkpoint import Checkpoints
from dashtheory.protocol.outside import changed_in, hooked, remembered_by
from dashtheory.protocol.sealed import seal, split, states_of, write_sealed
from dashtheory.rules import Learner, Rule, moments_of

FORMAT = "dashtheory part of a stage 1"
PAUSE = 600.0
"""Seconds between two times at which the stage under way is kept."""

_WHAT = "partial checkpoint"
_MEND = "Delete it; the stage begins again."
_WANTED = frozenset(
    {"format", "identity", "stage", "epochs", "scores", "measured", "seconds", "random", "numpy", "origin"}
    | {"length", "sha256", "seal"}
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A partial checkpoint: a stage after some of its epochs.

    Attributes:
        stage: from 1.
        epochs: that are done.
        scores: of the last of them.
        measured: numbers of `Measures` so far, by name.
        seconds: of training so far.
        model: state dict.
        optimizer: state dict.
        streams: states of the stage's CPU streams, by name.
        globals: states of torch's own streams, by device ("cpu", "cuda").
        random: state of Python's own stream.
        numpy: state of numpy's own stream.
        path: of its file.
    """

    stage: int
    epochs: int
    scores: Scores
    measured: Mapping[str, float]
    seconds: float
    model: dict[str, Any]
    optimizer: dict[str, Any]
    streams: Mapping[str, Tensor] = field(default_factory=dict)
    globals: Mapping[str, Tensor] = field(default_factory=dict)
    random: Any = None
    numpy: Any = None
    path: Path | None = None

    def restore(self, learner: Learner, streams: Mapping[str, torch.Generator], device: str = "cpu") -> None:
        """Put a learner, as it is before the first epoch, and all streams as they were.

        Args:
            learner: changed in place.
            streams: of the stage, changed in place too.
            device: where it is trained.

        Raises:
            ValueError: if the states do not fit.
        """
        try:
            learner.model.load_state_dict(self.model)
            learner.optimizer.load_state_dict(self.optimizer)
        except (RuntimeError, ValueError, KeyError) as error:
            said = str(error).split("\n", 1)[0]
            fail(_WHAT, "must fit the model and optimizer", f"'{self.path}' ({said})", _MEND)
        for name, generator in streams.items():
            generator.set_state(self.streams[name])
        torch.set_rng_state(self.globals["cpu"])
        if "cuda" in self.globals and torch.device(device).type == "cuda":
            torch.cuda.set_rng_state(self.globals["cuda"], device)
        random.setstate(self.random)
        np.random.set_state(self.numpy)  # noqa: NPY002


class Pause:
    """When a stage under way is kept: every so many seconds.

    Args:
        seconds: between two times.
        clock: seconds that only grow.
    """

    def __init__(self, seconds: float = PAUSE, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self.clock, self.last = seconds, clock, clock()

    def is_due(self) -> bool:
        """Whether it is to be kept now; then the time begins anew. Asked after every epoch."""
        now = self.clock()
        due = now - self.last >= self.seconds
        if due:
            self.last = now
        return due

    def goes_on(self, seconds: float) -> None:
        """Told that a stage goes on which has taken so many seconds in earlier calls."""

    def cannot(self) -> None:
        """Told that the stage was due, but cannot be kept."""


class Parts:
    """The partial checkpoints of a run, one file for a stage that is under way.

    Args:
        checkpoints: of the run.
        pause: says when to keep the stage as it is.
        origin: hashes of what the run began with; a part of another is not gone on with.
        on_problem: told of a part that had to be passed over.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        pause: Pause,
        origin: Mapping[str, str] | None = None,
        on_problem: Callable[[str], None] | None = None,
    ) -> None:
        self.checkpoints, self.pause, self.on_problem = checkpoints, pause, on_problem
        self._told = False
        self.origin = dict(origin or {})

    def path(self, stage: int) -> Path:
        """File of the part of a stage."""
        return self.checkpoints.folder / f"stage-{stage:04d}.part"

    def save(self, part: Part) -> None:
        """Write a part atomically, in the place of the one before.

        Raises:
            OSError: if it cannot be written.
        """
        numpy = {**part.numpy["state"], **{name: one for name, one in part.numpy.items() if name != "state"}}
        head = {
            "format": FORMAT,
            "identity": self.checkpoints.identity,
            "stage": part.stage,
            "epochs": part.epochs,
            "scores": [float(part.scores.loss).hex(), float(part.scores.accuracy).hex()],
            "measured": {name: float(value).hex() for name, value in part.measured.items()},
            "seconds": part.seconds,
            "random": part.random,
            "numpy": {**numpy, "key": numpy["key"].tolist()},
            "origin": self.origin,
        }
        states = {"model": part.model, "optimizer": part.optimizer}
        streams = {"streams": dict(part.streams), "globals": dict(part.globals)}
        write_sealed(self.path(part.stage), head, {**states, **streams})

    def load(self, stage: int) -> Part | None:
        """The part of a stage, or None if there is none that this run can go on with; why is told."""
        path = self.path(stage)
        if not path.exists():
            return None
        try:
            return self._read(path, stage)
        except DamagedFile as error:
            if self.on_problem is not None:
                self.on_problem(str(error))
            return None

    def _read(self, path: Path, stage: int) -> Part:
        line, body = split(path, _WHAT, _MEND)
        head = _head(line, path)
        if head["identity"] != self.checkpoints.identity or head["stage"] != stage:
            fail(_WHAT, "must be of this run and stage", f"'{path}' of another", _MEND, error=DamagedFile)
        if any(head["origin"].get(name, one) != one for name, one in self.origin.items()):
            fail(_WHAT, "must be of a run that began with the same bits", f"'{path}'", _MEND, error=DamagedFile)
        states = states_of(body, head, path, _WHAT, _MEND)
        version, words, gauss = head["random"]
        numpy = dict(head["numpy"])
        key = np.array(numpy.pop("key"), dtype=np.uint32)
        state = {"key": key, "pos": numpy.pop("pos")}
        return Part(
            stage=stage,
            epochs=head["epochs"],
            scores=Scores(loss=float.fromhex(head["scores"][0]), accuracy=float.fromhex(head["scores"][1])),
            measured={name: float.fromhex(value) for name, value in head["measured"].items()},
            seconds=head["seconds"],
            random=(version, tuple(words), gauss),
            numpy={**numpy, "state": state},
            path=path,
            **states,
        )

    def refuse(self, stage: int, why: Sequence[str]) -> None:
        """Tell, once, that a stage cannot be kept."""
        self.pause.cannot()
        if self.on_problem is not None and not self._told:
            self.on_problem(
                f"stage {stage} is not kept while it is under way: {', '.join(why)} outside state_dict"
            )
        self._told = True

    def drop_but(self, stages: Collection[int]) -> None:
        """Remove all parts but those of some stages, and what killed calls have left of any."""
        kept = {self.path(stage) for stage in stages}
        for path in (
            *self.checkpoints.folder.glob("stage-*.part"),
            *self.checkpoints.folder.glob(".stage-*.part"),
        ):
            if path not in kept:
                path.unlink(missing_ok=True)


class Keeper:
    """Keeps one stage while it is trained.

    Args:
        parts: of the run; None keeps nothing.
        rule: of the run; nothing is kept of one that acts in the loss or after steps.
        stage: from 1.
        learner: before its first epoch.
        stream: makes the streams of the stage by name.
        device: where it is trained.
        others: what takes part in training beside the learner, by name.
    """

    def __init__(
        self,
        parts: Parts | None,
        rule: Rule,
        stage: int,
        learner: Learner,
        stream: Callable[[str], torch.Generator],
        device: str = "cpu",
        others: Mapping[str, object] | None = None,
    ) -> None:
        parts = parts if can_be_parted(rule) else None
        self.parts, self.stage, self.learner, self.device = parts, stage, learner, device
        self.begun = None if parts is None else parts.load(stage)
        self._made: dict[str, torch.Generator] = {}
        self._others = dict(others or {})
        self._hooks = [] if parts is None else hooked(learner)
        self._before = {} if parts is None else remembered_by(learner, self._others)
        if parts is not None and self.begun is not None:
            parts.pause.goes_on(self.begun.seconds)
        self._stream, self._since = stream, time.perf_counter()

    def stream(self, name: str) -> torch.Generator:
        """The stream of a name: the same one whenever it is asked for, so that its state can be kept."""
        if name not in self._made:
            self._made[name] = self._stream(name)
        return self._made[name]

    @property
    def measured(self) -> Mapping[str, float]:
        """Numbers of earlier calls."""
        return self.begun.measured if self.begun else {}

    @property
    def seconds(self) -> float:
        """Of training, in earlier calls and in this one."""
        return (self.begun.seconds if self.begun else 0.0) + time.perf_counter() - self._since

    def after_epoch(self, epochs: int, scores: Scores, measured: Mapping[str, float]) -> None:
        """Keep the stage, if it is due and all of it can be.

        Args:
            epochs: that are done.
            scores: of the last of them.
            measured: numbers so far.
        """
        if self.parts is None or not self.parts.pause.is_due():
            return
        why = self._hooks or changed_in(self._before, remembered_by(self.learner, self._others))
        if why:
            self.parts.refuse(self.stage, why)
        else:
            self.parts.save(self._part(epochs, scores, measured))

    def _part(self, epochs: int, scores: Scores, measured: Mapping[str, float]) -> Part:
        """What there is between two epochs; the tensors are those of the learner, not copies."""
        states = {"cpu": torch.get_rng_state()}
        if torch.device(self.device).type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.device)
        return Part(
            stage=self.stage,
            epochs=epochs,
            scores=scores,
            measured=dict(measured),
            seconds=self.seconds,
            model=self.learner.model.state_dict(),
            optimizer=self.learner.optimizer.state_dict(),
            streams={name: generator.get_state() for name, generator in self._made.items()},
            globals=states,
            random=random.getstate(),
            numpy=np.random.get_state(legacy=False),  # noqa: NPY002
        )


def can_be_parted(rule: Rule) -> bool:
    """Whether a stage of a rule can go on after some of its epochs: whether it leaves loss and steps alone."""
    return not {"loss", "steps"} & set(moments_of(rule))


def _head(line: bytes, path: Path) -> dict[str, Any]:
    """The first line of a file, or `DamagedFile`."""
    try:
        head = json.loads(line)
    except ValueError:
        head = None
    if (
        not isinstance(head, dict)
        or set(head) != _WANTED
        or head["format"] != FORMAT
        or head["seal"] != seal(head)
    ):
        fail(_WHAT, f"must be a whole file of '{FORMAT}'", f"'{path}', which is not", _MEND, error=DamagedFile)
    return head
