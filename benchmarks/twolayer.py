"""Speed of stacked training: seeds x replicas at once, beside the same networks trained one by one.

    python -m benchmarks.twolayer [--quick] [--out benchmarks/results]

Run from the root of the repository. Full-batch heavy-ball descent, float32, one thread, for the regimes CNN-A
and MLP-small, at 400, 200 and 50 samples. Contenders do the same steps on the same data from the same weights, and
take turns after a warm-up:

    stacked              `train_stack` as it is used, and on weights instead of coefficients
    separate autograd    the readable nn.Module with torch.optim.SGD, network after network
    separate by hand     gradients by hand on plain matrices, network after network

Every contender computes its loss at every step and compares it with the threshold, which is too low to be reached.
Before they are timed, all must end at the same weights in float64. The unit is CPU seconds per network and step;
the separate contenders train fewer networks, as they gain nothing from more. Writes OUT/twolayer.json.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.discrete import circumstances
from benchmarks.script import write_record
from dashtheory.seeds import numpy_stream, torch_stream
from dashtheory.twolayer import (
    CNN_A,
    MLP_SMALL,
    Hyperparameters,
    OptimizerState,
    Params,
    PatchConfig,
    PatchData,
    Samples,
    Stack,
    TwoLayerConfig,
    make_stack,
    of_replica,
    sample_signal_noise,
    stack_data,
    train_stack,
)

REGIMES = {"cnn_a": CNN_A, "mlp_small": MLP_SMALL}


@dataclass(frozen=True, kw_only=True)
class Work:
    """One amount of work."""

    turns: int  # of every contender
    seeds: int = 8
    replicas: int = 8
    separate: int = 4  # networks that the separate contenders train
    samples: tuple[int, ...] = (400, 200, 50)
    steps: int = 30


FULL = Work(turns=7)
QUICK = Work(turns=1, seeds=2, replicas=2, separate=2, samples=(20,), steps=3)


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """Networks (seeds, replicas), their data, and how they are trained."""

    config: TwoLayerConfig
    network: Stack
    data: PatchData
    samples: Samples
    params: Params
    steps: int

    @classmethod
    def make(cls, config: TwoLayerConfig, work: Work, num_samples: int, dtype: torch.dtype) -> Setting:
        """From the streams of each seed."""
        seeds = range(work.seeds)
        network = make_stack(config)
        data = stack_data(
            [sample_signal_noise(config.data, num_samples, numpy_stream(seed, "data")) for seed in seeds]
        )
        data = data.to("cpu", dtype)
        drawn = [[network.draw(torch_stream(seed, "init", r)) for r in range(work.replicas)] for seed in seeds]
        params = {
            name: torch.stack([torch.stack([one[name] for one in row]) for row in drawn]).to(dtype)
            for name in drawn[0][0]
        }
        return cls(
            config=config,
            network=network,
            data=data,
            samples=network.samples(data),
            params=params,
            steps=work.steps,
        )

    def places(self, number: int) -> list[tuple[int, int]]:
        """The first networks, as (seed, replica)."""
        shape = next(iter(self.params.values())).shape[:2]
        return [(seed, replica) for seed in range(shape[0]) for replica in range(shape[1])][:number]


def stacked(setting: Setting, method: str) -> Params:
    """All networks at once."""
    config, number = setting.config, next(iter(setting.params.values())).shape[1]
    values = {
        "learning_rate": config.learning_rate,
        "momentum": config.momentum,
        "weight_decay": 0,
        "threshold": 0,
    }
    return train_stack(
        setting.network,
        setting.params,
        OptimizerState.zero(setting.params, "gd"),
        setting.samples,
        Hyperparameters(
            **{name: torch.full((number,), float(value), dtype=torch.float64) for name, value in values.items()}
        ),
        max_epochs=setting.steps,
        method=method,
    ).params


def separate_autograd(setting: Setting, number: int) -> list[Params]:
    """Modules and torch's own optimizer."""
    found = []
    for seed, replica in setting.places(number):
        model = setting.network.module().to(setting.data.noise.dtype)
        model.load_state_dict(of_replica(setting.params, seed, replica))
        optimizer = torch.optim.SGD(
            model.parameters(), lr=setting.config.learning_rate, momentum=setting.config.momentum
        )
        one = setting.data.of_seed(seed)
        x, labels = one.x(), one.labels
        for _ in range(setting.steps):
            optimizer.zero_grad(set_to_none=True)
            loss = functional.cross_entropy(model(x), labels)
            loss.backward()
            optimizer.step()
            if loss.item() <= 0:
                break
        found.append({name: value.detach() for name, value in model.named_parameters()})
    return found


def separate_by_hand(setting: Setting, number: int) -> list[Params]:
    """Plain matrices."""
    patch = isinstance(setting.config.network, PatchConfig)
    gradient = patch_by_hand if patch else mlp_by_hand
    found = []
    for seed, replica in setting.places(number):
        params = of_replica(setting.params, seed, replica)
        velocity = {name: torch.zeros_like(value) for name, value in params.items()}
        one = setting.data.of_seed(seed)
        signs = (2 * one.labels - 1).to(one.noise.dtype)
        parts = one.features.to(one.noise.dtype), one.noise.contiguous(), one.x(), signs
        for _ in range(setting.steps):
            loss, gradients = gradient(setting.config, params, *parts)
            for name, value in params.items():
                velocity[name].mul_(setting.config.momentum).add_(gradients[name])
                value.sub_(velocity[name], alpha=setting.config.learning_rate)
            if loss <= 0:
                break
        found.append(params)
    return found


def patch_by_hand(
    config: TwoLayerConfig, params: Params, shown: Tensor, noise: Tensor, x: Tensor, signs: Tensor
) -> tuple[float, Params]:
    """Loss and gradients of a patch network with two classes."""
    assert isinstance(config.network, PatchConfig)
    q, m, axes = config.network.exponent, config.network.neurons, shown.shape[1]
    weight = params["hidden.weight"]
    z_features, z = weight[:, :axes].clamp_min(0), (noise @ weight[:, axes:].T).clamp_min(0)
    u_features, u = z_features ** (q - 1), z ** (q - 1)
    of_class = (shown @ (z_features * u_features).T + z * u).unflatten(1, (2, m)).mean(dim=2)
    margins = signs * (of_class[:, 1] - of_class[:, 0])
    slope = -signs * torch.sigmoid(-margins) / len(signs) / m * q
    each = torch.stack([-slope, slope], dim=1).repeat_interleave(m, dim=1)  # (n, 2 m)
    gradient = torch.cat([(each.T @ shown) * u_features, (each * u).T @ noise], dim=1)
    return functional.softplus(-margins).mean().item(), {"hidden.weight": gradient}


def mlp_by_hand(
    config: TwoLayerConfig, params: Params, shown: Tensor, noise: Tensor, x: Tensor, signs: Tensor
) -> tuple[float, Params]:
    """Loss and gradients of a ReLU network with one output."""
    active = torch.addmm(params["hidden.bias"], x, params["hidden.weight"].T).clamp_min_(0)
    margins = signs * (active @ params["output.weight"][0])
    slope = -signs * torch.sigmoid(-margins) / len(signs)
    back = (slope[:, None] * params["output.weight"]).masked_fill_(active <= 0, 0)
    gradients = {
        "hidden.weight": back.T @ x,
        "hidden.bias": back.sum(dim=0),
        "output.weight": slope[None] @ active,
    }
    return functional.softplus(-margins).mean().item(), gradients


def require_equal(setting: Setting, work: Work) -> None:
    """Stop unless all contenders end at the same weights; for a setting in float64, where rounding stays small."""
    ours = stacked(setting, "gram")
    others = stacked(setting, "weights")
    lists = {
        "on weights": [of_replica(others, *place) for place in setting.places(work.separate)],
        "separate autograd": separate_autograd(setting, work.separate),
        "separate by hand": separate_by_hand(setting, work.separate),
    }
    for name, found in lists.items():
        for place, params in zip(setting.places(work.separate), found, strict=True):
            for key, value in of_replica(ours, *place).items():
                if not torch.allclose(value, params[key], rtol=1e-8, atol=1e-8 * float(value.abs().max())):
                    raise RuntimeError(f"stacked and {name} differ in {key}; times would mean nothing")


def measure_setting(setting: Setting, work: Work) -> list[dict[str, Any]]:
    """CPU seconds per network and step of each contender, and its ratio to the stacked one, turn by turn."""
    contenders: dict[str, tuple[Callable[[], object], int]] = {
        "stacked": (partial(stacked, setting, "auto"), work.seeds * work.replicas),
        "stacked, on weights": (partial(stacked, setting, "weights"), work.seeds * work.replicas),
        "separate autograd": (partial(separate_autograd, setting, work.separate), work.separate),
        "separate by hand": (partial(separate_by_hand, setting, work.separate), work.separate),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(work.turns + 1):  # the first is a warm-up
        for name, (function, number) in contenders.items():
            start = time.process_time()
            function()
            if turn:
                seconds[name].append((time.process_time() - start) / number / work.steps)
    return [
        {
            "name": name,
            "seconds_min": min(values),
            "seconds_median": statistics.median(values),
            "seconds_max": max(values),
            "median_ratio_to_stacked": statistics.median(
                one / ours for one, ours in zip(values, seconds["stacked"], strict=True)
            ),
            "ratio_of_minima_to_stacked": min(values) / min(seconds["stacked"]),
        }
        for name, values in seconds.items()
    ]


def measure(*, quick: bool) -> dict[str, Any]:
    """Take all measurements and print them as they come."""
    torch.set_num_threads(1)
    work = QUICK if quick else FULL
    record: dict[str, Any] = {"quick": quick, **circumstances(), "measurements": []}
    record["versions"]["torch"] = torch.__version__
    for regime, config in REGIMES.items():
        for num_samples in work.samples:
            require_equal(Setting.make(config, work, num_samples, torch.float64), work)
            setting = Setting.make(config, work, num_samples, torch.float32)
            for row in measure_setting(setting, work):
                ratios = (
                    f"{row['median_ratio_to_stacked']:6.2f} ({row['ratio_of_minima_to_stacked']:.2f} of minima)"
                )
                time_taken = f"{1e6 * row['seconds_median']:9.1f} us"
                print(f"{regime:<10} N={num_samples:<4} {row['name']:<20}{time_taken}{ratios}", flush=True)
                record["measurements"].append({"regime": regime, "num_samples": num_samples, **row})
    return record


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, and write OUT/twolayer.json."""
    write_record("twolayer", __doc__ or "", measure, arguments)


if __name__ == "__main__":
    main()
