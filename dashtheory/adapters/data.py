"""Chunks for a rule, from what a training loop has: pairs, loaders, data sets, batches of any form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, SubsetRandomSampler

from dashtheory._check import fail
from dashtheory.rules.passes import Pair, Parts

BATCH_SIZE = 256
"""Examples of a part, where the loop does not say."""


def first_two(batch: Any) -> tuple[object, object]:
    """Inputs and target of a batch that is a tuple or list: its first two entries.

    Args:
        batch: of a loader.

    Raises:
        ValueError: if it is another thing.
    """
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        got = f"a {type(batch).__name__}"
        fail("pair", "must be given unless batches are (input, target, ...)", got, "Say pair=lambda batch: ...")
    return batch[0], batch[1]


def still(loader: Any, group: Any = None, collate: Any = None) -> Any:
    """A loader of the same data in their order, once through, without workers; the training loader's is not moved.

    Args:
        loader: of the training loop, or a data set. What cannot be indexed is gone through as it is; of a loader
            that draws from a subset (`SubsetRandomSampler`) that subset is taken.
        group: processes that each take every so manieth example; None for all of them.
        collate: makes a batch of examples, where a data set is given.
    """
    data = loader.dataset if isinstance(loader, DataLoader) else loader
    if isinstance(data, IterableDataset) or not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        return loader
    places: Sequence[int] = range(len(data))
    size: int | None = BATCH_SIZE
    collate = collate or getattr(data, "collate_fn", None)
    if isinstance(loader, DataLoader):
        batches = loader.batch_sampler
        size = None if batches is None else loader.batch_size or getattr(batches, "batch_size", None) or size
        collate = loader.collate_fn
        sampler = getattr(batches, "sampler", loader.sampler)
        if isinstance(sampler, SubsetRandomSampler):
            places = sorted(sampler.indices)
    rank, number = (dist.get_rank(group), dist.get_world_size(group)) if group is not None else (0, 1)
    return DataLoader(data, batch_size=size, sampler=places[rank::number], collate_fn=collate)


def as_chunk(given: Any, pair: Pair | None, group: Any = None, collate: Any = None) -> Any:
    """A chunk that rules take: a pair as it is, all else in parts.

    Args:
        given: a pair, a loader, a data set, or one batch of any form (a tuple or dictionary).
        pair: makes (inputs, target) of a batch.
        group: as in `still`, for data sets.
        collate: as in `still`.
    """
    if isinstance(given, Parts):
        return given
    if isinstance(given, DataLoader):
        return Parts(given, pair or first_two)
    if isinstance(given, tuple | Mapping) or (isinstance(given, list) and given and isinstance(given[0], Tensor)):
        return (pair or first_two)(given)
    if not (hasattr(given, "__getitem__") and hasattr(given, "__len__")):
        got = type(given).__name__
        fail("chunks", "must be pairs, loaders or data sets", got, "Give one per chunk, oldest first.")
    return Parts(still(given, group, collate), pair or first_two)
