"""Rules that act while a task trains, on networks of a stack, against a plain loop of torch."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from dashtheory.rules import Context, Learner, parse_rule
from dashtheory.rules.rule import RuleState
from dashtheory.seeds import torch_stream
from dashtheory.streams import NetworkStack, StreamConfig, StreamTraining, make_tasks, run_stream
from tests.streams.toys import toy_base

BASE = toy_base()
CONFIG = StreamConfig(kind="input_permuted", num_tasks=3, task_size=30)
STACK = NetworkStack((6, 8, 6, 3))
ACTING = (
    *(
        "redo:every=2:tau=0.5",
        "cbp:rho=0.05:maturity=2:decay=0.5",
        "snr:update=3:cap=30",
        "regrama:every=2:tau=0.5",
    ),
    *("cpr:every=2:r=0.3", "swr_weights:every=2:share=0.2", "swr:features=0.1", "nap", "clip:kappa=0.7"),
    *("adamo:strength=0.1", "sp_steps:perturb=0.01", "l2_init:to=fresh:l2=0.01", "l1_init:strength=0.01"),
    *("parseval:strength=0.001", "spectral:strength=0.1", "decoupling:strength=0.1"),
    *("ewc:strength=5:batch_size=8", "mas:strength=0.1", "si:strength=100", "lwf", "distill", "cchain:strength=5"),
)
INERT = ("redo:tau=-1:every=1", "cbp:rho=0", "ewc:strength=0", "sp_steps:perturb=0", "cpr:r=0", "clip:kappa=1000")


def training(optimizer: str) -> StreamTraining:
    momentum = 0.9 if optimizer == "sgd" else 0.0
    return StreamTraining(
        widths=(8, 6), optimizer=optimizer, momentum=momentum, learning_rate=0.02, batch_size=7, probe=10
    )


def _context(
    learner: Learner, chunks: list[tuple[Tensor, Tensor]], state: RuleState, seed: int, number: int, moment: str
) -> Context:
    return Context(
        chunks=lambda: chunks,
        loss_fn=cross_entropy,
        fresh=lambda: learner,
        generator=torch_stream(seed, moment, number),
        state=state,
        draw=lambda generator: STACK.as_module(STACK.draw(generator)),
    )


def by_hand(text: str, optimizer: str, seed: int, replay: int = 1) -> list[float]:
    """Mean absolute weights after each task of a loop of torch."""
    rule, model = parse_rule(text), STACK.as_module(STACK.draw(torch_stream(seed, "init", 1)))
    values = list(model.parameters())
    made: torch.optim.Optimizer = (
        torch.optim.SGD(values, lr=0.02, momentum=0.9) if optimizer == "sgd" else torch.optim.Adam(values, lr=0.02)
    )
    learner, found = Learner(model, made), []
    state, seen = rule.start(learner), list[tuple[Tensor, Tensor]]()
    for number, task in enumerate(make_tasks(CONFIG, seed, BASE), start=1):
        data, told = (task.train.inputs, task.train.targets), state
        seen = [*seen, data][-replay:]
        context = partial(_context, learner, seen, told, seed, number)
        penalty, of_batch = rule.penalty(model, state), rule.batch_penalty(model, context("loss"))
        hook = rule.after_step(learner, context("steps"))
        for step, (inputs, targets) in enumerate(zip(data[0].split(7), data[1].split(7), strict=True), start=1):
            logits = model(inputs)
            loss = cross_entropy(logits, targets)
            loss = loss if penalty is None else loss + penalty()
            loss = loss if of_batch is None else loss + of_batch(inputs, targets, logits)
            made.zero_grad()
            loss.backward()
            made.step()
            if hook is not None and step % hook.every == 0:
                hook.call(step)
        if hook is not None:
            hook.close()
        state = rule.finish(learner, context("finish"))
        flat = torch.cat([value.detach().flatten() for value in values])
        found.append(float(flat.abs().double().mean()))
    return found


def sizes(found: pd.DataFrame, rule: str, seed: int) -> list[float]:
    rows = found[(found["metric"] == "weight_magnitude") & (found["rule"] == rule) & (found["seed"] == seed)]
    return rows.sort_values("stage")["value"].tolist()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_each_does_on_its_network_what_it_does_in_a_loop_of_torch(optimizer: str) -> None:
    found = run_stream(CONFIG, training(optimizer), ("warm", *ACTING), (0, 1), base=BASE)
    warm = sizes(found, "warm", 0)
    for rule in ACTING:
        assert sizes(found, rule, 0) == pytest.approx(by_hand(rule, optimizer, 0), rel=1e-4), rule
        assert not all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(sizes(found, rule, 0), warm, strict=True))
    assert sizes(found, "nap", 1) == pytest.approx(by_hand("nap", optimizer, 1), rel=1e-4)


def test_a_rule_sees_the_data_of_as_many_tasks_as_are_kept() -> None:
    """The task that is trained on among them, as the newest."""
    rules = ("ewc:strength=5:batch_size=8", "mas:strength=0.1", "cchain:strength=5")
    found = {n: run_stream(CONFIG, replace(training("sgd"), replay=n), rules, (0,), base=BASE) for n in (1, 2, 3)}
    for rule in rules:
        for n, table in found.items():
            assert sizes(table, rule, 0) == pytest.approx(by_hand(rule, "sgd", 0, replay=n), rel=1e-4), (rule, n)
        assert sizes(found[1], rule, 0)[-1] not in (sizes(found[2], rule, 0)[-1], sizes(found[3], rule, 0)[-1])


def test_without_strength_they_are_warm_to_the_bit_and_their_twins_are_warm_s() -> None:
    found = run_stream(CONFIG, training("adam"), ("warm", *INERT, "cbp:rho=0.5:maturity=1"), (0, 1), base=BASE)
    columns = ["seed", "stage", "metric"]
    by_rule = {rule: rows.set_index(columns)["value"] for rule, rows in found.groupby("rule")}
    for rule in INERT:
        pd.testing.assert_series_equal(by_rule[rule], by_rule["warm"], check_exact=True)
    twins = by_rule["warm"].index.get_level_values("metric").str.startswith("fresh_")
    ours = by_rule["cbp:rho=0.5:maturity=1"]
    pd.testing.assert_series_equal(ours[twins], by_rule["warm"][twins], check_exact=True)
    assert not (ours[~twins] == by_rule["warm"][~twins]).all()
