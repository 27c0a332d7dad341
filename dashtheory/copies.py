"""Copies of a model to measure on: without graphs, with the hooks of its parameters, and with layers of their own.

A copy is what keeps a measure from leaving traces, and it is right only if it computes with the copied layers. A
`forward` that was replaced by a closure, or a hook that calls a layer of the original, does not: then weights of
the original are in the graph of the copy's output, and `reached` names them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from dashtheory._check import fail


def copied(model: nn.Module) -> nn.Module:
    """A deep copy; tensors that a module keeps of its last pass come without their graph.

    Hooks on the gradients of parameters act on those of the copy too.

    Args:
        model: unchanged.

    Raises:
        ValueError: if it cannot be copied (a lazy, scripted or quantised layer, weights on the meta device, an
            attribute that Python cannot copy), with what to do.
    """
    refuse_unfit(model)
    try:
        with _Detached():
            again = copy.deepcopy(model)
    except Exception as error:  # whatever the model's own __deepcopy__ raises
        name, got = _culprit(model, error)
        fail(
            "model", "must be such that Python can copy it", f"{got} at {name}", "Clear or delete that attribute."
        )
    made = dict(again.named_parameters())
    for group in overlapping(dict(model.named_parameters())):
        _tie_again(group, made)
    for old, new in zip(model.parameters(), again.parameters(), strict=True):
        for hook in (old._backward_hooks or {}).values():
            new.register_hook(hook)
    return again


def overlapping(parameters: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Groups of parameters that share entries in memory, such as one made over the transpose of another.

    Args:
        parameters: by name, each tensor once.

    Returns:
        groups of two or more, in the order of the names.
    """
    by_storage: dict[tuple[torch.device, int], dict[str, Tensor]] = {}
    for name, value in parameters.items():
        if value.numel() and value.layout == torch.strided and not value.is_meta:
            by_storage.setdefault((value.device, value.untyped_storage().data_ptr()), {})[name] = value
    groups: list[dict[str, Tensor]] = []
    for sharing in by_storage.values():
        left = dict(sharing) if len(sharing) > 1 else {}
        while left:
            group = dict([left.popitem()])
            while more := [name for name in left if any(_overlap(left[name], one) for one in group.values())]:
                group |= {name: left.pop(name) for name in more}
            if len(group) > 1:
                groups.append({name: group[name] for name in sharing if name in group})
    return groups


def places(value: Tensor) -> Tensor:
    """Where each entry lies in the storage, int64, in the shape of the tensor."""
    number = value.untyped_storage().nbytes() // value.element_size()
    whole = torch.arange(number, device=value.device)
    return whole.as_strided(value.shape, value.stride(), value.storage_offset())


def _overlap(one: Tensor, other: Tensor) -> bool:
    ranges = []
    for value in (one, other):
        last = sum(
            (int(length) - 1) * int(stride) for length, stride in zip(value.shape, value.stride(), strict=True)
        )
        start = int(value.storage_offset())
        ranges.append((start, start + last))
    (first, last), (low, high) = ranges
    return first <= high and low <= last and bool(torch.isin(places(one), places(other)).any())


def _tie_again(group: Mapping[str, Tensor], copies: Mapping[str, Tensor]) -> None:
    """Let the copies of parameters that share entries share them too."""
    some = next(iter(group.values())).detach()
    number = some.untyped_storage().nbytes() // some.element_size()
    whole = some.as_strided((number,), (1,), 0).clone()
    for name, value in group.items():
        copies[name].data = whole.as_strided(value.shape, value.stride(), value.storage_offset())


class _Detached(TorchFunctionMode):
    """Copies of tensors with a graph are copies of their values."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is Tensor.__deepcopy__ and not args[0].is_leaf:
            values, memo = args
            memo[id(values)] = values.detach().clone()
            return memo[id(values)]
        return func(*args, **(kwargs or {}))


def _culprit(model: nn.Module, error: Exception) -> tuple[str, str]:
    """Name of the attribute that cannot be copied, and the first line of what Python says of it."""
    words = " ".join(str(error).split())[:150]
    for prefix, module in model.named_modules():
        for name, value in vars(module).items():
            if name.startswith("_") and name[1:] in ("parameters", "buffers", "modules"):
                continue
            try:
                with _Detached():
                    copy.deepcopy(value)
            except Exception:
                return f"{prefix}.{name}".lstrip("."), words
    return type(model).__name__, words


def refuse_unfit(model: nn.Module) -> None:
    """Refuse models whose weights cannot be shrunk or copied: lazy, without storage, sharded, scripted, quantised.

    Raises:
        ValueError: in one line with the layer and a way out.
    """
    for prefix, module in model.named_modules():
        name = prefix or type(module).__name__
        where = type(module).__module__
        if isinstance(module, torch.jit.ScriptModule):
            fail("model", "must be a Python module", f"a scripted {name}", "Pass what it was scripted from.")
        if where.startswith(("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized")):
            fix = "Shrink the model of before, and quantise it again."
            fail("model", "must have floating-point weights", f"a quantised {name}", fix)
        if where.startswith("torch.distributed.fsdp") and type(module).__name__ == "FullyShardedDataParallel":
            _refuse_shards(f"FullyShardedDataParallel at {name}")
        for local, value in [*module._parameters.items(), *module._buffers.items()]:
            if hasattr(value, "placements") and hasattr(value, "to_local"):
                _refuse_shards(f"DTensor {prefix}.{local}".replace(" .", " "))
            if hasattr(value, "ds_id"):
                _refuse_shards(f"ZeRO-3 parameter {prefix}.{local}".replace(" .", " "))
            if value is not None and is_lazy(value):
                fix = "Pass one batch through the model first."
                fail("model", "must know its shapes", f"a lazy {prefix}.{local}".replace(" .", " "), fix)
            if value is not None and value.is_meta:
                fix = "Say model.to_empty(device='cpu'), and load or draw its weights."
                fail("model", "must have storage", f"{prefix}.{local} on the meta device".lstrip("."), fix)


def _refuse_shards(got: str) -> NoReturn:
    fix = "Act on the whole model before it is sharded, and load the result."
    fail("model", "must have whole weights in this process", got, fix)


def reached(output: object, parameters: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Names of the parameters that the graph of an output leads to.

    Args:
        output: of a model: a tensor, or anything that holds tensors.
        parameters: by name.
    """
    names = {id(value): name for name, value in parameters.items()}
    nodes = [leaf.grad_fn for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.grad_fn is not None]
    seen, found = set(nodes), set()
    while nodes:
        node = nodes.pop()
        variable = getattr(node, "variable", None)
        if variable is not None and id(variable) in names:
            found.add(names[id(variable)])
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                nodes.append(following)
    return tuple(name for name in parameters if name in found)


def refuse_bypass(original: nn.Module, output: object) -> None:
    """Refuse a copy whose output comes from weights of the original.

    Args:
        original: that was copied.
        output: of the copy, with its graph.

    Raises:
        ValueError: if there is such a weight, with the names of the layers.
    """
    names = reached(output, dict(original.named_parameters()))
    if names:
        layers = list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))
        fail(
            "model",
            "must compute its output with its own layers when it is copied",
            f"a closure, a replaced forward or a hook that runs the original's {', '.join(layers[:5])}",
            "Define forward in the class (self.layer(...)), or set it with types.MethodType(function, layer).",
        )
