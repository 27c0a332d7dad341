"""Small two-layer settings that several tests share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from dashtheory.twolayer import (
    Hyperparameters,
    MLPConfig,
    Params,
    PatchConfig,
    PatchData,
    SignalNoise,
    Stack,
    TwoLayerConfig,
    make_stack,
    sample_signal_noise,
    stack_data,
)

NETWORKS: dict[str, PatchConfig | MLPConfig] = {
    "mlp": MLPConfig(hidden=7, hidden_scale=0.3, output_scale=0.5),
    **{
        f"patch q={q:g}{' smoothed' * smoothed}": PatchConfig(
            neurons=3, exponent=q, smoothed=smoothed, init_scale=0.5
        )
        for q in (1, 1.5, 1.75, 2, 2.5, 3)
        for smoothed in (False, True)
    },
}


def toy_config(network: PatchConfig | MLPConfig, num_classes: int = 2, **others: Any) -> TwoLayerConfig:
    """Five features a class, forty dimensions of noise, float64."""
    data = SignalNoise(num_classes=num_classes, num_features=5, noise_dim=40, p_max=0.4, noise_norm=2.0)
    usual: dict[str, Any] = {
        "num_stages": 3,
        "chunk_size": 12,
        "num_test": 60,
        "threshold": 0.2,
        "max_epochs": 60,
        "learning_rate": 1.0 if isinstance(network, PatchConfig) else 0.2,
        "dtype": "float64",
    }
    return TwoLayerConfig(data=data, network=network, **{**usual, **others})


def toy_stack(
    config: TwoLayerConfig, num_seeds: int, num_replicas: int, num_samples: int
) -> tuple[Stack, PatchData, Params]:
    """A stack with an initialisation of its own for every seed and replica, and its data (float64)."""
    network, generator = make_stack(config), torch.Generator().manual_seed(0)
    data = stack_data(
        [sample_signal_noise(config.data, num_samples, np.random.default_rng(seed)) for seed in range(num_seeds)]
    )
    drawn = [[network.draw(generator) for _ in range(num_replicas)] for _ in range(num_seeds)]
    params = {
        name: torch.stack([torch.stack([one[name] for one in row]) for row in drawn]) for name in drawn[0][0]
    }
    return network, data, params


def numbers(
    learning_rate: list[float], momentum: float = 0.9, weight_decay: float = 0.0, threshold: float = 0.0
) -> Hyperparameters:
    """Numbers of training; one learning rate per replica."""
    rates = torch.tensor(learning_rate, dtype=torch.float64)
    return Hyperparameters(
        learning_rate=rates,
        momentum=torch.full_like(rates, momentum),
        weight_decay=torch.full_like(rates, weight_decay),
        threshold=torch.full_like(rates, threshold),
    )
