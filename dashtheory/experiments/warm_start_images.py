"""The main rules on pictures, and the control that takes DASH's direction away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from dashtheory.deep.presets import ComparisonConfig


@dataclass(frozen=True, kw_only=True)
class ImagesConfig(ComparisonConfig):
    """The rules of the figure; all else as fits the data.

    Raises:
        ValueError: as `RunConfig`.
    """

    defaults: ClassVar[Mapping[str, Any]] = {
        **ComparisonConfig.defaults,
        "rules": ("cold", "warm", "sp", "dash", "uniform"),
    }
