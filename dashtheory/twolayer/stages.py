"""The warm-start protocol on stacks: seeds x rules x numbers of training, all at once.

At stage j every replica gets its rule, then trains on chunks 1..j to its threshold. All randomness comes from
named streams of the seed ("data", "test data", "init", "order", "perturbation", each with the stage where it has
one), so within a seed every replica sees the same data, first initialisation, batches and perturbations, and
equals what `dashtheory.protocol.run_stages` gives with the readable module, the optimizers of torch and the rules
of `dashtheory.rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from dashtheory._check import fail, integer
from dashtheory._spec import write_text
from dashtheory.parallel import Report
from dashtheory.record import make_table, stage_rows
from dashtheory.seeds import numpy_stream, torch_stream
from dashtheory.twolayer._dash import StackReport
from dashtheory.twolayer._steps import Hyperparameters
from dashtheory.twolayer.apply_rules import StackContext, apply_rules, check_rule, fresh_params
from dashtheory.twolayer.config import TwoLayerConfig, check_training
from dashtheory.twolayer.data import PatchData, concatenate_data, sample_signal_noise, stack_data
from dashtheory.twolayer.rules import TwoLayerRule, parse_stack_rule
from dashtheory.twolayer.stack import Params, Stack, loss_of, make_stack
from dashtheory.twolayer.state import StackState
from dashtheory.twolayer.train import train_stack

Moment = Literal["before rule", "after rule", "end"]
Observer = Callable[[int, Moment, "StageState"], None]
"""`on_stage(stage, moment, state)`: told before and after every rule (from stage 2 on), and as a stage ends."""

_NUMBERS = ("learning_rate", "momentum", "weight_decay", "threshold")


@dataclass(frozen=True, kw_only=True)
class Replica:
    """One column of a stack: a rule, and numbers of training in place of the config's (None: the config's).

    Attributes:
        rule: a name with options ("dash:lam=0.05") or a rule.
        name: shown in tables; by default the rule's.
        learning_rate: as in `TwoLayerConfig`.
        momentum: as in `TwoLayerConfig`.
        weight_decay: as in `TwoLayerConfig`.
        threshold: as in `TwoLayerConfig`.
    """

    rule: str | TwoLayerRule
    name: str = ""
    learning_rate: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    threshold: float | None = None

    def parsed(self) -> TwoLayerRule:
        """The rule.

        Raises:
            ValueError: if there is no such rule or option.
        """
        return parse_stack_rule(self.rule) if isinstance(self.rule, str) else self.rule

    @property
    def label(self) -> str:
        """What tables call the rule."""
        if self.name or isinstance(self.rule, str):
            return self.name or str(self.rule)
        values = {option.name: getattr(self.rule, option.name) for option in fields(cast(Any, self.rule))}
        usual = {option.name: option.default for option in fields(cast(Any, self.rule))}
        return write_text(self.rule.name, {name: value for name, value in values.items() if value != usual[name]})

    def numbers(self) -> dict[str, float]:
        """Numbers of training that differ from the config's."""
        return {name: value for name in _NUMBERS if (value := getattr(self, name)) is not None}


@dataclass(frozen=True, kw_only=True, eq=False)
class StageState:
    """What `on_stage` may read; tensors are copies, so that measuring cannot change the run.

    Attributes:
        config: of the run.
        seeds: of the run, S of them.
        replicas: of the run, R of them.
        network: its kind, to compute outputs with.
        stack_state: weights, initialisation, what is left of it, coefficients `rho`, all (S, R, ...).
        data: samples of chunks 1..stage in order, (S, n, ...); before and after the rule, the last chunk has just
            arrived, and the weights were not trained on it yet.
        test: (S, n, ...).
        reports: cosines and factors of the rules that shrink by alignment, by replica; empty before the rule.
    """

    config: TwoLayerConfig
    seeds: tuple[int, ...]
    replicas: tuple[Replica, ...]
    network: Stack
    stack_state: StackState
    data: PatchData
    test: PatchData
    reports: Mapping[int, StackReport]


@dataclass(frozen=True, kw_only=True, eq=False)
class TwoLayerRun:
    """What a run found.

    Attributes:
        config: as given.
        seeds: as given.
        replicas: as given.
        metrics: float64 (S, R, J) by name: test_accuracy, test_loss, train_accuracy, train_loss (last epoch, each
            batch scored before its step), steps, epochs, converged (1, or 0 at the epoch cap); feature_norm and
            noise_norm, the norms of what was learned (`StackState.learned`) on feature and noise axes, at the end
            of the stage, _before_rule and _after_rule; mean_scale and share_clamped of rules that shrink by
            alignment. NaN where there is none.
        stack_state: the stack at the end.
    """

    config: TwoLayerConfig
    seeds: tuple[int, ...]
    replicas: tuple[Replica, ...]
    metrics: dict[str, NDArray[np.float64]]
    stack_state: StackState

    def of(self, metric: str, rule: str) -> NDArray[np.float64]:
        """One metric of the first replica with this label, (S, J).

        Raises:
            ValueError: if there is no such label.
        """
        labels = [replica.label for replica in self.replicas]
        if rule not in labels:
            fail("rule", f"must be one of {', '.join(labels)}", repr(rule), "Name a replica of this run.")
        return self.metrics[metric][:, labels.index(rule)]

    def table(self, experiment: str) -> pd.DataFrame:
        """Tidy table, level "twolayer"; a replica's own numbers of training are coordinates."""
        rows: list[dict[str, object]] = []
        for replica_index, replica in enumerate(self.replicas):
            numbers = replica.numbers()
            for seed_index, seed in enumerate(self.seeds):
                for stage in range(self.config.num_stages):
                    found = {
                        name: float(values[seed_index, replica_index, stage])
                        for name, values in self.metrics.items()
                    }
                    rows += stage_rows(
                        level="twolayer",
                        experiment=experiment,
                        rule=replica.label,
                        seed=seed,
                        stage=stage + 1,
                        metrics={name: value for name, value in found.items() if not np.isnan(value)},
                        coordinates=numbers,
                    )
        return make_table(rows)


def run(
    config: TwoLayerConfig,
    rules: Iterable[str | TwoLayerRule | Replica],
    seeds: Sequence[int],
    *,
    on_stage: Observer | None = None,
    report: Report | None = None,
) -> TwoLayerRun:
    """Run the protocol for every rule and seed.

    Deterministic given the seeds on a CPU with one thread; a replica's results depend on its company by rounding
    alone (see `dashtheory.twolayer.train`).

    Args:
        config: data, network, training.
        rules: names with options, rules, or `Replica`s with numbers of their own.
        seeds: root seeds >= 0.
        on_stage: told of weights and data, see `Observer`; cannot change the run.
        report: told of progress, as `report(share_done, text)`.

    Returns:
        `TwoLayerRun`.

    Raises:
        ValueError: if a rule, number or seed does not fit, two replicas are the same, or a loss becomes NaN.
    """
    runner = _Runner(config, _replicas(config, rules), _seeds(seeds), on_stage)
    stack_state = runner.begin()
    for stage in range(1, config.num_stages + 1):
        if report is not None:
            done = (stage - 1) * stage / (config.num_stages * (config.num_stages + 1))
            report(done, f"stage {stage}/{config.num_stages}")
        stack_state = runner.stage(stage, stack_state)
    return TwoLayerRun(
        config=config,
        seeds=runner.seeds,
        replicas=runner.replicas,
        metrics=runner.metrics,
        stack_state=stack_state,
    )


def run_two_layer(
    config: TwoLayerConfig, rules: Sequence[str], seeds: Sequence[int], experiment: str, report: Report
) -> pd.DataFrame:
    """`run` as a job of `dashtheory.parallel`: its tidy table."""
    return run(config, rules, seeds, report=report).table(experiment)


def draw_chunk(config: TwoLayerConfig, seeds: Sequence[int], stage: int) -> PatchData:
    """The chunk that arrives at a stage, (S, n, ...), from the streams "data"."""
    drawn = [
        sample_signal_noise(config.data, config.chunk_size, numpy_stream(seed, "data", stage)) for seed in seeds
    ]
    return stack_data(drawn).to(config.device, config.number)


def draw_test(config: TwoLayerConfig, seeds: Sequence[int]) -> PatchData:
    """The test samples, (S, n, ...), from the streams "test data"."""
    drawn = [sample_signal_noise(config.data, config.num_test, numpy_stream(seed, "test data")) for seed in seeds]
    return stack_data(drawn).to(config.device, config.number)


class _Runner:
    """The parts of a run, and its metrics as they come."""

    def __init__(
        self,
        config: TwoLayerConfig,
        replicas: tuple[Replica, ...],
        seeds: tuple[int, ...],
        on_stage: Observer | None,
    ) -> None:
        self.config, self.replicas, self.seeds, self.on_stage = config, replicas, seeds, on_stage
        self.network = make_stack(config)
        self.rules = [replica.parsed() for replica in replicas]
        for rule in self.rules:
            check_rule(rule, self.network)
        self.test = draw_test(config, seeds)
        self.chunks: list[PatchData] = []
        self.metrics: dict[str, NDArray[np.float64]] = {}
        self.hyperparameters = Hyperparameters(**{name: self._numbers(name) for name in _NUMBERS})

    def _numbers(self, name: str) -> Tensor:
        usual = getattr(self.config, name)
        return torch.tensor([one.numbers().get(name, usual) for one in self.replicas], dtype=torch.float64)

    def begin(self) -> StackState:
        """All replicas of a seed at its first initialisation."""
        like = torch.empty(0, dtype=self.config.number, device=self.config.device)
        fresh = fresh_params(self.network, self.seeds, 1, like)
        number = len(self.replicas)
        params = {
            name: value.unsqueeze(1).expand(-1, number, *value.shape[1:]).clone() for name, value in fresh.items()
        }
        return StackState.begin(params, self.config.optimizer)

    def stage(self, stage: int, stack_state: StackState) -> StackState:
        """Rule, training, scores."""
        self.chunks.append(draw_chunk(self.config, self.seeds, stage))
        if stage > 1:
            stack_state = self._before_stage(stage, stack_state)
        training = train_stack(
            self.network,
            stack_state.params,
            stack_state.moments,
            self.network.samples(concatenate_data(self.chunks)),
            self.hyperparameters,
            optimizer=self.config.optimizer,
            batch_size=self.config.batch_size,
            max_epochs=self.config.max_epochs,
            generators=[torch_stream(seed, "order", stage) for seed in self.seeds],
        )
        stack_state = stack_state.trained(training)
        for name in ("epochs", "steps", "converged"):
            self._keep(name, stage, getattr(training, name))
        self._keep("train_loss", stage, training.loss)
        self._keep("train_accuracy", stage, training.accuracy)
        self._score(stage, stack_state.params)
        self._keep_norms("", stage, stack_state)
        self._observe(stage, "end", stack_state, {})
        return stack_state

    def _before_stage(self, stage: int, stack_state: StackState) -> StackState:
        """The rules, and the optimizer's state after them."""
        self._keep_norms("_before_rule", stage, stack_state)
        self._observe(stage, "before rule", stack_state, {})
        context = StackContext(
            stack=self.network,
            samples=self.network.samples(concatenate_data(self.chunks)),
            chunk_size=self.config.chunk_size,
            seeds=self.seeds,
            stage=stage,
        )
        stack_state, reports = apply_rules(self.rules, stack_state, context)
        if self.config.velocity == "reset":
            stack_state = stack_state.renewed(range(len(self.replicas)))
        for replica_index, found in reports.items():
            for name in ("mean_scale", "share_clamped"):
                self._keep(name, stage, getattr(found, name), replica_index)
        self._keep_norms("_after_rule", stage, stack_state)
        self._observe(stage, "after rule", stack_state, reports)
        return stack_state

    def _score(self, stage: int, params: Params) -> None:
        samples = self.network.samples(self.test)
        found = loss_of(self.network.outputs(params, samples), samples.labels)
        self._keep("test_loss", stage, found.values.double().mean(dim=2))
        self._keep("test_accuracy", stage, found.right.double().mean(dim=2))

    def _keep_norms(self, suffix: str, stage: int, stack_state: StackState) -> None:
        learned = stack_state.learned().double()
        axes = self.config.data.num_axes
        self._keep(f"feature_norm{suffix}", stage, learned[..., :axes].flatten(2).norm(dim=2))
        self._keep(f"noise_norm{suffix}", stage, learned[..., axes:].flatten(2).norm(dim=2))

    def _keep(self, name: str, stage: int, values: Tensor, replica: int | None = None) -> None:
        """Numbers (S, R) of a stage, or (S,) of one replica."""
        shape = (len(self.seeds), len(self.replicas), self.config.num_stages)
        kept = self.metrics.setdefault(name, np.full(shape, np.nan))
        chosen = slice(None) if replica is None else replica
        kept[:, chosen, stage - 1] = values.double().cpu().numpy()

    def _observe(
        self, stage: int, moment: Moment, stack_state: StackState, reports: Mapping[int, StackReport]
    ) -> None:
        if self.on_stage is None:
            return
        state = StageState(
            config=self.config,
            seeds=self.seeds,
            replicas=self.replicas,
            network=self.network,
            stack_state=stack_state.copy(),
            data=concatenate_data(self.chunks),
            test=replace(self.test, noise=self.test.noise.clone()),
            reports=reports,
        )
        self.on_stage(stage, moment, state)


def _replicas(config: TwoLayerConfig, rules: Iterable[str | TwoLayerRule | Replica]) -> tuple[Replica, ...]:
    if isinstance(rules, str):
        fail("rules", "must be a sequence", repr(rules), "Put it into a list.")
    replicas = tuple(one if isinstance(one, Replica) else Replica(rule=one) for one in rules)
    labels = [(one.label, tuple(one.numbers().items())) for one in replicas]
    if not labels or len(set(labels)) < len(labels):
        fail("rules", "must name at least one, each once", str([label for label, _ in labels]), "Name doubles.")
    for one in replicas:
        one.parsed()
        numbers = {name: getattr(config, name) for name in _NUMBERS} | one.numbers()
        check_training(config.optimizer, **numbers)
    return replicas


def _seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    given = tuple(integer("seeds", seed, minimum=0, fix="Seeds are 0, 1, 2, ...") for seed in seeds)
    if not given or len(set(given)) < len(given):
        fail("seeds", "must name at least one, each once", str(given), "Write range(8), say.")
    return given
