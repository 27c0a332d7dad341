"""Weights that are computed: rules act on the weight, and the tensors behind it stay the optimizer's own."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from dashtheory.measure import compare
from dashtheory.rules import Context, Learner, dash_, make_rule, plain_weights, shrink_and_perturb_

DATA = [(torch.randn(30, 2, 6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3)]


def old_weight_norm(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return weight_norm(layer)


def pruned(layer: nn.Module) -> nn.Module:
    found: nn.Module = prune.l1_unstructured(layer, "weight", amount=0.4)
    return found


HOLDING: dict[str, Callable[[nn.Module], nn.Module]] = {
    "weight_norm": lambda layer: parametrizations.weight_norm(layer),
    "weight_norm of a hook": old_weight_norm,
    "pruning": pruned,
}


def network(wrap: Callable[[nn.Module], nn.Module]) -> nn.Module:
    torch.manual_seed(1)
    layers = wrap(nn.Conv2d(2, 4, 3)), nn.Tanh(), nn.Flatten(), wrap(nn.Linear(64, 3))
    return nn.Sequential(*layers)


def weights(model: nn.Module) -> list[torch.Tensor]:
    model(DATA[0][0])  # computes those of hooks
    return [model.get_submodule(name).weight.detach().clone() for name in ("0", "3")]  # type: ignore[operator]


def twin_of(model: nn.Module) -> nn.Module:
    twin = network(lambda layer: layer)
    for name, value in zip(("0", "3"), weights(model), strict=True):
        twin.get_parameter(f"{name}.weight").data.copy_(value)
        twin.get_parameter(f"{name}.bias").data.copy_(model.get_parameter(f"{name}.bias"))
    return twin


@pytest.mark.parametrize("how", HOLDING)
def test_the_weight_shrinks_and_optimizer_and_mask_go_on(how: str) -> None:
    model = network(HOLDING[how])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    twin, ids = twin_of(model), [id(value) for value in model.parameters()]
    with plain_weights(model) as plain:
        dash_(plain, DATA, functional.cross_entropy)
    dash_(twin, DATA, functional.cross_entropy)
    for found, wanted in zip(weights(model), weights(twin), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    assert torch.equal(model.get_parameter("0.bias"), twin.get_parameter("0.bias"))
    assert [id(value) for value in model.parameters()] == ids
    before = weights(model)
    functional.cross_entropy(model(DATA[0][0]), DATA[0][1]).backward()
    optimizer.step()
    after = weights(model)
    assert not torch.equal(before[0], after[0])
    if how == "pruning":
        mask = model.get_buffer("0.weight_mask")
        assert bool((mask == 0).any())
        assert not after[0][mask == 0].any()


@pytest.mark.parametrize("how", HOLDING)
@pytest.mark.parametrize("name", ["dash", "uniform"])
def test_rules_of_a_run_act_on_the_weight(how: str, name: str) -> None:
    model = network(HOLDING[how])
    twin = twin_of(model)
    for one in (model, twin):
        context = Context(
            chunks=lambda: DATA,
            loss_fn=functional.cross_entropy,
            fresh=lambda: pytest.fail("not asked for"),
            generator=torch.Generator().manual_seed(0),
        )
        make_rule(name).apply(Learner(one, torch.optim.SGD(one.parameters(), lr=0.1)), context)
    for found, wanted in zip(weights(model), weights(twin), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_what_cannot_hold_the_new_weight_is_refused_and_nothing_moves() -> None:
    model = network(lambda layer: parametrizations.spectral_norm(layer))
    model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    words = r"hold the new weights, got a parametrization of 0\.weight that is not"
    with pytest.raises(ValueError, match=words), plain_weights(model) as plain:
        dash_(plain, DATA, functional.cross_entropy)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_error_inside_changes_nothing() -> None:
    model = network(HOLDING["weight_norm"])
    before = weights(model)
    with pytest.raises(ValueError, match="alpha must"), plain_weights(model) as plain:
        dash_(
            plain, DATA, functional.cross_entropy, alpha=float(plain.get_parameter("0.weight").data.zero_().sum())
        )
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))


def test_the_refusal_names_this_way_out() -> None:
    with pytest.raises(
        ValueError, match=r"got a computed 0\.weight\. Say `with plain_weights\(model\) as plain:`"
    ):
        dash_(network(HOLDING["pruning"]), DATA, functional.cross_entropy)


@pytest.mark.parametrize("how", HOLDING)
def test_measures_look_at_the_weights_that_are_computed(how: str) -> None:
    model = network(HOLDING[how])
    model(DATA[0][0])
    twin = twin_of(model)
    table, want = compare(model, "dash", DATA), compare(twin, "dash", DATA)
    assert table[["measure", "layer"]].equals(want[["measure", "layer"]])
    own = ~table["measure"].isin(["gradient_norm"])  # which is of the stored tensors
    for column in ("before", "after"):
        found, wanted = table[column][own].to_numpy(), want[column][own].to_numpy()
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


def old_spectral_norm(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return spectral_norm(layer)


FREEZABLE = {
    **HOLDING,
    "spectral_norm of a hook": old_spectral_norm,
    "spectral_norm": lambda layer: parametrizations.spectral_norm(layer),
    "orthogonal": lambda layer: parametrizations.orthogonal(layer),
}


@pytest.mark.parametrize("how", FREEZABLE)
@pytest.mark.parametrize("frozen", [True, False])
def test_what_does_not_change_keeps_its_stored_tensors_to_the_bit(how: str, frozen: bool) -> None:
    model = network(FREEZABLE[how]).eval()
    model.get_submodule("0").requires_grad_(not frozen)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    if frozen:
        model[3] = nn.Linear(64, 3)  # type: ignore[operator]
    with plain_weights(model) as plain:
        dash_(plain, DATA, functional.cross_entropy, lam=0.3 if frozen else 1)
    after = {name: value for name, value in model.state_dict().items() if not frozen or name.startswith("0.")}
    assert all(torch.equal(value, before[name]) for name, value in after.items())


def test_a_frozen_part_of_a_computed_weight_is_not_written_to() -> None:
    model = network(HOLDING["weight_norm"])
    lengths = model.get_parameter("0.parametrizations.weight.original0").requires_grad_(False)
    before = lengths.clone(), weights(model)
    words = r"hold the new weights, got a frozen 0\.parametrizations\.weight\.original0 that would change"
    with pytest.raises(ValueError, match=words), plain_weights(model) as plain:
        dash_(plain, DATA, functional.cross_entropy)
    assert torch.equal(lengths, before[0])
    assert all(torch.equal(a, b) for a, b in zip(before[1], weights(model), strict=True))


class Centered(nn.Linear):
    """A layer that computes its weight itself."""

    weight = property(lambda self: self.raw - self.raw.mean())

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.raw, self.bias = nn.Parameter(torch.randn(3, 72)), nn.Parameter(torch.zeros(3))


def test_what_a_class_computes_itself_has_another_way_out() -> None:
    model = nn.Sequential(nn.Flatten(), Centered())
    words = r"a plain copy can store, got a 1\.weight that its class computes\. Say .*layers="
    with pytest.raises(ValueError, match=words), plain_weights(model):
        pass
    dash_(model, DATA, functional.cross_entropy, layers={Centered: {"raw": "row"}})


@pytest.mark.parametrize("how", HOLDING)
def test_a_fresh_network_is_mixed_in_by_its_weights(how: str) -> None:
    model, fresh = network(HOLDING[how]), network(HOLDING[how])
    with torch.no_grad():
        for value in fresh.parameters():
            value.mul_(-1)
    twin, wanted = twin_of(model), twin_of(fresh)
    context = Context(
        chunks=lambda: DATA,
        loss_fn=functional.cross_entropy,
        fresh=lambda: Learner(fresh, torch.optim.SGD(fresh.parameters(), lr=0.1)),
        generator=torch.Generator().manual_seed(0),
    )
    make_rule("sp_ash_adams").apply(Learner(model, torch.optim.SGD(model.parameters(), lr=0.1)), context)
    shrink_and_perturb_(twin, shrink=0.4, perturb=0.1, fresh=wanted)
    for found, right in zip(weights(model), weights(twin), strict=True):
        torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-6)
