"""Every rule and its controls: the experiment behind figures/rule_ablation."""

from __future__ import annotations

from dataclasses import dataclass, field

from dashtheory._check import fail
from dashtheory.deep.presets import ComparisonConfig

ABLATION = (
    *(
        "cold",
        "cold:weight_decay=tuned",
        "cold_shrunk",
        "warm",
        "warm_rm",
        "reset",
        "l2_init",
        "sp",
        "sp_ash_adams",
    ),
    *("perturb", "dash", "dash:lam=0.05", "uniform", "permuted", "threshold"),
)
"""Rules and controls that are compared by default."""


@dataclass(frozen=True, kw_only=True)
class AblationConfig(ComparisonConfig):
    """Every rule and control.

    Raises: ValueError as `RunConfig`, or if cold or dash is not among the rules.
    """

    rules: tuple[str, ...] = field(
        default=ABLATION,
        metadata={"help": "rules, with options as dash:granularity=row; cold and dash among them"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not {"cold", "dash"} <= set(self.rules):
            fail("rules", "must hold cold and dash", ",".join(self.rules), "All are compared with these.")
