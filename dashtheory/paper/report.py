"""RESULTS.md and its figures, from the tables of results.

Every number is computed from a table in the folder of results; a setting without one, and a rule without a run,
say "not run"; a rule without a whole run says how far it has come.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from dashtheory._check import fail
from dashtheory._nested import restore
from dashtheory.deep.config import RunConfig, TrainingConfig
from dashtheory.paper.authors import authors_rows, gap_words
from dashtheory.paper.figure import draw_results, furthest, panels_in_words
from dashtheory.paper.precision import render_precision
from dashtheory.paper.presets import preset, preset_names
from dashtheory.paper.published import PUBLISHED, Published
from dashtheory.paper.repeats import dash_minus, draw_repeats, render_repeats
from dashtheory.paper.spelling import in_one_spelling, spellings
from dashtheory.paper.summary import parts_run, summarize_runs
from dashtheory.paper.waterfall import NEEDED, Link, chains_of, draw_chain, render_chain, samples_of
from dashtheory.plot import rule_style, save_figure, sort_rules, style
from dashtheory.plot.style import PICTURES
from dashtheory.record import Results, load_results, only_one, writable_folder, write_text
from dashtheory.record.atomic import sweep

NOT_RUN = "not run"
KINDS = {"cuda": "GPU", "cpu": "CPU"}
_HEAD = """# The paper's experiments

Shin, Oh, Cho & Yun, *DASH: Warm-Starting Neural Network Training in Stationary Settings without Loss of
Plasticity* (NeurIPS 2024, arXiv:2410.23495). This page is written by `python paper_repro/table.py` from the tables
in `paper_repro/results/`; beside each lies how it was made (`.json`: setting, data hash, and for every run its
machine, versions, code and time). What was not run says so.

Accuracies are in per cent on the test set; steps are optimizer steps of a stage; *last* is the last stage, *mean*
the mean over stages; mean ± sample standard deviation over n seeds. "Authors" are single runs of the authors on
the original pixels, for orientation; "CIFAR-10 (JPEG)" is a re-encoding whose pixels differ a little, and is not
to be mixed with them.
"""


def build(results: Path, out: Path) -> None:
    """Write OUT/RESULTS.md and OUT/figures/.

    Args:
        results: folder of tables, by kind of device.
        out: folder to write to.
    """
    found = read_all(results)
    writable_folder("--out", out)
    with only_one(out / ".partial" / "report.lock", "--out"):
        _write(found, out)
    print(f"wrote {out / 'RESULTS.md'} from {len(found)} tables")  # noqa: T201


def _write(found: Mapping[tuple[str, str], Results], out: Path) -> None:
    """Write the page and the figures; remove what a killed call has left, and what the page has no more."""
    for (kind, name), one in _spelled(found).items():
        stem = _made(out / "figures") / f"{kind}-{name}"
        sweep(*(stem.with_suffix(suffix) for suffix in PICTURES))
        gone = {_FURTHEST, *_CHAINS, _SEEDS}
        with style():
            for tail, figure in _figures(kind, one):
                _save(figure, Path(f"{stem}{tail}"))
                gone.discard(tail)
        for tail in gone:
            for suffix in PICTURES:
                Path(f"{stem}{tail}{suffix}").unlink(missing_ok=True)
    sweep(out / "RESULTS.md")
    write_text(out / "RESULTS.md", render(found))


def _figures(kind: str, one: Results) -> Iterator[tuple[str, Figure]]:
    """The figures of a setting, each drawn when it is asked for, by what their names end with."""
    yield "", _figure(kind, one)
    further = _furthest(one)
    if further is not None:
        words = f"; seed {_seed_of(further)}, with which these went further than others"
        yield _FURTHEST, _figure(kind, further, words)
    for place, (stage, links) in enumerate(_chains(one)):
        yield _CHAINS[place], _draw_chain(one, stage, links)
    repeats = _repeats(one)
    if repeats is not None:
        yield _SEEDS, repeats


def read_all(folder: Path) -> dict[tuple[str, str], Results]:
    """All results in a folder, by kind of device and name, GPU first.

    Raises:
        ValueError: if the folder is missing or a table damaged.
    """
    if not folder.is_dir():
        fail("--results", "must be a folder of results", f"'{folder}'", "Run paper_repro/run.py first.")
    return {
        (kind, path.stem): load_results(path, path.stem)
        for kind in KINDS
        for path in sorted((folder / kind).glob("[!.]*.csv"))  # others are left of calls that were killed
    }


def render(found: Mapping[tuple[str, str], Results]) -> str:
    """The text of RESULTS.md.

    Args:
        found: results by kind of device and name.
    """
    found = _spelled(found)
    parts = [_HEAD, "\n## On a GPU\n\n", _gpu_tables(found)]
    for (kind, name), one in found.items():
        if kind == "cuda" and name not in preset_names():
            parts.append(_section(kind, one))
    cpu = [_section(kind, one) for (kind, _), one in found.items() if kind == "cpu"]
    parts += ["\n## On a CPU\n\n", _CPU_WORDS if cpu else f"{NOT_RUN}\n", *cpu]
    parts.append(render_precision(found))
    return "".join(parts)


def _spelled(found: Mapping[tuple[str, str], Results]) -> dict[tuple[str, str], Results]:
    """Every rule under its one spelling."""
    return {place: in_one_spelling(one, _usual(one.name)) for place, one in found.items()}


def _usual(name: str) -> tuple[str, ...]:
    """Rules of the preset of a setting, each under its one spelling."""
    return tuple(spellings(preset(name.split("+", 1)[0]).rules).values())


_PARTS = "; runs that are not finished yet as far as they went"
_CPU_WORDS = """What two cores do: presets cut down (`-cut`), which show that the path works and how the rules
stand in a small setting, and say nothing about the full ones; and of the full preset as many stages as there was
time for.
"""


def _gpu_tables(found: Mapping[tuple[str, str], Results]) -> str:
    """A table for each preset that was run, then the list of those that were not."""
    parts, missing = [], []
    for name in preset_names():
        one = found.get(("cuda", name))
        if one is not None:
            parts.append(_section("cuda", one))
        elif not name.endswith("-cut") and not name.startswith("digits"):
            missing.append(name)
    if "cifar10-resnet18" in missing:
        parts.append(_empty_section("cifar10-resnet18"))
    if missing:
        listed = "\n".join(f"| {name} | {NOT_RUN} |" for name in missing)
        parts.append(f"\n### Presets that were not run\n\n| preset | |\n|---|---|\n{listed}\n")
    return "".join(parts)


_COLUMNS = (
    "| rule | n | last accuracy | mean accuracy | last steps | mean steps | authors |\n"
    "|---|---|---|---|---|---|---|\n"
)


def _empty_section(name: str) -> str:
    rows = [_missing_row(name, rule) for rule in _usual(name)]
    return f"\n### {name}\n\n{_COLUMNS}" + "\n".join(rows) + "\n"


def _section(kind: str, one: Results) -> str:
    """Heading, machine, table and figure of one setting."""
    table = one.table
    assert table is not None
    stages = setting_of(one).data.length or 0
    summary = summarize_runs(table, stages)
    rules = _rules(one)
    rows = [_row(one, rule, summary, stages) for rule in rules]
    unfinished = [f"{name}: {parts_run([one.tables[name]], stages)}" for name in _unfinished(one)]
    words = (
        f"\nUnfinished: {'; '.join(unfinished)}.\n{_by_stage(table, one.name, setting_of(one).data.chunk_size)}"
        if unfinished
        else ""
    )
    words += (
        _furthest_section(kind, one) + _chain_section(kind, one) + _repeats_section(kind, one) + _capped(table)
    )
    picture = f"figures/{kind}-{one.name}.png"
    alt = f"{data_name(one)}, {one.name}: {panels_in_words(table)}"
    return (
        f"\n### {one.name} on {data_name(one)} ({', '.join(machines(one))})\n\n{describe(one)}\n\n"
        f"{_COLUMNS}" + "\n".join(rows) + f"\n{words}\n![{alt}]({picture})\n"
    )


def _save(figure: Figure, stem: Path) -> None:
    """Write a figure and let it go."""
    save_figure(figure, stem)
    plt.close(figure)


_CHAINS = ("-chain", "-chain-last")


def _chains(one: Results) -> list[tuple[int, list[Link]]]:
    """Chains from cold to DASH; none where no control of cold or warm was run, and no norms alone."""
    table = one.table
    assert table is not None
    found = chains_of(table, setting_of(one).data.chunk_size)
    return [(stage, links) for stage, links in found if len(links) > len(NEEDED)]


def _chain_section(kind: str, one: Results) -> str:
    return "".join(
        f"{render_chain(stage, links)}\n![From cold to DASH, step by step, at stage {stage}]"
        f"(figures/{kind}-{one.name}{_CHAINS[place]}.png)\n"
        for place, (stage, links) in enumerate(_chains(one))
    )


def _draw_chain(one: Results, stage: int, links: list[Link]) -> Figure:
    intervals = any(not math.isnan(link.low) for link in links)
    few = "one seed" if links[-1].seeds == 1 else f"mean of {links[-1].seeds} seeds"
    lines = "; lines: 95% t interval of that difference, paired by seed" if intervals else f"; {few}, no interval"
    words = {
        "title": f"From cold to DASH, step by step: {data_name(one)}, {one.name.partition('+')[0]}",
        "setting": describe(one),
        "foot": f"bars: from the rule before to this one{lines}; steps of this stage; the best step size and "
        "decay are those on the test set",
    }
    return draw_chain(stage, links, words)


_SEEDS = "-seeds"


def _repeats_section(kind: str, one: Results) -> str:
    assert one.table is not None
    found = dash_minus(one.table)
    if found.empty:
        return ""
    words = (
        "Test accuracy, in points: the mean over the seeds that both have, each of them in parentheses, and from "
        "three on the 95% t interval of the mean, not corrected for the number of contrasts."
    )
    picture = f"![DASH minus each rule by stage, seed by seed](figures/{kind}-{one.name}{_SEEDS}.png)"
    return f"\n#### DASH minus each rule, seed by seed\n\n{words}\n\n{render_repeats(found)}\n\n{picture}\n"


def _repeats(one: Results) -> Figure | None:
    """DASH minus each rule; None where no rule has as many seeds."""
    assert one.table is not None
    found = dash_minus(one.table)
    if found.empty:
        return None
    counts = sorted(set(found["n"]))
    seeds = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    lines = "" if found["low"].isna().all() else "; lines: 95% t interval of the mean, from three seeds on"
    words = {
        "title": f"DASH minus each rule, seed by seed: {data_name(one)}, {one.name.partition('+')[0]}",
        "setting": describe(one),
        "foot": f"marks: mean of n = {seeds} seeds{lines}; dots: a seed each; right of 0 DASH is ahead",
    }
    return draw_repeats(found, words)


_FURTHEST = "-furthest"


def _furthest(one: Results) -> Results | None:
    """The runs of one seed that went further than those on the seeds that all rules have; None if none did."""
    assert one.table is not None
    table = furthest(one.table)
    names = {(str(part["rule"].iloc[0]), int(part["seed"].iloc[0])): name for name, part in one.tables.items()}
    kept = [names[place] for place in sorted(set(zip(table["rule"], table["seed"], strict=True)))]
    return one.only(kept) if kept else None


def _seed_of(one: Results) -> int:
    assert one.table is not None
    (seed,) = set(one.table["seed"])
    return int(seed)


def _furthest_section(kind: str, one: Results) -> str:
    found = _furthest(one)
    if found is None:
        return ""
    assert found.table is not None
    seed = _seed_of(found)
    words = f"Seed {seed} alone, with which these runs went further than those on the seeds that all rules have."
    last = int(found.table["stage"].max())
    picture = f"![Runs that went to stage {last}: {panels_in_words(found.table)}]"
    below = _by_stage(found.table, one.name, setting_of(one).data.chunk_size, f"seed {seed}, to stage {last}")
    return f"{below}\n{words}\n\n{picture}(figures/{kind}-{one.name}{_FURTHEST}.png)\n"


def _unfinished(one: Results) -> list[str]:
    return [name for name, facts in one.runs.items() if not facts["complete"]]


def _by_stage(table: pd.DataFrame, name: str, chunk_size: int, of: str = "") -> str:
    """Test accuracy after the first stages, mean over seeds, with the steps of the stage; the authors' below."""
    stages = [stage for stage in _SHOWN_STAGES if stage in set(table["stage"])]
    means = table.groupby(["metric", "rule", "stage"], sort=False)["value"].mean()
    counts = table.groupby("rule")["seed"].nunique()
    lines = [
        f"| rule | seeds | {' | '.join(f'stage {stage}' for stage in stages)} | samples so far |",
        "|---" * (len(stages) + 3) + "|",
    ]
    for rule in sort_rules(list(counts.index)):
        cells = [
            f"{100 * means['test_accuracy', rule, stage]:.1f} ({means['steps', rule, stage]:,.0f})"
            if ("test_accuracy", rule, stage) in means
            else NOT_RUN
            for stage in stages
        ]
        last = int(table.loc[table["rule"] == rule, "stage"].max())
        samples = samples_of(table, rule, last, chunk_size)
        cells.append("–" if math.isnan(samples) else f"{samples:,.0f}")
        lines.append(f"| {rule_style(rule).label} | {counts[rule]} | {' | '.join(cells)} |")
    lines += authors_rows(table, name, stages)
    words = gap_words(table, name, stages)
    lines += ["", words] if words else []
    if table.groupby(["rule", "stage"])["seed"].nunique().nunique() > 1:
        few = "Not all rules have all seeds, nor all of theirs at every stage"
        lines += ["", f"{few}: a mean over more is not to be read beside one over fewer."]
    head = "Test accuracy (%) by stage, and the steps of the stage"
    return f"\n#### {head}{f': {of}' if of else ''}\n\n" + "\n".join(lines) + "\n"


_SHOWN_STAGES = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 25, 30, 40, 50)


def _capped(table: pd.DataFrame) -> str:
    """Words for the stages that ended at the cap of epochs; empty if there is none."""
    rows = table[(table["metric"] == "converged") & (table["value"] == 0)]
    stages = [
        f"{rule}, seed {seed}, stage {stage}" for rule, seed, stage in rows[["rule", "seed", "stage"]].values
    ]
    return f"\nEnded at the cap of epochs: {'; '.join(stages)}.\n" if stages else ""


def _rules(one: Results) -> list[str]:
    """Rules of the preset, then others that were run."""
    run = [str(table["rule"].iloc[0]) for table in one.tables.values()]
    return list(dict.fromkeys([*_usual(one.name), *run]))


def _missing_row(name: str, rule: str, begun: str = "") -> str:
    cells = f" unfinished ({begun}) |" + " – |" * 3 if begun else f" {NOT_RUN} |" * 4
    return f"| {rule_style(rule).label} | 0 |{cells} {_authors(name, rule)} |"


def _row(one: Results, rule: str, summary: pd.DataFrame, stages: int) -> str:
    if rule not in summary.index:
        begun = parts_run((table for table in one.tables.values() if rule in set(table["rule"])), stages)
        return _missing_row(one.name, rule, begun)
    values = {str(column): float(str(value)) for column, value in summary.loc[rule].items()}
    accuracies = [
        _number(100 * values[column], 100 * values[f"{column}_sd"], 1)
        for column in ("last_accuracy", "mean_accuracy")
    ]
    steps = [_number(values[column], values[f"{column}_sd"], 0) for column in ("last_steps", "mean_steps")]
    cells = [rule_style(rule).label, f"{values['n']:.0f}", *accuracies, *steps, _authors(one.name, rule)]
    return f"| {' | '.join(cells)} |"


def _number(mean: float, spread: float, digits: int) -> str:
    text = f"{mean:,.{digits}f}"
    return text if pd.isna(spread) else f"{text} ± {spread:,.{digits}f}"


def _authors(name: str, rule: str) -> str:
    """What the authors' own runs gave, in words."""
    parts = []
    for one in PUBLISHED:
        if (one.preset, one.rule) == (name, rule):
            value = f"{100 * one.value:.1f}%" if one.metric == "test_accuracy" else f"{one.value:,.0f} steps"
            parts.append(f"{value} ({'mean' if not one.stage else f'stage {one.stage}'})")
    return ", ".join(parts) or "–"


def data_name(one: Results) -> str:
    """What the data are called, as recorded with the results."""
    inner = one.data.get("data")
    return str(inner.get("name", "")) if isinstance(inner, dict) else ""


def machines(one: Results) -> list[str]:
    """The machines of the runs, each once."""
    names = []
    for facts in one.runs.values():
        machine = facts["machine"]
        assert isinstance(machine, dict)
        device = machine["device"]
        names.append(f"{machine['processor']}, {machine['cores']} cores" if device == "cpu" else str(device))
    return list(dict.fromkeys(names))


def setting_of(one: Results) -> RunConfig:
    """The setting of results, whose configuration is kept without rules."""
    return restore(RunConfig, {**one.config, "rules": ["cold"]})


def describe(one: Results) -> str:
    """The setting in one line."""
    c = setting_of(one)
    options = f" ({', '.join(c.model.options)})" if c.model.options else ""
    noise = f"; {100 * c.data.label_noise:g}% wrong labels" if c.data.label_noise else ""
    seconds = sum(_seconds(one, name) for name in one.tables)
    return (
        f"{c.model.name}{options}, {c.data.num_chunks} chunks of {c.data.chunk_size:,} pictures, "
        f"{c.training.optimizer}, learning rate {c.training.learning_rate:g}, batch "
        f"{c.training.batch_size}{_further(c.training)}, {_criterion(c.training)}, "
        f"{c.device.precision}{noise}; {seconds / 60:.0f} minutes of runs."
    )


def _seconds(one: Results, name: str) -> float:
    """Wall time of a run; of calls that were killed no more is known than what their stages say."""
    table = one.tables[name]
    told = table.loc[table["metric"].isin(["train_seconds", "rule_seconds"]), "value"].sum()
    return max(float(one.runs[name]["seconds"]), float(told))


def _further(training: TrainingConfig) -> str:
    """What a stage has beyond the plainest one."""
    decay = f", weight decay {training.weight_decay:g}" if training.weight_decay else ""
    schedule = ", step size scheduled" if training.schedule() else ""
    return decay + schedule + (", augmented" if training.augmented else "")


def _criterion(training: TrainingConfig) -> str:
    if training.criterion == "epochs":
        return f"{training.max_epochs} epochs a stage"
    return f"{training.criterion} {training.threshold:g} (at most {training.max_epochs} epochs)"


def _figure(kind: str, one: Results, of: str = "") -> Figure:
    assert one.table is not None
    name, plus, _ = one.name.partition("+")
    published: list[Published] = [p for p in PUBLISHED if p.preset == one.name]
    return draw_results(
        one.table,
        published,
        title=f"{data_name(one)}: {name}{', changed' if plus else ''}",
        setting=describe(one),
        foot=f"{of}{_PARTS if _unfinished(one) else ''}; {', '.join(machines(one))}",
    )


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
