"""Trained networks at the moment between two stages: what the alpha x lambda explorer looks at.

A network was trained warm through all chunks but the last, the last chunk arrives, and one pass over all chunks
gives DASH's cosines for every alpha. Nothing is trained afterwards: what an explorer shows is the moment right
after the shrink. Weights are those of a stored pass (`dashtheory.explore.stored`), or trained where there is none.
"""

from __future__ import annotations

import re
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
from dashtheory.deep.source import Source
from dashtheory.deep.task import make_source, make_task
from dashtheory.evaluate import cross_entropy, evaluate
from dashtheory.explore.stored import Arrays, stored
from dashtheory.explore.training import CONFIGS, config_of, weights_of
from dashtheory.measure import Span, norms
from dashtheory.rules import ShrinkGrid, shrink_grid, targets
from dashtheory.seeds import torch_stream
from dashtheory.stream import Examples, join
from dashtheory.twolayer import TwoLayerConfig, concatenate_data, draw_chunk, draw_test, make_stack

ALPHAS = tuple(round(0.02 * step, 2) for step in range(1, 51))
LAMS = tuple(round(0.01 * step, 2) for step in range(101))
"""Values of the two sliders."""

NETWORKS = {
    "two_layer": "two-layer patch network on signal + noise",
    "digits": "small convolutional network on scikit-learn's digits, 20% wrong labels",
    "resnet": "narrow residual network on scikit-learn's digits, right labels",
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
    """A trained network, from its stored pass; trained once per process, within seconds, where there is none.

    Args:
        name: of `NETWORKS`.
        seed: root seed; passes are stored of seed 0.

    Raises:
        ValueError: if there is no such network.
    """
    seed = integer("seed", seed, minimum=0, fix="Seeds are 0, 1, 2, ...")
    config = CONFIGS[choice("network", name, NETWORKS)]
    with torch.random.fork_rng(devices=[]):
        return assembled(name, seed, stored(name, config_of(name), seed) or weights_of(config, seed))


def assembled(name: str, seed: int, weights: Arrays) -> TrainedNetwork:
    """A network of these weights, with its data drawn again and one pass over them.

    Args:
        name: of `NETWORKS`.
        seed: root seed of the data.
        weights: as `dashtheory.explore.training.weights_of` gives them.
    """
    config = CONFIGS[name]
    if isinstance(config, TwoLayerConfig):
        return _patches(name, config, seed, weights)
    return _pictures(name, config, seed, weights)


def _grid(model: nn.Module, chunks: tuple[Examples, ...]) -> ShrinkGrid:
    return shrink_grid(model, [(one.inputs, one.targets) for one in chunks], cross_entropy, ALPHAS, LAMS)


def _with(model: nn.Module, weights: Arrays) -> nn.Module:
    """A model with these weights, in evaluation mode."""
    model.load_state_dict({name: torch.from_numpy(weights[name].copy()) for name in model.state_dict()})
    return model.eval()


def _patches(name: str, config: TwoLayerConfig, seed: int, weights: Arrays) -> TrainedNetwork:
    """A regime of level 2, warm, before its last stage; its data are drawn again."""
    model = _with(make_stack(config).module(), weights)
    drawn = [draw_chunk(config, [seed], stage).of_seed(0) for stage in range(1, config.num_stages + 1)]
    chunks = tuple(Examples(one.x(), one.labels) for one in drawn)
    noise, test = concatenate_data(drawn).noise, draw_test(config, [seed]).of_seed(0)
    axes = torch.eye(config.data.dimension)
    span = Span.of(axes[: config.data.num_axes], nn.functional.pad(noise, (config.data.num_axes, 0)))
    init = torch.from_numpy(weights["initial"].copy())

    def lengths(one: nn.Module) -> dict[str, float]:
        found = norms(span.decompose(one.get_parameter("hidden.weight"), init))
        return {"features": float(found.features_total), "noise": float(found.noise_total)}

    return TrainedNetwork(
        name=name,
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


def _pictures(name: str, config: ComparisonConfig, seed: int, weights: Arrays) -> TrainedNetwork:
    """A network on pictures, warm, before its last stage."""
    source = make_source(config, seed)
    model = _with(make_task(config, source).fresh(torch_stream(seed, "init", 1)).model, weights)
    chunks = source.stream.chunks
    return TrainedNetwork(
        name=name,
        model=model,
        grid=_grid(model, chunks),
        chunks=chunks,
        groups={"test": source.stream.test, **_old(source), "new\nchunk": chunks[-1]},
        lengths=layer_norms,
        lengths_title="of each layer's weights" if name == "digits" else "of weights, by part",
    )


def _old(source: Source) -> dict[str, Examples]:
    """What was trained on, apart where some labels are wrong."""
    old = join(source.stream.chunks[:-1])
    wrong = torch.cat([torch.zeros(0, dtype=torch.bool), *source.noisy[:-1]])
    if not wrong.any():
        return {"old\nchunks": old}
    return {
        "old, right\nlabels": old.take((~wrong).nonzero()[:, 0]),
        "old, wrong\nlabels": old.take(wrong.nonzero()[:, 0]),
    }


def layer_norms(model: nn.Module) -> dict[str, float]:
    """Norms of what rules shrink: convolutions, or blocks of a residual network, then the classifier."""
    *layers, weight, bias = targets(model)
    blocks = list(dict.fromkeys(_block(one.name) for one in layers))
    squares: dict[str, float] = {}
    for place, target in enumerate(layers, 1):
        block = blocks.index(_block(target.name))
        name = f"convolution {place}" if blocks == [""] else f"block {block}" if block else "stem"
        squares[name] = squares.get(name, 0.0) + _square(target.parameter)
    squares |= {"classifier": _square(weight.parameter), "its bias": _square(bias.parameter)}
    return {name: square**0.5 for name, square in squares.items()}


def _block(name: str) -> str:
    """What stands before the path of a residual block in the name of one of its weights; empty for no block."""
    return re.split(r"\.(?:residual|shortcut)\.", name)[0] if re.search("residual|shortcut", name) else ""


def _square(parameter: torch.Tensor) -> float:
    return float(parameter.detach().double().norm()) ** 2
