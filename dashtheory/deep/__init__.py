"""Level 3: networks and real data."""

from dashtheory.deep.text import Corpus, encode, python_topics, text_stream
from dashtheory.deep.transformer import CharTransformer, TransformerConfig, initialise_

__all__ = [
    "CharTransformer",
    "Corpus",
    "TransformerConfig",
    "encode",
    "initialise_",
    "python_topics",
    "text_stream",
]
