"""The command line that all scripts of `simulations/` share: options from the configuration, runs, files.

A script names its configuration (a frozen dataclass), a plan of independent runs and a drawing; this module does
the rest: every field is an option, results are kept while a call lasts, so that a killed call goes on where it
was, and the picture, its table and its provenance are written atomically. Bad input ends in one line and exit
status 2; an interrupt in status 130.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from dashtheory._check import fail, integer
from dashtheory._nested import restore
from dashtheory.command.grow import grow, others, reused
from dashtheory.command.options import (
    OneLineParser,
    add_limits,
    add_options,
    given_options,
    make_config,
    read_duration,
    shown,
    stages_wanted,
)
from dashtheory.parallel import Job
from dashtheory.plot import save_figure, style
from dashtheory.record import Results, load_table, only_one, provenance, usable_cores, writable_folder
from dashtheory.record.provenance import plain_config

Config = TypeVar("Config")


@dataclass(frozen=True, kw_only=True)
class Script(Generic[Config]):
    """One figure: what it needs computed, and how it is drawn.

    Attributes:
        name: of the experiment and its files. summary: one line for --help.
        config: frozen dataclass; each field is an option, with `metadata={"help": ...}`.
        num_seeds: root seeds 0, 1, ... of the figure. staged: whether the plan takes `num_stages` and `deadline`,
            as that of `dashtheory.deep.run.rule_jobs` does; then --stages and --budget are options.
        quick: fields changed by --quick; quick_seeds: number of seeds then.
        plan: independent runs for a configuration and seeds.
        draw: the figure, from the saved table alone and the configuration.
        facts: what to record about the data. facts_of: the same, where it depends on the configuration.
        out: default folder of the results. out_of: the same, where it depends on the configuration.
        program: how the script is called, for --help and errors.
    """

    name: str
    summary: str
    config: type[Config]
    num_seeds: int
    staged: bool = False
    quick: Mapping[str, object]
    quick_seeds: int
    plan: Callable[..., list[Job]]
    draw: Callable[[pd.DataFrame, Config], Figure]
    facts: Callable[[], dict[str, object]] = dict
    facts_of: Callable[[Config], dict[str, object]] | None = None
    out: Path = Path("figures")
    out_of: Callable[[Config], Path] | None = None
    program: str = ""


def main(script: Script[Any], arguments: Sequence[str] | None = None) -> int:
    """Run a script's command line.

    Returns: the exit status: 0, 2 for bad input, 130 for an interrupt, 143 for SIGTERM.
    """
    parser = _parser(script)
    options = parser.parse_args(arguments)
    return guarded(parser.prog, lambda: options.out, lambda: _run(script, options))


def guarded(program: str, out: Callable[[], object], work: Callable[[], object]) -> int:
    """Do the work of a command line; what goes wrong is one line on stderr.

    Args: program: its name. out: the folder of its results, once it is known. work: what is done.
    Returns: the exit status, as `main`.
    """
    mpl.use("Agg")
    try:
        with _terminable():
            work()
    except (ValueError, MemoryError) as error:
        text, status = " ".join(str(error).split()) or "out of memory; try smaller sizes", 2
    except OSError as error:
        reason = f"{error.strerror or error}"
        text, status = f"--out must be able to take the results, got '{out()}' ({reason}). {_GO_ON}", 2
    except _Terminated:
        text, status = f"terminated. {_GO_ON}", 143
    except KeyboardInterrupt:
        text, status = f"stopped. {_GO_ON}", 130
    else:
        return 0
    print(f"{program}: {text}", file=sys.stderr)  # noqa: T201
    return status


_GO_ON = "Finished runs are kept; the same command goes on from there."


class _Terminated(KeyboardInterrupt):
    """SIGTERM, taken like Ctrl-C."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that workers end and nothing is left half done."""

    def stop(number: int, frame: object) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(script: Script[Any], options: argparse.Namespace) -> None:
    config, seeds = _configuration(script, options)
    path = Path(options.out) / f"{script.name}.csv"
    if options.redraw:
        _draw(script, _saved_configuration(script, path), path)
        return
    writable_folder("--out", options.out)
    with only_one(path.parent / ".partial" / f"{script.name}.lock", "--out"):
        _compute(script, config, seeds, options, path)
        _draw(script, config, path)


def _draw(script: Script[Any], config: Any, path: Path) -> None:
    """Draw the saved table."""
    table, _ = load_table(path)
    with style():
        figure = script.draw(table, config)
        pictures = save_figure(figure, path.with_suffix(""))
        plt.close(figure)
    names = ", ".join(str(written) for written in (*pictures, path, path.with_suffix(".json")))
    print(f"wrote {names}")  # noqa: T201


def _compute(script: Script[Any], config: Any, seeds: list[int], options: argparse.Namespace, path: Path) -> None:
    """Run what neither the saved table nor a call that was stopped holds, and save the table."""
    started = time.perf_counter()
    facts = script.facts() if script.facts_of is None else script.facts_of(config)
    jobs = script.plan(config, seeds, **_limits(script, config, options, time.monotonic()))
    partial = path.parent / ".partial" / script.name
    if options.fresh:
        shutil.rmtree(partial, ignore_errors=True)
    kept = partial / "runs.csv"
    empty = Results(name=script.name, config=plain_config(config), data=facts)
    more = others(empty, jobs, [kept, path])
    results, _ = grow(
        jobs,
        reused(empty, jobs, [kept] if options.fresh or options.recompute else [kept, path]),
        num_workers=options.jobs,
        folder=partial,
        save=lambda results: more.joined(results).save(kept),
    )
    made = provenance(
        experiment=script.name,
        config=config,
        seeds=seeds,
        wall_seconds=time.perf_counter() - started,
        data=facts,
    )
    results.only([job.name for job in jobs]).save(path, {"quick": options.quick, **made})
    kept.unlink(missing_ok=True)
    kept.with_suffix(".json").unlink(missing_ok=True)
    more.save(kept)  # further seeds and rules of earlier calls are not lost
    for folder in (partial, partial.parent):
        with contextlib.suppress(OSError):  # not empty
            folder.rmdir()


def _limits(script: Script[Any], config: Any, options: argparse.Namespace, now: float) -> dict[str, object]:
    """What --stages and --budget say to the plan of a script that takes them."""
    if not script.staged:
        return {}
    num_stages = stages_wanted(options.stages, config.data.num_chunks)
    deadline = None if options.budget is None else now + read_duration(options.budget)
    return {"num_stages": num_stages, "deadline": deadline}


def _configuration(script: Script[Any], options: argparse.Namespace) -> tuple[Any, list[int]]:
    """Configuration and seeds: the defaults, then --quick, then the options given by name."""
    given = given_options(options, script.config)
    if options.redraw and (given or options.seeds is not None or options.quick):
        fail("--redraw", "must come without --quick, --seeds and options of the experiment", "some", "Drop them.")
    config = make_config(script.config, {**(script.quick if options.quick else {}), **given})
    if options.out is None:
        usual_out = script.out if script.out_of is None else script.out_of(config)
        options.out = Path("build/quick") if options.quick else usual_out
    usual = script.quick_seeds if options.quick else script.num_seeds
    num_seeds = usual if options.seeds is None else options.seeds
    integer("--jobs", options.jobs, minimum=1, fix="It is the number of processes.")
    integer("--seeds", num_seeds, minimum=1, fix="It is the number of seeds: 0, 1, 2, ...")
    return config, list(range(num_seeds))


def _saved_configuration(script: Script[Any], path: Path) -> Any:
    """The configuration that the saved table was made with; every field must be there, and nothing else."""
    if not path.exists():
        fail("--redraw", f"must find a table of {script.name}", f"no '{path}'", "Run without --redraw first.")
    _, facts = load_table(path)
    saved = facts.get("config")
    if facts.get("experiment") != script.name or not isinstance(saved, dict):
        fail("--redraw", f"must find a table of {script.name}", f"'{path}'", "Run without --redraw first.")
    try:
        return restore(script.config, saved)
    except (TypeError, ValueError) as error:
        fail("--redraw", "must find this version's configuration", f"'{path}' ({error})", "Run it again.")


def _parser(script: Script[Any]) -> argparse.ArgumentParser:
    prog = script.program or f"{script.name}.py"
    parser = OneLineParser(prog=prog, description=script.summary, allow_abbrev=False)
    toy = ", ".join(f"{name} {shown(value)}" for name, value in script.quick.items())
    parser.add_argument(
        "--out",
        type=_folder,
        help=f"folder for picture, table, provenance (default: {script.out}; with --quick: build/quick)",
    )
    parser.add_argument("--seeds", type=int, help=f"number of seeds: 0, 1, ... (default: {script.num_seeds})")
    parser.add_argument("--jobs", type=int, default=usable_cores(), help="processes (default: all cores)")
    if script.staged:
        add_limits(parser)
    parser.add_argument("--quick", action="store_true", help=f"toy size: {toy}")
    parser.add_argument("--redraw", action="store_true", help="draw again from the saved table; compute nothing")
    parser.add_argument(
        "--recompute", action="store_true", help="run again what the saved table holds; a stopped call goes on"
    )
    parser.add_argument("--fresh", action="store_true", help="the same, and forget the runs of a stopped call")
    add_options(parser.add_argument_group("experiment"), script.config)
    return parser


def _folder(text: str) -> Path:
    if not text.strip():
        raise argparse.ArgumentTypeError("must name a folder, got ''")
    return Path(text)
