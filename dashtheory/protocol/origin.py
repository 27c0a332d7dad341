"""Where a run comes from, to the bit: hashes of its stream and of its first weights.

Within a seed every rule has the same data and the same first initialisation, and a run that goes on has those it
began with. The hashes say whether that is so, whatever the code of the user's depends on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

from dashtheory._check import fail
from dashtheory.protocol.stages import Task
from dashtheory.seeds import torch_stream
from dashtheory.stream import Stream


def origin_of(stream: Stream, task: Task, seed: int) -> dict[str, str]:
    """Hashes of a stream and of the first weights that a task draws for a seed, by these names.

    Of a task without a rule, these are the weights before a rule adapts the network: what all rules of a seed
    share, also one that trains another network. A rule's own part must depend on them and their generator alone.

    Args:
        stream: of the run.
        task: of the run.
        seed: root seed.

    Raises:
        ValueError: if two calls of the task's factory, given the same streams, give different weights.
    """
    first, again = (_weights_hash(task, seed) for _ in range(2))
    if first != again:
        fail("model", "must have the same first weights in every call", "others", _DRAW)
    return {"stream": stream_hash(stream), "first weights": first}


def stream_hash(stream: Stream) -> str:
    """SHA-256 of all chunks and the test set, with their shapes and types, and of what stages see of them."""
    parts = (*stream.chunks, stream.test)
    named = [(f"{place}{name}", getattr(part, name)) for place, part in enumerate(parts) for name in _NAMES]
    return _hash([*named, *([("seen", stream.seen)] if stream.seen != "all" else [])])


_NAMES = ("inputs", "targets")
_DRAW = "Draw them from the generator, or from torch's, numpy's or Python's global one; nothing else may decide."


def _weights_hash(task: Task, seed: int) -> str:
    return _hash(task.fresh(torch_stream(seed, "init", 1)).model.state_dict().items())


def _hash(named: Iterable[tuple[str, object]]) -> str:
    digest = hashlib.sha256()
    for name, value in named:
        digest.update(name.encode() + b"\0")
        if not isinstance(value, Tensor):
            digest.update(repr(value).encode())
            continue
        dense = value.detach().cpu()
        dense = dense.to_dense() if dense.layout != torch.strided else dense
        digest.update(f"{dense.dtype} {tuple(dense.shape)}".encode())
        bits = dense.resolve_conj().resolve_neg().contiguous().reshape(-1)
        digest.update(bits.view(torch.uint8).numpy().data)
    return digest.hexdigest()
