"""What the page of the benchmarks tells of a training step on a CPU: layer by layer, by kind, against its floor.

A mean step of a record is smaller than a batch, since the last batch of an epoch is half of one; a batch's
operations are scaled to it, so that both sides of a ratio are of as many pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from docs.made.blocks import rows

Record = dict[str, Any]
GOAL = 1.5
"""Times as fast as the engine with convolutions alone: what was aimed at."""
PRODUCTS_CAME = "2026-11-29"
"""The day from which on the fast engine takes products; a record before it is of the engine with convolutions."""
DIRECTIONS = ("forward", "by data", "by weights")
TRIALS = (
    "Tried, and in the engine: channels last, bfloat16 by autocast, a fused optimizer, products onto maps of at "
    "most four pixels. Tried, and left: products onto maps of 16 pixels, and for kernels of 64 by 64 channels "
    "(without a record), [`torch.compile`](#compiled), which is slower, and [other](#evaluation) batches of "
    "evaluation, of which those of 250 are the fastest (1,000 are taken), and [weights packed](#prepacked) "
    "before the forward pass."
)


@dataclass(frozen=True)
class Step:
    """A mean step in bfloat16.

    Attributes:
        pictures: of it.
        gigaflops: of its convolutions, forward and backward.
        floor: seconds that these take at the fastest matrix product seen.
        alone: seconds with convolutions alone.
        taken: seconds with products.
        matrix: seconds of convolutions and products, by the profiler.
        rest: seconds of all else, by the profiler.
    """

    pictures: float
    gigaflops: float
    floor: float
    alone: float
    taken: float
    matrix: float
    rest: float


def step_of(saved: Record) -> Step:
    """The step of a record of `benchmarks.cpu_step`.

    Args:
        saved: the record.
    """
    (row,) = (one for one in saved["steps"] if one["precision"] == "bfloat16")
    pictures = row["samples_per_second"] * min(row["products_seconds"])
    layers, kinds = saved["layers"], saved["step_by_kind"]
    batch = sum(3 * one["number"] * one["gigaflops"] for one in layers)
    batch -= layers[0]["gigaflops"]  # nothing asks for a gradient by the pictures
    flops = batch * pictures / saved["batch_size"]
    matrix = kinds["convolutions"] + kinds["products"]
    return Step(
        pictures=pictures,
        gigaflops=flops,
        floor=1e9 * flops / saved["peaks"]["bfloat16"],
        alone=min(row["convolutions_seconds"]),
        taken=min(row["products_seconds"]),
        matrix=matrix,
        rest=sum(kinds.values()) - matrix,
    )


def cpu_step(saved: Record) -> str:
    """What products on small maps save, and the roofline of what is left.

    Args:
        saved: the record.
    """
    speeds = rows(
        ["precision", "samples per second, one core", "times as fast as with convolutions alone"],
        [
            [row["precision"], f"{row['samples_per_second']:.0f}", f"{row['ratio_of_minima']:.2f}"]
            for row in saved["steps"]
        ],
    )
    layers = f"Shares of the fastest matrix product seen ({peak(saved)} on one core), layer by layer:"
    parts = [speeds, verdict(saved), layers, layer_table(saved), reading(saved), kind_table(saved), TRIALS]
    return "\n\n".join(parts)


def peak(saved: Record) -> str:
    """The fastest matrix product in bfloat16, in words."""
    return f"{saved['peaks']['bfloat16'] / 1e9:.0f} GFLOP/s in bfloat16"


def verdict(saved: Record) -> str:
    """Whether the goal is reached, and why not."""
    step = step_of(saved)
    ratio, goal = step.alone / step.taken, step.alone / GOAL
    if ratio >= GOAL:
        return f"The goal was {GOAL} times; it is reached."
    left = goal - step.rest
    floor = "less than that floor" if left < step.floor else "at least that floor"
    return (
        f"The goal was {GOAL} times in bfloat16; {ratio:.2f} is what was reached. A mean step (of "
        f"{step.pictures:.0f} pictures, since the last batch of an epoch is half of one) fell from "
        f"{_ms(step.alone)} to {_ms(step.taken)}, and the goal asks for {_ms(goal)}. Its convolutions are "
        f"{step.gigaflops:.0f} GFLOP, {_ms(step.floor)} at the fastest matrix product seen; convolutions and "
        f"products take {_ms(step.matrix)}, {100 * step.floor / step.matrix:.0f}% of that speed, and all else "
        f"{_ms(step.rest)}. With all else as it is, convolutions would have to take {_ms(left)}, {floor}; with "
        f"convolutions as they are, all else would have to fall to {_ms(goal - step.matrix)}."
    )


def layer_table(saved: Record) -> str:
    """A line per kind of convolution."""
    body = []
    for one in saved["layers"]:
        shares = one["share_of_peak"]
        cells = [f"{100 * shares[name]:.0f}%" for name in DIRECTIONS]
        cells.append(f"{100 * shares['all by products']:.0f}%" if "all by products" in shares else "")
        body.append(
            [one["layer"], str(one["number"]), f"{one['gigaflops']:.2f}", *cells, f"{1000 * _seconds(one):.1f}"]
        )
    head = ["layer", "number", "GFLOP of a direction", *DIRECTIONS, "all three by products", "ms of all"]
    return rows(head, body)


def reading(saved: Record) -> str:
    """What the table of layers says."""
    alike = max(saved["layers"], key=lambda one: sum(one["seconds"][name] for name in DIRECTIONS))
    before = sum(alike["seconds"][name] for name in DIRECTIONS)
    after = alike["seconds"].get("all by products", before)
    rates = [100 * alike["share_of_peak"][name] for name in DIRECTIONS]
    shares = [one["share_of_peak"] for one in saved["layers"]]
    slow = sum(one["by weights"] < one["forward"] for one in shares)
    return (
        f"Products repair the slowest layer, {alike['layer']}: its convolutions reach {min(rates):.0f} to "
        f"{max(rates):.0f}%, and products take {100 * after / before:.0f}% of their time. What is left is the "
        f"gradient by weights, slower than the forward pass in {slow} of {len(shares)} kinds of layers, and the "
        f"work below that is no matrix product. (A batch of {saved['batch_size']} pictures; *ms of all*: of all "
        "layers alike and all three directions, the faster way; training needs no gradient by the data of the "
        "first. Operations are counted with the zeros of the border; a share above 100% has left them out, so "
        "that the floor is not a strict one.)"
    )


def kind_table(saved: Record) -> str:
    """A line per kind of operation."""
    kinds = saved["step_by_kind"]
    total = sum(kinds.values())
    return rows(
        ["kind", "ms of a mean step", "share"],
        [[kind, f"{1000 * value:.0f}", f"{100 * value / total:.0f}%"] for kind, value in kinds.items()],
    )


def shares_of_peak(saved: Record) -> dict[str, float]:
    """The share of the fastest matrix product that the fast engine reaches, by precision, at its rate of pictures.

    Args:
        saved: a record of `benchmarks.images`.
    """
    rates = {row["name"]: row["samples_per_second"] for row in saved["contenders"]}
    return {
        kind: part["flops"] / saved["batch_size"] * rates[f"fast, {kind}"] / saved["peaks"][kind]
        for kind, part in saved["roofline"].items()
    }


def apart(saved: Record, other: Record) -> str:
    """Why the rates of `benchmarks.images` are not those of `benchmarks.cpu_step`.

    Args:
        saved: the record of the former.
        other: of the latter.
    """
    older = " Its fast engine has convolutions alone: products came later." * (saved["date"] < PRODUCTS_CAME)
    return (
        f"Not to be mixed with [`cpu_step`](#cpu_step).{older} The fastest product seen is {peak(saved)} on "
        f"{saved['threads']} threads by the clock here (load average "
        f"{saved['machine']['load_average_at_start']:.1f} at the start), and {peak(other)} on one core in CPU "
        "time there: another machine, or a busy one. The records name the chip "
        f"({_chips(saved, other)}), not its model."
    )


def _chips(*records: Record) -> str:
    return " and ".join(sorted({one["machine"]["processor"] for one in records}))


def _seconds(layer: Record) -> float:
    """Of all layers alike, the faster way."""
    separate = sum(layer["seconds"][name] for name in DIRECTIONS)
    return float(layer["number"] * min(separate, layer["seconds"].get("all by products", separate)))


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"
