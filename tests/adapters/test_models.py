"""Models of transformers, timm and peft under `dash_`: what shrinks, what is left, and that ties shrink once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

transformers = pytest.importorskip("transformers", exc_type=ImportError)

from dashtheory.rules import ShrinkReport, dash_, dash_factors  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
STREAM = torch.Generator().manual_seed(0)
WORDS = torch.randint(1, 20, (6, 8), generator=STREAM)
PICTURES = torch.randn(6, 3, 16, 16, generator=STREAM)
LABELS = torch.arange(6) % 3
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}


def gpt2() -> Any:
    config = transformers.GPT2Config(
        vocab_size=20, n_positions=8, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    return transformers.GPT2LMHeadModel(config)


def bert() -> Any:
    config = transformers.BertConfig(vocab_size=20, max_position_embeddings=8, num_labels=3, **SMALL)
    return transformers.BertForSequenceClassification(config)


def vit() -> Any:
    config = transformers.ViTConfig(image_size=16, patch_size=8, num_labels=3, **SMALL)
    return transformers.ViTForImageClassification(config)


def timm_model(name: str, **options: Any) -> Any:
    timm = pytest.importorskip("timm", exc_type=ImportError)
    return timm.create_model(name, pretrained=False, num_classes=3, **options)


def small_vit() -> Any:
    return timm_model("vit_tiny_patch16_224", img_size=16, patch_size=8, embed_dim=16, depth=1, num_heads=2)


def resnet() -> Any:
    return timm_model("resnet10t", channels=(4, 4, 8, 8), stem_width=4)


class Case:
    """A model, its chunk, and which modules keep their weights."""

    def __init__(self, make: Callable[[], Any], inputs: Any, target: Tensor, left: set[str]) -> None:
        self.make, self.chunk, self.left = make, (inputs, target), left

    def model(self) -> Any:
        torch.manual_seed(0)
        return self.make()


CASES = {
    "gpt2": Case(gpt2, {"input_ids": WORDS}, WORDS, {"normalization", "embedding"}),
    "bert": Case(bert, {"input_ids": WORDS}, LABELS, {"normalization", "embedding"}),
    "vit": Case(vit, {"pixel_values": PICTURES}, LABELS, {"normalization", "ViTEmbeddings is not known"}),
    "timm vit": Case(small_vit, PICTURES, LABELS, {"normalization", "VisionTransformer is not known"}),
    "timm resnet": Case(resnet, PICTURES, LABELS, {"normalization"}),
}


def called(model: nn.Module, inputs: Any) -> Any:
    output = model(**inputs) if isinstance(inputs, dict) else model(inputs)
    return output if isinstance(output, Tensor) else output.logits


def loss(logits: Tensor, target: Tensor) -> Tensor:
    if target.ndim == 2:
        logits, target = logits[:, :-1].flatten(0, 1), target[:, 1:].flatten()
    return functional.cross_entropy(logits.float(), target)


def by_hand(model: Any, chunk: Any) -> dict[str, Tensor]:
    """Weights after DASH over one chunk with alpha = 1, from the gradient by `backward` in evaluation mode."""
    again = copy.deepcopy(model).eval()
    loss(called(again, chunk[0]), chunk[1]).backward()
    found = {}
    for name, value in again.named_parameters():
        module = again.get_submodule(name.rpartition(".")[0])
        kind = type(module).__name__
        weight, descent = value.detach(), None if value.grad is None else -value.grad
        tied = kind == "Embedding" and value is getattr(getattr(again, "lm_head", None), "weight", None)
        known = tied or kind == "Conv1D" or isinstance(module, nn.Linear | nn.Conv2d)
        if not known or descent is None:
            found[name] = weight * (0.05 if known and descent is None else 1)
            continue
        if value.ndim == 1:
            axes: tuple[int, ...] = (0,)
        else:
            axes = (0,) if kind == "Conv1D" else tuple(range(2 if value.ndim == 4 else 1, value.ndim))
        dots = (weight * descent).sum(axes, keepdim=True)
        norms = weight.norm(dim=axes, keepdim=True) * descent.norm(dim=axes, keepdim=True)
        found[name] = weight * torch.where(norms > 0, dots / norms, 0 * dots).clamp(0.05, 1)
    return found


def shrink(model: Any, chunk: Any) -> ShrinkReport:
    return dash_(model, [chunk], loss, lam=0.05, forward=called)


@pytest.mark.parametrize("name", CASES)
def test_weights_are_those_of_by_hand_and_what_is_left_is_said(name: str) -> None:
    case = CASES[name]
    model = case.model()
    wanted = by_hand(model, case.chunk)
    report = shrink(model, case.chunk)
    assert {one.why for one in report.left} == case.left
    for key, value in model.named_parameters():
        torch.testing.assert_close(value.detach(), wanted[key], rtol=1e-3, atol=1e-4, msg=key)
    assert report.share_shrunk > 0.5


def test_a_tied_output_layer_shrinks_once_with_the_embedding() -> None:
    model = CASES["gpt2"].model()
    before = model.transformer.wte.weight.detach().clone()
    report = shrink(model, CASES["gpt2"].chunk)
    assert model.lm_head.weight is model.transformer.wte.weight
    names = [layer.name for layer in report if layer.num_entries == before.numel()]
    assert names == ["transformer.wte.weight"] or names == ["lm_head.weight"]
    factors = report[names[0]].scales[:, None]
    torch.testing.assert_close(model.lm_head.weight.detach(), before * factors)


@pytest.mark.parametrize("name", ["gpt2", "bert", "timm resnet"])
def test_16_bit_weights_are_rounded_once(name: str) -> None:
    case = CASES[name]
    model = case.model().bfloat16()
    inputs = case.chunk[0].bfloat16() if isinstance(case.chunk[0], Tensor) else case.chunk[0]
    parameters = model.named_parameters(remove_duplicate=False)
    before = {key: value.detach().clone() for key, value in parameters}
    report = shrink(model, (inputs, case.chunk[1]))
    for layer in report:
        value = model.get_parameter(layer.name).detach()
        assert layer.scales.dtype == torch.float32
        scales = layer.scales
        if layer.kind != "column":
            scales = scales.reshape(*scales.shape, *[1] * (value.ndim - scales.ndim))
        assert torch.equal(value, (before[layer.name].float() * scales).bfloat16())


def test_only_what_is_trained_of_an_adapted_model_shrinks() -> None:
    peft = pytest.importorskip("peft", exc_type=ImportError)
    case = CASES["bert"]
    config = peft.LoraConfig(r=2, target_modules=["query", "value"], modules_to_save=["classifier"])
    model = peft.get_peft_model(case.model(), config)
    report = dash_factors(model, [case.chunk], loss, forward=called)
    assert all("lora_" in layer.name or "classifier" in layer.name for layer in report)
    assert "frozen" in {one.why for one in report.left}
    frozen = {name: value.detach().clone() for name, value in model.named_parameters() if not value.requires_grad}
    shrink(model, case.chunk)
    assert all(torch.equal(model.get_parameter(name), value) for name, value in frozen.items())
