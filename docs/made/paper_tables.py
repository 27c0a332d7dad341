"""Tables of docs/results.md about the paper's setting, as far as it was run, and about the preset that is cut."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pandas as pd

from dashtheory._spec import label_of, split_text
from dashtheory.paper import summarize_runs
from dashtheory.paper.figure import furthest
from dashtheory.paper.repeats import dash_minus, render_repeats
from dashtheory.paper.report import describe, setting_of
from dashtheory.paper.waterfall import chain_of, missing_words, samples_of
from dashtheory.record import Results, load_results
from docs.made.blocks import rows
from docs.made.figures import ROOT

PAPER = ROOT / "paper_repro" / "results" / "cpu"


def stages(name: str) -> str:
    """Accuracy and epochs by stage, samples up to the last, missing links of the chain; of the first seed."""
    found, table = _first_seed(name)
    return f"{_stages(found, table)}\n\n{missing_words(*chain_of(table, setting_of(found).data.chunk_size))}"


def further(name: str) -> str:
    """The same of the runs that went further, with one seed, than all rules on their common ones."""
    found, table = _read(name.removesuffix(FURTHER))
    return _stages(found, furthest(table))


def _stages(found: Results, table: pd.DataFrame) -> str:
    """Of one seed."""
    accuracy, epochs = 100 * _wide(table, "test_accuracy"), _wide(table, "epochs")
    last, chunk = int(accuracy.columns[-1]), setting_of(found).data.chunk_size
    cold = samples_of(table, "cold", last, chunk)

    def spent(rule: str) -> str:
        samples = samples_of(table, rule, last, chunk)
        share = "" if math.isnan(cold) else f" ({100 * samples / cold:.0f}%)"
        return "" if math.isnan(samples) else f"{samples:,.0f}{share}"

    body = [
        [
            label_of(rule),
            *(
                "" if pd.isna(value) else f"{value:.1f} ({epochs[stage][rule]:.0f})"
                for stage, value in accuracy.loc[rule].items()
            ),
            spent(rule),
        ]
        for rule in _in_order(accuracy)
    ]
    (seed,) = set(table["seed"])
    runs = set(zip(table["rule"], table["seed"], strict=True))
    shown = found.only(
        [n for n, run in found.tables.items() if (run["rule"].iloc[0], run["seed"].iloc[0]) in runs]
    )
    words = f"Test accuracy (%) and, in parentheses, epochs of the stage; seed {seed}. {describe(shown)}"
    whole = "" if math.isnan(cold) else " (of cold's)"
    head = ["rule", *(f"stage {stage}" for stage in accuracy), f"samples to stage {last}{whole}"]
    return f"{words}\n\n{rows(head, body)}"


def by_seed(name: str) -> str:
    """DASH minus each rule that was run with more than one seed, paired by seed."""
    _, table = _read(name.removesuffix(BY_SEED))
    words = (
        "DASH minus the rule in test accuracy (points): mean over the seeds that both have, each of them in "
        "parentheses, and from three on the 95% t interval of the mean, not corrected for the number of contrasts."
    )
    return f"{words}\n\n{render_repeats(dash_minus(table))}"


def recipe(name: str) -> str:
    """Test accuracy by stage where every stage has as many epochs, run by run: not all rules have all seeds."""
    found, table = _read(name)
    last, stages = int(table["stage"].max()), sorted(set(table["stage"]))
    order = _in_order(100 * _wide(table, "test_accuracy"))
    known = _by_place(table)

    def shown(rule: str, seed: int, stage: int, metric: str) -> str:
        return _shown(100 * known.get((rule, seed, stage, metric), math.nan))

    body = [
        [
            label_of(rule),
            f"{seed}",
            *(shown(rule, seed, stage, "test_accuracy") for stage in stages),
            shown(rule, seed, last, "train_accuracy"),
            shown(rule, seed, last, "old_accuracy_reestimated_epoch0"),
        ]
        for rule in order
        for seed in sorted(set(table.loc[table["rule"] == rule, "seed"]))
    ]
    words = (
        f"Test accuracy (%) after every stage. Fitted: how much of the data of stage {last} is right in its last "
        "epoch (%, as augmented); old: how much of the old data at its start, right after the rule. "
        f"{describe(found)}"
    )
    head = ["rule", "seed", *(f"stage {stage}" for stage in stages), "fitted", "old"]
    return f"{words}\n\n{rows(head, body)}"


def batches(name: str) -> str:
    """Accuracy and epochs by stage and seed, and those of the last stage with the preset's own batches."""
    found, table = _read(name)
    usual = _by_place(_read(name.partition("+")[0])[1])
    here, stages = _by_place(table), sorted(set(table["stage"]))
    size = setting_of(_read(name.partition("+")[0])[0]).training.batch_size

    def cell(values: Mapping[tuple[str, int, int, str], float], rule: str, seed: int, stage: int) -> str:
        accuracy, epochs = (values.get((rule, seed, stage, one), math.nan) for one in ("test_accuracy", "epochs"))
        return "" if math.isnan(accuracy) else f"{100 * accuracy:.1f} ({epochs:.0f})"

    body = [
        [
            label_of(rule),
            f"{seed}",
            *(cell(here, rule, seed, stage) for stage in stages),
            cell(usual, rule, seed, stages[-1]),
        ]
        for seed in sorted(set(table["seed"]))
        for rule in _in_order(_wide(table[table["seed"] == seed], "test_accuracy"))
    ]
    words = f"Test accuracy (%) and, in parentheses, epochs of the stage. {describe(found)}"
    last = f"stage {stages[-1]}, batches of {size}"
    return f"{words}\n\n{rows(['rule', 'seed', *(f'stage {stage}' for stage in stages), last], body)}"


def _by_place(table: pd.DataFrame) -> dict[tuple[str, int, int, str], float]:
    """Values by rule, seed, stage and metric."""
    columns = table[["rule", "seed", "stage", "metric", "value"]].to_numpy()
    return {(rule, seed, stage, metric): value for rule, seed, stage, metric, value in columns}


def starts(name: str) -> str:
    """What a rule leaves: the norm of all weights, and how much of the old data is still right."""
    _, table = _first_seed(name.removesuffix(STARTS))
    norms = _wide(table, "weight_norm_at_start")
    old = 100 * _wide(table, "old_accuracy_reestimated_epoch0").reindex(columns=norms.columns)
    later = list(norms.columns[1:])
    body = [
        [label_of(rule), *(_shown(one[stage][rule]) for one in (norms, old) for stage in later)]
        for rule in _in_order(_wide(table, "test_accuracy"))
        if not _is_variant_of_cold(rule)
    ]
    words = "At the start of a stage, right after the rule: the norm of all weights, and old data still right (%)."
    heads = [f"{what}, stage {stage}" for what in ("norm", "old") for stage in later]
    return f"{words}\n\n{rows(['rule', *heads], body)}"


def kept(name: str) -> str:
    """What a rule leaves of old data with right labels, and of old data with wrong ones."""
    found, table = _first_seed(name.removesuffix(STARTS))
    share = setting_of(found).data.label_noise
    wrong = 100 * _wide(table, "canary_accuracy_at_start_reestimated")
    right = (100 * _wide(table, "old_accuracy_reestimated_epoch0") - share * wrong) / (1 - share)
    body = [
        [label_of(rule), *(_shown(one[stage][rule]) for one in (right, wrong) for stage in wrong.columns)]
        for rule in _in_order(_wide(table, "test_accuracy"))
    ]
    words = (
        "At the start of a stage, right after the rule: how much of the old data the network still answers as "
        "labelled (%), where the label is right and where it is wrong; statistics of batch norm taken anew."
    )
    heads = [f"{what}, stage {stage}" for what in ("right", "wrong") for stage in wrong.columns]
    return f"{words}\n\n{rows(['rule', *heads], body)}"


def cut(name: str) -> str:
    """Last and mean accuracy of whole runs."""
    found, table = _read(name)
    runs = summarize_runs(table, setting_of(found).data.num_chunks)
    body = []
    for rule, run in runs.iterrows():
        cells = [
            f"{100 * run[column]:.1f}"
            + ("" if pd.isna(run[f"{column}_sd"]) else f" ± {100 * run[f'{column}_sd']:.1f}")
            for column in ("last_accuracy", "mean_accuracy")
        ]
        body.append([label_of(str(rule)), f"{run['n']:.0f}", *cells])
    return f"{describe(found)}\n\n" + rows(["rule", "seeds", "last accuracy (%)", "mean over stages (%)"], body)


def _read(name: str) -> tuple[Results, pd.DataFrame]:
    found = load_results(PAPER / f"{name}.csv")
    assert found.table is not None
    return found, found.table


def _first_seed(name: str) -> tuple[Results, pd.DataFrame]:
    """Of the smallest seed alone: means over other seeds are not to be compared."""
    found, table = _read(name)
    return found, table[table["seed"] == table["seed"].min()]


def _wide(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Means over seeds, a line per rule, a column per stage."""
    return table[table["metric"] == metric].groupby(["rule", "stage"])["value"].mean().unstack("stage")


def _in_order(accuracy: pd.DataFrame) -> list[str]:
    """Rules by their last accuracy; those that went less far come first."""
    order = accuracy.assign(depth=accuracy.notna().sum(axis=1), last=accuracy[accuracy.columns[-1]])
    return [str(rule) for rule in order.sort_values(["last", "depth"], na_position="first").index]


def _is_variant_of_cold(rule: str) -> bool:
    """Whether it is cold with options: its start is that of cold."""
    plain, options = split_text(rule)
    return plain == "cold" and bool(options)


def _shown(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.1f}"


STARTS, BY_SEED, FURTHER = "-starts", "-by-seed", "-further"
TABLES: dict[str, Callable[[str], str]] = {
    "cifar10-resnet18": stages,
    f"cifar10-resnet18{STARTS}": starts,
    f"cifar10-resnet18{BY_SEED}": by_seed,
    f"cifar10-resnet18{FURTHER}": further,
    "cifar10-resnet18-noise": stages,
    f"cifar10-resnet18-noise{STARTS}": kept,
    "cifar10-vgg16": stages,
    "cifar10-resnet18-modern": recipe,
    "cifar10-resnet18+batch_size=125": batches,
    "cifar10-resnet18-cut": cut,
}
