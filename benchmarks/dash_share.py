"""DASH from a part of every chunk: how far its factors agree with those of the full pass, and what the pass costs.

    python -m benchmarks.dash_share [--quick] [--out benchmarks/results]

Run from the root of the repository. In each setting a network is trained for some stages under DASH; before the
next stage the factors of the full pass are compared with those over a share of every chunk (`dash:share=0.1`),
several draws each, entry by entry: correlation, cosine, mean absolute difference, and the mean factor. Settings:
the digits with a narrow ResNet; and, where the environment variable DASHTHEORY_CIFAR10 points to CIFAR-10, the
paper's own (ResNet-18, chunks of 1,000). Times are CPU seconds of this process on one thread. Writes
OUT/dash_share.json.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.discrete import circumstances
from benchmarks.script import write_record
from dashtheory.deep.config import RunConfig
from dashtheory.deep.data import cifar10_available
from dashtheory.deep.task import make_source, make_task
from dashtheory.paper.presets import preset
from dashtheory.protocol import context_of_stage, exact_or_fast, run_stages
from dashtheory.rules import Dash, ShrinkReport, targets
from dashtheory.seeds import torch_stream

SHARES = (0.5, 0.2, 0.1, 0.05, 0.02)
DRAWS = 3
DIGITS: dict[str, Any] = {"data": "digits", "model": "narrow_resnet", "num_chunks": 4, "chunk_size": 250}


def settings(*, quick: bool) -> dict[str, tuple[RunConfig, int]]:
    """Settings by name, with the stages that are trained before factors are compared."""
    if quick:
        tiny = {**DIGITS, "num_chunks": 2, "chunk_size": 60, "model_options": ("width=2",), "max_epochs": 2}
        return {"digits": (RunConfig.of(**tiny), 1)}
    found = {"digits": (RunConfig.of(**DIGITS), 3)}
    if cifar10_available():
        found["cifar10-resnet18"] = (preset("cifar10-resnet18", num_chunks=3), 2)
    return found


def compare(config: RunConfig, stages: int) -> list[dict[str, Any]]:
    """Train under DASH, then compare the full pass with parts of it."""
    source = make_source(config, 0)
    task = make_task(config, source)
    with exact_or_fast(config.device.precision):
        for result in run_stages(source.stream, Dash(), task, config.training, seed=0):
            if result.stage == stages:
                break
        model, seen = result.learner.model, source.stream.chunks[: stages + 1]
        context = context_of_stage(seen, task, 0, stages + 1, {})

        def report_of(share: float, draw: int) -> tuple[ShrinkReport, float]:
            replica = copy.deepcopy(model)
            ours = replace(context, generator=torch_stream(draw, "perturbation", stages + 1))
            start = time.process_time()
            report = Dash(share=share).change_(replica, ours)
            assert report is not None
            return report, time.process_time() - start

        report_of(1, 0)  # to warm up
        full, seconds = report_of(1, 0)
        sizes = {target.name: target.parameter.numel() for target in targets(model)}
        return [
            {"share": 1.0, "seconds": seconds, "mean_factor": full.mean_scale},
            *(
                {"share": share, **_agreement(full, sizes, [report_of(share, draw) for draw in range(DRAWS)])}
                for share in SHARES
            ),
        ]


def _agreement(
    full: ShrinkReport, sizes: dict[str, int], parts: list[tuple[ShrinkReport, float]]
) -> dict[str, Any]:
    """Means over draws of what two reports have in common, each group weighted by its entries."""
    rows = []
    for part, seconds in parts:
        left, right, weights = (torch.cat(values) for values in zip(*_pairs(full, part, sizes), strict=True))
        weights = weights / weights.sum()
        a, b = (values - (weights * values).sum() for values in (left, right))
        rows.append(
            {
                "seconds": seconds,
                "mean_factor": part.mean_scale,
                "correlation": float(
                    (weights * a * b).sum() / ((weights * a * a).sum() * (weights * b * b).sum()).sqrt()
                ),
                "cosine": float(
                    (weights * left * right).sum()
                    / ((weights * left**2).sum() * (weights * right**2).sum()).sqrt()
                ),
                "mean_difference": float((weights * (left - right).abs()).sum()),
            }
        )
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def _pairs(full: ShrinkReport, part: ShrinkReport, sizes: dict[str, int]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Factors of every layer in both, flat, and the entries of each group."""
    return [
        (
            layer.scales.double().flatten(),
            part[layer.name].scales.double().flatten(),
            torch.full((layer.scales.numel(),), sizes[layer.name] / layer.scales.numel(), dtype=torch.float64),
        )
        for layer in full
    ]


def measure(*, quick: bool) -> dict[str, Any]:
    """Take all measurements and print them."""
    torch.set_num_threads(1)
    record: dict[str, Any] = {"quick": quick, **circumstances(), "draws": DRAWS}
    record["settings"] = {name: compare(*setting) for name, setting in settings(quick=quick).items()}
    record["versions"]["torch"] = torch.__version__
    for name, rows in record["settings"].items():
        for row in rows:
            words = (
                f"{name}, {row['share']:.0%} of every chunk: {row['seconds']:.2f} s, "
                f"mean factor {row['mean_factor']:.3f}"
            )
            if "cosine" in row:
                words += (
                    f"; correlation of factors {row['correlation']:.3f}, cosine {row['cosine']:.4f}, "
                    f"mean difference {row['mean_difference']:.3f}"
                )
            print(words, flush=True)
    return record


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, and write OUT/dash_share.json."""
    write_record("dash_share", __doc__ or "", measure, arguments)


if __name__ == "__main__":
    main()
