"""The networks as readable modules, for autograd, for `dashtheory.rules`, and as the text of the stacked code."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from dashtheory.twolayer.activation import activation


class PatchNetwork(nn.Module):
    """Convolution over patches with a fixed second layer: every feature shown is a patch, and so is the noise.

        F_j(x) = (1/m) sum_r [ sum_k b_k act(<w_jr, v_k>) + act(<w_jr, xi>) ],    j = 1..C

    Only the noise patch and the features of x enter; the sum over k is over the features that x shows. The weights
    are those of the linear layer `hidden`, so that DASH has one cosine per neuron.

    Args:
        num_features: C K, feature axes of all classes.
        noise_dim: d.
        num_classes: C.
        neurons: m, per class; row j m + r of the weights is neuron r of class j.
        exponent: q >= 1 of the activation.
        smoothed: see `dashtheory.twolayer.activation`.
    """

    def __init__(
        self,
        *,
        num_features: int,
        noise_dim: int,
        num_classes: int = 2,
        neurons: int = 10,
        exponent: float = 1.75,
        smoothed: bool = False,
    ) -> None:
        super().__init__()
        self.num_features, self.num_classes = num_features, num_classes
        self.exponent, self.smoothed = exponent, smoothed
        self.hidden = nn.Linear(num_features + noise_dim, num_classes * neurons, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, C) of samples (n, C K + d)."""
        shown, noise = x[:, : self.num_features], x[:, self.num_features :]
        features, of_noise = self.hidden.weight[:, : self.num_features], self.hidden.weight[:, self.num_features :]
        neurons = shown @ self.act(features).T + self.act(noise @ of_noise.T)
        logits: Tensor = neurons.unflatten(1, (self.num_classes, -1)).mean(dim=2)
        return logits

    def act(self, z: Tensor) -> Tensor:
        """The activation."""
        return activation(z, self.exponent, smoothed=self.smoothed)


class TwoLayerMLP(nn.Module):
    """f(x) = A relu(W x + b), both layers trained, no bias at the output.

    With two classes there is one output f, and the logits are (0, f), so that cross-entropy is the logistic loss;
    with more classes every class has an output.

    Args:
        dimension: length of x.
        hidden: H, neurons.
        num_classes: C.
    """

    def __init__(self, *, dimension: int, hidden: int = 40, num_classes: int = 2) -> None:
        super().__init__()
        self.hidden = nn.Linear(dimension, hidden)
        self.output = nn.Linear(hidden, 1 if num_classes == 2 else num_classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, C) of samples (n, dimension)."""
        logits: Tensor = self.output(functional.relu(self.hidden(x)))
        if logits.shape[1] == 1:
            logits = functional.pad(logits, (1, 0))
        return logits
