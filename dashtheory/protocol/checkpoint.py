"""Checkpoints: everything that a run needs to go on after a stage as if it had never stopped.

All random streams of the protocol are named by seed and stage (`dashtheory.seeds`), so that no generator has to be
saved: weights, optimizer state, the rule's own tensors and the numbers of the finished stages are all there is. A
run that was killed within a stage starts that stage again, or goes on within it if it was long
(`dashtheory.protocol.part`), and ends with the same bits on a CPU.

One file holds one stage (`dashtheory.protocol.sealed`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from dashtheory._check import fail, integer
from dashtheory.errors import DamagedFile, OtherRun
from dashtheory.protocol.sealed import seal, split, states_of, write_sealed
from dashtheory.rules import Learner

FORMAT = "dashtheory checkpoint 2"
_UNSEALED = (
    "dashtheory checkpoint 1"  # of earlier versions: its numbers have no hash, and it does not know its origin
)
_KEPT = 2
_MEND = "Delete it; the run goes on from the stage before."

Metrics = Mapping[str, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A run after a stage.

    Attributes:
        stage: the last finished stage, from 1.
        model: state dicts.
        optimizer: state dicts.
        rule: tensors that the rule keeps from stage to stage, by name.
        finished: the metrics of stages 1 to `stage`, in order.
        groups: names of the parameters in each group of the optimizer, where a rule has made several of them.
        origin: hashes of what the run began with, by name; empty if it was not recorded.
        outside: names of what the learner remembered beside its state dicts.
    """

    stage: int
    model: dict[str, Any]
    optimizer: dict[str, Any]
    rule: dict[str, Tensor]
    finished: tuple[dict[str, float], ...]
    groups: Sequence[Sequence[str]] = ()
    origin: Mapping[str, str] = field(default_factory=dict)
    outside: tuple[str, ...] = ()

    def restore(self, learner: Learner) -> None:
        """Put weights and optimizer state into a learner of the same model and optimizer.

        Raises:
            ValueError: if they do not fit.
        """
        try:
            learner.model.load_state_dict(self.model)
            _regroup(learner, self.groups)
            learner.optimizer.load_state_dict(self.optimizer)
        except (RuntimeError, ValueError, KeyError) as error:
            fail(
                "checkpoint", "must fit the model and optimizer", str(error).split("\n", 1)[0], "Use its own run."
            )


class Checkpoints:
    """The checkpoints of one run in one folder.

    Args:
        folder: made when first written; one process at a time (`dashtheory.record.only_one`).
        identity: what the run is; a checkpoint of another identity is refused.
    """

    def __init__(self, folder: Path, identity: Mapping[str, object]) -> None:
        self.folder = Path(folder)
        text = json.dumps(dict(identity), sort_keys=True, default=str)
        self.identity = hashlib.sha256(text.encode()).hexdigest()

    def path(self, stage: int) -> Path:
        """File of a stage."""
        return self.folder / f"stage-{stage:04d}.checkpoint"

    def save(
        self,
        stage: int,
        learner: Learner,
        finished: Sequence[Metrics],
        rule: Mapping[str, Tensor] | None = None,
        origin: Mapping[str, str] | None = None,
        outside: Sequence[str] = (),
    ) -> None:
        """Write a stage atomically, and drop all but it and the one before.

        Args:
            stage: from 1, as many as `finished` has entries.
            learner: at its end.
            finished: the metrics of stages 1 to `stage`, in order.
            rule: the rule's own tensors.
            origin: hashes of what the run began with, by name.
            outside: names of what the learner remembers beside its state dicts: the stage cannot be gone on with.

        Raises:
            ValueError: if the numbers do not fit.
            OSError: if the folder cannot be written.
        """
        integer("stage", stage, minimum=1, fix="Stages count from 1.")
        if len(finished) != stage:
            fail("finished", f"must hold the metrics of {stage} stages", str(len(finished)), "Give one per stage.")
        states = {"model": learner.model.state_dict(), "optimizer": learner.optimizer.state_dict()}
        groups = _names_of_groups(learner)
        head = {
            "format": FORMAT,
            "identity": self.identity,
            "stage": stage,
            "finished": [{name: float(value).hex() for name, value in one.items()} for one in finished],
            "origin": dict(origin or {}),
            "outside": list(outside),
        }
        more = {"rule": dict(rule or {}), **({"groups": groups} if groups else {})}
        write_sealed(self.path(stage), head, {**states, **more})
        self.drop_others(stage)

    def drop_others(self, stage: int) -> None:
        """Drop all but the newest two up to `stage`: older ones, and later ones, from which no run went on.

        Args:
            stage: that is whole.
        """
        there = self.stages()
        kept = [one for one in there if one <= stage][-_KEPT:]
        for other in there:
            if other not in kept:
                self.path(other).unlink(missing_ok=True)

    def stages(self) -> list[int]:
        """Stages that have a file, rising."""
        names = (re.fullmatch(r"stage-(\d{4,})\.checkpoint", path.name) for path in self.folder.glob("stage-*"))
        return sorted(int(match[1]) for match in names if match)

    def load(self, stage: int) -> Checkpoint:
        """Read a stage.

        Raises:
            DamagedFile: naming the file, if it is missing, truncated or damaged.
            OtherRun: if it is of another run or stage (both in `dashtheory.errors`).
        """
        path = self.path(stage)
        line, body = split(path, "checkpoint", _MEND)
        head = _head(line, path)
        if head["identity"] != self.identity or head["stage"] != stage:
            got = f"'{path}' of another"
            fail("checkpoint", "must be of this run and stage", got, "Use another folder.", error=OtherRun)
        states = states_of(body, head, path, "checkpoint", _MEND)
        known = {"origin": head["origin"], "outside": tuple(head["outside"])}
        return Checkpoint(stage=stage, finished=_finished(head, path), **known, **states)

    def latest(self, origin: Mapping[str, str] | None = None) -> tuple[Checkpoint | None, list[str]]:
        """The newest whole checkpoint, or None, and what is wrong with it or newer ones.

        Args:
            origin: that its own must not contradict.

        Raises:
            dashtheory.errors.OtherRun: if a checkpoint is of another run.
        """
        problems: list[str] = []
        for stage in reversed(self.stages()):
            try:
                found = self.load(stage)
            except DamagedFile as error:
                problems.append(str(error))
                continue
            differs = [name for name, one in (origin or {}).items() if found.origin.get(name, one) != one]
            if differs:
                got = f"'{self.path(stage)}' of another {' and '.join(differs)}"
                fix = "What the code or data depend on has changed: begin anew (--fresh on a command line)."
                fail("checkpoint", "must be of a run that began with the same bits", got, fix, error=OtherRun)
            if found.outside:
                names = ", ".join(found.outside)
                problems.append(
                    f"'{self.path(stage)}' lacks {names}: not gone on with; register buffers, not attributes"
                )
                continue
            if origin and not found.origin:
                problems.append(
                    f"'{self.path(stage)}' does not say what its run began with: it is gone on with unseen"
                )
            return found, problems
        return None, problems


def _names_of_groups(learner: Learner) -> list[list[str]]:
    """Names of the parameters in each group of the optimizer; none if it has one group, as when it was made."""
    groups = learner.optimizer.param_groups
    if len(groups) == 1:
        return []
    names = {id(parameter): name for name, parameter in learner.model.named_parameters()}
    return [[names[id(parameter)] for parameter in group["params"]] for group in groups]


def _regroup(learner: Learner, groups: Sequence[Sequence[str]]) -> None:
    """Give a new optimizer the groups that a rule had made; their options come with its state.

    A state dict numbers parameters group by group, so that each must be where it was.
    """
    if not groups:
        return
    optimizer, parameters = learner.optimizer, dict(learner.model.named_parameters())
    options = {name: value for name, value in optimizer.param_groups[0].items() if name != "params"}
    optimizer.param_groups.clear()
    for names in groups:
        optimizer.add_param_group({**options, "params": [parameters[name] for name in names]})


def _head(line: bytes, path: Path) -> dict[str, Any]:
    """The first line of a file, or `DamagedFile`."""
    try:
        head = json.loads(line)
    except ValueError:
        head = None
    wanted = {"format", "identity", "stage", "finished", "length", "sha256"}
    if isinstance(head, dict) and set(head) == wanted and head["format"] == _UNSEALED:
        return {**head, "origin": {}, "outside": []}
    if (
        not isinstance(head, dict)
        or set(head) != wanted | {"origin", "outside", "seal"}
        or head["format"] != FORMAT
    ):
        got = f"'{path}', which is not"
        fail("checkpoint", f"must be a file of '{FORMAT}'", got, _MEND, error=DamagedFile)
    if head["seal"] != seal(head):
        fail("checkpoint", "must have the numbers it was written with", f"'{path}'", _MEND, error=DamagedFile)
    return head


def _finished(head: Mapping[str, Any], path: Path) -> tuple[dict[str, float], ...]:
    """The numbers of the finished stages, or `DamagedFile`: no hash covers those of earlier versions."""
    try:
        return tuple({name: float.fromhex(value) for name, value in one.items()} for one in head["finished"])
    except (TypeError, AttributeError, ValueError, OverflowError):
        fail("checkpoint", "must hold numbers that can be read", f"'{path}' damaged", _MEND, error=DamagedFile)
