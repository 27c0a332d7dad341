"""Laws of a stream with a fresh twin beside every task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from dashtheory.measure import distance_to_start, weight_magnitude
from dashtheory.rules import dash_, shrink_and_perturb_
from dashtheory.seeds import torch_stream
from dashtheory.streams import Member, NetworkStack, StreamConfig, StreamTraining, make_tasks, run_stream
from dashtheory.streams.boundary import Boundary, apply_rules_, remembered_at_start
from dashtheory.streams.steps import OptimizerState
from tests.streams.toys import toy_base

BASE = toy_base()
CONFIG = StreamConfig(kind="input_permuted", num_tasks=3, task_size=30)
TRAINING = StreamTraining(widths=(8, 6), learning_rate=0.02, batch_size=7, probe=10)


def table(
    *rules: str, config: StreamConfig = CONFIG, seeds: tuple[int, ...] = (0, 1), **values: Any
) -> pd.DataFrame:
    training = StreamTraining(**{**{f: getattr(TRAINING, f) for f in TRAINING.__dataclass_fields__}, **values})
    return run_stream(config, training, rules, seeds, base=BASE)


def values(found: pd.DataFrame, rule: str, metric: str) -> NDArray[np.float64]:
    """(seeds, tasks)."""
    rows = found[(found["metric"] == metric) & (found["rule"] == rule)]
    return rows.pivot_table(index="seed", columns="stage", values="value").to_numpy(dtype=np.float64)


def test_a_network_that_begins_anew_at_every_task_is_its_own_twin() -> None:
    found = table("cold")
    for metric in ("online_accuracy", "test_accuracy", "effective_rank", "weight_magnitude"):
        assert np.allclose(values(found, "cold", metric), values(found, "cold", f"fresh_{metric}"), atol=1e-6)


def test_all_rules_that_train_alike_share_the_first_task_and_their_twins() -> None:
    found = table("warm", "sp", "dash", "warm:weight_decay=0.3")
    for metric in ("online_accuracy", "effective_rank"):
        warm = values(found, "warm", f"fresh_{metric}")
        for rule in ("warm", "sp", "dash"):
            scores, twins = values(found, rule, metric), values(found, rule, f"fresh_{metric}")
            assert np.allclose(scores[:, 0], twins[:, 0], atol=1e-6)
            assert (twins == warm).all()
    sizes = [values(found, rule, "fresh_weight_magnitude") for rule in ("warm:weight_decay=0.3", "warm")]
    assert (sizes[0] < sizes[1]).all()


def test_rules_that_do_nothing_are_warm() -> None:
    found = table("warm", "dash:lam=1", "sp:shrink=1:perturb=0", "l2_init:l2=0", "warm:weight_decay=0")
    warm = values(found, "warm", "distance_to_start")
    for rule in ("dash:lam=1", "sp:shrink=1:perturb=0", "l2_init:l2=0", "warm:weight_decay=0"):
        assert np.allclose(values(found, rule, "distance_to_start"), warm, atol=1e-5)


def test_a_strong_pull_keeps_networks_where_the_run_began_and_twins_where_they_began() -> None:
    found = table("warm", "l2_init:l2=20:form=textbook", optimizer="sgd")
    distances = values(found, "l2_init:l2=20:form=textbook", "distance_to_start")
    assert (distances < 0.1).all()  # measured: 0.05; the weights have norm 2.5
    assert (values(found, "warm", "distance_to_start")[:, 2] > 0.09).all()
    sizes = values(found, "l2_init:l2=20:form=textbook", "fresh_weight_magnitude")
    stack = NetworkStack((6, 8, 6, 3))
    for task in (1, 2, 3):
        begun = float(stack.draw(torch_stream(0, "init", task)).abs().mean())
        assert sizes[0, task - 1] == pytest.approx(begun, rel=0.05)


def test_rules_between_tasks_are_those_of_the_package_on_the_data_of_the_finished_task() -> None:
    stack = NetworkStack((6, 8, 3))
    members = [
        Member(text)
        for text in ("warm", "dash:lam=0.2", "sp:shrink=0.5:perturb=0.1", "sp_init", "cold", "warm_rm")
    ]
    first = stack.draw(torch_stream(0, "init", 1))
    states = [remembered_at_start(members, stack, first)]
    flat = first.repeat(1, len(members), 1) + torch.randn(1, 1, stack.length, generator=torch_stream(0, "moved"))
    before, optimizer = flat.clone(), OptimizerState.zero(flat, "adam")
    for part in optimizer.parts():
        part += 1
    chunks = [task.train for task in make_tasks(CONFIG, 0, BASE)][:2]
    boundary = Boundary(stack=stack, seed=0, task=2, chunks=chunks, learning_rate=0.1)
    apply_rules_(members, flat, optimizer, [boundary], states)
    batches = [(chunk.inputs, chunk.targets) for chunk in chunks]
    dashed, shaken, pulled = (stack.as_module(before[0, 0]) for _ in range(3))
    dash_(dashed, batches, torch.nn.functional.cross_entropy, lam=0.2)
    shrink_and_perturb_(shaken, shrink=0.5, perturb=0.1, generator=torch_stream(0, "perturbation", 2))
    shrink_and_perturb_(pulled, shrink=0.2, perturb=0.8, fresh=stack.as_module(first))
    expected = [before[0, 0], *(stack.from_module(one) for one in (dashed, shaken, pulled))]
    for replica, numbers in enumerate(expected):
        assert torch.allclose(flat[0, replica], numbers, atol=1e-6), members[replica].text
    assert torch.equal(flat[0, 4], stack.draw(torch_stream(0, "init", 2)))
    renewed = [not bool(optimizer.first[0, replica].any()) for replica in range(len(members))]
    assert [member.text for member, new in zip(members, renewed, strict=True) if new] == [
        "sp_init",
        "cold",
        "warm_rm",
    ]


def test_an_optimizer_that_is_renewed_is_that_of_warm_rm() -> None:
    renewed, by_rule = table("warm", task_optimizer="renewed"), table("warm_rm")
    kept = table("warm")
    ours, theirs, others = (
        values(one, rule, "distance_to_start")
        for one, rule in ((renewed, "warm"), (by_rule, "warm_rm"), (kept, "warm"))
    )
    assert (ours == theirs).all()
    assert (ours[:, 1] != others[:, 1]).all()


def test_online_scores_are_taken_before_the_update() -> None:
    """Without steps worth the name, every prediction is that of the first network."""
    found = table("warm", learning_rate=1e-12, epochs=3)
    stack = NetworkStack((6, 8, 6, 3))
    for number, task in enumerate(make_tasks(CONFIG, 1, BASE), start=1):
        for metric, stage in (("online_accuracy", 1), ("fresh_online_accuracy", number)):
            module = stack.as_module(stack.draw(torch_stream(1, "init", stage)))
            right = (module(task.train.inputs).argmax(1) == task.train.targets).double().mean()
            assert values(found, "warm", metric)[1, number - 1] == pytest.approx(float(right))


def test_a_zeroed_head_predicts_alike_for_all_classes() -> None:
    config = StreamConfig(kind="two_class", num_tasks=3)
    found = table("warm", "dash", config=config, head="zeroed", batch_size=30, probe=0)
    for rule in ("warm", "dash"):
        assert (values(found, rule, "online_accuracy") == 0.5).all()
        assert (values(found, rule, "fresh_online_accuracy") == 0.5).all()


def test_measures_at_the_end_of_a_task_are_those_of_the_module() -> None:
    found = table(
        "warm",
        config=StreamConfig(kind="random_labels", num_tasks=3, task_size=20),
        learning_rate=1e-12,
        probe_every=2,
    )
    assert sorted(found[found["metric"] == "effective_rank"]["stage"].unique()) == [1, 2, 3]
    stack = NetworkStack((6, 8, 6, 3))
    module = stack.as_module(stack.draw(torch_stream(0, "init", 1)))
    first = found[(found["seed"] == 0) & (found["stage"] == 1)].set_index("metric")["value"]
    assert first["weight_magnitude"] == pytest.approx(weight_magnitude(module), rel=1e-5)
    assert first["distance_to_start"] < 1e-6 + distance_to_start(module, module)
    assert first["churn"] < 1e-9
    assert "train_accuracy" in first
    assert "test_accuracy" not in first


REFUSED = (
    "ema",
    "inject",
    "upgd",
    "crelu",
    "rewarm",
    "warm:weight_decay=tuned",
    "warm:warmup_epochs=2",
    "hare_tortoise",
    "redo:counters=yes",
)


@pytest.mark.parametrize("rule", REFUSED)
def test_rules_that_the_stacked_trainer_has_no_place_for_are_refused(rule: str) -> None:
    with pytest.raises(ValueError, match=r"^(rules|counters) must "):
        Member(rule)


def test_bad_training_is_refused() -> None:
    for values in ({"probe": 5}, {"momentum": 0.9}, {"widths": ()}, {"head": "off"}, {"learning_rate": 0.0}):
        with pytest.raises(ValueError, match=rf"^{next(iter(values))} must "):
            table("warm", **values)
    with pytest.raises(ValueError, match=r"^rules must "):
        table("warm", "warm")
    for seeds in ((), (1, 1)):
        with pytest.raises(ValueError, match=r"^seeds must hold at least one, each once"):
            table("warm", seeds=seeds)
