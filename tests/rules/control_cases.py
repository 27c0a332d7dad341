"""Controls and ablations by name, a stage between two trainings, and runs of two stages."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dashtheory.protocol import StageResult, Task, TrainConfig, run_stages
from dashtheory.rules import RULES, Context, Learner, Rule, ShrinkReport, rule_options
from dashtheory.stream import Examples, Stream, cut
from tests.oracles.ablations import SharpnessAware
from tests.oracles.shrink import Chunk, Values, chunks, network

IN_PLACE = [name for name in RULES if "optimizer" in rule_options(name, ablations=True)]
NEW_MODEL = ("cold", "cold_shrunk")


class Stage:
    """A learner after some training, and a `Context` that notes what a rule asks of it.

    With a rule, its network and its optimizer; by default one that any rule takes. All networks are in one memory
    format.
    """

    def __init__(
        self,
        name: str = "",
        rule: Rule | None = None,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self.memory_format = memory_format
        self.name = name or ("even" if rule is not None and "network" in type(rule).acts else "convolutions")
        self.rule = rule
        self.learner = self.new()
        self.first = copy.deepcopy(self.learner)
        self.start = {key: value.detach().clone() for key, value in self.learner.model.named_parameters()}
        for inputs, labels in chunks(self.name):
            batch_step(self.learner, inputs, labels)
            self.learner.optimizer.zero_grad()
        self.twin = copy.deepcopy(self.learner.model)
        self.made: list[Learner] = []
        self.renewed: list[torch.optim.Optimizer] = []
        self.served: list[int] = []
        self.context = Context(
            chunks=self.chunks,
            loss_fn=functional.cross_entropy,
            fresh=self.fresh,
            generator=torch.Generator().manual_seed(5),
            renew=self.renew,
            draw=self.draw,
        )

    def new(self) -> Learner:
        """A learner before any training."""
        model = self._network(torch.Generator().manual_seed(3))
        return Learner(model, self._optimizer(model, 0.01))

    def _network(self, generator: torch.Generator) -> nn.Module:
        model = network(self.name)
        if self.rule is not None:
            model = self.rule.adapted(model, generator)
        return model.to(memory_format=self.memory_format)  # type: ignore[call-overload,no-any-return]

    def _optimizer(self, model: nn.Module, lr: float) -> torch.optim.Optimizer:
        def make(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
            return torch.optim.Adam(parameters, lr=lr)

        other = None if self.rule is None else self.rule.optimizer_for(model, make)
        return make(model.parameters()) if other is None else other

    def fresh(self) -> Learner:
        """Make a learner, and note it; torch's stream is put back."""
        with torch.random.fork_rng():
            torch.manual_seed(11)
            self.made.append(self.new())
        return self.made[-1]

    def draw(self, generator: torch.Generator) -> nn.Module:
        """Make a model."""
        with torch.random.fork_rng():
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            return self._network(generator)

    def renew(self, model: nn.Module) -> torch.optim.Optimizer:
        """Make an optimizer, and note it."""
        self.renewed.append(self._optimizer(model, 0.02))
        return self.renewed[-1]

    def chunks(self) -> Iterator[Chunk]:
        """Serve the chunks, and note how many were taken."""
        self.served.append(0)
        for chunk in chunks(self.name):
            self.served[-1] += 1
            yield chunk

    def apply(self, rule: Rule) -> tuple[Learner, ShrinkReport | None]:
        """Apply the rule, which remembers the learner as it was before its training."""
        return rule.apply(self.learner, dataclasses.replace(self.context, state=rule.start(self.first)))

    def expect(self, expected: Mapping[str, Values]) -> None:
        """Check that the parameters named are as expected, and all else of the model is as it was."""
        model = self.learner.model
        for name, value in expected.items():
            after = model.get_parameter(name).detach()
            np.testing.assert_allclose(after, value, rtol=1e-12, atol=1e-14, err_msg=name)
        changed = {id(model.get_parameter(name)) for name in expected}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            assert id(parameter) in changed or torch.equal(parameter, self.twin.get_parameter(name)), name
        for name, buffer in model.named_buffers():
            assert torch.equal(buffer, self.twin.get_buffer(name)), name


def batch_step(learner: Learner, inputs: Tensor, targets: Tensor, *terms: Callable[..., Tensor]) -> None:
    """A step on a batch, by an optimizer that may want more than one gradient.

    Args:
        learner: trained in place.
        inputs: of the batch.
        targets: of the batch.
        *terms: of (inputs, targets, logits), added to the loss.
    """

    def closure() -> float:
        learner.optimizer.zero_grad()
        logits = learner.model(inputs)
        loss = functional.cross_entropy(logits, targets)
        for term in terms:
            loss = loss + term(inputs, targets, logits)
        loss.backward()
        return float(loss.detach())

    learner.optimizer.step(closure)


def tensors_of(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{index} {key}": torch.as_tensor(value).clone()
        for index, entry in optimizer.state_dict()["state"].items()
        for key, value in entry.items()
    }


def equal(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def points(num: int, seed: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num) % 3
    inputs = torch.randn(num, 4, generator=generator, dtype=torch.float64)
    return Examples(inputs + functional.one_hot(labels, 4), labels)


def make_net(generator: torch.Generator, activation: type[nn.Module] = nn.Tanh) -> nn.Module:
    layers = nn.Linear(4, 6), nn.BatchNorm1d(6), activation(), nn.Dropout(0.2), nn.Linear(6, 3)
    net = nn.Sequential(*layers).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator, dtype=torch.float64) - 0.5)
    return net


OPTIMIZERS: dict[str, Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]] = {
    "SGD with momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
    "Adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1),
    "SAM": SharpnessAware,
    "LBFGS": lambda parameters: torch.optim.LBFGS(parameters, lr=0.1, max_iter=2),
}
STREAM = Stream(cut(points(24, 0), 2), points(20, 1))
CONFIG = TrainConfig(batch_size=5, criterion="accuracy", threshold=1.0, max_epochs=2)


def stages(rule: Rule, optimizer: str, seed: int = 0) -> Iterator[StageResult]:
    return run_stages(STREAM, rule, task_for(rule, optimizer), CONFIG, seed=seed)


def task_for(rule: Rule, optimizer: str) -> Task:
    """A small network, of rectifiers for a rule that puts others in their place."""
    make = partial(make_net, activation=nn.ReLU) if "network" in type(rule).acts else make_net
    return Task(make_model=make, make_optimizer=OPTIMIZERS[optimizer])


def run(rule: Rule, optimizer: str, seed: int = 0) -> list[StageResult]:
    return list(stages(rule, optimizer, seed))
