"""Values of another kind than their field's are one line that names it; lists may begin with a minus."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dashtheory.command.options import OneLineParser
from dashtheory.deep.config import RunConfig
from dashtheory.experiments.activation_regimes import RegimesConfig
from dashtheory.experiments.alpha_lambda_map import AlphaLambdaConfig


@pytest.mark.parametrize(
    "values",
    [
        *({name: "yes"} for name in ("balanced", "flip", "channels_last", "reestimate", "canaries", "seconds")),
        *({name: None} for name in ("data", "data_name", "model", "optimizer", "device", "precision", "engine")),
        *({name: 3} for name in ("rules", "decays", "rates", "milestones", "model_options")),
        *({"rules": value} for value in ("cold", ["cold"], (None,))),
        *(
            {name: math.nan}
            for name in ("learning_rate", "momentum", "rho", "weight_decay", "label_noise", "decay")
        ),
        *({name: -1} for name in ("learning_rate", "momentum", "rho", "batch_size", "num_chunks", "size")),
        {"momentum": 5},
    ],
    ids=str,
)
def test_a_value_of_another_kind_is_refused_by_name(values: dict[str, Any]) -> None:
    (name,) = values
    with pytest.raises(ValueError, match=rf"^{name} must ") as raised:
        RunConfig.of(**values)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["data", "model", "training", "device", "measures"])
def test_a_part_of_another_kind_is_refused_by_name(name: str) -> None:
    parts: dict[str, Any] = {name: None}
    with pytest.raises(ValueError, match=rf"^{name} must be a \w+, got None"):
        RunConfig(**parts)


def test_a_list_that_begins_with_a_minus_is_a_value() -> None:
    parser = OneLineParser()
    parser.add_argument("--phis")
    for text in ("-1,0", "-.5,1", "-2", "0,-1"):
        assert parser.parse_args(["--phis", text]).phis == text


def test_one_stage_leaves_no_rule_to_map() -> None:
    with pytest.raises(ValueError, match="num_stages must be at least 2, or 0, got 1"):
        AlphaLambdaConfig(num_stages=1)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"init_scales": (1e30,)}, r"init_scales must be a number in \(0, 1000\], got 1e\+30"),
        ({"rules": ("cold",)}, "rules must name one beside cold"),
    ],
)
def test_regimes_that_cannot_be_mapped_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RegimesConfig(**values)
