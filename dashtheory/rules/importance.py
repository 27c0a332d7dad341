"""What the regularisers of continual learning share: how much each weight matters, and a pull to where it was."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from dashtheory.rules.rule import Context, RuleState, remembered, seeded_layers, trainable


def minibatches(context: Context, batch_size: int, *, newest: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
    """(inputs, targets) of the stage's chunks, in order, cut into parts of `batch_size`, the last ones smaller.

    Args:
        context: of the stage.
        batch_size: examples.
        newest: of the last chunk alone.
    """
    chunks = list(context.chunks())
    for inputs, targets in chunks[-1:] if newest else chunks:
        assert isinstance(inputs, Tensor)
        assert isinstance(targets, Tensor)
        yield from zip(inputs.split(batch_size), targets.split(batch_size), strict=True)


def mean_gradient(
    model: nn.Module,
    batches: Iterator[tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
    power: int,
    *,
    training: bool = False,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Mean over batches of |gradient|^power of each trainable parameter, taken on a copy of the model.

    Args:
        model: unchanged.
        batches: (inputs, targets).
        loss: of (outputs, targets), a scalar.
        power: 1 or 2.
        training: whether the copy is in training mode, else in evaluation mode.
        generator: of what layers draw in training mode.
    """
    model = copy.deepcopy(model)
    model.train(training)
    named = trainable(model)
    found = {name: torch.zeros_like(value) for name, value in named.items()}
    count = 0
    with ExitStack() as stack:
        if generator is not None:
            stack.enter_context(seeded_layers(model, generator))
        for inputs, targets in batches:
            if training and count and len(inputs) == 1:  # no variance for a batch norm
                continue
            total = loss(model(inputs), targets)
            slopes = torch.autograd.grad(total, list(named.values()), allow_unused=True)
            for sum_, slope in zip(found.values(), slopes, strict=True):
                if slope is not None:
                    sum_.add_(slope.abs() if power == 1 else slope.square())
            count += 1
    return {name: sum_ / max(count, 1) for name, sum_ in found.items()}


def prefixed(prefix: str, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of tensors under longer names, as a rule's state holds them."""
    return {f"{prefix}.{name}": value.detach().clone() for name, value in values.items()}


def pull(model: nn.Module, state: RuleState, sets: list[tuple[str, str]]) -> Callable[[], Tensor]:
    """Sum over sets and parameters of importance x (w - anchor)^2.

    Args:
        model: that trains.
        state: of the rule.
        sets: prefixes of the names of importance and anchor in it.

    Raises:
        ValueError: if the state is of another model.
    """
    triples = [
        (value, remembered(state, f"{weight}.{name}", value), remembered(state, f"{anchor}.{name}", value))
        for weight, anchor in sets
        for name, value in trainable(model).items()
    ]
    return lambda: torch.stack([(f * (w - w_0).square()).sum() for w, f, w_0 in triples]).sum()
