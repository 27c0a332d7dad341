"""The decomposition: exact where it has an answer, silent where it has none."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dashtheory.measure import Coefficients, Decomposition, Span, decompose
from dashtheory.rules import shrink_and_perturb_
from tests.measure.tracked import SIZES, Data, run

LIMITS = {torch.float64: 1e-12, torch.float32: 1e-5}


# ------------------------------------------------------------------------------------------------- it is exact


@pytest.mark.parametrize("dtype", LIMITS, ids=["float64", "float32"])
@pytest.mark.parametrize("orthonormal", [True, False], ids=["orthonormal", "oblique"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["patch", "relu"])
def test_coefficients_tracked_through_training_and_shrinking_are_recovered(
    kind: str, size: str, orthonormal: bool, dtype: torch.dtype
) -> None:
    data = Data.draw(*SIZES[size], seed=1, orthonormal=orthonormal)
    if dtype == torch.float32:  # the network's own data, so that rounding them is no error of the decomposition
        data = Data(*(value.float().double() for value in vars(data).values()))
    tracked = run(kind, data, dtype, steps=20 if size == "reference" else 40)
    found = tracked.found()
    assert found.identifiable
    assert found.reason == ""
    assert float(tracked.gamma.abs().max()) > 0.01  # something was learned
    assert float(tracked.rho.abs().max()) > 0.01
    errors = found.recovery_error(tracked.truth)
    limit = LIMITS[dtype] * (10 if size == "tight" else 1)  # condition 40, one dimension in 50 to tell c by
    assert max(errors.values()) < limit, (errors, float(found.condition))
    assert float(found.reconstruction_error.max()) < LIMITS[dtype]
    rebuilt = found.c[:, None] * tracked.init + found.feature_part() + found.noise_part()
    assert torch.allclose(
        rebuilt, tracked.network.weight.double(), rtol=0, atol=1e-5 if dtype.itemsize == 4 else 1e-13
    )


def test_one_neuron_by_hand() -> None:
    eye = torch.eye(4, dtype=torch.float64)
    features, noise = 2 * eye[:1], torch.stack([eye[1] * 3, eye[1] + eye[2]])
    init = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=torch.float64)
    weights = 0.5 * init + 7 * features[0] - 2 * noise[0] + 5 * noise[1]
    found = decompose(weights, init, features, noise)
    assert torch.allclose(found.gamma, torch.tensor([[7.0]], dtype=torch.float64))
    assert torch.allclose(found.rho, torch.tensor([[-2.0, 5.0]], dtype=torch.float64))
    assert torch.allclose(found.c, torch.tensor([0.5], dtype=torch.float64))
    assert torch.allclose(found.init_outside, torch.tensor([4 / 30**0.5], dtype=torch.float64))
    assert math.isclose(float(found.condition), 1 / math.tan(math.pi / 8), rel_tol=1e-12)  # columns at 45 degrees
    assert torch.allclose(found.noise_part(slice(1, 2)), 5 * noise[1:])
    assert torch.allclose(found.noise_part(torch.tensor([0])), -2 * noise[:1])


def drawn(neurons: int, num_features: int, num_samples: int, generator: torch.Generator) -> Coefficients:
    """Coefficients with c = 1."""
    gamma, rho = (torch.randn(neurons, n, generator=generator).double() for n in (num_features, num_samples))
    return Coefficients(gamma, rho, torch.ones(neurons, dtype=torch.float64))


@given(seed=st.integers(0, 10**6), log_scale=st.floats(-20, 20))
def test_lengths_of_features_noise_and_weights_do_not_matter(seed: int, log_scale: float) -> None:
    data, scale = Data.draw(3, 5, 12, seed=seed % 1000), 10.0**log_scale
    generator = torch.Generator().manual_seed(seed)
    truth = drawn(2, 3, 5, generator)
    init = torch.randn(2, 12, generator=generator).double()
    noise = data.noise * torch.logspace(-6, 6, 5, dtype=torch.float64)[:, None]
    rho = truth.rho * torch.logspace(6, -6, 5, dtype=torch.float64)
    weights = truth.c[:, None] * init + truth.gamma @ data.features + rho @ noise
    found = decompose(scale * weights, scale * init, scale * data.features, scale * noise)
    assert max(found.recovery_error(Coefficients(truth.gamma, rho, truth.c)).values()) < 1e-10


def test_leading_axes_broadcast_and_each_network_is_its_own() -> None:
    draws = [Data.draw(4, 6, 20, seed=seed, orthonormal=False) for seed in (0, 1)]
    features, noise = (torch.stack([getattr(data, name) for data in draws]) for name in ("features", "noise"))
    generator = torch.Generator().manual_seed(2)
    gamma, rho = (torch.randn(2, 3, 5, n, generator=generator).double() for n in (4, 6))
    c, init = torch.rand(2, 3, 5).double(), torch.randn(2, 1, 5, 20, generator=generator).double()
    weights = c[..., None] * init + gamma @ features[:, None] + rho @ noise[:, None]
    found = decompose(weights, init, features[:, None], noise[:, None])
    assert found.condition.shape == (2, 1)
    assert found.gamma.shape == (2, 3, 5, 4)
    assert found.init_outside.shape == found.reconstruction_error.shape == found.c.shape == (2, 3, 5)
    assert max(found.recovery_error(Coefficients(gamma, rho, c)).values()) < 1e-12
    assert found.noise_part(slice(2)).shape == weights.shape
    for seed in range(2):
        span = Span.of(features[seed], noise[seed])
        for rule in range(3):
            alone = span.decompose(weights[seed, rule], init[seed, 0])
            assert torch.allclose(alone.rho, found.rho[seed, rule], atol=1e-12)
            assert torch.allclose(alone.condition, found.condition[seed, 0])


def test_the_bound_covers_the_error_of_rounded_weights() -> None:
    for dimensions in (60, 40, 36, 35):
        data = Data.draw(4, 30, dimensions, seed=dimensions)
        generator = torch.Generator().manual_seed(0)
        truth = drawn(3, 4, 30, generator)
        init = torch.randn(3, dimensions, generator=generator).double()
        weights = (init + truth.gamma @ data.features + truth.rho @ data.noise).float()
        found = decompose(weights, init, data.features, data.noise)
        errors = found.recovery_error(truth)
        assert found.precision == torch.finfo(torch.float32).eps
        assert max(errors["gamma"], errors["rho"]) < found.recovery_bound < 0.1
        assert found.recovery_bound >= float(found.condition) * found.precision
        given_c = decompose(weights, init, data.features, data.noise, init_factor=1)
        errors = given_c.recovery_error(truth)
        assert errors["c"] == 0
        assert max(errors["gamma"], errors["rho"]) < given_c.recovery_bound < found.recovery_bound


# ---------------------------------------------------------------------------------------------- it has no answer


def no_numbers(found: Decomposition, reason: str) -> None:
    """Without an answer there is no number to mistake for one."""
    assert not found.identifiable
    assert re.search(reason, found.reason)
    assert found.coefficients is None
    for name in ("gamma", "rho", "c"):
        with pytest.raises(ValueError, match=r"weights must have identifiable coefficients .* got .*" + reason):
            getattr(found, name)
    for call in (found.feature_part, found.noise_part, found.known):
        with pytest.raises(ValueError, match="identifiable"):
            call()


@pytest.mark.parametrize(("dimensions", "answer"), [(300, False), (440, False), (441, True)])
def test_fewer_dimensions_than_features_samples_and_initialization_is_refused(
    dimensions: int, answer: bool
) -> None:
    features, noise = torch.randn(40, dimensions).double(), torch.randn(400, dimensions).double()
    init = torch.randn(2, dimensions).double()
    weights = 0.5 * init + torch.ones(2, 40).double() @ features + torch.ones(2, 400).double() @ noise
    found = decompose(weights, init, features, noise)
    if answer:
        assert found.identifiable
    else:
        no_numbers(found, f"{dimensions} dimensions for 40 features and 400 samples: at least 441 are needed")
        assert float(found.reconstruction_error.max()) < 1e-10  # which would have fooled us
    assert bool(found.condition.isinf().all()) == (dimensions == 300)


def test_a_known_factor_of_the_initialization_spares_a_dimension() -> None:
    data = Data.draw(4, 6, 10, seed=0)
    generator = torch.Generator().manual_seed(0)
    init = torch.randn(3, 10, generator=generator).double()
    gamma, rho = (torch.randn(3, n, generator=generator).double() for n in (4, 6))
    c = torch.tensor([0.5, 1.0, 0.2]).double()
    weights = c[:, None] * init + gamma @ data.features + rho @ data.noise
    no_numbers(decompose(weights, init, data.features, data.noise), "at least 11 are needed")
    known = decompose(weights, init, data.features, data.noise, init_factor=c)
    assert max(known.recovery_error(Coefficients(gamma, rho, c)).values()) < 1e-11
    wide = Data.draw(4, 6, 20, seed=0)
    init = torch.randn(3, 20, generator=generator).double()
    weights = c[:, None] * init + gamma @ wide.features + rho @ wide.noise
    assert decompose(weights, init, wide.features, wide.noise, init_factor=c).identifiable
    no_numbers(decompose(weights, init, wide.features, wide.noise, init_factor=1.0), "outside the span")


def test_dependent_samples_are_refused() -> None:
    data = Data.draw(4, 6, 20, seed=0)
    init = torch.randn(3, 20).double()
    weights = init + torch.ones(3, 6).double() @ data.noise
    again = torch.cat([data.noise, data.noise[:1]])
    no_numbers(decompose(weights, init, data.features, again), "linearly dependent features and noise")
    zero = torch.cat([data.noise, torch.zeros(1, 20)])
    found = decompose(weights, init, data.features, zero)
    no_numbers(found, "linearly dependent")
    assert float(found.reconstruction_error.max()) < 1e-12
    beyond, without = (decompose(weights + 1, init, data.features, rows) for rows in (zero, data.noise))
    assert torch.allclose(beyond.reconstruction_error, without.reconstruction_error, rtol=1e-9)
    assert float(without.reconstruction_error.min()) > 0.05


def test_an_initialization_inside_the_span_is_refused_unless_its_factor_is_known() -> None:
    data = Data.draw(4, 6, 20, seed=0)
    init = torch.randn(3, 20).double()
    init[1] = data.noise[0] - data.features[2]
    no_numbers(decompose(init, init, data.features, data.noise), "an init inside the span .* in 1 neurons")
    assert decompose(init, init, data.features, data.noise, init_factor=1).identifiable
    zero = torch.zeros(3, 20).double()
    no_numbers(decompose(zero, zero, data.features, data.noise), "an init inside the span .* in 3 neurons")


@pytest.mark.parametrize("dtype", LIMITS, ids=["float64", "float32"])
@pytest.mark.parametrize("kind", ["patch", "relu"])
@pytest.mark.parametrize("rule", ["sp", "channels", "other_init", "other_noise"])
def test_weights_that_left_the_span_are_refused(kind: str, rule: str, dtype: torch.dtype) -> None:
    data = Data.draw(*SIZES["small"], seed=1)
    tracked = run(kind, data, dtype)
    weight = tracked.network.weight
    init, noise = tracked.init, data.noise
    generator = torch.Generator().manual_seed(0)
    if rule == "sp":
        layer = nn.Linear(80, 6, bias=False, dtype=dtype)
        layer.weight = weight
        shrink_and_perturb_(layer, shrink=0.3, perturb=0.01, generator=generator)
    elif rule == "channels":  # one factor per neuron and block of inputs
        factors = torch.rand(6, 10, generator=generator).repeat_interleave(8, dim=1)
        weight = nn.Parameter(weight.detach() * factors)
    elif rule == "other_init":
        init = torch.randn(init.shape, generator=generator).double()
    else:
        noise = torch.randn(noise.shape, generator=generator).double()
    found = decompose(weight, init, data.features, noise)
    no_numbers(found, "outside the span of init, features and noise")
    assert float(found.reconstruction_error.max()) > 0.01
    if rule == "sp":  # a user who asks for it gets the nearest coefficients
        assert decompose(weight, init, data.features, noise, tolerance=1.0).identifiable


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": torch.ones(3, 19)}, r"weights must have shape \(..., neurons, 20\).*got \(3, 19\)"),
        ({"weights": torch.ones(20)}, "weights must have shape"),
        ({"init": torch.ones(2, 20)}, r"init must have the shape \(3, 20\) of the weights, got \(2, 20\)"),
        ({"noise": torch.ones(6, 19)}, r"features and noise must have the same last axis, got \(4, 20\) and"),
        ({"noise": torch.ones(20)}, r"noise must have shape \(..., rows, D\), got \(20,\)"),
        (
            {"features": torch.ones(4, 20, dtype=torch.int64)},
            "features must be a tensor of real floats, got torch.int64",
        ),
        ({"weights": torch.full((3, 20), torch.nan)}, "weights must be finite, got NaN"),
        ({"features": torch.full((4, 20), torch.inf)}, "features must be finite"),
        ({"weights": [[1.0]]}, "weights must be a tensor of real floats, got list"),
        ({"tolerance": 0.0}, r"tolerance must be a number in \(0, 1\], got 0.0"),
        (
            {"weights": torch.ones(3, 3, 20), "noise": torch.randn(2, 6, 20)},
            "features and weights must have leading",
        ),
        ({"features": torch.ones(0, 20), "noise": torch.ones(0, 20)}, "features and noise must have at least one"),
    ],
)
def test_bad_input_is_named(change: dict[str, object], message: str) -> None:
    given: dict[str, object] = {
        "weights": torch.ones(3, 20),
        "init": torch.ones(3, 20),
        "features": torch.randn(4, 20),
        "noise": torch.randn(6, 20),
    }
    with pytest.raises(ValueError, match=f"^{message}"):
        decompose(**(given | change))  # type: ignore[arg-type]
