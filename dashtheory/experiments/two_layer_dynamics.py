"""What is learned and what is memorised, stage by stage: the experiment of `simulations/two_layer_dynamics.py`.

All seeds and rules of a call train at once (`dashtheory.twolayer.stages`); an observer reads, before and after
every rule and at the end of every stage, what the weights hold. Measures are those of `dashtheory.measure`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import pandas as pd
import torch
from torch import Tensor

from dashtheory._check import choice, fail, integer, real
from dashtheory._spec import read_text
from dashtheory.measure import Norms, feature_shares, memorization_gap
from dashtheory.parallel import Report
from dashtheory.record import concatenate as stack_tables
from dashtheory.record import make_table, stage_rows
from dashtheory.seeds import numpy_stream
from dashtheory.twolayer.config import REGIMES, TwoLayerConfig
from dashtheory.twolayer.data import PatchData, sample_signal_noise, stack_data
from dashtheory.twolayer.ridge import RIDGE, ridge_ceiling
from dashtheory.twolayer.rules import STACK_RULES, refuse_absent
from dashtheory.twolayer.stack import HIDDEN, loss_of
from dashtheory.twolayer.stages import Moment, Replica, StageState, run

_SWAPS = 3
_OPTIONS = ("alpha", "lam", "shrink", "perturb")
_OTHER_MEANING = ("sp_ash_adams", "sp_all", "soft")
"""Rules whose options of these names mean something else, or have other published values (`sp_all`); they keep
their defaults."""


@dataclass(frozen=True, kw_only=True)
class DynamicsConfig:
    """A regime, the rules, and their options.

    Raises:
        ValueError: if a value is out of range.
    """

    regime: str = field(default="cnn_a", metadata={"help": f"one of {', '.join(REGIMES)}"})
    rules: tuple[str, ...] = field(
        default=("cold", "warm", "ideal", "sp", "dash", "uniform", "permuted"),
        metadata={"help": f"rules between stages, of {', '.join(STACK_RULES)}"},
    )
    alpha: float = field(default=0.3, metadata={"help": "DASH: weight of each newer chunk, in (0, 1]"})
    lam: float = field(default=0.05, metadata={"help": "DASH: smallest factor kept, in [0, 1]"})
    shrink: float = field(default=0.05, metadata={"help": "S&P: factor kept, in [0, 1]"})
    perturb: float = field(default=0.01, metadata={"help": "S&P: standard deviation of the noise added"})
    num_stages: int = field(default=0, metadata={"help": "J, chunks and stages; 0: the regime's"})
    chunk_size: int = field(default=0, metadata={"help": "samples per chunk; 0: the regime's"})
    num_test: int = field(default=2000, metadata={"help": "test samples"})

    def __post_init__(self) -> None:
        choice("regime", self.regime, REGIMES)
        real("alpha", self.alpha, low=0, high=1, open_low=True, fix="It weighs the newest chunk.")
        for name in ("lam", "shrink"):
            real(name, getattr(self, name), low=0, high=1, fix="It is a factor that is kept.")
        real("perturb", self.perturb, low=0, fix="It is a standard deviation.")
        for name in ("num_stages", "chunk_size"):
            integer(name, getattr(self, name), minimum=0, fix="0 takes the regime's.")
        if not self.rules or len(set(self.rules)) < len(self.rules):
            fail(
                "rules",
                "must name at least one, each once",
                str(self.rules),
                f"Choose from {', '.join(STACK_RULES)}.",
            )
        for rule in self.rules:
            self.replica(rule).parsed()
        self.setting()

    def setting(self) -> TwoLayerConfig:
        """The regime, with the sizes asked for."""
        usual = REGIMES[self.regime]
        return replace(
            usual,
            num_stages=self.num_stages or usual.num_stages,
            chunk_size=self.chunk_size or usual.chunk_size,
            num_test=self.num_test,
        )

    def replica(self, rule: str) -> Replica:
        """The rule with this configuration's options, under its own name; options given with it stand."""
        refuse_absent(rule.partition(":")[0])
        spec = read_text(rule, STACK_RULES, argument="rules")
        name, known = spec.name, {one.name for one in fields(STACK_RULES[spec.name])}
        open_ones = known - set(spec.options)
        mine = [f"{one}={getattr(self, one)}" for one in _OPTIONS if one in open_ones]
        mine = [] if name in _OTHER_MEANING else mine
        if "of" in known:
            given = [part for part in rule.split(":") if not part.startswith("of=")]
            return Replica(rule=":".join([*given, f"of={self._inner(spec.options.get('of', 'dash'))}"]), name=rule)
        return Replica(rule=":".join([rule, *mine]), name=rule)

    def _inner(self, of: object) -> str:
        """The rule that another one is a control of, with this configuration's options, as that one is written."""
        parts = of if isinstance(of, tuple) else (of,)
        return str(self.replica(":".join(map(str, parts))).rule).replace(":", "+")


def run_dynamics(config: DynamicsConfig, seeds: Sequence[int], experiment: str, report: Report) -> pd.DataFrame:
    """Run every rule on every seed, and read the weights.

    Args:
        config: the setting.
        seeds: root seeds, trained together.
        experiment: name.
        report: told of progress.

    Returns:
        pd.DataFrame: tidy table with the metrics of `TwoLayerRun`, and by stage: old_loss_before_rule,
        old_loss_after_rule (mean loss on the old chunks, nats), swap_accuracy and memorisation_gap (on the stage's
        samples), persistence (norm of the first chunk's noise over that at the end of stage 1; left out where a
        rule has left the span of the samples). With a coordinate neuron, at the last rule: cosine with G and
        feature_share, of rules that shrink by alignment. With a coordinate feature, at the end: margin of that
        feature, mean over classes, and its frequency. Under the rule "ridge": test_accuracy of the ridge
        classifier on all chunks.
    """
    setting = config.setting()
    watch = Watch(experiment)
    found = run(setting, [config.replica(rule) for rule in config.rules], seeds, on_stage=watch, report=report)
    ceiling = ridge_ceiling(setting, seeds)
    for seed, accuracy in zip(seeds, ceiling.test_accuracy.tolist(), strict=True):
        watch.keep(RIDGE, seed, setting.num_stages, {"test_accuracy": accuracy})
    return stack_tables([found.table(experiment), make_table(watch.rows)])


class Watch:
    """Reads the state of a run into rows of the tidy table."""

    def __init__(self, experiment: str) -> None:
        self.experiment = experiment
        self.rows: list[dict[str, object]] = []
        self._first: Tensor | None = None

    def keep(self, rule: str, seed: int, stage: int, metrics: Mapping[str, float], **coordinates: float) -> None:
        """Add numbers."""
        self.rows += stage_rows(
            level="twolayer",
            experiment=self.experiment,
            rule=rule,
            seed=seed,
            stage=stage,
            metrics=metrics,
            coordinates=coordinates,
        )

    def __call__(self, stage: int, moment: Moment, state: StageState) -> None:
        """As `Observer`."""
        last = stage == state.config.num_stages
        if moment == "end":
            self._keep_gap(stage, state)
            self._keep_persistence(stage, state)
            if last:
                self._keep_margins(stage, state)
            return
        self._keep_old_loss(stage, moment.replace(" ", "_"), state)
        if last and moment == "after rule":
            self._keep_neurons(stage, state)

    def _each(self, state: StageState) -> list[tuple[int, int, str, int]]:
        """(place of the seed, seed, rule, place of the replica)."""
        return [
            (order, seed, replica.label, place)
            for order, seed in enumerate(state.seeds)
            for place, replica in enumerate(state.replicas)
        ]

    def _keep_old_loss(self, stage: int, moment: str, state: StageState) -> None:
        old = state.data.part(0, len(state.data) - state.config.chunk_size)
        samples = state.network.samples(old)
        losses = (
            loss_of(state.network.outputs(state.stack_state.params, samples), samples.labels)
            .values.double()
            .mean(2)
        )
        for order, seed, rule, place in self._each(state):
            self.keep(rule, seed, stage, {f"old_loss_{moment}": float(losses[order, place])})

    def _keep_gap(self, stage: int, state: StageState) -> None:
        own = _right(state, state.data)
        swapped = torch.stack([_right(state, _swapped(state, stage, draws)) for draws in range(_SWAPS)])
        for order, seed, rule, place in self._each(state):
            truth = torch.ones_like(own[order, place])
            found = memorization_gap(own[order, place], swapped[:, order, place], truth)
            self.keep(rule, seed, stage, {"swap_accuracy": found.swapped, "memorisation_gap": found.gap})

    def _keep_persistence(self, stage: int, state: StageState) -> None:
        if state.stack_state.rho is None:
            return
        first = state.config.chunk_size
        noise = state.data.noise[:, None, :first].double()
        length = (state.stack_state.rho[..., :first].double() @ noise).flatten(2).norm(dim=2)
        if self._first is None:
            self._first = length
        share = length / self._first
        for order, seed, rule, place in self._each(state):
            if torch.isfinite(share[order, place]):
                self.keep(rule, seed, stage, {"persistence": float(share[order, place])})

    def _keep_neurons(self, stage: int, state: StageState) -> None:
        axes = state.config.data.num_axes
        learned = state.stack_state.learned().double()
        shares = feature_shares(Norms(learned[..., :axes].norm(dim=-1), learned[..., axes:].norm(dim=-1)))
        for place, found in state.reports.items():
            cosines = found.cosines[HIDDEN].double()
            if cosines.ndim != 2:  # a cosine per channel
                continue
            for order, seed in enumerate(state.seeds):
                for neuron, (cosine, share) in enumerate(
                    zip(cosines[order].tolist(), shares[order, place].tolist(), strict=True)
                ):
                    metrics = {"cosine": cosine, "feature_share": share}
                    self.keep(state.replicas[place].label, seed, stage, metrics, neuron=neuron)

    def _keep_margins(self, stage: int, state: StageState) -> None:
        margins = feature_margins_of(state)
        frequencies = state.config.data.frequencies()
        for order, seed, rule, place in self._each(state):
            of_features = margins[order, place].unflatten(0, tuple(frequencies.shape)).mean(dim=0).tolist()
            for feature, margin in enumerate(of_features):
                frequency = float(frequencies[:, feature].mean())
                self.keep(rule, seed, stage, {"margin": margin, "frequency": frequency}, feature=feature)


def feature_margins_of(state: StageState) -> Tensor:
    """What each feature alone adds to the margin of its class, float64 (S, R, C K).

    A_k = m_c(v_k) - m_c(0), m_c the logit of the feature's class minus the largest other logit (`feature_margins`
    of `dashtheory.measure`, for many networks at once and any number of classes).
    """
    data, seeds = state.config.data, len(state.seeds)
    labels = torch.arange(data.num_classes, device=state.data.labels.device).repeat_interleave(data.num_features)

    def margins(features: Tensor) -> Tensor:
        alone = PatchData(
            features.expand(seeds, -1, -1).to(state.data.features),
            state.data.noise.new_zeros((seeds, data.num_axes, data.noise_dim)),
            labels.expand(seeds, -1),
        )
        logits = state.network.outputs(state.stack_state.params, state.network.samples(alone)).double()
        if logits.shape[2] == 1:
            logits = torch.cat([-logits / 2, logits / 2], dim=2)
        mine = torch.nn.functional.one_hot(labels, data.num_classes).mT.bool()
        others = logits.masked_fill(mine, -torch.inf).amax(dim=2)
        return logits.masked_fill(~mine, 0.0).sum(dim=2) - others

    one_each = torch.eye(data.num_axes, dtype=torch.bool)
    return margins(one_each) - margins(torch.zeros_like(one_each))


def _right(state: StageState, data: PatchData) -> Tensor:
    """Whether each sample is predicted right, int64 (S, R, n)."""
    samples = state.network.samples(data)
    return loss_of(state.network.outputs(state.stack_state.params, samples), samples.labels).right.long()


def _swapped(state: StageState, stage: int, draws: int) -> PatchData:
    """The stage's samples with fresh noise of the same distribution."""
    config = state.config
    fresh = stack_data(
        [
            sample_signal_noise(config.data, len(state.data), numpy_stream(seed, "swapped noise", stage, draws))
            for seed in state.seeds
        ]
    ).to(config.device, config.number)
    return PatchData(state.data.features, fresh.noise, state.data.labels)
