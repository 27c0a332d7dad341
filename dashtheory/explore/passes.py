"""Make the stored passes anew.

    python -m dashtheory.explore.passes [--check] [--steps figures/effective_step.csv]

Trains the explorers' networks, simulates the first state of the discrete world, and takes effective steps and
norms by stage from the committed table of the figure on them. About a minute on one core. `--check` makes
nothing and says of each pass whether setting, arrays and table are those of now; status 1 if not, 2 if there is
no such table. It also says what was made by other code, which is no fault: a change that no number depends on
changes the fingerprint too, and whether numbers change shows when passes are made anew.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from dashtheory.errors import DamagedFile
from dashtheory.explore.discrete import DiscreteState, as_arrays, simulated
from dashtheory.explore.stored import FOLDER, FORMAT, SEED, Arrays, arrays_hash, facts, packed, read
from dashtheory.explore.training import CONFIGS, config_of, weights_of
from dashtheory.record import load_table, machine, replacing, versions, write_text
from dashtheory.record.code import code_of

STEPS = Path("figures/effective_step.csv")
METRICS = ("effective_step_at_start", "weight_norm_at_start", "weight_norm", "test_accuracy")


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One stored pass.

    Attributes:
        config: its setting, as JSON holds it.
        make: its arrays, and further facts.
        module: whose code computes it, or reads it where it is taken from a table.
        table: sha256 of the table that it is taken from; empty for none.
    """

    config: Mapping[str, Any]
    make: Callable[[], tuple[Arrays, Mapping[str, Any]]]
    module: str
    table: str = ""


def passes(steps: Path = STEPS) -> dict[str, Pass]:
    """All stored passes, by name.

    Args:
        steps: table of the figure on effective steps.

    Raises:
        ValueError: if there is no such table.
    """
    table, made = load_table(steps)
    known = {
        name: Pass(
            config=config_of(name),
            make=lambda config=config: (weights_of(config, SEED), {}),  # type: ignore[misc]
            module="dashtheory.explore.training",
        )
        for name, config in CONFIGS.items()
    }
    state = DiscreteState()
    known["discrete"] = Pass(
        config=dataclasses.asdict(state),
        make=lambda: (as_arrays(simulated(state, SEED)), {}),
        module="dashtheory.explore.discrete",
    )
    known["steps"] = Pass(
        config={"table": steps.name},
        make=lambda: _steps(table, made),
        module="dashtheory.explore.steps",
        table=str(made["table_sha256"]),
    )
    return known


def _steps(table: pd.DataFrame, made: Mapping[str, object]) -> tuple[Arrays, Mapping[str, Any]]:
    """Metrics of the table as arrays (rules, seeds, stages), and where they are from."""
    rules, seeds = list(dict.fromkeys(table["rule"])), sorted(set(table["seed"]))
    arrays = {}
    for metric in METRICS:
        wide = table[table["metric"] == metric].pivot(index=["rule", "seed"], columns="stage", values="value")
        arrays[metric] = wide.loc[rules].to_numpy().reshape(len(rules), len(seeds), -1)
    told = ("config", "seeds", "versions", "machine", "table_sha256", "code")
    return arrays, {"rules": rules, "from": {name: made[name] for name in told}}


def write(name: str, one: Pass, folder: Path = FOLDER) -> None:
    """Make a pass and write its two files.

    Args:
        name: of the pass.
        one: what it is.
        folder: that gets it.
    """
    start = time.perf_counter()
    arrays, further = one.make()
    record = {
        "format": FORMAT,
        "name": name,
        "seed": SEED,
        "config": one.config,
        "sha256": arrays_hash(arrays),
        "code": code_of(one.module),
        "versions": versions(),
        "machine": machine(),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - start, 1),
        **further,
    }
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / f"{name}.npz") as path:
        path.write_bytes(packed(arrays))
    write_text(folder / f"{name}.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    facts.cache_clear()
    read.cache_clear()


def standing(name: str, one: Pass, folder: Path = FOLDER) -> str:
    """What is wrong with a stored pass, in a few words; empty if nothing.

    Args:
        name: of the pass.
        one: what it should be.
        folder: that holds it.
    """
    try:
        known = facts(name, folder)
        if known is None:
            return "is not there"
        read(name, folder)
    except DamagedFile as error:
        return str(error)
    if (known["seed"], known["config"]) != (SEED, one.config):
        return "is of another setting"
    if one.table and known.get("from", {}).get("table_sha256") != one.table:
        return "is of another table"
    return ""


def remark(name: str, one: Pass, folder: Path = FOLDER) -> str:
    """What is to be known of a stored pass that nothing is wrong with, in a few words; empty if nothing.

    Args:
        name: of the pass.
        one: what it should be.
        folder: that holds it.
    """
    known = facts(name, folder) or {}
    same = known.get("code") == code_of(one.module)
    return "" if same else "as it should be, but made by other code, whose numbers may be the same"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make or check all passes; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dashtheory.explore.passes", description=__doc__)
    parser.add_argument("--check", action="store_true", help="make nothing, say how each pass stands")
    parser.add_argument("--steps", type=Path, default=STEPS, help="table of the figure on effective steps")
    options = parser.parse_args(arguments)
    try:
        known = passes(options.steps)
    except ValueError as error:
        parser.error(f"--steps: {error}")
    torch.set_num_threads(1)
    status = 0
    for name, one in known.items():
        if not options.check:
            write(name, one)
        wrong = standing(name, one)
        status |= bool(wrong)
        sys.stdout.write(f"{name}: {wrong or remark(name, one) or 'as it should be'}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
