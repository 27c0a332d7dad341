"""Networks with hidden units, and a stage of steps for the rules that act on them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashtheory.rules import (
    AfterStep,
    Context,
    ContinualBackprop,
    Learner,
    PartialReset,
    ReDo,
    ReGraMa,
    Rule,
    SelectiveReset,
    SelfNormalizedReset,
    unit_graph,
)
from dashtheory.rules.unit_rule import ResetRule
from dashtheory.rules.unit_weights import Units, units_in

CLASSES = 3


class Functional(nn.Module):
    """Activations, pooling and flattening as functions and methods."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 6, 3, groups=2)
        self.hidden = nn.Linear(24, 5)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, maps: Tensor) -> Tensor:
        """Of (batch, 2, 8, 8)."""
        maps = functional.max_pool2d(functional.leaky_relu(self.first(maps)), 2)
        maps = functional.dropout(self.second(maps).relu(), 0.1, self.training)
        flat = maps.view(maps.size(0), -1)
        out: Tensor = self.head(torch.tanh(self.hidden(flat)))
        return out


class TwoHeads(nn.Module):
    """A layer whose units are taken by two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act = nn.Linear(4, 6), nn.ReLU()
        self.left, self.right = nn.Linear(6, CLASSES), nn.Linear(6, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        """Their sum."""
        hidden = self.act(self.first(inputs))
        out: Tensor = self.left(hidden) + self.right(hidden)
        return out


def chain() -> nn.Module:
    """Convolution, pooling, convolution, flattened, linear."""
    return nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 5), nn.ReLU(), nn.Linear(5, CLASSES)),
    )


def depthwise() -> nn.Module:
    """A convolution that takes each channel by itself, and a mean over the map."""
    return nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 8, 3, groups=4), nn.SiLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Dropout2d(0.1), nn.Flatten(), nn.Linear(32, CLASSES)),
    )


def transposed() -> nn.Module:
    """Transposed convolutions in groups, on both sides."""
    return nn.Sequential(
        *(nn.ConvTranspose2d(2, 4, 2, groups=2), nn.ReLU(), nn.ConvTranspose2d(4, 6, 2, groups=2, stride=2)),
        *(nn.Tanh(), nn.Conv2d(6, 2, 3, stride=3), nn.ReLU(), nn.Flatten(), nn.Linear(72, CLASSES)),
    )


def tokens() -> nn.Module:
    """Linear layers at every place of a sequence, flattened place by place."""
    return nn.Sequential(
        nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 5), nn.ReLU(), nn.Flatten(), nn.Linear(15, CLASSES)
    )


def perceptron() -> nn.Module:
    """Linear layers."""
    return nn.Sequential(
        *(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, CLASSES)),
    )


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "chain": (chain, (2, 8, 8)),
    "functional": (Functional, (2, 8, 8)),
    "two heads": (TwoHeads, (4,)),
    "depthwise": (depthwise, (2, 8, 8)),
    "transposed": (transposed, (2, 8, 8)),
    "tokens": (tokens, (3, 4)),
    "perceptron": (perceptron, (4,)),
}


def network(name: str, seed: int = 0) -> nn.Module:
    """In float64, its weights drawn."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return NETWORKS[name][0]().double()


def batch(name: str, number: int = 8, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Inputs that the network takes, and labels."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(number, *NETWORKS[name][1], generator=generator, dtype=torch.float64)
    return inputs, torch.randint(CLASSES, (number,), generator=generator)


OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "SGD": lambda model: torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
    "Adam": lambda model: torch.optim.Adam(model.parameters(), lr=0.01, amsgrad=True),
    "AdamW": lambda model: torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1),
}


EAGER: dict[str, Callable[..., ResetRule]] = {
    "redo": lambda **options: ReDo(tau=0.9, every=2, **options),
    "regrama": lambda **options: ReGraMa(tau=0.9, every=2, **options),
    "cbp": lambda **options: ContinualBackprop(rho=0.2, maturity=1, **options),
    "snr": lambda **options: SelfNormalizedReset(cap=9, update=3, **options),
}
"""Rules that reset units soon; the last one those that are silent for two steps."""
ACTIVE: dict[str, Rule] = {
    **{name: make() for name, make in EAGER.items()},
    "redo on examples": ReDo(tau=0.9, every=2, examples=5),
    "cpr": PartialReset(r=0.3, every=2),
    "swr_weights": SelectiveReset(share=0.1, every=2),
}


def layers_of(model: nn.Module) -> list[Units]:
    return [units_in(model, layer) for layer in unit_graph(model)]


class Steps:
    """A learner, and a rule that acts after its steps."""

    def __init__(
        self, rule: Rule, name: str = "chain", optimizer: str = "Adam", model: nn.Module | None = None
    ) -> None:
        self.rule, self.name = rule, name
        self.model = network(name) if model is None else model
        self.learner = Learner(self.model, OPTIMIZERS[optimizer](self.model))
        self.context = Context(
            chunks=lambda: [batch(name, seed=2), batch(name, seed=3)],
            loss_fn=functional.cross_entropy,
            fresh=lambda: Learner(network(name, 7), OPTIMIZERS[optimizer](network(name, 7))),
            generator=torch.Generator().manual_seed(5),
            state=rule.start(self.learner),
            draw=lambda generator: network(name, int(torch.randint(2**31, (), generator=generator))),
        )
        self.hook: AfterStep | None = rule.after_step(self.learner, self.context)
        self.done = 0

    @property
    def state(self) -> dict[str, Tensor]:
        """What the rule remembers."""
        return dict(self.context.state)

    def learn(self, number: int = 8, seed: int | None = None) -> None:
        """A step of the optimizer, on a batch of its own."""
        inputs, targets = batch(self.name, number, self.done + 100 if seed is None else seed)
        self.learner.optimizer.zero_grad()
        functional.cross_entropy(self.model(inputs), targets).backward()
        self.learner.optimizer.step()
        self.done += 1

    def act(self) -> None:
        """What the rule does then."""
        if self.hook is not None and self.done % self.hook.every == 0:
            self.hook.call(self.done)

    def take(self, steps: int) -> Steps:
        """Steps, each with what follows."""
        for _ in range(steps):
            self.learn()
            self.act()
        return self


@torch.no_grad()
def silence_(model: nn.Module, name: str, units: list[int]) -> None:
    """Let units be silent before a ReLU whatever the input: by their biases, or those of the norm behind them."""
    following = model.get_submodule(str(int(name) + 1)) if name.isdigit() else None
    place = following if isinstance(following, nn.BatchNorm1d | nn.BatchNorm2d) else model.get_submodule(name)
    for unit in units:
        place.get_parameter("bias")[unit] = -1e3
