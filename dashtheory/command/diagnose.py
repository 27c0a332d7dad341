r"""Does my training lose plasticity, and what would repair it? One page, with its evidence.

    dashtheory diagnose --data digits
    dashtheory diagnose --data python:mine.py:stream --model python:mine.py:network --optimizer adam \
        --learning-rate 0.001 --seeds 10

Every field of `dashtheory.deep.config.RunConfig` but the rules is an option. A killed call goes on where it was.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from dashtheory._check import integer, real
from dashtheory._nested import flat
from dashtheory._spec import split_text
from dashtheory.command.guard import guarded
from dashtheory.command.options import (
    OneLineParser,
    add_options,
    check_counts,
    folder,
    given_options,
    make_config,
    option_names,
    refuse_unheard,
    setting_name,
)
from dashtheory.command.remedies import Comparison, compare
from dashtheory.command.remedy_results import read_choices, saved_choices
from dashtheory.deep.config import RunConfig, TrainingConfig
from dashtheory.deep.presets import ComparisonConfig, describe_data, describe_setting
from dashtheory.deep.task import make_source
from dashtheory.experiments.diagnosis import DIAGNOSED, Arms, Diagnosis, diagnosis_of
from dashtheory.experiments.remedies import StreamSetting, read_remedy
from dashtheory.experiments.remedy_probe import first_metrics
from dashtheory.experiments.remedy_scores import arms_of
from dashtheory.parallel import usable_cores
from dashtheory.plot import add_heading, save_figure, style
from dashtheory.protocol import find_device
from dashtheory.record import PAIRED, load_results, write_text
from dashtheory.user_code import EPILOG

OUT = Path("runs/diagnose")
MEASURED: dict[str, Any] = {
    "reestimate": False,
    "retention": -1,
    "weights": False,
    "seconds": True,
    "memory": True,
}


@dataclass(frozen=True, kw_only=True)
class DiagnoseConfig(ComparisonConfig):
    """The digits where nothing is said, and three chunks: few enough for an answer in two minutes.

    Raises:
        ValueError: as `RunConfig`.
    """

    defaults: ClassVar[Mapping[str, Any]] = {"data": "digits", "num_chunks": 3}


def diagnose(
    config: RunConfig,
    *,
    seeds: int = 5,
    margin: float = 1.0,
    jobs: int = 1,
    out: Path | None = None,
    name: str = "diagnosis",
) -> Diagnosis:
    """Is there a warm-start gap, what closes it, and does the direction of a shrink matter?

    Args:
        config: stream, network, optimizer and criterion, as `RunConfig.of(data="python:mine.py:stream", ...)`; its
            rules do not matter.
        seeds: root seeds 0, 1, ...; 2 or more.
        margin: smallest difference that matters, in points of accuracy (of losses: hundredths of a nat).
        jobs: runs at once. Each is a process of its own, so that a script calls this under
            `if __name__ == "__main__":`.
        out: folder of the runs, from which a stopped call goes on; None: a temporary one.
        name: of the files there.

    Returns:
        `Diagnosis`; `print` shows its page.

    Raises:
        ValueError: if the data, the network or an option cannot be used.
    """
    integer("seeds", seeds, minimum=2, fix="Intervals need two.")
    real("margin", margin, low=0, open_low=True, fix="It is the smallest difference that matters to you.")
    with ExitStack() as stack:
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        comparison = _comparison(config, seeds, jobs, folder, name)
        compare(comparison)
        return _read(comparison, margin)


def _comparison(config: RunConfig, seeds: int, jobs: int, out: Path, name: str) -> Comparison:
    """The comparison whose runs are needed."""
    device = find_device(config.device.name)
    plain = RunConfig.of(**{**flat(config), **MEASURED, "rules": ("warm", "cold"), "device": device})
    source = make_source(plain, 0, twice=True)
    accuracy = "test_accuracy" in first_metrics(source, plain, "warm")
    setting = StreamSetting(
        title=describe_data(plain),
        config=plain,
        num_seeds=seeds,
        num_stages=len(source.stream.chunks),
        decays=_decays(plain.training),
        metric="test_accuracy" if accuracy else "test_loss",
        sign=1 if accuracy else -1,
        unit="points of accuracy" if accuracy else "hundredths of the loss",
    )
    return Comparison(
        name=name,
        setting=setting,
        remedies=tuple(map(read_remedy, DIAGNOSED)),
        seeds=list(range(seeds)),
        num_jobs=jobs,
        out=out,
        fresh=False,
    )


def _decays(training: TrainingConfig) -> tuple[float, ...]:
    """None, the user's own and ten times that; without one, the first and the third above 0 of the run's grid."""
    own = training.weight_decay
    return (0.0, own, 10 * own) if own else (0.0, *sorted(one for one in training.decays if one)[::2][:2])


def _read(comparison: Comparison, margin: float) -> Diagnosis:
    """The diagnosis from what was run."""
    choices = saved_choices(read_choices(comparison.choices))
    wanted = {remedy.rule for remedy in comparison.remedies}
    texts = {
        (split_text(arm.rule)[0], arm.arm): arm.text
        for choice in choices
        if choice.remedy.rule in wanted
        for arm in arms_of(choice, comparison.setting)
    }
    arms = Arms(texts=texts, refused=read_choices(comparison.choices)["refused"])
    table = load_results(comparison.table).table
    assert table is not None
    mine = table[table["seed"].isin(comparison.seeds)]
    return diagnosis_of(mine, arms, comparison.setting, margin)


def draw(found: Diagnosis) -> Figure:
    """The differences of the questions, with what counts."""
    asked = [one for one in found.answers if one.difference is not None]
    figure, ax = plt.subplots(figsize=(11.4, 1.9 + 0.45 * len(asked)))
    ax.axvline(0, color="#444444", linewidth=1.0)
    ax.axvspan(-found.margin, found.margin, color="#eeeeee", zorder=0)
    for row, one in enumerate(asked):
        assert one.difference is not None
        color = {"yes": "#D55E00", "no": "#009E73"}.get(one.difference.verdict, "#7f7f7f")
        ax.hlines(row, one.difference.low, one.difference.high, color=color, linewidth=2.4)
        ax.plot([one.difference.mean], [row], "o", color=color, markersize=6.5)
    ax.set_yticks(range(len(asked)), [f"{one.question}\n{one.text}" for one in asked], fontsize=8.5)
    ax.set_ylim(len(asked) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(found.setting.unit)
    inch = 1 / figure.get_figheight()
    figure.subplots_adjust(left=0.44, right=0.98, top=1 - 0.85 * inch, bottom=0.8 * inch)
    seeds = max((one.difference.n for one in asked if one.difference is not None), default=0)
    foot = f"lines: 95% {PAIRED}, n = {seeds} seeds; grey: differences of less than {found.margin:g} do not count"
    add_heading(figure, found.recommendation, describe_setting(found.setting.config), foot)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `dashtheory diagnose`; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    return guarded(parser.prog, lambda: options.out, lambda: _run(options), option_names(parser))


def _run(options: argparse.Namespace) -> None:
    changed = given_options(options, DiagnoseConfig)
    refuse_unheard(changed)
    config = make_config(DiagnoseConfig, {**(_QUICK if options.quick else {}), **changed})
    integer("--jobs", options.jobs, minimum=1, fix="It is the number of runs at once.")
    check_counts(options.seeds, options.jobs)
    name = setting_name("diagnosis", {**({"quick": True} if options.quick else {}), **changed})
    found = diagnose(
        config, seeds=options.seeds, margin=options.margin, jobs=options.jobs, out=options.out, name=name
    )
    mpl.use("Agg")
    with style():
        figure = draw(found)
        pictures = save_figure(figure, options.out / name)
        plt.close(figure)
    write_text(options.out / f"{name}.md", str(found))
    print(f"\n{found}\nwrote {', '.join(map(str, [*pictures, options.out / f'{name}.md']))}")  # noqa: T201


_QUICK: Mapping[str, Any] = {"num_chunks": 2, "chunk_size": 140, "num_test": 200, "max_epochs": 20}


def _parser() -> argparse.ArgumentParser:
    first, *_ = (__doc__ or "").split("\n\n")
    parser = OneLineParser(
        prog="dashtheory diagnose",
        description=first,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--seeds", type=int, default=5, help="root seeds 0, 1, ... (default: 5)")
    parser.add_argument("--margin", type=float, default=1.0, help="smallest difference that matters (default: 1)")
    parser.add_argument("--jobs", type=int, default=usable_cores(), help="runs at once (default: cores)")
    parser.add_argument("--out", type=folder, default=OUT, help=f"folder of results (default: {OUT})")
    parser.add_argument("--quick", action="store_true", help="two small stages, to try the command")
    add_options(parser.add_argument_group("experiment"), DiagnoseConfig, leave=("rules", "seconds", "memory"))
    return parser
