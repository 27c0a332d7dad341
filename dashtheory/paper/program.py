r"""Run a preset of the paper's experiments within a budget of time; the same command goes on where it stopped.

    python paper_repro/run.py cifar10-resnet18 --rules cold,warm,sp,dash --seeds 3 --budget 9m
    python paper_repro/run.py --list

Every stage is kept in a checkpoint; a killed call loses the stage that it was in. Results are in
OUT/DEVICE/NAME.csv, with what is known of each run beside it (.json). Fields of the setting can be changed by
options (`dashtheory.deep.PaperConfig`); they then become part of NAME.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dashtheory._check import fail, integer, real
from dashtheory.command.options import OneLineParser, add_options, given_options
from dashtheory.command.script import guarded
from dashtheory.deep.paper_config import PaperConfig
from dashtheory.deep.run_paper import PROBLEM, run_paper
from dashtheory.paper.presets import preset, preset_names
from dashtheory.parallel import Job, interrupts_held, run_jobs
from dashtheory.protocol import describe_device, find_device
from dashtheory.record import Results, Run, code_fingerprint, missing_runs, only_one, usable_cores, writable_folder
from dashtheory.record.results import results_for
from dashtheory.rules.spec import parse_spec
from dashtheory.user_code import fingerprint

OUT = Path("paper_repro/results")
RESERVE = 5.0  # seconds of a budget that are kept for the end of the call
JOBS_ON_GPU = 3
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a call is to do.

    Attributes:
        name: of the setting. config: the setting. seeds: root seeds. device: where. num_jobs: runs at once.
        budget: seconds, or None. out: folder of the results. work: folder of checkpoints. fresh: whether to forget
            what earlier calls have kept and found. num_stages: of each run, that are wanted.
    """

    name: str
    config: PaperConfig
    seeds: list[int]
    device: str
    num_jobs: int
    budget: float | None
    out: Path
    work: Path
    fresh: bool
    num_stages: int

    @property
    def results(self) -> Path:
        """The table of results."""
        return self.out / self.device.partition(":")[0] / f"{self.name}.csv"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(preset_names()))  # noqa: T201
        return 0
    return guarded(parser.prog, lambda: options.out, lambda: run(_call(options)))


def run(call: Call) -> None:
    """Do what a call is to do, and say how far it came."""
    started = time.monotonic()
    code_fingerprint()  # of the code that now begins to run, whatever happens to its files meanwhile
    own = {rule: fingerprint(call.config.model, rule) for rule in call.config.rules}
    deadline = None if call.budget is None else started + call.budget - RESERVE
    facts = call.config.source(call.seeds[0]).facts  # also proves that the data are there
    writable_folder("--out", call.out)
    with only_one(call.work / f"{call.results.parent.name}-{call.name}.lock", "--out"):
        if call.fresh:
            _forget(call)
        results = results_for(call.results, call.name, call.config, facts)
        stages_before, stopped = _stages(results), set[Run]()
        missing = _missing(call, results, own)
        jobs = {run.name: (run, _job(call, run, deadline, own[run.rule])) for run in missing}
        for done in run_jobs([job for _, job in jobs.values()], num_workers=call.num_jobs) if jobs else ():
            with interrupts_held():
                run = jobs[done.name][0]
                device = describe_device(call.device)
                results = results.with_run(run, done.table, seconds=done.seconds, device=device, own=own[run.rule])
                if problem := done.table.attrs.get(PROBLEM):
                    print(f"{run.name}: {problem}", file=sys.stderr)  # noqa: T201
                    stopped.add(run)
                results.save(call.results)
                if run in results.complete:
                    for done_with in (_folder(call, run, ""), *_checkpoints(call).glob(f"{run.name}+*")):
                        shutil.rmtree(done_with, ignore_errors=True)
        for folder in (_checkpoints(call), _checkpoints(call).parent):
            with contextlib.suppress(OSError):  # not empty, or never made
                folder.rmdir()
    seconds = time.monotonic() - started
    left = _missing(call, results, own)
    print(_ending(call, results, left, _stages(results) - stages_before, seconds, stopped))  # noqa: T201


def _missing(call: Call, results: Results, own: Mapping[str, str]) -> list[Run]:
    """Runs that are still to do; those made with another version of a user's code among them."""
    reached = {run for run in results.reached(call.num_stages) if results.made_with(run, own.get(run.rule, ""))}
    return missing_runs(call.config.rules, call.seeds, reached)


def _folder(call: Call, run: Run, own: str) -> Path:
    """Of a run's checkpoints. Args: own: fingerprint of the user's code that it runs; empty for none."""
    return _checkpoints(call) / (f"{run.name}+{own[:16]}" if own else run.name)


def _job(call: Call, run: Run, deadline: float | None, own: str) -> Job:
    return Job(
        name=run.name,
        function=run_paper,
        arguments={
            "config": call.config,
            "run": run,
            "experiment": call.name,
            "device": call.device,
            "deadline": deadline,
            "folder": _folder(call, run, own),
            "num_stages": call.num_stages,
        },
    )


def _checkpoints(call: Call) -> Path:
    return call.work / call.results.parent.name / call.name


def _forget(call: Call) -> None:
    """Remove what earlier calls have kept and found; damaged files too."""
    shutil.rmtree(_checkpoints(call), ignore_errors=True)
    for suffix in (".csv", ".json"):
        call.results.with_suffix(suffix).unlink(missing_ok=True)


def _stages(results: Results) -> int:
    """Finished stages of all runs."""
    return sum(int(str(facts["stages"])) for facts in results.runs.values())


def _ending(
    call: Call, results: Results, left: list[Run], new_stages: int, seconds: float, stopped: set[Run]
) -> str:
    """What a call says at its end. Args: left: runs to do. stopped: runs that would end the same way again."""
    wanted = missing_runs(call.config.rules, call.seeds, set())
    whole = "complete" if call.num_stages == call.config.num_chunks else f"at stage {call.num_stages} or further"
    text = f"{len(wanted) - len(left)} of {len(wanted)} runs {whole}, {new_stages} new stages in {seconds:.0f} s"
    where = f"; results in {call.results}" if results.table is not None else ""
    if stopped:
        text += f", {len(stopped)} with a loss that is no longer finite"
    if set(left) <= stopped:
        return text + where
    going = f"; the same command{' without --fresh' if call.fresh else ''} goes on"
    if not new_stages:
        going += ", but no stage was finished: give it a larger --budget"
    return text + where + going


def _call(options: argparse.Namespace) -> Call:
    """The options, checked."""
    if not options.preset:
        fail("PRESET", "must be given", "none", "See --list.")
    changed = given_options(options, PaperConfig)
    config = preset(options.preset, **changed)
    integer("--seeds", options.seeds, minimum=1, fix="It is the number of seeds: 0, 1, 2, ...")
    device = find_device(options.device)
    tuned = [rule for rule in config.rules if parse_spec(rule).tuned]
    if tuned and options.budget is not None:
        fail("--budget", "must be left out for tuned rules", tuned[0], "Their tuning cannot be cut into stages.")
    jobs = options.jobs
    if jobs is None:
        jobs = usable_cores() if device == "cpu" else JOBS_ON_GPU
    integer("--jobs", jobs, minimum=1, fix="It is the number of runs at once.")
    return Call(
        name=setting_name(options.preset, changed),
        config=config,
        seeds=list(range(options.seeds)),
        device=device,
        num_jobs=jobs,
        budget=None if options.budget is None else read_duration(options.budget),
        out=options.out,
        work=options.out / ".partial",
        fresh=options.fresh,
        num_stages=_num_stages(options.stages, config.num_chunks),
    )


def _num_stages(wanted: int | None, num_chunks: int) -> int:
    """The first so many stages of a stream; all if nothing is said."""
    if wanted is None:
        return num_chunks
    integer("--stages", wanted, minimum=1, fix="It is the number of stages to run of each stream.")
    if wanted > num_chunks:
        fail("--stages", f"must be at most {num_chunks}, the chunks of the stream", str(wanted), "Leave it out.")
    return wanted


def setting_name(name: str, changed: Mapping[str, object]) -> str:
    """The preset's name, followed by what was changed but the rules, fit for a file name."""
    parts = [f"{field}={_word(value)}" for field, value in sorted(changed.items()) if field != "rules"]
    return "+".join([name, *parts])


def _word(value: object) -> str:
    text = "_".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return re.sub(r"[^\w=-]", "_", text)


def read_duration(text: str) -> float:
    """Seconds of "90", "90s", "9m" or "1.5h".

    Raises: ValueError if it is none of these, or not longer than the seconds kept for the end.
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([smh]?)", text.strip())
    if not match:
        fail("--budget", "must be a number with s, m or h", repr(text), "Say 9m, for instance.")
    seconds = float(match[1]) * _UNITS[match[2]]
    return real("--budget", seconds, low=RESERVE, open_low=True, fix="In seconds; say 9m, for instance.")


def _parser() -> argparse.ArgumentParser:
    first = (__doc__ or "").split("\n", 1)[0]
    parser = OneLineParser(prog="paper_repro/run.py", description=first, allow_abbrev=False)
    parser.add_argument("preset", nargs="?", default="", help="DATA-MODEL with suffixes; see --list")
    parser.add_argument("--list", action="store_true", help="list the presets")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds: 0, 1, ... (default: 1)")
    parser.add_argument("--stages", type=int, help="stop each run after so many stages; a later call goes on")
    parser.add_argument("--budget", help="time for this call, as 9m; default: until all is done")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--jobs", type=int, help=f"runs at once (default: cores; {JOBS_ON_GPU} on one GPU)")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder of results (default: {OUT})")
    parser.add_argument("--fresh", action="store_true", help="forget this setting's runs, kept or finished")
    add_options(parser.add_argument_group("setting"), PaperConfig, leave=("data", "seconds", "size"))
    return parser
