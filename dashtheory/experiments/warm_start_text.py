"""The main rules on real text: a character transformer on CPython's help texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from dashtheory.deep.presets import ComparisonConfig


@dataclass(frozen=True, kw_only=True)
class TextConfig(ComparisonConfig):
    """The setting of the figure: 4 chunks of 8,192 characters, trained to a loss of 1 nat with Adam.

    Raises:
        ValueError: as `RunConfig`.
    """

    defaults: ClassVar[Mapping[str, Any]] = {
        "data": "text",
        "model_options": ("width=48", "num_layers=2", "num_heads=4", "embedding_std=0.02", "linear_std=0.0"),
        "engine": "fast",
        "reestimate": False,
        "retention": -1,
        "weights": False,
    }
