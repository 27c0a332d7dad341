"""Whose margin is it: how much of a network's margin comes from noise, and which features it has learned."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import torch
from torch import Tensor

from dashtheory._check import fail


def noise_margin_share(labels: Tensor, noise_part: Tensor, output: Tensor) -> Tensor:
    """Share of the mean margin that comes from noise, (...).

    mean_i y_i f_noise(x_i) / mean_i y_i f(x_i)

    with the output f split by whoever knows the network: exactly by patch where noise has a patch of its own; in a
    ReLU network on sums by the open gates, f_noise = sum_r a_r 1[z_r > 0] <w_r, xi>.
    Range: any number; in [0, 1] if both parts have positive mean margin. Source: derived here.
    What would fool it: in the ReLU network on sums the gates depend on both parts, and a noise part with closed
    gates counts as nothing though it closed them; it need not go with test accuracy there. Easy samples with a
    large margin outweigh the others.

    Args:
        labels: -1 or 1, (..., samples).
        noise_part: f_noise.
        output: f. Both of shape (..., samples).

    Raises:
        ValueError: if labels are not -1 and 1.
    """
    signs = _signs("labels", labels)
    return (signs * noise_part.double()).mean(dim=-1) / (signs * output.double()).mean(dim=-1)


def feature_margins(network: Callable[[Tensor], Tensor], features: Tensor, signs: Tensor) -> Tensor:
    """What each feature alone adds to the output, on the side of its class, (V,).

    A_k = sign_k (f(v_k) - f(0))

    Range: any number, units of the output; positive: the feature is learned, 0: it is not there. Source: derived
    here. What would fool it: features met one at a time in a network where they interact; a larger scale of all
    weights (compare over k, not over networks: a warm network can have larger A_k and larger noise).

    Args:
        network: f, from inputs (n, D) to numbers (n,). If features have patches of their own, wrap the network so
            that row k enters the patch of feature k.
        features: (V, D).
        signs: class of each feature as -1 or 1, (V,).

    Raises:
        ValueError: if signs are not -1 and 1, or the network returns another shape.
    """
    sides = _signs("signs", signs)
    with torch.no_grad():
        values = network(torch.cat([features, torch.zeros_like(features[:1])]))
    if values.shape != (len(features) + 1,):
        fail(
            "network",
            f"must return one number per input, shape ({len(features) + 1},)",
            str(tuple(values.shape)),
            "Wrap it: lambda x: model(x).squeeze(-1), or the difference of two logits.",
        )
    values = values.double()
    return sides * (values[:-1] - values[-1])


def margins_by_frequency(margins: Tensor, frequencies: Tensor) -> pd.DataFrame:
    """Feature margins beside the frequencies of the features, most frequent first.

    What would fool it: with few features a trend is luck; `frequency_correlation` says how much of one there is.

    Args:
        margins: (V,), as `feature_margins` gives.
        frequencies: share of samples that show the feature, (V,).

    Returns:
        columns feature (its index), frequency, margin. What rules differ in are the rare features.
    """
    _same(margins, frequencies)
    table = pd.DataFrame(
        {
            "feature": range(len(margins)),
            "frequency": frequencies.double().cpu().numpy(),
            "margin": margins.double().cpu().numpy(),
        }
    )
    return table.sort_values("frequency", ascending=False, kind="stable", ignore_index=True)


def frequency_correlation(margins: Tensor, frequencies: Tensor) -> float:
    """Spearman correlation of margins with frequencies: Pearson's of their ranks, ties at their mean rank.

    Range: [-1, 1]; NaN if one of them does not vary. 1: frequent features have larger margins throughout.
    What would fool it: it is blind to how many of them are learned at all.

    Args:
        margins: (V,), as `feature_margins` gives.
        frequencies: share of samples that show the feature, (V,).
    """
    table = margins_by_frequency(margins, frequencies)
    ranks = table[["margin", "frequency"]].rank()
    if bool((ranks.std(ddof=0) == 0).any()):
        return float("nan")
    return float(ranks["margin"].corr(ranks["frequency"]))


def _signs(argument: str, value: Tensor) -> Tensor:
    if not bool((value.abs() == 1).all()):
        got = f"values from {value.min().item():g} to {value.max().item():g}" if value.numel() else "none"
        fail(argument, "must be -1 or 1", got, "Two classes: 2 * labels - 1.")
    return value.double()


def _same(margins: Tensor, frequencies: Tensor) -> None:
    if margins.ndim != 1 or margins.shape != frequencies.shape:
        got = f"{tuple(margins.shape)} and {tuple(frequencies.shape)}"
        fail("margins and frequencies", "must have one shape (V,)", got, "Give one number per feature.")
