"""The reference pages, from registries and docstrings; they are made when the site is built, and not committed."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dashtheory import measure
from dashtheory.deep import data as deep_data
from dashtheory.deep.config import OPTIMIZER_NAMES
from dashtheory.deep.models import MODELS, CharTransformer, TransformerConfig, build_model
from dashtheory.deep.presets import DATA_PRESETS
from dashtheory.rules.listing import rule_lines
from dashtheory.rules.pages import rule_page
from docs.made.blocks import rows
from docs.rule_pages import markdown

READERS: Mapping[str, str] = {
    "digits": "digits",
    "text": "python_topics",
    "folder:PATH": "image_folder",
    "cifar10:ROOT": "cifar10",
    "cifar100:ROOT": "cifar100",
    "svhn:ROOT": "svhn",
    "fashion_mnist:ROOT": "fashion_mnist",
    "tiny_imagenet:ROOT": "tiny_imagenet",
    "python:FILE.py:NAME": "stream_of_tensors",
}
"""What --data takes, and the function of `dashtheory.deep.data` that reads it or helps to."""


def write_reference(folder: Path) -> None:
    """Write all reference pages.

    Args:
        folder: of the pages.
    """
    folder.mkdir(exist_ok=True)
    for name, text in reference_pages().items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def reference_pages() -> dict[str, str]:
    """The text of every reference page, by its name."""
    return {"rules": rules_page(), "data": data_page(), "models": models_page(), "measures": measures_page()}


def rules_page() -> str:
    """Every rule with its options."""
    body = []
    for line in rule_lines():
        options = ", ".join(
            f"`{one.name}`" + (f" = `{one.default}`" if one.default else "")
            for one in rule_page(line.name).options
        )
        body.append(
            [f"[`{line.name}`](../rules/{line.name}.md)", _linked(line.summary), ", ".join(line.acts), options]
        )
    return RULES_HEAD + rows(["rule", "what it does", "acts", "options and defaults"], body) + "\n"


def _linked(text: str) -> str:
    """A line in Markdown whose rules link to their pages."""
    return re.sub(r"\]\((\w+)\.md\)", r"](../rules/\1.md)", markdown(text))


def data_page() -> str:
    """Data by name, and their presets."""
    body = []
    for name, reader in READERS.items():
        words = _first(getattr(deep_data, reader))
        body.append([f"`{name}`", f"`dashtheory.deep.data.{reader}`", markdown(words)])
    settings = [
        [
            f"`{name}`",
            f"`{preset['model']}`",
            f"{preset['num_chunks']} of {preset['chunk_size']}",
            f"{preset['optimizer']}, {preset['learning_rate']:g}",
            f"{preset['batch_size']}",
            f"{preset['criterion']} {preset['threshold']:g}",
        ]
        for name, preset in DATA_PRESETS.items()
    ]
    head = ["data", "model", "chunks", "optimizer, learning rate", "batch", "a stage trains to"]
    return (
        f"{DATA_HEAD}{rows(['`--data`', 'read by', 'what'], body)}\n\n`cifar10` alone is what the environment "
        "variable `DASHTHEORY_CIFAR10` points to; CIFAR may also lie as torchvision keeps it, and Tiny-ImageNet "
        f"is tested on its validation part.\n\n## Settings of the comparisons\n\n{rows(head, settings)}\n"
    )


def models_page() -> str:
    """Networks by name, their options, and how many weights they have."""
    body = [
        [
            f"`{name}`",
            markdown(model.description),
            _options(model.options),
            f"{_weights(name):,}",
        ]
        for name, model in MODELS.items()
    ]
    fields = {field: getattr(TransformerConfig, field, None) for field in TransformerConfig.__dataclass_fields__}
    known = {field: value for field, value in fields.items() if isinstance(value, int | float)}
    body.append(["`transformer`", markdown(_first(CharTransformer)), _options(known), ""])
    body.append(["`python:FILE.py:NAME`", "[yours](../your_own.md#a-network)", "those of your function", ""])
    head = ["`--model`", "what", "`--model-options` and defaults", "weights (10 classes of 3 × 32 × 32)"]
    optimizers = ", ".join(f"`{name}`" for name in OPTIMIZER_NAMES)
    return f"{MODELS_HEAD}{rows(head, body)}\n\nOptimizers (`--optimizer`): {optimizers}.\n"


def _options(options: Mapping[str, Any]) -> str:
    shown = {
        name: value
        for name, value in options.items()
        if value is None or isinstance(value, int | float | str | tuple)
    }
    return ", ".join(f"`{name}={value}`" for name, value in shown.items()) or "none"


def _weights(name: str) -> int:
    model = build_model(name, (3, 32, 32), 10, torch.Generator().manual_seed(0))
    return sum(parameter.numel() for parameter in model.parameters())


def measures_page() -> str:
    """Every public measure with its first sentence and its source."""
    groups: dict[str, list[list[str]]] = {}
    for name in measure.__all__:
        one = getattr(measure, name)
        if inspect.isfunction(one) or inspect.isclass(one):
            room = one.__module__.rpartition(".")[2]
            groups.setdefault(room, []).append([f"`{name}`", markdown(_first(one)), markdown(source(one))])
    parts = []
    for room in sorted(groups):
        module = inspect.getmodule(getattr(measure, groups[room][0][0].strip("`")))
        head = f"## {room.replace('_', ' ').capitalize()}\n\n{markdown(_first(module))}"
        parts.append(f"{head}\n\n{rows(['name', 'what', 'source'], groups[room])}")
    return MEASURES_HEAD + "\n\n".join(parts) + "\n"


def source(one: object) -> str:
    """Where a measure comes from, as its docstring says after `Source:`; empty if it does not.

    Args:
        one: function or class.
    """
    text = " ".join((inspect.getdoc(one) or "").split())
    found = re.search(r"Source: (.+?)\.(?= [A-Z]|$)", text)
    return found[1] if found else ""


def _first(one: object) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(one) or "").split("\n")[0]


MADE = "Made from registries and docstrings when the site is built.\n\n"
RULES_HEAD = f"""# Rules

{MADE}A rule is written as `name:option=value:...`; every rule takes `learning_rate` and `weight_decay` of its
own too, also `=tuned`. The same list without options: `dashtheory rules`; those that act in the loss:
`dashtheory rules --acts loss`. [By kind](../remedies.md); [your own](../your_own.md#a-rule).

"""
DATA_HEAD = f"""# Data

{MADE}What `--data` takes in `dashtheory run` and in the scripts of level 3. Files are official ones, known by
their checksum; nothing is downloaded by itself.

"""
MODELS_HEAD = f"""# Models

{MADE}What `--model` takes. Weights are drawn from an explicit generator: every rule of a seed starts from the
same ones.

"""
MEASURES_HEAD = f"""# Measures

{MADE}The public names of `dashtheory.measure`. Each docstring has formula, range, source, and what would fool
it: [the API](../api/measure.md). To take them all before and after a rule: `dashtheory.measure.compare`.

"""
