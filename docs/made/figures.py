"""What the records of figures say: setting, command, minutes, files."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from docs.made.blocks import rows

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "figures"
REMEDIES = "remedies"
"""The figure that is a comparison of many hours, with a folder of its own."""
AT_ONCE = ("learning_phases",)
"""Figures that train once, on all chunks, for a number of epochs."""
_TEXT = "width=48,num_layers=2,num_heads=4"
OPTIONS: Mapping[str, str] = {
    "cifar10/learning_phases": "--data cifar10",
    "cifar10/rule_ablation": "--data cifar10 --rules {rules}",
    "cifar10/warm_start_images": "--data cifar10",
    "embedding_std_1/warm_start_text": f"--model-options {_TEXT},embedding_std=1.0,linear_std=0.0 "
    "--out figures/embedding_std_1",
    "linear_std_0.02/warm_start_text": f"--model-options {_TEXT},embedding_std=0.02,linear_std=0.02 "
    "--out figures/linear_std_0.02",
    "mlp_small/two_layer_dynamics": "--regime mlp_small",
    "optimizer_renewed/changing_streams": "--task-optimizer renewed --streams {streams} --rules {rules} "
    "--out figures/optimizer_renewed",
    "while_training/changing_streams": "--streams {streams} --rules {rules} --out figures/while_training",
}
"""What is said to a script for a figure in another setting, by its name; {field}: of its configuration."""


def names() -> list[str]:
    """Every figure: those of the scripts, then the others, by name."""
    found = [path.relative_to(FIGURES).with_suffix("").as_posix() for path in FIGURES.rglob("*.csv")]
    drawn = [name for name in found if REMEDIES not in name.split("/") and ".partial" not in name]
    return sorted(drawn, key=lambda name: (name.count("/"), name.rpartition("/")[2], name))


@cache
def record(name: str) -> dict[str, Any]:
    """How a figure was made."""
    found: dict[str, Any] = json.loads((FIGURES / f"{name}.json").read_text(encoding="utf-8"))
    return found


def command(name: str) -> str:
    """The command that makes a figure."""
    config = record(name)["config"]
    said = {key: ",".join(map(str, value)) for key, value in config.items() if isinstance(value, list)}
    options = OPTIONS.get(name, "").format(**said)
    return f"python simulations/{name.rpartition('/')[2]}.py {options}".rstrip()


def seconds(facts: Mapping[str, Any]) -> float:
    """What the call took, as recorded; of one that went on where another had stopped, what its runs took."""
    runs = sum(float(one["seconds"]) for one in facts.get("runs", {}).values())
    return max(float(facts["wall_seconds"]), runs / int(facts["machine"]["cores"]))


def minutes(name: str) -> str:
    """What the call took, in minutes."""
    found = seconds(record(name)) / 60
    if found < 0.1:
        return "under 0.1"
    return f"{found:.1f}" if found < 10 else f"{found:.0f}"


def total_minutes() -> float:
    """What the calls of `make figures` took."""
    return sum(seconds(record(name)) for name in names() if "/" not in name) / 60


def command_text(name: str) -> str:
    """Command, time and files of a figure, for its section.

    Args:
        name: of the figure.
    """
    machine = record(name)["machine"]
    files = ", ".join(f"[{kind}](../figures/{name}.{kind})" for kind in ("csv", "json", "svg"))
    count = f"{minutes(name)} minute{'' if minutes(name) == '1.0' else 's'}"
    return (
        f"**Command.** `{command(name)}` ({count} on {machine['cores']} cores of {machine['processor']}). "
        f"Files: {files}."
    )


def setting_text(name: str) -> str:
    """The setting of a figure in words, and how many seeds it has.

    Args:
        name: of the figure.
    """
    found = record(name)
    seeds = len(found["seeds"])
    at_once = name.rpartition("/")[2] in AT_ONCE
    return (
        f"**Setting.** {setting(found['config'], at_once=at_once)}. n = {seeds} seed{'' if seeds == 1 else 's'}."
    )


def setting(config: Mapping[str, Any], *, at_once: bool = False) -> str:
    """A configuration in words.

    Args:
        config: as a record holds it.
        at_once: whether all chunks are one, and epochs are counted.
    """
    if isinstance(config.get("data"), dict):
        return _trained(config, at_once)
    said = {name: value for name, value in config.items() if name != "rules" and value != 0}
    return "; ".join(f"`{name}` {_value(value)}" for name, value in said.items())


def _trained(config: Mapping[str, Any], at_once: bool) -> str:
    data, model, how = config["data"], config["model"], config["training"]
    options = f" ({', '.join(model['options'])})" if model["options"] else ""
    what = "windows of text" if data["name"] == "text" else "pictures"
    unit = " nat" if how["criterion"] == "loss" else ""
    end = (
        f"{how['max_epochs']} epochs{'' if at_once else ' a stage'}"
        if at_once or how["criterion"] == "epochs"
        else f"every stage trains to {how['criterion']} {how['threshold']:g}{unit}, at most {how['max_epochs']} "
        "epochs"
    )
    more = [
        f"`{name}` {_value(value)}"
        for name, value in config.items()
        if name not in ("data", "model", "training", "device", "measures", "rules")
    ]
    return "; ".join(
        [
            data["title"] or data["name"],
            f"`{model['name']}`{options}",
            f"{data['num_chunks'] * data['chunk_size']:,} {what}"
            if at_once
            else f"{data['num_chunks']} chunk{'' if data['num_chunks'] == 1 else 's'} of {data['chunk_size']:,} "
            f"{what}",
            f"{how['optimizer']}, learning rate {how['learning_rate']:g}, batch {how['batch_size']}",
            end,
            *([", ".join(more)] if more else []),
        ]
    )


def _value(value: object) -> str:
    if isinstance(value, list):
        if len(value) > 8 and all(isinstance(one, int | float) for one in value):
            return f"{len(value)} values from {_value(value[0])} to {_value(value[-1])}"
        return ", ".join(map(_value, value))
    return f"{value:,g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


@cache
def summary(script: str) -> str:
    """The first line of a script's docstring, without what level it is of."""
    tree = ast.parse((ROOT / "simulations" / f"{script}.py").read_text(encoding="utf-8"))
    line = (ast.get_docstring(tree) or "").split("\n")[0]
    return line.rpartition(" (")[0] if line.endswith(").") and "level" in line.rpartition(" (")[2] else line[:-1]


def figures_page() -> str:
    """The text of docs/figures.md."""
    body = [
        [
            f"[{_title(name)}](results.md#{name.rpartition('/')[2]})",
            f"`{_short(command(name))}`",
            str(len(record(name)["seeds"])),
            minutes(name),
            f"[`{name}`](../figures/{name}.png)",
        ]
        for name in names()
    ]
    head = HEAD.format(minutes=f"{total_minutes():.0f}")
    return head + rows(["figure", "command", "seeds", "minutes", "files in `figures/`"], body) + "\n" + FOOT


def _title(name: str) -> str:
    folder = name.rpartition("/")[0]
    return summary(name.rpartition("/")[2]) + (f" ({folder})" if folder else "")


def _short(text: str) -> str:
    """A command of which long lists are left out."""
    return " ".join(word if len(word) < 60 else "..." for word in text.split())


HEAD = """# Every figure

This page is made (`make pages`). `make figures` draws the nineteen of `simulations/` at their defaults anew
({minutes} minutes in all), and `make quick` shows them at toy size; what each says stands in
[the results](results.md).

"""
FOOT = """
`python` is `.venv/bin/python` after `make setup`. Minutes are those of the recorded call, on two cores, or of
its runs where it went on after a stop; the figures in folders had other work beside them, and an idle machine
needs less. Every figure has four files: `png`,
`svg`, its table (`csv`) and how it was made (`json`: configuration, seeds, hash of the data, versions, device,
time). Where `...` stands, the record has the whole list.

Every script takes `--quick` (a toy, into `build/quick`), `--out`, `--seeds`, `--jobs` and an option for each
parameter of its experiment (`--help` lists them). A killed call loses no finished run: the same command goes
on. [More seeds](more_seeds.md), or one rule more, compute what is missing and say which old runs are not used,
and why (another setting, data, code or library); `--recompute` (as `make figures`) does all again;
`make figures` that was killed goes on with the figures that are left. Where `--help` lists it, `--stages N` stops
after the first N stages; `--stages 2,5,10`: rules that start anew in every stage, such as `cold`, run these alone.

[The comparison of all remedies](remedies.md) has a command of its own, `make remedies`: hours, not among `make
figures`. [The paper's experiments](../paper_repro/README.md) have theirs.
"""
