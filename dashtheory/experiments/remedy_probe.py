"""Whether a rule can act on a stream at all, found by a few steps; and the protocol of a stream as a record."""

from __future__ import annotations

import inspect
from dataclasses import replace

import torch

from dashtheory.deep.config import TEXT, RunConfig
from dashtheory.deep.models import mlp
from dashtheory.deep.source import Source
from dashtheory.deep.task import make_source, make_task
from dashtheory.experiments.remedies import FIRST_TUNING, Remedy, StreamSetting
from dashtheory.protocol import run_resumable
from dashtheory.rules.spec import parse_spec
from dashtheory.stream import Stream


def refusal(remedy: Remedy, setting: StreamSetting) -> str:
    """Why a rule does not act on a stream's network, in its own words; empty if it does.

    Two stages of a batch each and one epoch are run, so that nothing of the stream's results is seen.
    """
    config = setting.config.with_values(rules=(remedy.rule,))
    try:
        first_metrics(make_source(config, FIRST_TUNING), config, remedy.rule)
    except ValueError as error:
        return " ".join(str(error).split())
    return ""


def first_metrics(source: Source, config: RunConfig, rule: str) -> dict[str, float]:
    """Names of what a run measures, with numbers that mean nothing: of two stages of a batch each, and one epoch.

    Args:
        source: of the stream.
        config: the setting.
        rule: as in `RunConfig.rules`.

    Raises:
        ValueError: as `dashtheory.protocol.run_resumable`.
    """
    small = _first_batches(source, config.training.batch_size)
    training = replace(config.training, max_epochs=1)
    stages = run_resumable(
        small.stream, parse_spec(rule).rule, make_task(config, small), training, seed=FIRST_TUNING
    )
    return stages[-1]


def _first_batches(source: Source, size: int) -> Source:
    chunks = tuple(chunk.take(torch.arange(min(size, len(chunk)))) for chunk in source.stream.chunks[:2])
    return replace(source, stream=Stream(chunks, chunks[0], source.stream.seen), noisy=())


def protocol_record(config: RunConfig) -> dict[str, str]:
    """What must agree before results of two places can be compared, in words."""
    data, how = config.data, config.training
    change = "none: one distribution"
    if data.mended:
        change = f"labels: {data.label_noise:.0%} wrong in the first stage, all right from the second on"
    elif data.label_noise:
        change += f", {data.label_noise:.0%} of the training labels wrong throughout"
    stop = f"training {how.criterion} {how.threshold:g}{' nat' if how.criterion == 'loss' else ''}"
    capped = f"{stop}, or {how.max_epochs} epochs"
    kept = ", ".join(f"{size:,}" for size in data.stage_sizes)
    what = "windows" if data.name == TEXT else "pictures"
    budget = "equal epochs" if how.criterion == "epochs" else "none: until the stop rule"
    test = f"{data.num_test:,} examples" if data.num_test else "the usual test set"
    momentum = f", momentum {how.momentum:g}" if how.optimizer in ("sgd", "sam") else ""
    return {
        "data at a stage": f"{'the stage’s own' if data.mended else 'all so far'}: {kept} {what}",
        "what changes": change,
        "stop rule": f"{how.max_epochs} epochs" if how.criterion == "epochs" else capped,
        "budget of steps over stages": budget,
        "optimizer": f"{how.optimizer}{momentum}, batch {how.batch_size}",
        "optimizer at a stage": "kept, unless the rule renews it",
        "network": _network(config),
        "test": f"{test}, the same at all stages",
        "augmentation": "crops, mirroring or rotation" if how.augmented else "none",
    }


def _network(config: RunConfig) -> str:
    """Name and options; of the network that most streams have also its defaults."""
    named = ", ".join([config.model.name, *config.model.options])
    if named != "mlp":
        return named
    usual = {name: one.default for name, one in inspect.signature(mlp).parameters.items()}
    norm = "with" if usual["batch_norm"] else "without"
    return f"{named}: {' and '.join(map(str, usual['widths']))} units, {norm} batch norm"
