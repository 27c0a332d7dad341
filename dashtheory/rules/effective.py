"""Layers whose weight is computed (weight_norm, pruning): rules act on the weight; the result is written back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm, remove_spectral_norm
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm

from dashtheory._check import fail
from dashtheory.copies import copied
from dashtheory.rules.layers import layout_of


def computed_weights(model: nn.Module) -> list[tuple[str, str]]:
    """(name of the module, name of the weight) of all weights that rules would shrink and that are computed."""
    return [
        (prefix, local)
        for prefix, module in model.named_modules()
        for local in layout_of(module) or {}
        if local in module.__dict__ or hasattr(type(module), local)
    ]


@contextmanager
def plain_weights(model: nn.Module) -> Iterator[nn.Module]:
    """A copy whose layers store their weights; what is done to it is written into the model at the end.

        with plain_weights(model) as plain:
            dash_(plain, chunks, loss_fn)

    The tensors of the model stay the same objects, so that its optimizer goes on; a pruning mask keeps its zeros;
    a parametrization (weight_norm) gets the stored tensors that give the new weights. Buffers are not written.

    Args:
        model: changed in place.

    Raises:
        ValueError: if a parametrization cannot give the new weights (spectral_norm fixes the norm that a rule
            would change); then no weight of the model has changed.
    """
    plain, computed = plain_copy(model), computed_weights(model)
    for prefix, local in computed_weights(plain):
        got = f"a {_joined((prefix, local))} that its class computes"
        fix = "Say which parameters it is computed from: layers={MyLayer: {'raw': 'row'}}."
        fail("model", "must have weights that a plain copy can store", got, fix)
    before = {name: plain.get_parameter(name).detach().clone() for name in map(_joined, computed)}
    yield plain
    changed = [one for one in computed if not torch.equal(before[_joined(one)], plain.get_parameter(_joined(one)))]
    _write_back(model, plain, changed)


def plain_copy(model: nn.Module) -> nn.Module:
    """A copy whose layers store their weights.

    Args:
        model: unchanged.
    """
    plain = copied(model)
    modes = {name: module.training for name, module in plain.named_modules()}
    plain.eval()  # in which spectral_norm moves no vector while its weight is computed
    _strip(plain)
    for name, module in plain.named_modules():
        module.training = modes[name]
    return plain


def to_look_at(model: nn.Module) -> nn.Module:
    """The model, or a plain copy if weights of it are computed: for what changes nothing."""
    return plain_copy(model) if computed_weights(model) else model


def _strip(plain: nn.Module) -> None:
    """Store the weights that are computed."""
    for module in list(plain.modules()):
        if parametrize.is_parametrized(module):
            _strip_parametrizations(module)
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, WeightNorm):
                trained = any(_stored(module._parameters, f"{hook.name}_{i}").requires_grad for i in "gv")
                remove_weight_norm(module, hook.name)
                _stored(module._parameters, hook.name).requires_grad_(trained)
            elif isinstance(hook, prune.BasePruningMethod):
                prune.remove(module, hook._tensor_name)
            elif isinstance(hook, SpectralNorm):
                trained = _stored(module._parameters, f"{hook.name}_orig").requires_grad
                remove_spectral_norm(module, hook.name)
                _stored(module._parameters, hook.name).requires_grad_(trained)


def _strip_parametrizations(module: nn.Module) -> None:
    """As torch's own removal, which takes the weight from the class too, that a copy shares with its original."""
    lists: Any = module.parametrizations
    computed = {name: getattr(module, name).detach().clone() for name in lists}
    trained = {name: any(value.requires_grad for value in one.parameters()) for name, one in lists.items()}
    module.__class__ = type(module).__bases__[0]
    del module._modules["parametrizations"]
    for name, value in computed.items():
        module.register_parameter(name, nn.Parameter(value, requires_grad=trained[name]))


@torch.no_grad()
def _write_back(model: nn.Module, plain: nn.Module, computed: list[tuple[str, str]]) -> None:
    """Give the model the weights of its plain copy, all or none."""
    before = [(name, value, value.detach().clone()) for name, value in model.named_parameters()]
    new = dict(plain.named_parameters())
    for name, value in model.named_parameters():
        if name in new:
            value.copy_(new[name])
    for prefix, local in computed:
        name = _joined((prefix, local))
        wanted = new[name].detach()
        got = _set_computed(model.get_submodule(prefix), local, wanted)
        if not torch.allclose(got, wanted, rtol=1e-3, atol=1e-6 * float(wanted.abs().max())):
            _refuse(before, f"a parametrization of {name} that is not")
    frozen = [name for name, value, values in before if not value.requires_grad and not torch.equal(value, values)]
    if frozen:
        _refuse(before, f"a frozen {frozen[0]} that would change")


def _joined(computed: tuple[str, str]) -> str:
    """The full name of a weight."""
    return ".".join(computed).lstrip(".")


def _refuse(before: Sequence[tuple[str, Tensor, Tensor]], got: str) -> NoReturn:
    """Put back what the parameters were, and say why."""
    for _, parameter, values in before:
        parameter.copy_(values)
    fix = "Freeze all of that layer (requires_grad_(False)), or remove its parametrization for good."
    fail("model", "must be able to hold the new weights", got, fix)


def _set_computed(module: nn.Module, local: str, value: Tensor) -> Tensor:
    """Set the tensors that a weight is computed from; what is computed from them now."""
    if parametrize.is_parametrized(module, local):
        stored: Any = module.parametrizations[local]  # type: ignore[index]
        inverse = value
        for part in reversed(stored):
            if not hasattr(part, "right_inverse"):
                return torch.full_like(value, torch.nan)
            inverse = part.right_inverse(inverse)
        originals = [inverse] if isinstance(inverse, Tensor) else list(inverse)
        names = ["original"] if hasattr(stored, "original") else [f"original{i}" for i in range(len(originals))]
        for each, tensor in zip(names, originals, strict=True):
            getattr(stored, each).copy_(tensor)
        training = stored.training
        computed: Tensor = stored.eval()()
        stored.train(training)
        return computed
    parts = module._parameters
    if f"{local}_g" in parts:  # weight_norm of before parametrizations
        hook = next(one for one in module._forward_pre_hooks.values() if isinstance(one, WeightNorm))
        _stored(parts, f"{local}_v").copy_(value)
        _stored(parts, f"{local}_g").copy_(torch.norm_except_dim(value, 2, hook.dim))
        computed = hook.compute_weight(module)
    elif f"{local}_orig" in parts and f"{local}_mask" in module._buffers:  # pruning: what is masked stays
        mask, original = module.get_buffer(f"{local}_mask"), _stored(parts, f"{local}_orig")
        original.copy_(torch.where(mask != 0, value, original))
        computed = original * mask
    else:
        return torch.full_like(value, torch.nan)
    setattr(module, local, computed)
    return computed


def _stored(parameters: Any, name: str) -> Tensor:
    value: Tensor = parameters[name]
    return value
