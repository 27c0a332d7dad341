"""Every image model, small."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dashtheory.deep.models import Classifier, build_model

SMALL: dict[str, tuple[tuple[int, ...], dict[str, object]]] = {
    "mlp": ((3, 4, 4), {"widths": (12, 8)}),
    "convnet": ((3, 8, 8), {"width": 4}),
    "narrow_resnet": ((3, 8, 8), {"width": 4}),
    "resnet18": ((3, 32, 32), {"width": 2}),
    "vgg16": ((3, 32, 32), {"width": 2}),
}
EVERY = pytest.mark.parametrize("name", SMALL)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(name: str, seed: int = 0, options: dict[str, object] | None = None) -> Classifier:
    shape, defaults = SMALL[name]
    return build_model(name, shape, 5, seeded(seed), **{**defaults, **(options or {})})


def images(name: str, batch: int = 4, seed: int = 1) -> Tensor:
    return torch.randn(batch, *SMALL[name][0], generator=seeded(seed))
