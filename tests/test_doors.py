"""What a user may hand in by mistake at the public doors: one line that names the argument or the error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from dashtheory.deep.data import find_data, make_stream, stream_of_tensors
from dashtheory.discrete import paper_probabilities, sample_packed, simulate
from dashtheory.evaluate import evaluate
from dashtheory.measure import compare
from dashtheory.protocol import find_device, run_stages
from dashtheory.record import load_results, load_table
from dashtheory.rules import (
    apply_factors_,
    dash_,
    make_rule,
    parse_rule,
    shrink_and_perturb_,
    shrink_grid,
    targets,
)
from dashtheory.stream import Examples, Stream, cut, join
from dashtheory.theory import population

ANY: Any = "text"
NET = nn.Sequential(nn.Linear(4, 3))
X, Y = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2])
LOSS = functional.cross_entropy
TORCH, NUMPY = torch.Generator(), np.random.default_rng(0)
NONE: Any = None
LIST: Any = [1]

CALLS: dict[str, tuple[Callable[[], object], str]] = {
    "labels out of range": (lambda: dash_(NET, [(X, Y + 5)], LOSS), "dash_ must be able to use"),
    "wrong width": (lambda: dash_(NET, [(torch.zeros(6, 5), Y)], LOSS), "dash_ must be able to use"),
    "float64 inputs": (lambda: dash_(NET, [(X.double(), Y)], LOSS), "dash_ must be able to use"),
    "labels as floats": (lambda: dash_(NET, [(X, Y.float())], LOSS), "dash_ must be able to use"),
    "too few labels": (lambda: dash_(NET, [(X, Y[:3])], LOSS), "dash_ must be able to use"),
    "lists for tensors": (lambda: dash_(NET, [(LIST, LIST)], LOSS), "dash_ must be able to use"),
    "no loss": (lambda: dash_(NET, [(X, Y)], NONE), "loss_fn must be"),
    "a name for a model": (lambda: dash_(ANY, [(X, Y)], LOSS), "model must be"),
    "no batches": (lambda: dash_(NET, NONE, LOSS), "batches must"),
    "alpha as text": (lambda: dash_(NET, [(X, Y)], LOSS, alpha=ANY), "alpha must be"),
    "numpy's generator": (lambda: shrink_and_perturb_(NET, generator=NUMPY), "generator must be"),  # type: ignore[arg-type]
    "model of S&P": (lambda: shrink_and_perturb_(ANY, generator=TORCH), "model must be"),
    "fresh as text": (lambda: shrink_and_perturb_(NET, fresh=ANY), "fresh must"),
    "targets of text": (lambda: targets(ANY), "model must be"),
    "report as text": (lambda: apply_factors_(NET, ANY), "report must be"),
    "rule None": (lambda: make_rule(NONE), "rule must be"),
    "rule 3": (lambda: parse_rule(3), "rule must be"),  # type: ignore[arg-type]
    "one alpha": (lambda: shrink_grid(NET, [(X, Y)], LOSS, alphas=0.3, lams=[0.1]), "alphas must be"),  # type: ignore[arg-type]
    "compare text": (lambda: compare(ANY, "dash", [(X, Y)]), "model must be"),
    "compare no rule": (lambda: compare(NET, NONE, [(X, Y)]), "rule must be"),
    "compare labels": (lambda: compare(NET, "dash", [(X, Y + 9)]), "compare must be able to use"),
    "compare a number": (lambda: compare(NET, "dash", 3), "data must be dashtheory.Examples"),  # type: ignore[arg-type]
    "evaluate text": (lambda: evaluate(ANY, Examples(X, Y)), "model must be"),
    "evaluate a pair": (lambda: evaluate(NET, (X, Y)), "examples must be"),  # type: ignore[arg-type]
    "evaluate labels": (lambda: evaluate(NET, Examples(X, Y + 4)), "evaluate must be able to use"),
    "evaluate width": (lambda: evaluate(NET, Examples(X[:, :2], Y)), "evaluate must be able to use"),
    "examples of lists": (lambda: Examples(LIST, LIST), "inputs must be a tensor"),
    "a stream of text": (lambda: Stream(("a",), ANY), "chunks must be of Examples"),  # type: ignore[arg-type]
    "a test set of text": (lambda: Stream((Examples(X, Y),), ANY), "test must be of Examples"),
    "cut text": (lambda: cut(ANY, 2), "examples must be"),
    "join nothing": (lambda: join([]), "parts must hold"),
    "find None": (lambda: find_data(NONE), "must"),
    "make of None": (lambda: make_stream(NONE, num_chunks=2, chunk_size=3, generator=NUMPY), "must be"),
    "tensors as lists": (lambda: stream_of_tensors(LIST, LIST, LIST, LIST, num_chunks=2), "must"),
    "device None": (lambda: find_device(NONE), "name must be text"),
    "results None": (lambda: load_results(NONE), "path must be"),
    "table 3": (lambda: load_table(3), "must"),  # type: ignore[arg-type]
    "simulate a list": (
        lambda: simulate(LIST, per_class_chunk_size=2, gamma=2, tau=1, rule="cold"),
        "must",
    ),
    "torch's generator": (lambda: paper_probabilities(TORCH), "generator must be"),  # type: ignore[arg-type]
    "torch's generator again": (lambda: sample_packed(np.full((2, 5), 0.1), 10, TORCH), "generator must be"),  # type: ignore[arg-type]
    "population of text": (
        lambda: population(ANY, per_class_chunk_size=2, gamma=2, tau=1, num_stages=3),
        "must",
    ),
    "stages of text": (lambda: list(run_stages(ANY, make_rule("warm"), NONE, NONE, seed=0)), "stream must be"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_mistake_is_one_line_that_says_what_is_wrong(name: str) -> None:
    call, words = CALLS[name]
    with pytest.raises(ValueError, match=r"must .*, got .*\. \S") as raised:
        call()
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_gpu_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"^device must be there, got 'cuda', but .*\. Say device='cpu'\.$"):
        find_device("cuda")


def test_weights_stay_where_a_mistake_is_found_late() -> None:
    net = nn.Linear(4, 3)
    before = net.weight.detach().clone()
    with pytest.raises(ValueError, match="Target 6 is out of bounds"):
        dash_(net, [(X, Y), (X, Y + 6)], LOSS)
    assert torch.equal(net.weight, before)


def test_a_file_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must"):
        load_results(tmp_path / "nothing.csv")
