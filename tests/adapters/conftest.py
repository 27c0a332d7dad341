"""A torchvision made for CUDA can be imported beside a torch without it: two operators are declared."""

from __future__ import annotations

import contextlib
import importlib.util
import sys

import torch

LIBRARY = torch.library.Library("torchvision", "FRAGMENT")

if importlib.util.find_spec("torchvision") is not None and "torchvision" not in sys.modules:
    try:
        import torchvision  # noqa: F401
    except (RuntimeError, ImportError):
        for _name in [one for one in sys.modules if one.startswith("torchvision")]:
            del sys.modules[_name]
        for _operator in ("nms", "qnms"):
            with contextlib.suppress(RuntimeError):
                LIBRARY.define(f"{_operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
