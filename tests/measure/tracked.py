"""Two networks, written naively, whose coefficients are tracked through training and shrinking."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashtheory.measure import Coefficients, Decomposition, decompose


@dataclass
class Data:
    """Features, noise, which sample shows which feature, and labels."""

    features: Tensor
    noise: Tensor
    shown: Tensor
    labels: Tensor

    @classmethod
    def draw(
        cls, num_features: int, num_samples: int, dimensions: int, *, seed: int, orthonormal: bool = True
    ) -> Data:
        generator = torch.Generator().manual_seed(seed)
        features, noise = (
            torch.randn(count, dimensions, generator=generator, dtype=torch.float64) / dimensions**0.5
            for count in (num_features, num_samples)
        )
        noise *= 4  # its length; features have length 1, about
        if orthonormal:
            features = torch.linalg.qr(features.T)[0].T
        shown = (torch.rand(num_samples, num_features, generator=generator) < 0.3).double()
        labels = 2.0 * (torch.arange(num_samples) % 2) - 1
        side = 2.0 * (torch.arange(num_features) % 2) - 1
        shown = shown * (side == labels[:, None])  # a feature belongs to one class
        return cls(features, noise, shown, labels.double())


class Patch(nn.Module):
    """f(x) = (1/m) sum_r s_r [sum_k b_k relu(<w_r, v_k>)^q + relu(<w_r, xi>)^q], s_r fixed."""

    def __init__(self, init: Tensor, data: Data, power: float, dtype: torch.dtype) -> None:
        super().__init__()
        self.power, self.per_class = power, len(init) // 2
        self.signs: Tensor = 2.0 * (torch.arange(len(init)) % 2) - 1
        self.weight = nn.Parameter(init.to(dtype))
        self.data = Data(*(value.to(dtype) for value in vars(data).values()))

    def forward(self) -> Tensor:
        feature = functional.relu(self.data.features @ self.weight.T) ** self.power
        noise = functional.relu(self.data.noise @ self.weight.T) ** self.power
        return (self.data.shown @ feature + noise) @ self.signs.to(self.weight.dtype) / self.per_class

    def descent(self, data: Data) -> tuple[Tensor, Tensor]:
        """Coefficients of -dL/dw by hand, in float64, at the weights as they are."""
        w, f = self.weight.detach().double(), self.forward().detach().double()
        pull = torch.sigmoid(-data.labels * f) * data.labels / len(f)
        feature, noise = (
            torch.where(z > 0, self.power * z.clamp_min(0) ** (self.power - 1), 0.0)
            for z in (w @ data.features.T, w @ data.noise.T)
        )
        weight = (self.signs.double() / self.per_class)[:, None]
        return weight * feature * (pull @ data.shown), weight * noise * pull


class Relu(nn.Module):
    """f(x) = sum_r a_r relu(<w_r, x> + b_r), x = sum_k b_k v_k + xi; everything is trained."""

    def __init__(self, init: Tensor, data: Data, dtype: torch.dtype) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(init.to(dtype))
        self.bias = nn.Parameter(torch.zeros(len(init), dtype=dtype))
        self.output = nn.Parameter(0.3 * torch.randn(len(init), generator=generator).to(dtype))
        self.data = Data(*(value.to(dtype) for value in vars(data).values()))

    def forward(self) -> Tensor:
        inputs = self.data.shown @ self.data.features + self.data.noise
        return functional.relu(inputs @ self.weight.T + self.bias) @ self.output

    def descent(self, data: Data) -> tuple[Tensor, Tensor]:
        """Coefficients of -dL/dw by hand, in float64, at the weights as they are."""
        inputs = self.data.shown @ self.data.features + self.data.noise
        gates = (inputs @ self.weight.T + self.bias > 0).T.double().detach()
        f = self.forward().detach().double()
        pull = torch.sigmoid(-data.labels * f) * data.labels / len(f)
        rho = self.output.detach().double()[:, None] * gates * pull
        return rho @ data.shown, rho


Network = Patch | Relu


def make(
    kind: str, data: Data, *, neurons: int = 6, scale: float = 0.05, dtype: torch.dtype = torch.float64
) -> Network:
    generator = torch.Generator().manual_seed(11)
    init = scale * torch.randn(neurons, data.features.shape[1], generator=generator, dtype=torch.float64)
    init = init.to(dtype).double()  # the same numbers in both precisions
    return Patch(init, data, 1.75, dtype) if kind == "patch" else Relu(init, data, dtype)


def loss_of(network: Network) -> Tensor:
    return functional.softplus(-network.data.labels * network()).mean()


class Tracked:
    """SGD with momentum on a network, and its coefficients followed by hand."""

    def __init__(self, network: Network, data: Data, *, lr: float, momentum: float = 0.9) -> None:
        self.network, self.data, self.lr, self.momentum = network, data, lr, momentum
        self.optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=momentum)
        self.init = network.weight.detach().double().clone()
        shapes = (len(self.init), len(data.features)), (len(self.init), len(data.noise))
        self.gamma, self.rho = (torch.zeros(shape, dtype=torch.float64) for shape in shapes)
        self.velocity = [torch.zeros_like(self.gamma), torch.zeros_like(self.rho)]
        self.c = torch.ones(len(self.init), dtype=torch.float64)

    def train(self, steps: int) -> None:
        for _ in range(steps):
            for velocity, descent in zip(self.velocity, self.network.descent(self.data), strict=True):
                velocity.mul_(self.momentum).add_(descent)
            self.gamma += self.lr * self.velocity[0]
            self.rho += self.lr * self.velocity[1]
            self.optimizer.zero_grad()
            loss_of(self.network).backward()
            self.optimizer.step()

    def shrink(self, factors: Tensor) -> None:
        """Scale whole neurons: a rule between stages, momentum kept."""
        with torch.no_grad():
            self.network.weight.mul_(factors[:, None])
        for value in (self.gamma.T, self.rho.T, self.c):
            value.mul_(factors)

    @property
    def truth(self) -> Coefficients:
        return Coefficients(self.gamma, self.rho, self.c)

    def found(self) -> Decomposition:
        return decompose(self.network.weight, self.init, self.data.features, self.data.noise)


def run(kind: str, data: Data, dtype: torch.dtype, *, steps: int = 40, scale: float = 0.05) -> Tracked:
    """Train, shrink each neuron by its own factor, train on."""
    network = make(kind, data, dtype=dtype, scale=scale)
    lr = 0.1 * len(data.labels) * 3 / 16 if kind == "patch" else 0.1
    tracked = Tracked(network, data, lr=lr)
    tracked.train(steps)
    generator = torch.Generator().manual_seed(5)
    factors = 0.25 + 0.75 * torch.rand(len(tracked.init), generator=generator)  # float32 numbers, exact in both
    tracked.shrink(factors.double() if dtype == torch.float64 else factors)
    tracked.train(steps)
    return tracked


SIZES = {"small": (8, 30, 80), "tight": (8, 30, 40), "reference": (40, 400, 490)}
