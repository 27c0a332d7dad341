"""Numbers printed on docs/benchmarks.md follow from the seconds in the records, found by name.

The page prints ratios that the benchmarks have saved; here they are divided anew. A saved ratio is a median of
ratios and not a ratio of medians, so that the two are near each other and not the same.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.docs.results_cases import BENCHMARKS, ROOT

SECTIONS = {part.split("`")[0]: part for part in BENCHMARKS.split("\n## `")[1:]}
RECORDS: dict[str, Any] = {
    path.stem: json.loads(path.read_text()) for path in (ROOT / "benchmarks" / "results").glob("*.json")
}
NEAR = 0.06


def lines(name: str) -> dict[str, list[float]]:
    """The lines of a section's table: the first cell, and the numbers of the others."""
    found = re.findall(r"(?m)^\| (.*?) \| (.*) \|$", SECTIONS[name])[2:]
    return {first.strip("`"): numbers(others) for first, others in found}


def numbers(text: str) -> list[float]:
    return [float(one.replace(",", "")) for one in re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?", text)]


def told(words: str, name: str) -> list[float]:
    """The numbers at the places {} of a sentence of a section."""
    pattern = re.escape(" ".join(words.split())).replace(r"\{\}", r"(\d+(?:\.\d+)?)")
    found = re.search(pattern, " ".join(SECTIONS[name].split()))
    assert found is not None, pattern
    return [float(one) for one in found.groups()]


def near(value: float) -> Any:
    return pytest.approx(value, rel=NEAR)


def test_every_record_has_its_section_with_command_date_and_machine() -> None:
    assert set(SECTIONS) == set(RECORDS)
    for name, section in SECTIONS.items():
        record = RECORDS[name]
        assert record["quick"] is False
        machine = f"{record['machine']['cores']} cores of {record['machine']['processor']}"
        link = f"[record](../benchmarks/results/{name}.json)"
        last = section.strip().splitlines()[-1]
        assert last == f"`python -m benchmarks.{name}`; {record['date']}, {machine}; {link}."
        assert (ROOT / "benchmarks" / f"{name}.py").exists()
    assert "Toy sizes" not in BENCHMARKS


def discrete_seconds(name: str, *, num_seeds: int, num_stages: int = 50) -> float:
    (found,) = (
        one["seconds_median"]
        for one in RECORDS["discrete"]["measurements"]
        if one["name"] == name
        and (one["setting"]["num_seeds"], one["setting"]["num_stages"]) == (num_seeds, num_stages)
    )
    return float(found)


def test_the_exact_simulator() -> None:
    given, sampled, one, half, big = lines("discrete").values()
    seconds = discrete_seconds("ours", num_seeds=1)
    assert given == [pytest.approx(discrete_seconds("ours, data given", num_seeds=10), abs=0.005)]
    assert sampled == [pytest.approx(discrete_seconds("ours, sampling + accuracy", num_seeds=10), abs=0.005)]
    assert one == [
        pytest.approx(seconds, abs=0.0005),
        near(discrete_seconds("plain numpy", num_seeds=1) / seconds),
    ]
    fewer = discrete_seconds("ours", num_seeds=1, num_stages=25)
    naive = discrete_seconds("naive oracle", num_seeds=1, num_stages=25)
    assert half == [pytest.approx(fewer, abs=0.0005), near(naive / fewer)]
    record = RECORDS["discrete"]["big_run"]
    parts = record["seconds_sampling"] + record["seconds_simulation"]
    assert big == [pytest.approx(parts, abs=0.5), pytest.approx(record["peak_memory_gib"], abs=0.005)]
    setting = record["setting"]
    assert setting["num_classes"] * setting["chunk_size"] * setting["num_stages"] == 5_000_000


def test_batches_and_closed_forms() -> None:
    record = RECORDS["theory"]
    seconds = {
        one["name"]: one["seconds_median"] for part in ("batch", "limit", "large", "creep") for one in record[part]
    }
    runs = record["batch"][0]["work"]["num_simulations"]
    alone = seconds["one at a time"]
    last, every = seconds["batch, last stage, 1 thread"], seconds["batch, every stage, 1 thread"]
    small, large = (
        (seconds[f"population limit, N = {size}"], seconds[f"one simulation, N = {size}"])
        for size in ("1,000", "100,000")
    )
    chain, samples = seconds["exact chain, 20 learners"], seconds["batch of simulations, 20 learners"]
    wanted = [
        [runs / last, alone / last],
        [runs / seconds["batch, last stage, 2 threads"]],
        [runs / every, alone / every],
        [1000 * small[0], small[1] / small[0]],
        [1000 * large[0], large[1] / large[0]],
        [chain, samples / chain],
        [seconds["mean-field law, 1000 stages"]],
    ]
    found = list(lines("theory").values())
    assert [len(one) for one in found] == [len(one) for one in wanted]
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine == [near(one) for one in theirs] or mine == [round(one) for one in theirs]


def test_stacks_of_two_layer_networks() -> None:
    seconds = {
        (one["num_samples"], one["regime"], one["name"]): one["seconds_median"]
        for one in RECORDS["twolayer"]["measurements"]
    }
    words = (
        "autograd take, per step, {} and {} times as long as stacked ones (64 at once; patch network and MLP) at "
        "N = 400 samples, {} and {} times at 200 and {} and {} times at 50"
    )
    wanted = [
        seconds[size, regime, "separate autograd"] / seconds[size, regime, "stacked"]
        for size in (400, 200, 50)
        for regime in ("cnn_a", "mlp_small")
    ]
    assert told(words, "twolayer") == [near(one) for one in wanted]


def test_the_price_of_dash() -> None:
    record, passes, shares = RECORDS["shrink"], {}, []
    for part in ("text", "images"):
        passes[part] = {one["name"]: one["seconds_median"] for one in record[part]["passes"]}
        shares += [
            100 * one["seconds_rule"] / one["seconds_training"]
            for one in record[part]["stages"]
            if one["rule"] == "dash"
        ]
    *costs, least, most, text_grid, images_grid = told(
        "takes {} (text) and {} (pictures) times a forward and backward pass over them, which is {} to {}% of the "
        "training time of its stage; all 25 pairs of five alphas and five lams from one pass take {} and {} times "
        "a single one",
        "shrink",
    )
    for one, cost, grid in zip(passes.values(), costs, (text_grid, images_grid), strict=True):
        assert cost == near(one["dash_"] / one["forward and backward"])
        assert grid == near(one["shrink_grid, 5 x 5"] / one["dash_"])
    assert (least, most) == (round(min(shares)), round(max(shares)))


def test_engines_for_pictures() -> None:
    record = RECORDS["images"]
    step = {one["name"]: one["step_seconds_median"] for one in record["contenders"]}
    found = lines("images")
    assert found.keys() == step.keys()
    for name, seconds in step.items():
        speed, ratio = found[name]
        assert ratio == near(step["loader"] / seconds)
        assert speed / found["loader"][0] == near(step["loader"] / seconds)
    half, single = told("takes {} times as long as the fast engine in bfloat16 and {} times as long", "images")
    assert (half, single) == (found["fast, bfloat16"][1], found["fast, float32"][1])
    shares = told("a step reaches {}% in float32, {}% in bfloat16", "images")
    for share, kind in zip(shares, ("float32", "bfloat16"), strict=True):
        whole = step[f"fast, {kind}"] * 4 / 3.5  # of four steps, the last is of half a batch
        flops = record["roofline"][kind]["flops"]
        assert share == pytest.approx(100 * flops / whole / record["peaks"][kind], abs=0.5)


def test_records_of_pictures_and_of_a_step_on_a_cpu_are_told_apart() -> None:
    images, step = RECORDS["images"], RECORDS["cpu_step"]
    threads, load, on_one = told(
        "is {} GFLOP/s in bfloat16 on 2 threads by the clock here (load average {} at the start), and {} GFLOP/s "
        "in bfloat16 on one core in CPU time there: another machine, or a busy one",
        "images",
    )
    assert (threads, on_one) == tuple(round(one["peaks"]["bfloat16"] / 1e9) for one in (images, step))
    assert load == round(images["machine"]["load_average_at_start"], 1)
    assert images["threads"] == 2
    assert images["date"] < "2026-11-29"  # when products came
    assert "Its fast engine has convolutions alone" in SECTIONS["images"]


def test_why_a_step_on_a_cpu_is_no_faster() -> None:
    """The floor of a mean step: of four, the last is of half a batch."""
    record = RECORDS["cpu_step"]
    (row,) = (one for one in record["steps"] if one["precision"] == "bfloat16")
    alone, taken = (1000 * min(row[name]) for name in ("convolutions_seconds", "products_seconds"))
    batch = RECORDS["images"]["roofline"]["bfloat16"]["flops"]  # by torch's own count, the last layer with it
    floor = 1000 * batch * 3.5 / 4 / record["peaks"]["bfloat16"]
    kinds = {name: 1000 * value for name, value in record["step_by_kind"].items()}
    matrix = kinds["convolutions"] + kinds["products"]
    rest = sum(kinds.values()) - matrix
    found = told(
        "The goal was {} times in bfloat16; {} is what was reached. A mean step (of {} pictures, since the last "
        "batch of an epoch is half of one) fell from {} ms to {} ms, and the goal asks for {} ms. Its "
        "convolutions are {} GFLOP, {} ms at the fastest matrix product seen; convolutions and products take {} "
        "ms, {}% of that speed, and all else {} ms. With all else as it is, convolutions would have to take {} "
        "ms, less than that floor; with convolutions as they are, all else would have to fall to {} ms.",
        "cpu_step",
    )
    goal = alone / 1.5
    wanted = [1.5, alone / taken, 128 * 3.5 / 4, alone, taken, goal, batch * 3.5 / 4 / 1e9, floor, matrix]
    wanted += [100 * floor / matrix, rest, goal - rest, goal - matrix]
    assert found == [pytest.approx(one, abs=0.501) for one in wanted]
    assert found[1] == pytest.approx(alone / taken, abs=0.005)
    assert goal - rest < floor
    told_kinds = re.findall(r"(?m)^\| ([\w ,]+) \| (\d+) \| (\d+)% \|$", SECTIONS["cpu_step"])
    assert {name: int(ms) for name, ms, _ in told_kinds} == {name: round(value) for name, value in kinds.items()}
    assert [int(share) for *_, share in told_kinds] == [
        round(100 * value / (matrix + rest)) for value in kinds.values()
    ]


def test_layers_of_a_step_on_a_cpu() -> None:
    record, directions = RECORDS["cpu_step"], ("forward", "by data", "by weights")
    found = lines("cpu_step")
    for one in record["layers"]:
        name, seconds = one["layer"], one["seconds"]
        cells = found[name]
        ways = [sum(seconds[way] for way in directions), seconds.get("all by products", 1e9)]
        shares = [1e11 * one["gigaflops"] / seconds[way] for way in directions]
        if "all by products" in seconds:
            shares.append(3e11 * one["gigaflops"] / seconds["all by products"])
        assert cells[0] == one["number"]
        assert cells[1] == pytest.approx(one["gigaflops"], abs=0.005)
        assert cells[2:-1] == [pytest.approx(share / record["peaks"]["bfloat16"], abs=0.501) for share in shares]
        assert cells[-1] == pytest.approx(1000 * one["number"] * min(ways), abs=0.05)
    slow = [one for one in record["layers"] if one["seconds"]["by weights"] > one["seconds"]["forward"]]
    assert told("slower than the forward pass in {} of {} kinds of layers", "cpu_step") == [
        len(slow),
        len(record["layers"]),
    ]


def test_ratios_of_the_other_tables() -> None:
    steps = {one["precision"]: one for one in RECORDS["cpu_step"]["steps"]}
    for name, (_, ratio) in ((name, lines("cpu_step")[name]) for name in steps):
        assert ratio == near(min(steps[name]["convolutions_seconds"]) / min(steps[name]["products_seconds"]))
    rows = re.findall(r"(?m)^\| (\w+) \| (\d+) \| ([\d.]+) times as long \|$", SECTIONS["streams"])
    for row, one in zip(rows, RECORDS["streams"]["measurements"], strict=True):
        assert (row[0].lower(), int(row[1])) == (one["optimizer"], one["networks"])
        assert float(row[2]) == near(one["separate_seconds_median"] / one["seconds_median"])
    doors = RECORDS["doors"]["doors"]
    for name, (seconds, ratio) in lines("doors").items():
        one = doors[name]
        assert seconds == pytest.approx(one["cpu_seconds"], abs=0.005)
        assert ratio == pytest.approx(one["cpu_seconds"] / one["numpy_cpu_seconds"], abs=0.06)


def test_factors_from_a_part_of_every_chunk() -> None:
    cell = r" \| ([\d.]*)"
    rows = re.findall(rf"(?m)^\| `([\w-]+)`{5 * cell} ?\|$", SECTIONS["dash_share"].replace("| |", "|  |"))
    settings = RECORDS["dash_share"]["settings"]
    assert len(rows) == sum(map(len, settings.values()))
    for name, share, time, factor, correlation, cosine in rows:
        (one,) = (one for one in settings[name] if one["share"] == float(share))
        (whole,) = (one for one in settings[name] if one["share"] == 1)
        assert float(time) == pytest.approx(one["seconds"] / whole["seconds"], abs=0.005)
        assert float(factor) == pytest.approx(one["mean_factor"], abs=0.0005)
        if one is whole:
            assert correlation == cosine == ""
        else:
            assert float(correlation) == pytest.approx(one["correlation"], abs=0.005)
            assert float(cosine) == pytest.approx(one["cosine"], abs=0.0005)
    tenth = [one["cosine"] for name in settings for one in settings[name] if one["share"] == 0.1]
    words = "Factors from a tenth of every chunk have a cosine of {} (`digits`) and {} (`cifar10-resnet18`)"
    assert told(words, "dash_share") == [pytest.approx(one, abs=0.0005) for one in tenth]


def test_compiled_steps() -> None:
    rows = re.findall(r"(?m)^\| (\w+) \| (\d+) \| (\d+) \| ([\d.]+) times \|$", SECTIONS["compiled"])
    found = {(row["kind"], row["compiled"]): row for row in RECORDS["compiled"]["steps"]}
    assert len(rows) == len(found) / 2
    for kind, plain, compiled, ratio in rows:
        one, other = (min(found[kind, made]["seconds"]) for made in (False, True))
        assert (int(plain), int(compiled)) == (round(1000 * one), round(1000 * other))
        assert float(ratio) == pytest.approx(other / one, abs=0.005)
        assert other > one  # "which is slower"
    for what in ("loss", "gradient_norm"):
        assert found["products", True][what] == pytest.approx(found["convolutions", False][what], rel=0.02)


def test_packed_weights() -> None:
    layers = RECORDS["prepacked"]["layers"]
    found = re.findall(r"(?m)^\| (\d+ to .*\)) \| (\d) \| ([\d.]+) \| ([\d.]+) \|$", SECTIONS["prepacked"])
    sums = [0.0, 0.0]
    for (name, number, *times), row in zip(found, layers, strict=True):
        shortest = [min(turns) for turns in row["seconds"].values()]
        assert (name, int(number)) == (row["layer"], row["number"])
        assert [float(time) for time in times] == pytest.approx([1000 * one for one in shortest], abs=0.006)
        sums = [before + row["number"] * one for before, one in zip(sums, shortest, strict=True)]
    words = "take {} ms with weights as they are stored, {} ms with weights packed beforehand: {}% less"
    stored, packed = sums
    assert told(words, "prepacked") == [
        pytest.approx(1000 * stored, abs=0.6),
        pytest.approx(1000 * packed, abs=0.6),
        pytest.approx(100 * (1 - packed / stored), abs=0.06),
    ]
    assert sum(row["number"] for row in layers) == 20  # convolutions of ResNet-18, three of them of shortcuts


def test_looks_at_a_network() -> None:
    record = RECORDS["evaluation"]
    one, each = (min(record["statistics"]["seconds"][way]) for way in ("in one pass", "a pass for each layer"))
    words = "over {} pictures take {} times as long with a pass for each layer as in one pass"
    assert told(words.replace("{} pictures", f"{record['statistics']['pictures']:,} pictures"), "evaluation") == [
        pytest.approx(each / one, abs=0.06)
    ]
    rows = re.findall(r"(?m)^\| ([\d,]+) \| ([\d.]+) \| ([\d.]+) times \|$", SECTIONS["evaluation"])
    shortest = min(min(row["seconds"]) for row in record["accuracy"])
    for (batch, seconds, ratio), row in zip(rows, record["accuracy"], strict=True):
        assert int(batch.replace(",", "")) == row["batch_size"]
        assert float(seconds) == pytest.approx(min(row["seconds"]), abs=0.005)
        assert float(ratio) == pytest.approx(min(row["seconds"]) / shortest, abs=0.005)
    times = [min(row["seconds"]) for row in record["accuracy"]]
    best = record["accuracy"][times.index(min(times))]["batch_size"]
    assert f"batches of evaluation, of which those of {best} are the fastest" in SECTIONS["cpu_step"]


def test_times_of_redraws_are_the_sums_of_their_parts() -> None:
    rows = re.findall(r"(?m)^\| ([\w, ]+) \| (\d+) \| (\d+) \| (\d+) \|$", SECTIONS["explore"])
    explorers = {one["name"]: one for one in RECORDS["explore"]["explorers"]}
    assert [row[0] for row in rows] == list(explorers)
    for name, states, usual, worst in rows:
        one = explorers[name]
        assert int(states) == one["states"]
        for kind, said in (("median_ms", usual), ("worst_ms", worst)):
            parts = sum(one[kind][part] for part in ("compute", "draw", "encode", "words"))
            assert int(said) == near(parts)
