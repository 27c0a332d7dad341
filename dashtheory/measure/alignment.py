"""Which weights still point down the loss: cosines of groups of weights with the negative gradient.

Groups are those of DASH (a kernel, a row, a whole bias), the gradient is DASH's G (smoothed over chunks,
evaluation mode), and cos(w, G) is in [-1, 1]. Every function leaves the model as it was.

What would fool a cosine: groups that the loss does not see (batch normalisation after a whole filter) are
orthogonal to their gradient, so 0 says nothing there; a kernel of one entry has -1, 0 or 1; and after training to
the end the gradient is mostly that of the newest chunk and the few samples not yet fitted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from dashtheory._check import fail, integer
from dashtheory.evaluate import LossFunction, cross_entropy
from dashtheory.measure.gap import canary_mask
from dashtheory.rules import ShrinkReport, dash_factors
from dashtheory.stream import Examples, join


def cosines(
    model: nn.Module, chunks: Sequence[Examples], *, loss_fn: LossFunction = cross_entropy, alpha: float = 0.3
) -> dict[str, Tensor]:
    """Cosine of every group with G, by name of the parameter.

    Args:
        model: unchanged.
        chunks: oldest first, on its device.
        loss_fn: mean loss.
        alpha: of G, as DASH's.
    """
    return {layer.name: layer.cosines for layer in _report(model, chunks, loss_fn, alpha)}


def mean_cosines(
    model: nn.Module, chunks: Sequence[Examples], *, loss_fn: LossFunction = cross_entropy, alpha: float = 0.3
) -> dict[str, float]:
    """Mean cosine over the groups of each parameter, by its name, and over all entries under the name "".

    Range: [-1, 1]. What would fool it: a mean of 0 can be half at 0.3 and half at -0.3 (`alignment_histograms`).

    Args:
        model: unchanged.
        chunks: oldest first, on its device.
        loss_fn: mean loss.
        alpha: of G, as DASH's.
    """
    return _means(_report(model, chunks, loss_fn, alpha))


def alignment_histograms(
    model: nn.Module,
    chunks: Sequence[Examples],
    *,
    loss_fn: LossFunction = cross_entropy,
    alpha: float = 0.3,
    bins: int = 20,
) -> pd.DataFrame:
    """Histogram over groups of cos(w, G) per parameter.

    Args:
        model: unchanged.
        chunks: oldest first, on its device.
        loss_fn: mean loss.
        alpha: of G, as DASH's.
        bins: even number >= 2, so that one edge is 0.

    Returns:
        pd.DataFrame: columns layer, low, high, share: groups with a cosine in [low, high) over all groups of the
        parameter (the last bin holds 1 too). Bins cut [-1, 1] evenly. A rule with smallest factor lam shrinks all
        that lies below lam by lam. What would fool it: shares of groups, not of entries; the module says more.
    """
    if integer("bins", bins, minimum=2, fix="20 make bins of 0.1.") % 2:
        fail("bins", "must be even", str(bins), "An edge at 0 tells help from harm.")
    edges = np.linspace(-1, 1, bins + 1)
    edges[bins // 2] = 0.0
    rows = []
    for name, values in cosines(model, chunks, loss_fn=loss_fn, alpha=alpha).items():
        counts, _ = np.histogram(values.double().cpu().numpy(), edges)
        rows.append(
            pd.DataFrame(
                {"layer": name, "low": edges[:-1], "high": edges[1:], "share": counts / max(1, counts.sum())}
            )
        )
    return pd.concat(rows, ignore_index=True)


def sample_alignment(
    model: nn.Module,
    chunks: Sequence[Examples],
    canary: Tensor,
    *,
    loss_fn: LossFunction = cross_entropy,
    alpha: float = 0.3,
) -> pd.DataFrame:
    """Alignment of the weights with the descent of clean samples and with that of canaries (random labels).

    mean over groups of cos(w, G_clean),        and of cos(w, G_canary)

    each G taken as DASH takes it, from the clean samples or the canaries of every chunk. DASH keeps what is
    aligned with the whole G; where the canary column is above the clean one, what it keeps is memorised noise.
    Range: [-1, 1]. Source: derived here, for the claim of arXiv:2410.23495 that noise is not aligned.
    What would fool it: once all samples are fitted both gradients are small and mostly of the hardest samples;
    canaries are few, so their G is noisier; a loss that shrinking raised moves both.

    Args:
        model: unchanged.
        chunks: oldest first, on its device.
        canary: bool, one per sample over all chunks in order. Chunks without a canary count for the clean column
            only, and the other way round.
        loss_fn: mean loss.
        alpha: of G, as DASH's.

    Returns:
        columns layer ("" for the mean over all entries), clean, canary.

    Raises:
        ValueError: if the mask does not fit, or leaves no canary or no clean sample.
    """
    mask = canary_mask(canary, join(chunks))
    parts = mask.split([len(chunk) for chunk in chunks])
    columns = {}
    for name, chosen in (("clean", [~part for part in parts]), ("canary", list(parts))):
        some = [
            chunk.take(part.nonzero().squeeze(1)) for chunk, part in zip(chunks, chosen, strict=True) if part.any()
        ]
        columns[name] = mean_cosines(model, some, loss_fn=loss_fn, alpha=alpha)
    return pd.DataFrame({"layer": list(columns["clean"]), **{k: list(v.values()) for k, v in columns.items()}})


def _report(model: nn.Module, chunks: Sequence[Examples], loss_fn: LossFunction, alpha: float) -> ShrinkReport:
    cuda = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=cuda):
        batches = [(chunk.inputs, chunk.targets) for chunk in chunks]
        return dash_factors(model, batches, loss_fn, alpha=alpha, lam=0.0)


def _means(report: ShrinkReport) -> dict[str, float]:
    layers = [layer for layer in report if layer.num_entries]
    means = {layer.name: float(layer.cosines.double().mean()) for layer in layers}
    entries = sum(layer.num_entries for layer in layers)
    whole = sum(means[layer.name] * layer.num_entries for layer in layers) / entries
    return {"": whole, **means}
