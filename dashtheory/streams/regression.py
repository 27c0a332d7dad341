"""Slowly changing regression: a target of threshold units, over bits of which one flips from task to task.

An example has `bits` inputs that stay through a task, and `noise_bits` that are drawn anew. With m = bits +
noise_bits + 1 (a constant 1) inputs x and units with weights v_i in {-1, 1}, S_i of them -1, and output weights
u_i in {-1, 1},

    y = sum_i u_i [<v_i, x> >= beta m - S_i]                                                        (1)

A unit fires if at least the share beta of its inputs fits its weights. The target never changes; what is seen of
it does. Source: Dohare, Sutton & Mahmood (arXiv:2108.06325; Nature 2024), where tasks have 10,000 examples, bits
= 15, noise_bits = 5, units = 100, beta = 0.7, and the learner 5 hidden units. Written from the description.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dashtheory._check import fail
from dashtheory.stream import Examples
from dashtheory.streams.config import StreamConfig


@dataclass(frozen=True, eq=False)
class ThresholdTarget:
    """Equation (1) of the module.

    Attributes:
        incoming: v, (units, m), -1 or 1; the last column is of the constant.
        outgoing: u, (units,), -1 or 1.
        beta: share of the inputs that must fit.
    """

    incoming: Tensor
    outgoing: Tensor
    beta: float

    @classmethod
    def drawn(cls, config: StreamConfig, generator: torch.Generator) -> ThresholdTarget:
        """With uniform signs."""
        inputs = config.bits + config.noise_bits + 1
        incoming, outgoing = (
            2 * torch.randint(2, shape, generator=generator) - 1
            for shape in ((config.units, inputs), (config.units,))
        )
        return cls(incoming.float(), outgoing.float(), config.beta)

    def __call__(self, inputs: Tensor) -> Tensor:
        """(n, 1) of bits (n, m - 1)."""
        whole = torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1)
        if whole.shape[1] != self.incoming.shape[1]:
            got = f"{inputs.shape[1]} bits"
            fail("inputs", f"must have {self.incoming.shape[1] - 1} bits", got, "The constant is added here.")
        negative = (self.incoming < 0).sum(dim=1)
        # Sums of bits are whole; so is the threshold then, and rounding of beta m decides nothing.
        least = torch.ceil(self.beta * self.incoming.shape[1] - 1e-6 - negative)
        fires = (whole @ self.incoming.T >= least).to(inputs)
        return (fires @ self.outgoing)[:, None]


def changing_regression(config: StreamConfig, generator: torch.Generator) -> Iterator[Examples]:
    """The tasks' examples: bits (task_size, bits + noise_bits) and targets (task_size, 1), float32.

    Args:
        config: of kind regression.
        generator: of target, bits and flips.
    """
    target = ThresholdTarget.drawn(config, generator)
    bits = torch.randint(2, (config.bits,), generator=generator).float()
    for number in range(config.num_tasks):
        if number and config.flip == "one":
            place = int(torch.randint(config.bits, (), generator=generator))
            bits = bits.clone()
            bits[place] = 1 - bits[place]
        elif number:
            bits = torch.randint(2, (config.bits,), generator=generator).float()
        noise = torch.randint(2, (config.task_size, config.noise_bits), generator=generator).float()
        inputs = torch.cat([bits.expand(config.task_size, -1), noise], dim=1)
        yield Examples(inputs, target(inputs))
