"""One rule on one stream: the experiment behind `dashtheory run` and the figures on real data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from dashtheory._spec import slug_of
from dashtheory.deep.config import RunConfig
from dashtheory.deep.source import Source
from dashtheory.evaluate import Scores
from dashtheory.parallel import Job, Report
from dashtheory.protocol import Checkpoints, run_resumable
from dashtheory.protocol.tuning import tune
from dashtheory.record import make_table, stage_rows
from dashtheory.rules.spec import RuleSpec, parse_rule, parse_spec
from dashtheory.user_code import fingerprints

__all__ = ["RunConfig", "data_facts", "parse_rule", "rule_jobs", "run_rule"]


def run_rule(
    config: RunConfig, rule: str, seed: int, experiment: str, report: Report, folder: Path | None = None
) -> pd.DataFrame:
    """Run one rule on one seed's stream.

    Args:
        config: the setting. rule: as in `RunConfig.rules`. seed: root seed. experiment: name for the table.
        report: told of progress after every epoch. folder: of checkpoints, from which a killed run goes on.
    Returns: tidy table with the metrics of `dashtheory.protocol.StageResult.metrics`, by stage; and the chosen
        value where the rule's training was tuned.
    """
    source, spec = config.source(seed), parse_spec(rule)
    chosen = _tuned(config, spec, source, seed, report)
    num_chunks = len(source.stream.chunks)

    def on_epoch(stage: int, epoch: int, scores: Scores) -> None:
        part = min(epoch / 30, 0.95)  # later stages are longer in proportion to their data
        share = (stage * (stage - 1) + 2 * stage * part) / (num_chunks * (num_chunks + 1))
        reached = (
            f"loss {scores.loss:.2f}" if config.criterion == "loss" else f"accuracy {100 * scores.accuracy:.1f}%"
        )
        report(share, f"stage {stage}/{num_chunks}, epoch {epoch}, {reached}")

    finished = run_resumable(
        source.stream,
        spec.rule,
        config.task(source, **spec.training, **chosen),
        config.training(),
        seed=seed,
        checkpoints=None
        if folder is None
        else Checkpoints(folder, {"config": config, "rule": rule, "seed": seed, **_own(config, (rule,))}),
        measures=config.measures(),
        on_epoch=on_epoch,
        on_problem=lambda problem: report(0.0, problem),
    )
    extra = {f"chosen_{name}": value for name, value in chosen.items()}
    return make_table(
        row
        for stage, metrics in enumerate(finished, 1)
        for row in stage_rows(
            level="deep",
            experiment=experiment,
            rule=rule,
            seed=seed,
            stage=stage,
            metrics={**metrics, **extra},
        )
    )


def rule_jobs(config: RunConfig, seeds: Sequence[int], experiment: str) -> list[Job]:
    """One resumable job per seed and rule; the rules of a seed share data, first initialisation and order.

    Args: config: the setting. seeds: root seeds. experiment: name for the tables.
    """
    return [
        Job(
            name=f"{slug_of(rule)}-seed{seed}",
            function=run_rule,
            arguments={"config": config, "rule": rule, "seed": seed, "experiment": experiment},
            resumable=True,
        )
        for seed in seeds
        for rule in config.rules
    ]


def data_facts(config: RunConfig) -> dict[str, object]:
    """What to record about the data: source, counts, hash, and how the first seed's stream was made.

    With the fingerprints of code of your own, wherever it is used.
    """
    return {**config.source(0).facts, **_own(config, config.rules)}


def _own(config: RunConfig, rules: Sequence[str]) -> dict[str, object]:
    """Fingerprints of code of your own; nothing if there is none."""
    found = fingerprints((config.data, config.model, *rules))
    return {"user_code": found} if found else {}


def _tuned(config: RunConfig, spec: RuleSpec, source: Source, seed: int, report: Report) -> Mapping[str, float]:
    """The tuned training option and its value; {} if the spec has none."""
    if not spec.tuned:
        return {}
    candidates = config.decays if spec.tuned == "weight_decay" else config.rates
    value = tune(
        source.stream,
        lambda candidate: config.task(source, **{**spec.training, spec.tuned: candidate}),
        config.training(),
        candidates,
        seed=seed,
        on_candidate=lambda candidate, score: report(
            0.0, f"{spec.tuned} {candidate:g}: held-out accuracy {100 * score:.1f}%"
        ),
    )
    return {spec.tuned: value}
