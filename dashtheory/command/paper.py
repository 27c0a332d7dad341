r"""Run a preset of the paper's experiments within a budget of time; the same command goes on where it stopped.

    python paper_repro/run.py cifar10-resnet18 --rules cold,warm,sp,dash --seeds 3 --budget 9m
    python paper_repro/run.py --list

Every stage is kept in a checkpoint, and one under way every ten minutes, unless its rule acts in the loss or after
steps. Results are in OUT/DEVICE/NAME.csv, with what is known of each run beside it (.json). Values of the setting
can be changed by options (`dashtheory.deep.config.RunConfig`); they then become part of NAME.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dashtheory._check import fail, integer
from dashtheory.command.growing import Call, run
from dashtheory.command.guard import guarded
from dashtheory.command.options import (
    OneLineParser,
    add_first_seed,
    add_limits,
    add_options,
    check_counts,
    folder,
    given_options,
    option_names,
    read_duration,
    seeds_from,
    setting_name,
    stages_wanted,
)
from dashtheory.command.ways import add_ways, device_of, way_of
from dashtheory.deep.config import RunConfig
from dashtheory.paper.presets import preset, preset_names
from dashtheory.parallel import usable_cores
from dashtheory.protocol import find_device
from dashtheory.rules.spec import parse_spec

OUT = Path("paper_repro/results")
JOBS_ON_GPU = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(preset_names()))  # noqa: T201
        return 0
    return guarded(parser.prog, lambda: options.out, lambda: run(_call(options)), option_names(parser))


def _call(options: argparse.Namespace) -> Call:
    """The options, checked."""
    if not options.preset:
        fail("PRESET", "must be given", "none", "See --list.")
    changed = given_options(options, RunConfig)
    config = preset(options.preset, **changed)
    integer("--seeds", options.seeds, minimum=1, fix="It is the number of seeds: 0, 1, 2, ...")
    way = way_of(options)
    device = device_of(way, options.device, find_device)
    tuned = [rule for rule in config.rules if parse_spec(rule).tuned]
    if tuned and options.budget is not None:
        fail("--budget", "must be left out for tuned rules", tuned[0], "Their tuning cannot be cut into stages.")
    jobs = options.jobs
    if jobs is None:
        jobs = usable_cores() if device == "cpu" else JOBS_ON_GPU * max(1, way.place.gpus)
    integer("--jobs", jobs, minimum=1, fix="It is the number of runs at once.")
    check_counts(options.seeds, jobs)
    return Call(
        name=setting_name(options.preset, {name: value for name, value in changed.items() if name != "device"}),
        config=config.with_values(device=device),
        seeds=seeds_from(options.first_seed, options.seeds),
        num_jobs=jobs,
        budget=None if options.budget is None else read_duration(options.budget),
        out=options.out,
        fresh=options.fresh,
        stages=stages_wanted(options.stages, config.data.length),
        way=way,
    )


def _parser() -> argparse.ArgumentParser:
    first = (__doc__ or "").split("\n", 1)[0]
    parser = OneLineParser(prog="paper_repro/run.py", description=first, allow_abbrev=False)
    parser.add_argument("preset", nargs="?", default="", help="DATA-MODEL with suffixes; see --list")
    parser.add_argument("--list", action="store_true", help="list the presets")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds: 0, 1, ... (default: 1)")
    add_first_seed(parser)
    add_limits(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--jobs", type=int, help=f"runs at once (default: cores; {JOBS_ON_GPU} on one GPU)")
    parser.add_argument("--out", type=folder, default=OUT, help=f"folder of results (default: {OUT})")
    parser.add_argument("--fresh", action="store_true", help="forget this setting's runs, kept or finished")
    add_ways(parser)
    add_options(
        parser.add_argument_group("setting"), RunConfig, leave=("data", "data_name", "device", "size", "seconds")
    )
    return parser
