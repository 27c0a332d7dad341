"""The page of the benchmarks, from their records."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from typing import Any

from dashtheory.record import load_table
from docs.made.blocks import rows
from docs.made.figures import ROOT
from docs.made.roofline import apart, cpu_step, shares_of_peak

Record = dict[str, Any]
RESULTS = ROOT / "benchmarks" / "results"
TENTH = 0.1


def benchmarks_page() -> str:
    """The text of docs/benchmarks.md."""
    return HEAD + "".join(_section(name) for name in SECTIONS)


def _section(name: str) -> str:
    saved = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    tree = ast.parse((ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8"))
    summary = (ast.get_docstring(tree) or "").split("\n")[0]
    machine = saved["machine"]
    how = (
        f"`python -m benchmarks.{name}`; {saved['date']}, {machine['cores']} cores of {machine['processor']}; "
        f"[record](../benchmarks/results/{name}.json)."
    )
    toy = "" if saved["quick"] is False else " **Toy sizes.**"
    return f"\n## `{name}`\n\n{summary}\n\n{SECTIONS[name](saved)}\n\n{how}{toy}\n"


def discrete(saved: Record) -> str:
    """The exact simulator."""
    given, whole, one, plain, half, naive = saved["measurements"]
    big = saved["big_run"]
    return rows(
        ["work", "ours", "against"],
        [
            ["the paper's setting, three rules, ten seeds, data given", f"{given['seconds_median']:.2f} s", ""],
            [
                "the same with sampling and accuracy on 10,000 test samples",
                f"{whole['seconds_median']:.2f} s",
                "",
            ],
            [
                "one seed of it",
                f"{one['seconds_median']:.3f} s",
                f"plain vectorised numpy: {plain['ratio_to_ours']:.0f} times longer",
            ],
            [
                "one seed, 25 of its 50 stages",
                f"{half['seconds_median']:.3f} s",
                f"the naive loop of the tests: {naive['ratio_to_ours']:,.0f} times longer",
            ],
            [
                "5,000,000 samples with 200 features per class, cold, sampling included",
                f"{big['seconds_total']:.0f} s, {big['peak_memory_gib']:.2f} GiB",
                "",
            ],
        ],
    )


def theory(saved: Record) -> str:
    """Batches and closed forms, in the paper's setting."""
    single, threads, every, alone = saved["batch"]
    limit, one = saved["limit"]
    large_limit, large_one = saved["large"]
    law, chain, samples = saved["creep"]
    every_ratio = alone["seconds_median"] / every["seconds_median"]
    chain_ratio = samples["seconds_median"] / chain["seconds_median"]
    return rows(
        ["work", "ours", "against"],
        [
            [
                "simulations per second (three rules each), last stage, one thread",
                f"{single['simulations_per_second']:.0f}",
                f"one at a time: {alone['ratio_to_first']:.1f} times longer",
            ],
            [
                f"the same on {threads['name'].split()[-2]} threads",
                f"{threads['simulations_per_second']:.0f}",
                "",
            ],
            [
                "the same with every stage recorded, one thread",
                f"{every['simulations_per_second']:.0f}",
                f"one at a time: {every_ratio:.1f} times longer",
            ],
            [
                "population limit, three rules, 50 stages, N = 1,000",
                f"{1000 * limit['seconds_median']:.0f} ms",
                f"one simulation of it: {one['ratio_to_first']:.0f} times longer",
            ],
            [
                "the same, N = 100,000",
                f"{1000 * large_limit['seconds_median']:.0f} ms",
                f"{large_one['ratio_to_first']:,.0f} times longer",
            ],
            [
                "20 warm learners over 1,000 chunks: exact chain by counts",
                f"{chain['seconds_median']:.2f} s",
                f"on samples (in one batch): {chain_ratio:.1f} times longer",
            ],
            ["the law of a warm learner over 1,000 chunks", f"{law['seconds_median']:.2f} s", ""],
        ],
    )


def shrink(saved: Record) -> str:
    """What DASH's pass and the grid cost."""
    costs, grids, shares = [], [], []
    for part in ("text", "images"):
        _, dash, grid = saved[part]["passes"]
        costs.append(dash["median_ratio_to"]["forward and backward"])
        grids.append(grid["median_ratio_to"]["dash_"])
        shares += [100 * stage["share"] for stage in saved[part]["stages"] if stage["rule"] == "dash"]
    return (
        f"One pass of DASH over the data takes {costs[0]:.2f} (text) and {costs[1]:.2f} (pictures) times a "
        f"forward and backward pass over them, which is {min(shares):.0f} to {max(shares):.0f}% of the training "
        "time of its stage; all 25 pairs of five alphas and five lams from one pass take "
        f"{grids[0]:.2f} and {grids[1]:.2f} times a single one (one thread, CPU time)."
    )


def twolayer(saved: Record) -> str:
    """What separate networks cost beside stacked ones."""
    separate = [row for row in saved["measurements"] if row["name"] == "separate autograd"]
    ratio = {(row["regime"], row["num_samples"]): row["median_ratio_to_stacked"] for row in separate}
    cells = [f"{ratio['cnn_a', size]:.1f} and {ratio['mlp_small', size]:.1f}" for size in (400, 200, 50)]
    return (
        f"Two-layer networks trained one by one with autograd take, per step, {cells[0]} times as long as stacked "
        f"ones (64 at once; patch network and MLP) at N = 400 samples, {cells[1]} times at 200 and {cells[2]} "
        "times at 50 (one thread, CPU time)."
    )


def streams(saved: Record) -> str:
    """Replicas at once, beside one by one."""
    names = {"sgd": "SGD", "adam": "Adam"}
    return rows(
        ["optimizer", "networks at once", "one by one takes"],
        [
            [names[row["optimizer"]], str(row["networks"]), f"{row['median_ratio']:.1f} times as long"]
            for row in saved["measurements"]
        ],
    )


def images(saved: Record) -> str:
    """A plain loop beside the engines, and the roofline."""
    times = {row["name"]: row["median_ratio_of_loader"] for row in saved["contenders"]}
    table = rows(
        ["contender", "pictures per second", "times as fast as the loader"],
        [
            [row["name"], f"{row['samples_per_second']:.0f}", f"{row['median_ratio_of_loader']:.2f}"]
            for row in saved["contenders"]
        ],
    )
    parts = ", ".join(f"{100 * share:.0f}% in {kind}" for kind, share in shares_of_peak(saved).items())
    other = json.loads((RESULTS / "cpu_step.json").read_text(encoding="utf-8"))
    return (
        f"A plain loop over a `DataLoader` takes {times['fast, bfloat16']:.2f} times as long as the fast engine "
        f"in bfloat16 and {times['fast, float32']:.2f} times as long as the same in float32 (ResNet-18, batch "
        f"128, {saved['threads']} cores). On a GPU: not run.\n\n{table}\n\nOf the fastest matrix product seen in "
        f"the same run, a step reaches {parts}.\n\n{apart(saved, other)}"
    )


def dash_share(saved: Record) -> str:
    """DASH from a part of every chunk."""
    body = [
        [
            f"`{setting}`",
            f"{row['share']:g}",
            f"{row['seconds'] / cells[0]['seconds']:.2f}",
            f"{row['mean_factor']:.3f}",
            f"{row['correlation']:.2f}" if "correlation" in row else "",
            f"{row['cosine']:.3f}" if "cosine" in row else "",
        ]
        for setting, cells in saved["settings"].items()
        for row in cells
    ]
    head = ["setting", "share of every chunk", "time of the full pass", "mean factor"]
    tenth = [
        f"{row['cosine']:.3f} (`{setting}`)"
        for setting, cells in saved["settings"].items()
        for row in cells
        if row["share"] == TENTH
    ]
    return (
        rows([*head, "correlation of factors", "cosine of factors"], body)
        + f"\n\nFactors from a tenth of every chunk have a cosine of {' and '.join(tenth)} with those of the full "
        "pass. No factor is negative, so that a cosine is high for unrelated ones, too; the correlation tells how "
        f"far they agree beyond their mean.\n\n{_accuracy_of_a_tenth()}"
    )


def _accuracy_of_a_tenth() -> str:
    """Accuracy after stages of the paper's setting, as far as it was run."""
    table, _ = load_table(ROOT / "paper_repro" / "results" / "cpu" / "cifar10-resnet18.csv")
    shared = table["seed"].isin(table.loc[table["rule"] == "dash:share=0.1", "seed"])
    rows_of = table[(table["metric"] == "test_accuracy") & (table["stage"] > 1) & shared]
    ends = rows_of.pivot_table(index="stage", columns="rule", values="value")[["dash:share=0.1", "dash"]].dropna()
    tenth, full = (" and ".join(f"{100 * value:.1f}%" for value in ends[rule]) for rule in ends)
    seeds = rows_of["seed"].nunique()
    return (
        f"Accuracy after stages {' and '.join(map(str, ends.index))} of [the paper's setting](results.md#paper), "
        f"{'one seed' if seeds == 1 else f'{seeds} seeds'}: {tenth} with a tenth, {full} with the full pass."
    )


def compiled(saved: Record) -> str:
    """A step through torch.compile."""
    plain = {row["kind"]: min(row["seconds"]) for row in saved["steps"] if not row["compiled"]}
    body = [
        [
            row["kind"],
            f"{1000 * plain[row['kind']]:.0f}",
            f"{1000 * min(row['seconds']):.0f}",
            f"{min(row['seconds']) / plain[row['kind']]:.2f} times",
        ]
        for row in saved["steps"]
        if row["compiled"]
    ]
    head = ["forward and backward with", "as it is (ms)", "compiled (ms)", "of it"]
    return f"Batches of {saved['batch_size']}; the time to compile is not among these.\n\n{rows(head, body)}"


def prepacked(saved: Record) -> str:
    """Forward passes of the convolutions, by how their weights lie."""
    layers = saved["layers"]
    stored, packed = (sum(row["number"] * min(row["seconds"][way]) for row in layers) for way in PACKINGS)
    body = [
        [row["layer"], str(row["number"]), *(f"{1000 * min(row['seconds'][way]):.2f}" for way in PACKINGS)]
        for row in layers
    ]
    return (
        f"The convolutions of one forward pass take {1000 * stored:.0f} ms with weights as they are stored, "
        f"{1000 * packed:.0f} ms with weights packed beforehand: {100 * (1 - packed / stored):.1f}% less, the "
        "most that packing once a step could save, if it cost nothing. The backward pass takes no packed weights."
        "\n\n" + rows(["layer, map", "number", *(f"{way} (ms)" for way in PACKINGS)], body)
    )


PACKINGS = ("as stored", "packed")


def evaluation(saved: Record) -> str:
    """Statistics taken anew, and accuracy by size of batch."""
    statistics, accuracy = saved["statistics"], saved["accuracy"]
    one, each = (min(turns) for turns in statistics["seconds"].values())
    best = min(min(row["seconds"]) for row in accuracy)
    body = [
        [f"{row['batch_size']:,}", f"{min(row['seconds']):.2f}", f"{min(row['seconds']) / best:.2f} times"]
        for row in accuracy
    ]
    return (
        f"Statistics of batch norm over {statistics['pictures']:,} pictures take {each / one:.1f} times as long "
        "with a pass for each layer as in one pass, which is taken where a core's share of the machine's memory "
        f"holds it.\n\nTest accuracy on {accuracy[0]['pictures']:,} pictures, by size of batch (`evaluate` takes "
        "1,000):\n\n" + rows(["batch", "CPU seconds", "of the shortest"], body)
    )


def explore(saved: Record) -> str:
    """Redraws of the figures with sliders."""
    return rows(
        ["explorer", "states", "redraw, median (ms)", "worst state (ms)"],
        [
            [
                one["name"],
                str(one["states"]),
                f"{one['median_ms']['wall']:.0f}",
                f"{one['worst_ms']['wall']:.0f}",
            ]
            for one in saved["explorers"]
        ],
    )


def doors(saved: Record) -> str:
    """What is paid before anything is computed."""
    return rows(
        ["door", "CPU seconds", "of importing numpy"],
        [
            [f"`{name}`", f"{one['cpu_seconds']:.2f}", f"{one['ratio_to_numpy']:.1f} times"]
            for name, one in saved["doors"].items()
        ],
    )


def sweep(saved: Record) -> str:
    """What many jobs ask of the process that waits."""
    table = rows(
        ["jobs", "worker (CPU ms a job)", "waiting process (CPU s)", "last save (CPU s)"],
        [
            [
                f"{one['jobs']:,}",
                f"{one['worker_cpu_ms_per_job']:.1f}",
                f"{one['waiting_cpu_seconds']:.1f}",
                f"{one['last_save_cpu_seconds']:.1f}",
            ]
            for one in saved["sweeps"]
        ],
    )
    return table + "\n\nWhat it means for many runs on a cluster: [scale](scale.md)."


def claims(saved: Record) -> str:
    """The survey of the claims of the theory."""
    number = saved["universes"]["number"]
    return f"{number:,} random universes; what it found stands in [the theory](theory.md). Not a measure of speed."


SECTIONS: dict[str, Callable[[Record], str]] = {
    "discrete": discrete,
    "theory": theory,
    "twolayer": twolayer,
    "shrink": shrink,
    "dash_share": dash_share,
    "images": images,
    "cpu_step": cpu_step,
    "compiled": compiled,
    "prepacked": prepacked,
    "evaluation": evaluation,
    "streams": streams,
    "sweep": sweep,
    "explore": explore,
    "doors": doors,
    "claims": claims,
}
"""Every benchmark, and what is told of its record."""

HEAD = """# Benchmarks

This page is made (`make pages`) from the records in `benchmarks/results/`, which `make bench` writes.
Contenders do the same work side by side in one run, and are checked to give the same result before any time is
taken; settings, spread and versions stand in the records. Ratios hold on other machines better than seconds do.
"""
