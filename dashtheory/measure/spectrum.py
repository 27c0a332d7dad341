"""Spectra of weights and of representations, and the things that are called their rank.

With singular values s_1 >= s_2 >= ... of a matrix and p_i = s_i / sum s:

    effective rank          exp(- sum p_i log p_i)                       Roy & Vetterli (EUSIPCO 2007)
    stable rank             sum s_i^2 / s_1^2 = |W|_F^2 / |W|_2^2        Rudelson & Vershynin (2007)
    participation ratio     (sum s_i^2)^2 / sum s_i^4                    of the eigenvalues s_i^2
    srank_delta             least k with s_1 + ... + s_k >= (1 - delta) sum s       Kumar et al. (ICLR 2021)
    approximate rank        the same of the squares s_i^2                           Dohare et al. (Nature 2024)
    matrix rank             how many s_i > eps max(rows, columns) s_1               numpy, SimBa
    feature rank            how many s_i > tau sqrt(rows)                           Lyle et al. (ICLR 2022)

All but the last lie between 1 and the rank, are in no unit, and do not change if the matrix is multiplied by a
number; a matrix of zeros has 0. The last falls with any shrink. (Some papers call srank_delta "stable rank" or
"approximate rank": here the names are as above.)

What would fool them: they say how many directions are in use, not whether these hold features or noise. A random
initialisation has a high rank and knows nothing; noise that is memorised raises ranks as features do; a factor per
row changes them though no neuron has learned or forgotten anything. Compare layers of one shape only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dashtheory._check import choice, fail, integer, real
from dashtheory.copies import copied
from dashtheory.evaluate import evaluating
from dashtheory.rules import targets
from dashtheory.rules.effective import to_look_at
from dashtheory.rules.groups import by_group


def singular_values(matrix: Tensor) -> Tensor:
    """Singular values in float64, largest first, (..., min(rows, columns)).

    Args:
        matrix: (..., rows, columns), finite.
    """
    if matrix.ndim < 2:
        fail("matrix", "must have two axes or more", str(tuple(matrix.shape)), "Flatten kernels: (out, in h w).")
    if not bool(matrix.isfinite().all()):
        fail("matrix", "must be finite", "NaN or infinity", "Did the training diverge?")
    found: Tensor = torch.linalg.svdvals(wide(matrix.detach()))
    return found


def wide(values: Tensor) -> Tensor:
    """In float64 or complex128."""
    return values.to(torch.complex128) if values.is_complex() else values.double()


def effective_rank(values: Tensor) -> Tensor:
    """Exp of the entropy of the normalised singular values, (...). Range: 0 or [1, rank]; the module says more.

    Args:
        values: singular values, (..., n), any order.
    """
    shares = _of_largest(values)
    shares = shares / shares.sum(dim=-1, keepdim=True)
    rank = torch.exp(-torch.special.xlogy(shares, shares).sum(dim=-1))
    return torch.where(_is_zero(values), 0.0, rank)


def stable_rank(values: Tensor) -> Tensor:
    """|W|_F^2 / |W|_2^2, (...). Range: 0 or [1, rank]; the module says more. Args: as `effective_rank`."""
    return _of_largest(values).square().sum(dim=-1).nan_to_num(0.0)


def participation_ratio(values: Tensor) -> Tensor:
    """(sum s^2)^2 / sum s^4, (...). Range: 0 or [1, rank]; the module says more.

    Args:
        values: singular values, (..., n), any order.
    """
    squares = _of_largest(values).square()
    return (squares.sum(dim=-1).square() / squares.square().sum(dim=-1)).nan_to_num(0.0)


def srank(values: Tensor, *, delta: float = 0.01) -> Tensor:
    """srank_delta of Kumar et al., (...) int64: the directions that hold 1 - delta of the sum of singular values.

    Range: 0, or 1 to rank; the module says more.

    Args:
        values: as `effective_rank`.
        delta: in [0, 1); 0.01 in the paper.
    """
    delta = real("delta", delta, low=0, high=1, fix="It is the share of the sum left out; the paper uses 0.01.")
    ordered = _of_largest(values).sort(dim=-1, descending=True).values
    enough = ordered.cumsum(dim=-1) / ordered.sum(dim=-1, keepdim=True) >= (1 - delta) * (1 - 1e-12)
    return torch.where(_is_zero(values), 0, (~enough).sum(dim=-1) + 1).clamp_max(values.shape[-1])


def approximate_rank(values: Tensor, *, delta: float = 0.01) -> Tensor:
    """The directions that hold 1 - delta of the sum of squares (the variance, if centered), (...) int64.

    Range: 0, or 1 to srank of the same delta; the module says more.

    Args:
        values: as `effective_rank`.
        delta: in [0, 1); 0.01 in the paper.
    """
    return srank(_of_largest(values).nan_to_num(0.0).square(), delta=delta)


def matrix_rank(values: Tensor, *, size: int, eps: float = torch.finfo(torch.float32).eps) -> Tensor:
    """How many singular values are above rounding, s_i > eps size s_1, (...) int64; the module says more.

    Args:
        values: as `effective_rank`.
        size: the larger side of the matrix.
        eps: of the numbers that it was computed in; that of float32 by default.
    """
    size = integer("size", size, minimum=1, fix="It is the larger side of the matrix.")
    largest = values.amax(dim=-1, keepdim=True)
    return (values > real("eps", eps, low=0, fix="It is a share of the largest.") * size * largest).sum(dim=-1)


def feature_rank(values: Tensor, *, num_inputs: int, tau: float = 0.01) -> Tensor:
    """How many s_i / sqrt(inputs) are above tau, (...) int64.

    Range: 0 to the rank. Source: Lyle, Rowland & Dabney (ICLR 2022, arXiv:2204.09560). What would fool it: it is
    in the units of the features, so that any shrink of a layer lowers it and any growth raises it.

    Args:
        values: singular values of a representation (inputs, units), as `effective_rank`.
        num_inputs: its rows.
        tau: >= 0; 0.01 in the paper.
    """
    number = integer("num_inputs", num_inputs, minimum=1, fix="It counts the rows of the representation.")
    least = real("tau", tau, low=0, fix="0.01 is usual.") * number**0.5
    found: Tensor = (values > least).sum(dim=-1)
    return found


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Singular values and what is called their rank.

    Attributes:
        values: largest first, (n,).
    """

    values: Tensor

    def summary(self) -> dict[str, float]:
        """The four ranks and the spectral norm (largest singular value, units of the matrix), by name."""
        return {
            "spectral_norm": float(self.values.max()),
            "effective_rank": float(effective_rank(self.values)),
            "stable_rank": float(stable_rank(self.values)),
            "participation_ratio": float(participation_ratio(self.values)),
            "srank": float(srank(self.values)),
        }


def weight_spectra(model: nn.Module) -> dict[str, Spectrum]:
    """Spectrum of every weight that rules shrink, by its name; biases have none.

    A convolution counts as the matrix (out, in h w), a transposed one too, whatever its groups.

    Args:
        model: unchanged.
    """
    found = {}
    for target in targets(to_look_at(model), "filter"):
        if target.kind != "vector" and target.parameter.numel():
            matrix = by_group(target.parameter.detach(), target.kind, target.groups)
            found[target.name] = Spectrum(singular_values(matrix))
    return found


def representation_spectrum(
    model: nn.Module, inputs: Tensor, layer: str, *, centered: bool = False, batch_size: int = 1000
) -> Spectrum:
    """Spectrum of what a layer puts out on some inputs: the matrix (inputs, units), each output flattened.

    srank of the layer before the classifier is the measure of Kumar et al. (ICLR 2021). Evaluation mode.
    What would fool it: few inputs (never more directions than inputs; use the same ones before and after); a mean
    far from 0 counts as a direction unless `centered`; units that are dead on these inputs only.

    Args:
        model: a copy is used.
        inputs: (n, ...), on its device.
        layer: name of a module, as in `named_modules()`.
        centered: subtract each unit's mean over the inputs.
        batch_size: of the passes.

    Raises:
        ValueError: if there is no such layer, or it does not put out one tensor per pass.
    """
    outputs = wide(activations(model, inputs, layer, batch_size=batch_size))
    if centered:
        outputs = outputs - outputs.mean(dim=0)
    return Spectrum(singular_values(outputs))


def activations(model: nn.Module, inputs: Tensor, layer: str, *, batch_size: int = 1000) -> Tensor:
    """What a layer puts out in evaluation mode, (n, units), each output flattened.

    Args:
        model: a copy is used.
        inputs: (n, ...), on its device.
        layer: name of a module, as in `named_modules()`.
        batch_size: of the passes.

    Raises:
        ValueError: if there is no such layer, or it does not put out one tensor per pass.
    """
    replica = copied(model)
    modules = dict(replica.named_modules())
    choice("layer", layer, [name for name in modules if name])
    caught: list[object] = []
    modules[layer].register_forward_hook(lambda module, given, output: caught.append(output))
    parts = []
    with evaluating(replica), torch.no_grad():
        for batch in inputs.split(batch_size):
            caught.clear()
            replica(batch)
            got = caught[0] if len(caught) == 1 else None
            if not isinstance(got, Tensor) or len(got) != len(batch):
                what = f"{len(caught)} outputs" if len(caught) != 1 else type(caught[0]).__name__
                fail("layer", "must put out one tensor (n, ...) per pass", what, "Name a layer that is used once.")
            parts.append(got.flatten(1).clone())
    return torch.cat(parts)


def _of_largest(values: Tensor) -> Tensor:
    """Singular values as shares of the largest, so that no power under- or overflows; NaN if all are 0."""
    values = values.double()
    return values / values.amax(dim=-1, keepdim=True)


def _is_zero(values: Tensor) -> Tensor:
    return values.amax(dim=-1) == 0
