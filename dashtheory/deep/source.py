"""Where a run's data and network come from: pictures, text, or the user's own Python.

Data by name: those of `dashtheory.deep.data.find_data`; "text", windows of CPython's help texts; or
"python:PLACE:FUNCTION", the user's own function. Networks by name: those of `dashtheory.deep.models`;
"transformer", for text; or "python:PLACE:FUNCTION". PLACE is a file ending in .py or an importable module.
"""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashtheory._check import again, called, choice, fail, keep_words, told
from dashtheory.deep.config import PYTHON, TRANSFORMER
from dashtheory.deep.data import ImageData, find_data, make_stream
from dashtheory.deep.data.text import python_topics, text_stream
from dashtheory.deep.models import MODELS, build_model
from dashtheory.deep.models.transformer import CharTransformer, TransformerConfig
from dashtheory.errors import NeedsSize, NotDownloaded
from dashtheory.protocol.origin import stream_hash
from dashtheory.protocol.stages import global_stream
from dashtheory.stream import Stream
from dashtheory.user_code import find, user_files, where_raised

_CONTEXT, _TEST_WINDOWS = 64, 400
_TRANSFORMER_OPTIONS: dict[str, object] = {
    name: getattr(TransformerConfig(), name)
    for name in ("width", "num_layers", "num_heads", "embedding_std", "linear_std")
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A seed's stream and what is known about it.

    Attributes:
        stream: chunks and test set.
        num_classes: that the network must tell apart.
        noisy: per chunk a bool tensor: which of its labels were replaced by a wrong one; empty if not known.
        mean: by which grey levels are normalised, of each channel; empty for anything but pictures.
        std: by which grey levels are normalised, of each channel; empty for anything but pictures.
        facts: about the data (JSON).
    """

    stream: Stream
    num_classes: int
    noisy: tuple[Tensor, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.stream.test.inputs.shape[1:])


def pictures(
    name: str,
    *,
    num_chunks: int,
    chunk_size: int,
    generator: np.random.Generator,
    size: int | None = None,
    **options: Any,
) -> Source:
    """Pictures by name; arguments and errors as `dashtheory.deep.data.make_stream`.

    With `size` the pictures of a folder may have several: they are stretched to it as they are decoded.
    """
    made = make_stream(
        _read(name, size), num_chunks=num_chunks, chunk_size=chunk_size, generator=generator, size=size, **options
    )
    return Source(
        stream=made.stream,
        num_classes=len(made.classes),
        noisy=made.noisy,
        mean=made.mean,
        std=made.std,
        facts=made.facts,
    )


def text(
    *, num_chunks: int, chunk_size: int, num_test: int | None, context: int | None, generator: np.random.Generator
) -> Source:
    """CPython's help texts: windows of `context` characters (64), of which `num_test` (400) are held out.

    Errors as `dashtheory.deep.data.text.text_stream`.
    """
    corpus = python_topics()
    with called(context="size"):
        stream = text_stream(
            corpus,
            context=context or _CONTEXT,
            chunk_size=chunk_size,
            num_chunks=num_chunks,
            num_test=num_test or _TEST_WINDOWS,
            generator=generator,
        )
    facts = {
        "source": "pydoc_data.topics of CPython",
        "characters": len(corpus.codes),
        "symbols": len(corpus.symbols),
        "sha256": corpus.sha256,
    }
    return Source(stream=stream, num_classes=len(corpus.symbols), facts=facts)


def users(name: str, generator: np.random.Generator, *, twice: bool = False) -> Source:
    """The stream that the user's function makes from a numpy generator.

    The function is called with the generator alone, and returns a `dashtheory.stream.Stream` (see
    `stream_of_tensors` and `stream_of_dataset`). What it draws from global streams is seeded for the call.

    Args:
        name: python:PLACE:FUNCTION.
        generator: that it is given.
        twice: call it again, to see whether it gives the same.

    Raises:
        ValueError: if it returns anything else, or not the same in both calls, or as `find_function`.
    """
    function, facts = find_function("data", name)
    other = copy.deepcopy(generator) if twice else None
    stream = _called(name, function, generator)
    found = stream_hash(stream)
    if other is not None and stream_hash(_called(name, function, other)) != found:
        fix = "Draw from the generator; time, a counter or another process's numbers must not decide."
        fail("data", f"'{name}' must return the same stream for the same generator", "two that differ", fix)
    _check_finite(name, stream)
    facts["stream"] = found
    highest = max(int(part.targets.max()) for part in (*stream.chunks, stream.test))
    return Source(stream=stream, num_classes=highest + 1, facts=facts)


def _called(name: str, function: Callable[..., Any], generator: np.random.Generator) -> Stream:
    seed = int(copy.deepcopy(generator).integers(2**62))
    with global_stream(torch.Generator().manual_seed(seed), "cpu"):
        stream = _made_by_user("data", name, lambda: function(generator))
    if not isinstance(stream, Stream):
        fail("data", f"'{name}' must return a Stream", type(stream).__name__, "See stream_of_tensors.")
    return stream


def model_options(name: str) -> Mapping[str, object] | None:
    """Names and defaults of a network's options; None for the user's own, whose options are not known.

    Raises:
        ValueError: if there is no such network.
    """
    if name.startswith(PYTHON):
        return None
    if name == TRANSFORMER:
        return _TRANSFORMER_OPTIONS
    return MODELS[choice("model", name, (*MODELS, TRANSFORMER))].options


def check_sizes(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that no transformer can have; other networks refuse them when they are built.

    Args:
        name: of the network.
        options: by name.

    Raises:
        ValueError: that names the option.
    """
    if name == TRANSFORMER:
        TransformerConfig(**options)


def make_network(name: str, source: Source, generator: torch.Generator, options: Mapping[str, Any]) -> nn.Module:
    """Build a network for a source, its initialisation drawn from the generator.

    The user's function is called as function(input_shape, num_classes, generator, **options).

    Raises:
        ValueError: as the network's own factory, or if the user's function returns no module.
    """
    if name == TRANSFORMER:
        (context,) = source.input_shape
        return CharTransformer(TransformerConfig(context=context, **options), source.num_classes, generator)
    if not name.startswith(PYTHON):
        return build_model(name, source.input_shape, source.num_classes, generator, **options)
    function, _ = find_function("model", name)
    model = _made_by_user(
        "model", name, lambda: function(source.input_shape, source.num_classes, generator, **options)
    )
    if not isinstance(model, nn.Module):
        fail("model", f"'{name}' must return a torch.nn.Module", type(model).__name__, "Return the network.")
    return model


def find_function(argument: str, name: str) -> tuple[Callable[..., Any], dict[str, object]]:
    """The function that "python:PLACE:FUNCTION" names, and facts about it (`dashtheory.user_code`).

    Raises:
        ValueError: in one line if there is no such file, module or function, or it cannot be imported.
    """
    found = find(argument, name, "function", callable)
    return found.value, found.facts


def _made_by_user(argument: str, name: str, make: Callable[[], Any]) -> Any:
    """What a function of the user's returns; an error in it is one line, with the line of the user's file.

    Raises:
        ValueError: in one line; errors of this package keep their words, which are about the user's own calls.
    """
    try:
        return make()
    except MemoryError:
        raise
    except Exception as error:  # whatever the user's code raises
        if told(error):
            keep_words(error)
            raise
        got = f"'{where_raised(error, user_files())}'"
        fail(argument, f"'{name}' must run without an error", got, "Mend that line.")


def _check_finite(name: str, stream: Stream) -> None:
    """Refuse NaN and infinity, which no training survives."""
    parts = {f"chunk {place}": chunk for place, chunk in enumerate(stream.chunks, 1)} | {
        "the test set": stream.test
    }
    for where, part in parts.items():
        if part.inputs.is_floating_point() and not bool(torch.isfinite(part.inputs).all()):
            example = int((~torch.isfinite(part.inputs)).nonzero()[0, 0])
            got = f"NaN or infinity in example {example} of {where}"
            fail("data", f"'{name}' must give finite inputs", got, "Mend or drop it.")


@lru_cache(maxsize=2)
def _read(name: str, size: int | None = None) -> ImageData:
    try:
        return find_data(name)
    except NeedsSize:
        if size is None:
            raise
        return find_data(name, size=size)
    except NotDownloaded as error:
        code = f"from dashtheory.deep.data import find_data; find_data({json.dumps(name)}, download=True)"
        again(error, fix=f"Put it there, or say: python -c {shlex.quote(code)}")
