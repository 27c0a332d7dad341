"""Data of level 2: features on their own axes, noise on the others; regimes and configs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dashtheory.twolayer import (
    CNN_A,
    CUB,
    MLP_SMALL,
    REGIMES,
    MLPConfig,
    PatchConfig,
    SignalNoise,
    TwoLayerConfig,
    concatenate_data,
    sample_signal_noise,
    stack_data,
)


@given(classes=st.integers(2, 5), features=st.integers(1, 6), dim=st.integers(1, 9), each=st.integers(1, 5))
def test_only_features_of_the_own_class_show_and_classes_are_balanced(
    classes: int, features: int, dim: int, each: int
) -> None:
    config = SignalNoise(num_classes=classes, num_features=features, noise_dim=dim, p_max=0.9, p_min=0.5)
    data = sample_signal_noise(config, each * classes, np.random.default_rng(each))
    assert data.features.dtype == torch.bool
    by_class = data.features.view(-1, classes, features).any(dim=2)
    own = torch.nn.functional.one_hot(data.labels, classes).bool()
    assert not (by_class & ~own).any()
    assert torch.bincount(data.labels, minlength=classes).tolist() == [each] * classes
    x = data.x()
    assert x.shape == (len(data), config.dimension)
    assert torch.equal(x[:, : config.num_axes], data.features.double())
    assert torch.equal(x[:, config.num_axes :], data.noise)


def test_frequencies_and_noise_follow_the_formulas() -> None:
    config = SignalNoise(num_features=3, p_max=0.2, p_min=0.05, noise_dim=50, noise_norm=3.0)
    assert config.frequencies() == pytest.approx(np.array([[0.2, 0.1, 0.05]] * 2))
    data = sample_signal_noise(config, 20_000, np.random.default_rng(0))
    shown = data.features.double().view(-1, 2, 3)[torch.arange(20_000), data.labels]
    rates = torch.stack([shown[data.labels == label].mean(dim=0) for label in (0, 1)])
    assert rates.numpy() == pytest.approx(config.frequencies(), abs=0.012)  # 4 standard errors
    squares = data.noise.square().sum(dim=1)
    assert float(squares.mean()) == pytest.approx(9, abs=4 * 9 * (2 / 50 / 20_000) ** 0.5)
    assert data.noise.square().mean(dim=0).numpy() == pytest.approx(9 / 50, rel=0.05)


def test_given_probabilities_are_taken_for_all_classes_or_class_by_class() -> None:
    one = SignalNoise(num_features=2, probabilities=(0.5, 0.1))
    assert one.frequencies().tolist() == [[0.5, 0.1], [0.5, 0.1]]
    each = SignalNoise(num_features=2, probabilities=(1.0, 0.0, 0.0, 1.0))
    shown = sample_signal_noise(each, 6, np.random.default_rng(0)).features
    assert shown.tolist() == [[True, False, False, False], [False, False, False, True]] * 3


def test_parts_are_put_together_in_order() -> None:
    parts = [sample_signal_noise(SignalNoise(noise_dim=5), 4, np.random.default_rng(seed)) for seed in range(3)]
    whole = concatenate_data([stack_data(parts), stack_data(parts[::-1])])
    assert whole.noise.shape == (3, 8, 5)
    assert torch.equal(whole.of_seed(0).part(4, 8).noise, parts[2].noise)
    assert torch.equal(whole.part(0, 4).of_seed(1).features, parts[1].features)
    assert whole.to("cpu", torch.float32).noise.dtype == torch.float32


def test_presets_have_the_numbers_of_the_measurements() -> None:
    assert set(REGIMES) == {"cnn_a", "mlp_small", "mlp_he", "relu", "root", "cub"}
    assert CNN_A.learning_rate == 0.1 * CNN_A.chunk_size * 10 / CNN_A.data.noise_norm**2
    assert (CNN_A.data.noise_dim, CNN_A.num_stages, CNN_A.threshold, CNN_A.max_epochs) == (450, 8, 0.05, 800)
    assert isinstance(MLP_SMALL.network, MLPConfig)
    assert (MLP_SMALL.network.hidden, MLP_SMALL.data.noise_norm, MLP_SMALL.learning_rate) == (40, 6.0, 0.1)
    assert isinstance(CUB.network, PatchConfig)
    assert (CUB.network.exponent, CUB.network.smoothed, CUB.chunk_size, CUB.num_stages) == (3, True, 80, 5)


@pytest.mark.parametrize(
    ("make", "options", "told"),
    [
        (SignalNoise, {"num_classes": 1}, "num_classes must be an integer >= 2"),
        (SignalNoise, {"p_min": 0.3}, "p_min must be a number in"),
        (SignalNoise, {"probabilities": (0.1,)}, "probabilities must have 20 entries, or 40"),
        (SignalNoise, {"num_features": 1, "probabilities": (1.5,)}, "probabilities must be a number in"),
        (SignalNoise, {"noise_norm": -1}, "noise_norm must be a number in"),
        (PatchConfig, {"exponent": 0.5}, "exponent must be a number in"),
        (PatchConfig, {"smoothed": 1}, "smoothed must be True or False"),
        (MLPConfig, {"hidden": 0}, "hidden must be an integer >= 1"),
        (TwoLayerConfig, {"chunk_size": 51}, "chunk_size must be a multiple of the 2 classes"),
        (TwoLayerConfig, {"num_test": 3}, "num_test must be a multiple of the 2 classes"),
        (TwoLayerConfig, {"dtype": "float16"}, "dtype must be one of float32, float64"),
        (TwoLayerConfig, {"device": "nowhere"}, "device must be a device of torch"),
        (TwoLayerConfig, {"optimizer": "sgd"}, "optimizer must be one of gd, adam"),
        (TwoLayerConfig, {"velocity": "lost"}, "velocity must be one of reset, kept"),
        (TwoLayerConfig, {"optimizer": "adam", "weight_decay": 0.1}, "weight_decay must be 0 with adam"),
        (TwoLayerConfig, {"learning_rate": 0}, "learning_rate must be a number in"),
        (TwoLayerConfig, {"network": "cnn"}, "network must be a PatchConfig or an MLPConfig"),
        (TwoLayerConfig, {"data": "noise"}, "data must be a SignalNoise"),
    ],
)
def test_a_bad_value_is_refused_by_name(make: Any, options: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make(**options)


def test_unequal_classes_and_seeds_for_generators_are_refused() -> None:
    with pytest.raises(ValueError, match="num_samples must be a multiple of the 2 classes"):
        sample_signal_noise(SignalNoise(), 3, np.random.default_rng(0))
    with pytest.raises(ValueError, match="generator must be a numpy Generator"):
        sample_signal_noise(SignalNoise(), 4, 0)  # type: ignore[arg-type]
