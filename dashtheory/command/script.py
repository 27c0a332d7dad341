"""The command line that all scripts of `simulations/` share: options from the configuration, runs, files.

A script names its configuration (a frozen dataclass), a plan of independent runs and a drawing; this module does
the rest: every field is an option, results are kept while a call lasts, so that a killed call goes on where it
was, and the picture, its table and its provenance are written atomically. Bad input ends in one line and exit
status 2; an interrupt in status 130.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import inspect
import shutil
import signal
import sys
import threading
import time
import typing
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
from dashtheory.command.options import OneLineParser, _shown, add_options, given_options
from dashtheory.parallel import Job, interrupts_held, run_jobs
from dashtheory.plot import save_figure, style
from dashtheory.record import (
    KeptRuns,
    concatenate,
    load_table,
    only_one,
    provenance,
    save_table,
    usable_cores,
    writable_folder,
)

Config = TypeVar("Config")


@dataclass(frozen=True, kw_only=True)
class Script(Generic[Config]):
    """One figure: what it needs computed, and how it is drawn.

    Attributes:
        name: of the experiment and its files. summary: one line for --help.
        config: frozen dataclass; each field is an option, with `metadata={"help": ...}`.
        num_seeds: root seeds 0, 1, ... of the figure.
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
    quick: Mapping[str, object]
    quick_seeds: int
    plan: Callable[[Config, Sequence[int]], list[Job]]
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
        kept = _compute(script, config, seeds, options, path)
        _draw(script, config, path)
        kept.forget()


def _draw(script: Script[Any], config: Any, path: Path) -> None:
    """Draw the saved table."""
    table, _ = load_table(path)
    with style():
        figure = script.draw(table, config)
        pictures = save_figure(figure, path.with_suffix(""))
        plt.close(figure)
    names = ", ".join(str(written) for written in (*pictures, path, path.with_suffix(".json")))
    print(f"wrote {names}")  # noqa: T201


def _compute(
    script: Script[Any], config: Any, seeds: list[int], options: argparse.Namespace, path: Path
) -> KeptRuns:
    """Run what has not been kept by an earlier call, and save the table with its provenance."""
    started = time.perf_counter()
    facts = script.facts() if script.facts_of is None else script.facts_of(config)
    source = Path(inspect.getsourcefile(script.plan) or "").read_bytes()
    identity = {"config": config, "facts": facts, "script": hashlib.sha256(source).hexdigest()}
    jobs = script.plan(config, seeds)
    kept = KeptRuns(path.parent / ".partial" / script.name, identity)
    if options.fresh:
        kept.forget()
    found = {job.name: run for job in jobs if (run := kept.find(job.name)) is not None}
    checkpoints = kept.folder / "checkpoints"
    missing = [_with_folder(job, checkpoints) for job in jobs if job.name not in found]
    if missing:
        for done in run_jobs(missing, num_workers=options.jobs, total=len(jobs)):
            with interrupts_held():
                kept.keep(done.name, done.table, done.seconds)
                shutil.rmtree(checkpoints / done.name, ignore_errors=True)
            found[done.name] = done.table, done.seconds
    made = provenance(
        experiment=script.name,
        config=config,
        seeds=seeds,
        wall_seconds=time.perf_counter() - started,
        runs={name: seconds for name, (_, seconds) in found.items()},
        data=facts,
    )
    save_table(concatenate(found[job.name][0] for job in jobs), path, {"quick": options.quick, **made})
    return kept


def _with_folder(job: Job, checkpoints: Path) -> Job:
    """The job, told where its checkpoints go if it keeps any."""
    if not job.resumable:
        return job
    return dataclasses.replace(job, arguments={**job.arguments, "folder": checkpoints / job.name})


def _configuration(script: Script[Any], options: argparse.Namespace) -> tuple[Any, list[int]]:
    """Configuration and seeds: the defaults, then --quick, then the options given by name."""
    given = given_options(options, script.config)
    if options.redraw and (given or options.seeds is not None or options.quick):
        fail("--redraw", "must come without --quick, --seeds and options of the experiment", "some", "Drop them.")
    config = script.config(**{**(script.quick if options.quick else {}), **given})
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
    saved, kinds = facts.get("config"), typing.get_type_hints(script.config)
    if facts.get("experiment") != script.name or not isinstance(saved, dict):
        fail("--redraw", f"must find a table of {script.name}", f"'{path}'", "Run without --redraw first.")
    if set(saved) != {field.name for field in dataclasses.fields(script.config)}:
        fail("--redraw", "must find this version's configuration", f"other fields in '{path}'", "Run it again.")
    try:
        return script.config(**{name: _restored(value, kinds[name]) for name, value in saved.items()})
    except (TypeError, ValueError) as error:
        fail("--redraw", "must find a valid configuration", f"'{path}' ({error})", "Run it again.")


def _restored(value: Any, kind: Any) -> Any:
    """A value of a field from what JSON held: lists were tuples, and infinity was text."""
    if isinstance(value, list):
        return tuple(value)
    return float(value) if kind is float and isinstance(value, str) else value


def _parser(script: Script[Any]) -> argparse.ArgumentParser:
    prog = script.program or f"{script.name}.py"
    parser = OneLineParser(prog=prog, description=script.summary, allow_abbrev=False)
    toy = ", ".join(f"{name} {_shown(value)}" for name, value in script.quick.items())
    parser.add_argument(
        "--out",
        type=_folder,
        help=f"folder for picture, table, provenance (default: {script.out}; with --quick: build/quick)",
    )
    parser.add_argument("--seeds", type=int, help=f"number of seeds: 0, 1, ... (default: {script.num_seeds})")
    parser.add_argument("--jobs", type=int, default=usable_cores(), help="processes (default: all cores)")
    parser.add_argument("--quick", action="store_true", help=f"toy size: {toy}")
    parser.add_argument("--redraw", action="store_true", help="draw again from the saved table; compute nothing")
    parser.add_argument("--fresh", action="store_true", help="forget the runs kept by a call that was stopped")
    add_options(parser.add_argument_group("experiment"), script.config)
    return parser


def _folder(text: str) -> Path:
    if not text.strip():
        raise argparse.ArgumentTypeError("must name a folder, got ''")
    return Path(text)
