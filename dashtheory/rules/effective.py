"""Layers whose weight is computed (weight_norm, pruning): rules act on the weight; the result is written back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
    plain = plain_copy(model)
    yield plain
    _write_back(model, plain, computed_weights(model))


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
                remove_weight_norm(module, hook.name)
            elif isinstance(hook, prune.BasePruningMethod):
                prune.remove(module, hook._tensor_name)
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(module, hook.name)


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
    before = [(value, value.detach().clone()) for value in model.parameters()]
    new = dict(plain.named_parameters())
    for name, value in model.named_parameters():
        if name in new:
            value.copy_(new[name])
    for prefix, local in computed:
        name = f"{prefix}.{local}".lstrip(".")
        wanted = new[name].detach()
        got = _set_computed(model.get_submodule(prefix), local, wanted)
        if not torch.allclose(got, wanted, rtol=1e-3, atol=1e-6 * float(wanted.abs().max())):
            for parameter, values in before:
                parameter.copy_(values)
            fix = "Freeze that layer (requires_grad_(False)), or remove its parametrization for good."
            fail("model", "must be able to hold the new weights", f"a parametrization of {name} that is not", fix)


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
