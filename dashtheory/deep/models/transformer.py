"""A small character transformer: pre-norm, causal, learned positions (a decoder as in GPT-2, scaled down)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashtheory._check import fail, integer, real


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Sizes of the network.

    Raises:
        ValueError: if a size is not positive or the heads do not divide the width.
    """

    num_layers: int = field(default=2, metadata={"help": "blocks of attention and MLP"})
    width: int = field(default=48, metadata={"help": "numbers per position"})
    num_heads: int = field(default=4, metadata={"help": "attention heads; must divide the width"})
    context: int = field(default=64, metadata={"help": "characters that the network sees"})
    embedding_std: float = field(default=0.02, metadata={"help": "initial standard deviation of embeddings"})
    linear_std: float = field(
        default=0.0, metadata={"help": "initial sd of linear weights, biases 0; 0: as PyTorch starts them"}
    )

    def __post_init__(self) -> None:
        for name in ("num_layers", "width", "num_heads", "context"):
            integer(name, getattr(self, name), minimum=1, fix="It is a size.")
        real("embedding_std", self.embedding_std, low=0, fix="GPT-2 uses 0.02; PyTorch's own default is 1.")
        real("linear_std", self.linear_std, low=0, fix="GPT-2 uses 0.02; 0 stands for PyTorch's own start.")
        if self.width % self.num_heads:
            fail("num_heads", f"must divide the width {self.width}", str(self.num_heads), "Choose a divisor.")


class CharTransformer(nn.Module):
    """Logits of the next character at every position.

    Input int64 (batch, time <= context), output (batch, time, symbols). Parameters start as `initialize_` says:
    by default linear layers as in PyTorch, symbol and position embeddings as in GPT-2. More time than
    `config.context` is an error of torch.

    Args:
        config: sizes.
        num_symbols: characters.
        generator: of the initialisation (CPU).
    """

    def __init__(self, config: TransformerConfig, num_symbols: int, generator: torch.Generator) -> None:
        super().__init__()
        self.symbols = nn.Embedding(num_symbols, config.width)
        self.positions = nn.Embedding(config.context, config.width)
        self.blocks = nn.ModuleList(_Block(config.width, config.num_heads) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, num_symbols)
        initialize_(self, generator, embedding_std=config.embedding_std, linear_std=config.linear_std)

    def forward(self, codes: Tensor) -> Tensor:
        """Logits (batch, time, symbols) of the next character."""
        hidden = self.symbols(codes) + self.positions.weight[: codes.shape[1]]
        for block in self.blocks:
            hidden = block(hidden)
        logits: Tensor = self.head(self.norm(hidden))
        return logits


class _Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + self.projection(self._attend(self.attention_norm(hidden)))
        out: Tensor = hidden + self.mlp(self.mlp_norm(hidden))
        return out

    def _attend(self, hidden: Tensor) -> Tensor:
        batch, time, width = hidden.shape
        parts = self.query_key_value(hidden).view(batch, time, 3, self.num_heads, width // self.num_heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return mixed.transpose(1, 2).reshape(batch, time, width)


@torch.no_grad()
def initialize_(
    model: nn.Module, generator: torch.Generator, *, embedding_std: float, linear_std: float = 0.0
) -> None:
    """Draw every linear and embedding parameter of `model` from `generator`, in module order.

    Embeddings: normal, sd `embedding_std`. Linear weights: normal, sd `linear_std`, biases 0, as in GPT-2 (but
    without its smaller start of residual projections); with `linear_std` 0, weights and biases uniform on
    ± 1 / sqrt(inputs), as in PyTorch.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear) and linear_std:
            module.weight.normal_(std=linear_std, generator=generator)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            module.weight.uniform_(-bound, bound, generator=generator)
            if module.bias is not None:
                module.bias.uniform_(-bound, bound, generator=generator)
        elif isinstance(module, nn.Embedding):
            module.weight.normal_(std=embedding_std, generator=generator)
