"""How the networks of the explorers are trained: warm, through all chunks but the last."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashtheory.deep.presets import ComparisonConfig
from dashtheory.deep.task import make_source, make_task
from dashtheory.protocol import run_stages
from dashtheory.record.provenance import plain_config
from dashtheory.rules import make_rule
from dashtheory.stream import Stream
from dashtheory.twolayer import REGIMES, StageState, TwoLayerConfig, of_replica, run
from dashtheory.twolayer.stages import Moment

CONFIGS: dict[str, TwoLayerConfig | ComparisonConfig] = {
    "two_layer": REGIMES["cnn_a"],
    "digits": ComparisonConfig.of(data="digits", model="convnet", model_options=("width=8",), num_chunks=4),
    "resnet": ComparisonConfig.of(
        data="digits",
        model="narrow_resnet",
        model_options=("width=8",),
        num_chunks=5,
        chunk_size=100,
        batch_size=50,
        label_noise=0.0,
        learning_rate=0.01,
    ),
}
"""The setting of each network; `resnet`'s is that of the figure on effective steps."""


def config_of(name: str) -> dict[str, Any]:
    """A setting as JSON holds it.

    Args:
        name: of the network.
    """
    return plain_config(CONFIGS[name])


def weights_of(config: TwoLayerConfig | ComparisonConfig, seed: int) -> dict[str, NDArray[Any]]:
    """Train warm through all chunks but the last; the weights, by name.

    Args:
        config: the setting.
        seed: root seed.

    Returns:
        the state dict of the model; of a two-layer network also "initial", the first weights of its hidden layer.
    """
    return _patches(config, seed) if isinstance(config, TwoLayerConfig) else _pictures(config, seed)


def _patches(config: TwoLayerConfig, seed: int) -> dict[str, NDArray[Any]]:
    seen: list[StageState] = []

    def on_stage(stage: int, moment: Moment, state: StageState) -> None:
        if stage == config.num_stages and moment == "before rule":
            seen.append(state)

    run(config, ["warm"], [seed], on_stage=on_stage)
    found = of_replica(seen[0].stack_state.params, 0, 0)
    initial = of_replica(seen[0].stack_state.initial, 0, 0)["hidden.weight"]
    return {**{name: one.numpy() for name, one in found.items()}, "initial": initial.numpy()}


def _pictures(config: ComparisonConfig, seed: int) -> dict[str, NDArray[Any]]:
    source = make_source(config, seed)
    stream = source.stream
    *_, last = run_stages(
        Stream(stream.chunks[:-1], stream.test),
        make_rule("warm"),
        make_task(config, source),
        config.training,
        seed=seed,
    )
    return {name: np.array(one.detach().numpy()) for name, one in last.learner.model.state_dict().items()}
