"""Muon: orthogonal steps of hidden weights, the same as PyTorch's on matrices; all else as AdamW or SGD would."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dashtheory.deep.models import build_model
from dashtheory.protocol import Checkpoint, Checkpoints
from dashtheory.rules import Learner, Muon, make_rule
from dashtheory.rules.muon import by_shape, orthogonalized, scale_of
from tests.oracles.shrink import network
from tests.protocol.optimizer_cases import batches, bits, net, step


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 24), columns=st.integers(1, 24), seed=st.integers(0, 10**6))
def test_the_singular_values_of_a_step_are_near_one(rows: int, columns: int, seed: int) -> None:
    """Of matrices whose own differ by up to fifty times; what is smaller beside them stays small by design."""
    generator = torch.Generator().manual_seed(seed)
    size = min(rows, columns)
    left, right = (torch.linalg.qr(torch.randn(n, size, generator=generator))[0] for n in (rows, columns))
    values = 0.02 ** torch.linspace(0, 1, size)
    found = orthogonalized(left @ torch.diag(values) @ right.T).float()
    assert found.shape == (rows, columns)
    singular = torch.linalg.svdvals(found)
    assert float(singular.min()) > 0.5
    assert float(singular.max()) < 1.5


@pytest.mark.parametrize("scale", ["published", "rms"])
def test_on_matrices_it_is_pytorch_s_to_the_bit(scale: str) -> None:
    ours, theirs = net(norm=False), net(norm=False)
    names = ("0.weight", "2.weight")
    one = Muon(
        [ours.get_parameter(name) for name in names],
        [],
        learning_rate=0.02,
        weight_decay=0.1,
        scale=scale,
    )
    fn = {"published": "original", "rms": "match_rms_adamw"}[scale]
    hidden = [theirs.get_parameter(name) for name in names]
    two = torch.optim.Muon(hidden, lr=0.02, weight_decay=0.1, adjust_lr_fn=fn)
    for batch in batches(5):
        step(ours, one, batch)
        step(theirs, two, batch)
    assert bits(ours) == bits(theirs)


@pytest.mark.parametrize("by", ["adamw", "sgd"])
def test_the_rest_is_stepped_by_the_other(by: str) -> None:
    ours, theirs = net(), net()
    others: dict[str, Any] = {
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, betas=(0.9, 0.95), weight_decay=0.1),
        "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, weight_decay=0.1),
    }
    rest = others[by](theirs.parameters())
    one = Muon(
        [],
        ours.parameters(),
        learning_rate=0.5,
        rest_rate=0.1,
        weight_decay=0.1,
        rest_by=by,
        rest_momentum=0.8,
    )
    for batch in batches(5):
        step(ours, one, batch)
        step(theirs, rest, batch)
    assert bits(ours) == bits(theirs)


def test_kernels_are_laid_out_in_rows_with_three_factors() -> None:
    shape = torch.Size((32, 2, 3, 3))
    assert scale_of(shape, "published") == 1
    assert scale_of(shape, "flattened") == pytest.approx(math.sqrt(32 / 18))
    assert scale_of(shape, "rms") == pytest.approx(0.2 * math.sqrt(32))
    assert scale_of(torch.Size((8, 2)), "published") == 2
    kernel = nn.Parameter(torch.zeros(4, 2, 3, 3))
    kernel.grad = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(0))
    Muon([kernel], [], learning_rate=1.0).step()
    expected = -orthogonalized(kernel.grad.lerp(0.05 * kernel.grad, 0.95).flatten(1)).float()
    torch.testing.assert_close(kernel.detach().flatten(1), expected)


@pytest.mark.parametrize(
    ("ends", "hidden"),
    [("last", {"0.weight", "3.weight"}), ("both", {"3.weight"}), ("none", {"0.weight", "3.weight", "6.weight"})],
)
def test_hidden_are_the_weights_of_layers_but_the_ends(ends: str, hidden: set[str]) -> None:
    model = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten()),
        nn.Linear(4, 3),
    )
    found = _hidden(model, ends=ends)
    assert found == hidden
    if ends == "last":
        ours = {id(value) for value in by_shape(model.parameters())[0]}
        assert {name for name, value in model.named_parameters() if id(value) in ours} == hidden


def test_embeddings_belong_to_the_rest_for_the_rule() -> None:
    assert not any("embed" in name for name in _hidden(network("attention")))
    assert {"attend.in_proj_weight", "keys.weight"} <= _hidden(network("attention"))
    assert "head.weight" not in _hidden(network("attention"))


def _hidden(model: nn.Module, **options: Any) -> set[str]:
    optimizer = make_rule("muon", **options).optimizer_for(model, lambda p: torch.optim.Adam(p, lr=0.1))
    assert optimizer is not None
    (group,) = (group for group in optimizer.param_groups if group["by"] == "hidden")
    ours = {id(value) for value in group["params"]}
    return {name for name, value in model.named_parameters() if id(value) in ours}


def test_learning_rate_and_decay_of_the_run_are_its_own() -> None:
    model = net()
    optimizer = make_rule("muon", rest_rate=0.5).optimizer_for(
        model, lambda p: torch.optim.SGD(p, lr=0.02, weight_decay=0.3)
    )
    assert optimizer is not None
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [(0.02, 0.3), (0.01, 0.3)]


def test_a_checkpoint_brings_its_groups_back(tmp_path: Any) -> None:
    def learner(seed: int = 0) -> Learner:
        model = net(seed=seed)
        optimizer = make_rule("muon").optimizer_for(model, lambda p: torch.optim.Adam(p, lr=0.1))
        assert optimizer is not None
        return Learner(model, optimizer)

    whole, first, other = learner(), learner(), learner(seed=4)
    for batch in batches(6):
        step(whole.model, whole.optimizer, batch)
    for batch in batches(6)[:3]:
        step(first.model, first.optimizer, batch)
    kept = Checkpoints(tmp_path, {})
    kept.save(1, first, [{}])
    found: Checkpoint = kept.load(1)
    found.restore(other)
    copied = Learner(*copy.deepcopy((first.model, first.optimizer)))
    for again in (other, copied):
        for batch in batches(6)[3:]:
            step(again.model, again.optimizer, batch)
        assert bits(again.model) == bits(whole.model)


def test_it_steps_the_package_s_convolutions() -> None:
    model = build_model("narrow_resnet", (3, 8, 8), 4, torch.Generator().manual_seed(0), width=4)
    hidden = _hidden(model)
    assert "head.weight" not in hidden
    assert len(hidden) == sum(isinstance(part, nn.Conv2d) for part in model.modules())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"momentum": 1}, r"^momentum must be below 1"),
        ({"scale": "big"}, r"^scale must be one of published, flattened, rms"),
        ({"ends": "first"}, r"^ends must be one of last, both, none"),
        ({"rest": "lion"}, r"^rest must be one of adamw, sgd"),
        ({"rest_rate": 0}, r"^rest_rate must be "),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_rule("muon", **options)
