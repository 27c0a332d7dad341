"""The command line that all scripts of `simulations/` share: options from the configuration, runs, files.

A script names its configuration (a frozen dataclass), a plan of independent runs and a drawing; this module does
the rest: every field is an option, results are kept while a call lasts, so that a killed call goes on where it
was, and the picture, its table and its provenance are written atomically. Bad input ends in one line and exit
status 2; an interrupt in status 130.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dashtheory._check import fail, integer
from dashtheory.command.guard import guarded
from dashtheory.command.options import (
    OneLineParser,
    add_first_seed,
    add_limits,
    add_options,
    check_counts,
    folder,
    given_options,
    make_config,
    option_names,
    read_duration,
    refuse_unheard,
    seeds_from,
    setting_name,
    shown,
    stages_wanted,
)
from dashtheory.command.ways import Way, add_ways, device_of, way_of
from dashtheory.parallel import Job, usable_cores
from dashtheory.parallel.place import Place

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Config = TypeVar("Config")


@dataclass(frozen=True, kw_only=True)
class Script(Generic[Config]):
    """One figure: what it needs computed, and how it is drawn.

    Attributes:
        name: of the experiment and its files.
        summary: one line for --help.
        config: frozen dataclass; each field is an option, with `metadata={"help": ...}`.
        num_seeds: root seeds 0, 1, ... of the figure.
        staged: whether the plan takes `num_stages` and `deadline`, as that of `dashtheory.deep.run.rule_jobs`
            does; then --stages and --budget are options.
        named: whether options of the experiment become part of the files' name, so that no setting takes the place
            of another's results.
        grouped: whether each job of the plan computes all seeds that it is given together.
        quick: fields changed by --quick.
        quick_seeds: number of seeds then.
        plan: independent runs for a configuration and seeds.
        draw: the figure, from the saved table alone and the configuration.
        facts: what to record about the data.
        facts_of: the same, where it depends on the configuration.
        out: default folder of the results.
        out_of: the same, where it depends on the configuration.
        program: how the script is called, for --help and errors.
        epilog: what --help ends with, line by line.
    """

    name: str
    summary: str
    config: type[Config]
    num_seeds: int
    staged: bool = False
    named: bool = False
    grouped: bool = False
    quick: Mapping[str, object]
    quick_seeds: int
    plan: Callable[..., list[Job]]
    draw: Callable[[pd.DataFrame, Config], Figure]
    facts: Callable[[], dict[str, object]] = dict
    facts_of: Callable[[Config], dict[str, object]] | None = None
    out: Path = Path("figures")
    out_of: Callable[[Config], Path] | None = None
    program: str = ""
    epilog: str = ""


def main(script: Script[Any], arguments: Sequence[str] | None = None) -> int:
    """Run a script's command line.

    Returns:
        int: the exit status: 0, 2 for bad input, 130 for an interrupt, 143 for SIGTERM.
    """
    parser = _parser(script)
    options = parser.parse_args(arguments)
    return guarded(parser.prog, lambda: options.out, lambda: _run(script, options), option_names(parser))


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a command line of a script says.

    Attributes:
        config: of the experiment.
        out: folder of the results; None if it is not named.
        usual_out: where results of this configuration go by themselves, at full size.
        redraw: whether nothing is computed.
    """

    config: Any
    out: Path | None
    usual_out: Path
    redraw: bool


def call_of(script: Script[Any], arguments: Sequence[str]) -> Call:
    """Read a command line of a script, and compute nothing.

    Args:
        script: whose it is.
        arguments: of the command line.

    Raises:
        ValueError: if an option cannot be used.
    """
    options = _parser(script).parse_args(arguments)
    out = options.out
    config, _ = _configuration(script, options)
    return Call(config=config, out=out, usual_out=_usual_out(script, config), redraw=options.redraw)


def _usual_out(script: Script[Any], config: Any) -> Path:
    return script.out if script.out_of is None else script.out_of(config)


def _run(script: Script[Any], options: argparse.Namespace) -> None:
    config, seeds = _configuration(script, options)
    if script.named:
        script = dataclasses.replace(script, name=setting_name(script.name, given_options(options, script.config)))
    limits = _limits(script, config, options, time.monotonic())
    config, way = _way(script, config, options)
    from dashtheory.command.work import carry_out, redraw  # tables and figures: only once the options are good

    if options.redraw:
        redraw(script, options.out)
    else:
        carry_out(script, config, seeds, options, limits, way)


def _limits(script: Script[Any], config: Any, options: argparse.Namespace, now: float) -> dict[str, object]:
    """What --stages and --budget say to the plan of a script that takes them."""
    if not script.staged:
        return {}
    stages = stages_wanted(options.stages, config.data.length)
    deadline = None if options.budget is None else now + read_duration(options.budget)
    return {**stages, "deadline": deadline}


def _way(script: Script[Any], config: Any, options: argparse.Namespace) -> tuple[Any, Way]:
    """How runs are computed, and the configuration with a device that fits."""
    way = way_of(options)
    if way.place == Place():
        return config, way
    if not script.staged:
        if way.place.gpus:
            fail("gpus", "must be left out", way.place.gpus, "These runs are for CPUs.")
        return config, way
    from dashtheory.protocol import find_device

    return config.with_values(device=device_of(way, config.device.name, find_device)), way


def _configuration(script: Script[Any], options: argparse.Namespace) -> tuple[Any, list[int]]:
    """Configuration and seeds: the defaults, then --quick, then the options given by name."""
    given = given_options(options, script.config)
    refuse_unheard(given)
    first_seed = getattr(options, "first_seed", 0)  # of named ones
    other_seeds = options.seeds is not None or first_seed
    if options.redraw and ((given and not script.named) or other_seeds or options.quick):
        seeds = "--seeds, --first-seed" if hasattr(options, "first_seed") else "--seeds"
        fail("--redraw", f"must come without --quick, {seeds} and options of the experiment", "some", "Drop them.")
    config = make_config(script.config, {**(script.quick if options.quick else {}), **given})
    if options.out is None:
        options.out = Path("build/quick") if options.quick else _usual_out(script, config)
    usual = script.quick_seeds if options.quick else script.num_seeds
    num_seeds = usual if options.seeds is None else options.seeds
    integer("--jobs", options.jobs, minimum=1, fix="It is the number of processes.")
    integer("--seeds", num_seeds, minimum=1, fix="It is the number of seeds: 0, 1, 2, ...")
    check_counts(num_seeds, options.jobs)
    return config, seeds_from(first_seed, num_seeds)


def _parser(script: Script[Any]) -> argparse.ArgumentParser:
    prog = script.program or f"{script.name}.py"
    parser = OneLineParser(
        prog=prog,
        description=script.summary,
        epilog=script.epilog,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    toy = ", ".join(f"{name} {shown(value)}" for name, value in script.quick.items())
    parser.add_argument(
        "--out",
        type=folder,
        help=f"folder for picture, table, provenance (default: {script.out}; with --quick: build/quick)",
    )
    parser.add_argument("--seeds", type=int, help=f"number of seeds: 0, 1, ... (default: {script.num_seeds})")
    parser.add_argument("--jobs", type=int, default=usable_cores(), help="processes (default: all cores)")
    if script.named:
        add_first_seed(parser)
    if script.staged:
        add_limits(parser)
    parser.add_argument("--quick", action="store_true", help=f"toy size: {toy}")
    parser.add_argument("--redraw", action="store_true", help="draw again from the saved table; compute nothing")
    parser.add_argument(
        "--recompute", action="store_true", help="run again what the saved table holds; a stopped call goes on"
    )
    parser.add_argument(
        "--since",
        type=_file,
        metavar="FILE",
        help="with --recompute: what a table newer than this file holds stays (so `make figures` goes on)",
    )
    parser.add_argument("--fresh", action="store_true", help="the same, and forget the runs of a stopped call")
    add_ways(parser)
    add_options(parser.add_argument_group("experiment"), script.config)
    return parser


def _file(text: str) -> Path:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"must name a file that is there, got '{text}'")
    return Path(text)
