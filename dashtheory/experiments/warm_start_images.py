"""The main rules on pictures: the experiment behind figures/warm_start_images."""

from __future__ import annotations

from dataclasses import dataclass, field

from dashtheory.deep.presets import ComparisonConfig


@dataclass(frozen=True, kw_only=True)
class ImagesConfig(ComparisonConfig):
    """The main rules, and the control that takes DASH's direction away.

    Raises: ValueError as `RunConfig`.
    """

    rules: tuple[str, ...] = field(
        default=("cold", "warm", "sp", "dash", "uniform"),
        metadata={"help": "rules between stages, with options as dash:lam=0.05"},
    )
