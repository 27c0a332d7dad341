"""Every rule and its controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from dashtheory._check import fail
from dashtheory.deep.presets import ComparisonConfig

ABLATION = (
    *("cold", "cold:weight_decay=tuned", "cold_shrunk", "warm", "warm_rm", "reset", "l2_init"),
    *("sp", "sp_ash_adams", "perturb", "dash", "dash:lam=0.05", "uniform", "permuted", "threshold"),
)
"""Rules and controls that are compared by default."""


@dataclass(frozen=True, kw_only=True)
class AblationConfig(ComparisonConfig):
    """All rules and controls; all else as fits the data.

    Raises:
        ValueError: as `RunConfig`, or if cold or dash is not among the rules.
    """

    defaults: ClassVar[Mapping[str, Any]] = {**ComparisonConfig.defaults, "rules": ABLATION}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not {"cold", "dash"} <= set(self.rules):
            fail("rules", "must hold cold and dash", ",".join(self.rules), "All are compared with these.")
