"""What of a source arrives at which stage: chunks in groups, labels put right, examples held out of training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dashtheory.deep.config import DataConfig
from dashtheory.deep.source import Source
from dashtheory.protocol.tuning import hold_out_of
from dashtheory.stream import Stream, join


def arranged(data: DataConfig, read: Callable[[float], Source]) -> Source:
    """The source of a configuration, as its stages are to see it.

    First a fifth of every chunk is held out, then the chunks of a stage are joined, then labels are put right, so
    that neither of the later two decides what is held out.

    Args:
        data: the configuration.
        read: gives the source with that share of wrong labels; chunks and their order must not depend on it.

    Raises:
        ValueError: if a chunk is too small to hold an example out.
    """
    source = _arrived(data, read(data.label_noise))
    return mended(source, _arrived(data, read(0.0))) if data.mended else source


def _arrived(data: DataConfig, source: Source) -> Source:
    found = held_out(source) if data.held_out else source
    return grouped(found, data.arrivals) if data.arrivals else found


def held_out(source: Source) -> Source:
    """A fifth of every chunk kept from training; together they stand in for the test set, which is not used.

    Their labels are as wrong as those of the chunks.

    Raises:
        ValueError: if a chunk is too small.
    """
    parts = [hold_out_of(chunk) for chunk in source.stream.chunks]
    chunks, test = tuple(train for train, _ in parts), join([held for _, held in parts])
    noisy = tuple(mask[: len(chunk)] for mask, chunk in zip(source.noisy, chunks, strict=False))
    return replace(source, stream=Stream(chunks, test, source.stream.seen), noisy=noisy)


def grouped(source: Source, arrivals: Sequence[int]) -> Source:
    """The chunks of every stage joined.

    Args:
        source: with a chunk for each of them.
        arrivals: chunks of each stage.
    """
    stream, ends = source.stream, torch.tensor(list(arrivals)).cumsum(0).tolist()
    parts = [slice(end - count, end) for end, count in zip(ends, arrivals, strict=True)]
    chunks = tuple(join(stream.chunks[part]) for part in parts)
    noisy: tuple[Tensor, ...] = tuple(torch.cat(source.noisy[part]) for part in parts) if source.noisy else ()
    return replace(source, stream=Stream(chunks, stream.test, stream.seen), noisy=noisy)


def mended(source: Source, right: Source) -> Source:
    """Labels that are wrong in the first stage alone: the later ones train on all that has arrived, put right.

    The warm start of Lee et al. (Slow and Steady Wins the Race, ICML 2024): a tenth of the data with half of its
    labels wrong, then all of them, right.

    Args:
        source: whose first chunk is taken.
        right: the same with right labels, whose test set is taken.
    """
    chunks = right.stream.chunks
    later = [join(chunks[:stage]) for stage in range(2, len(chunks) + 1)]
    noisy = [source.noisy[0], *(torch.zeros(len(chunk), dtype=torch.bool) for chunk in later)]
    stream = Stream((source.stream.chunks[0], *later), right.stream.test, seen="new")
    return replace(source, stream=stream, noisy=tuple(noisy))
