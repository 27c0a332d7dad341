"""Trained networks at the moment between two stages: what the alpha x lambda explorer looks at.

A network is trained warm through all chunks but the last, the last chunk arrives, and one pass over all chunks
gives DASH's cosines for every alpha. Nothing is trained afterwards: what an explorer shows is the moment right
after the shrink.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dashtheory._check import choice, integer
from dashtheory.batchnorm import has_statistics, reestimated
from dashtheory.deep.presets import ComparisonConfig
from dashtheory.deep.task import make_source, make_task
from dashtheory.evaluate import cross_entropy, evaluate
from dashtheory.measure import Span, norms
from dashtheory.protocol import run_stages
from dashtheory.rules import ShrinkGrid, make_rule, shrink_grid, targets
from dashtheory.stream import Examples, Stream, join
from dashtheory.twolayer import REGIMES, StageState, TwoLayerConfig, of_replica, run
from dashtheory.twolayer.stages import Moment

ALPHAS = tuple(round(0.02 * step, 2) for step in range(1, 51))
LAMS = tuple(round(0.01 * step, 2) for step in range(101))
"""Values of the two sliders."""

NETWORKS = {
    "two_layer": "two-layer patch network on signal + noise",
    "digits": "small convolutional network on scikit-learn's digits, 20% wrong labels",
}
"""Networks by name, in words."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedNetwork:
    """A network between two stages, and everything that is asked of it for any alpha and lam.

    Attributes:
        name: of `NETWORKS`.
        model: trained; never changed.
        grid: DASH's cosines for every alpha, from one pass.
        chunks: oldest first, the newest not trained on.
        groups: examples whose accuracy is shown, by words.
        lengths: norms that are shown, of a model, by words.
        lengths_title: what they are.
    """

    name: str
    model: nn.Module
    grid: ShrinkGrid
    chunks: tuple[Examples, ...]
    groups: Mapping[str, Examples]
    lengths: Callable[[nn.Module], Mapping[str, float]]
    lengths_title: str

    @property
    def num_stages(self) -> int:
        """Stages that were trained: all chunks but the newest."""
        return len(self.chunks) - 1

    @property
    def has_statistics(self) -> bool:
        """Whether accuracy needs statistics of batch norm that fit the weights."""
        return has_statistics(self.model)

    def accuracies(self, model: nn.Module) -> NDArray[np.float64]:
        """Accuracy on each group, in [0, 1]; statistics of batch norm re-estimated on all chunks' inputs.

        Args:
            model: of the same architecture; unchanged.
        """
        ready = reestimated(model, join(self.chunks).inputs) if self.has_statistics else model
        return np.array([evaluate(ready, examples).accuracy for examples in self.groups.values()])

    def stale_accuracy(self, model: nn.Module) -> float:
        """Accuracy on the test set with statistics of batch norm from before the shrink; NaN without such."""
        return evaluate(model, self.groups["test"]).accuracy if self.has_statistics else float("nan")


@lru_cache(maxsize=4)
def trained(name: str, seed: int = 0) -> TrainedNetwork:
    """Train a network, once per process: seconds on one core.

    Args:
        name: of `NETWORKS`.
        seed: root seed.

    Raises:
        ValueError: if there is no such network.
    """
    makers = {"two_layer": _two_layer, "digits": _digits}
    seed = integer("seed", seed, minimum=0, fix="Seeds are 0, 1, 2, ...")
    with torch.random.fork_rng(devices=[]):
        return makers[choice("network", name, NETWORKS)](seed)


def _grid(model: nn.Module, chunks: tuple[Examples, ...]) -> ShrinkGrid:
    return shrink_grid(model, [(one.inputs, one.targets) for one in chunks], cross_entropy, ALPHAS, LAMS)


def _two_layer(seed: int) -> TrainedNetwork:
    """The reference regime, warm, before its last stage."""
    config = REGIMES["cnn_a"]
    state = _before_last_rule(config, seed)
    model = state.network.module()
    model.load_state_dict(of_replica(state.stack_state.params, 0, 0))
    model.eval()
    data = state.data.of_seed(0)
    parts = data.x().split(config.chunk_size), data.labels.split(config.chunk_size)
    chunks = tuple(Examples(*pair) for pair in zip(*parts, strict=True))
    test = state.test.of_seed(0)
    axes = torch.eye(config.data.dimension)
    span = Span.of(axes[: config.data.num_axes], nn.functional.pad(data.noise, (config.data.num_axes, 0)))
    init = of_replica(state.stack_state.initial, 0, 0)["hidden.weight"]

    def lengths(one: nn.Module) -> dict[str, float]:
        found = norms(span.decompose(one.get_parameter("hidden.weight"), init))
        return {"features": float(found.features_total), "noise": float(found.noise_total)}

    return TrainedNetwork(
        name="two_layer",
        model=model,
        grid=_grid(model, chunks),
        chunks=chunks,
        groups={
            "test": Examples(test.x(), test.labels),
            "old\nchunks": join(chunks[:-1]),
            "new\nchunk": chunks[-1],
        },
        lengths=lengths,
        lengths_title="of what was learned",
    )


def _before_last_rule(config: TwoLayerConfig, seed: int) -> StageState:
    """The state of a warm network when its last chunk has arrived."""
    seen: list[StageState] = []

    def on_stage(stage: int, moment: Moment, state: StageState) -> None:
        if stage == config.num_stages and moment == "before rule":
            seen.append(state)

    run(config, ["warm"], [seed], on_stage=on_stage)
    return seen[0]


def _digits(seed: int) -> TrainedNetwork:
    """Warm on three chunks, before the fourth stage."""
    config = ComparisonConfig.of(data="digits", model="convnet", model_options=("width=8",), num_chunks=4)
    source = make_source(config, seed)
    stream = source.stream
    done = run_stages(
        Stream(stream.chunks[:-1], stream.test),
        make_rule("warm"),
        make_task(config, source),
        config.training,
        seed=seed,
    )
    *_, last = done
    model = last.learner.model.eval()
    old, wrong = join(stream.chunks[:-1]), torch.cat(list(source.noisy[:-1]))
    return TrainedNetwork(
        name="digits",
        model=model,
        grid=_grid(model, stream.chunks),
        chunks=stream.chunks,
        groups={
            "test": stream.test,
            "old, right\nlabels": old.take((~wrong).nonzero()[:, 0]),
            "old, wrong\nlabels": old.take(wrong.nonzero()[:, 0]),
            "new\nchunk": stream.chunks[-1],
        },
        lengths=layer_norms,
        lengths_title="of each layer's weights",
    )


def layer_norms(model: nn.Module) -> dict[str, float]:
    """Norm of each parameter that rules shrink: convolutions in order, then the classifier."""
    found = [float(target.parameter.detach().double().norm()) for target in targets(model)]
    names = [f"convolution {place + 1}" for place in range(len(found) - 2)]
    return dict(zip([*names, "classifier", "its bias"], found, strict=True))
