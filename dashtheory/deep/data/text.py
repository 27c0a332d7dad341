"""Real English text as a stream: windows of CPython's own `pydoc_data.topics`.

The text (the topics of Python's `help()`) comes with every CPython, so nothing is downloaded. It differs between
Python versions: every result records its hash.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from dashtheory._check import fail, integer
from dashtheory.stream import Examples, Stream, cut

_WINDOWS_PER_BLOCK = 4


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text as numbers.

    Attributes:
        codes: int64 tensor (length,), each an index into `symbols`.
        symbols: its characters, sorted.
        sha256: of the text in UTF-8.
    """

    codes: torch.Tensor
    symbols: str
    sha256: str


def encode(text: str) -> Corpus:
    """Number the characters of `text` by their rank among its sorted distinct characters.

    Raises:
        ValueError: if the text is empty.
    """
    if not text:
        fail("text", "must not be empty", "''", "Give the text to learn.")
    symbols = "".join(sorted(set(text)))
    rank = {symbol: code for code, symbol in enumerate(symbols)}
    codes = torch.tensor([rank[symbol] for symbol in text], dtype=torch.int64)
    return Corpus(codes, symbols, hashlib.sha256(text.encode()).hexdigest())


@cache
def python_topics() -> Corpus:
    """The topics of CPython's `help()`, joined by line breaks in the order of their names."""
    from pydoc_data.topics import topics

    return encode("\n".join(topics[name] for name in sorted(topics)))


def text_stream(
    corpus: Corpus,
    *,
    context: int,
    chunk_size: int,
    num_chunks: int,
    num_test: int,
    generator: np.random.Generator,
) -> Stream:
    """Cut a text into blocks, shuffle them, and hand them out as chunks of windows and a test set.

    A block is 4 windows and one character more; a window of `context` characters has the next character of
    each as its targets. Blocks do not overlap, and whole blocks go to one chunk or to the test set, so that no
    character is both trained on and tested.

    Args:
        corpus: the text.
        context: characters per window.
        num_chunks: J.
        chunk_size: windows per chunk and of the test set; multiples of 4.
        num_test: windows per chunk and of the test set; multiples of 4.
        generator: of the shuffle.

    Returns:
        a `Stream` whose inputs and targets are int64 (windows, context).

    Raises:
        ValueError: if the text is too short for what is asked.
    """
    for name, value in (("context", context), ("num_chunks", num_chunks)):
        integer(name, value, minimum=1, fix="It counts things.")
    for name, value in (("chunk_size", chunk_size), ("num_test", num_test)):
        integer(name, value, minimum=1, fix="It counts windows.")
        if value % _WINDOWS_PER_BLOCK:
            fail(
                name,
                f"must be a multiple of {_WINDOWS_PER_BLOCK}",
                str(value),
                f"Say {name}={value + -value % 4}.",
            )
    length = _WINDOWS_PER_BLOCK * context + 1
    blocks = corpus.codes[: len(corpus.codes) // length * length].reshape(-1, length)
    train_blocks = num_chunks * chunk_size // _WINDOWS_PER_BLOCK
    needed = train_blocks + num_test // _WINDOWS_PER_BLOCK
    if needed > len(blocks):
        fail(
            "chunk_size",
            f"must leave the text's {len(blocks)} blocks enough",
            f"{needed} blocks for {num_chunks} chunks and the test set",
            "Ask for fewer or smaller chunks, or lower context=.",
        )
    order = torch.from_numpy(generator.permutation(len(blocks)))
    return Stream(
        chunks=cut(_windows(blocks[order[needed - train_blocks : needed]], context), num_chunks),
        test=_windows(blocks[order[: needed - train_blocks]], context),
    )


def _windows(blocks: torch.Tensor, context: int) -> Examples:
    return Examples(blocks[:, :-1].reshape(-1, context), blocks[:, 1:].reshape(-1, context))
