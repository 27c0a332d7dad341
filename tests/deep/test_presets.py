"""Presets by the name of the data, and words for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashtheory._nested import flat
from dashtheory.deep.config import RunConfig
from dashtheory.deep.data.cifar import CIFAR10
from dashtheory.deep.presets import DATA_PRESETS, ComparisonConfig, describe_data, describe_setting, folder_of
from dashtheory.experiments.warm_start_text import TextConfig


@pytest.fixture
def no_cifar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASHTHEORY_CIFAR10", raising=False)


@pytest.mark.usefixtures("no_cifar")
def test_auto_is_what_lies_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert ComparisonConfig.of() == ComparisonConfig.of(data="digits")
    assert ComparisonConfig.of().data.title == "scikit-learn's digits with 20% wrong training labels"
    monkeypatch.setenv("DASHTHEORY_CIFAR10", str(tmp_path))
    pictures = ComparisonConfig.of()
    assert (pictures.data.name, pictures.data.title) == ("cifar10", "CIFAR-10 (JPEG) at 8 x 8 pixels")
    (tmp_path / CIFAR10.file.name).write_bytes(b"")
    assert ComparisonConfig.of().data.title == "CIFAR-10 at 8 x 8 pixels"


@pytest.mark.usefixtures("no_cifar")
@pytest.mark.parametrize("data", sorted(DATA_PRESETS))
def test_what_is_given_stands_and_the_rest_is_the_preset_s(data: str) -> None:
    config = ComparisonConfig.of(data=data, chunk_size=32, threshold=0.5)
    for name, value in DATA_PRESETS[data].items():
        given = {"chunk_size": 32, "threshold": 0.5}
        assert flat(config)[name] == given.get(name, value)
    assert folder_of(config) == (Path("figures") if data == "digits" else Path("figures") / data)
    assert "chunks of 32" in describe_setting(config)


@pytest.mark.usefixtures("no_cifar")
def test_other_data_take_the_preset_of_cifar10_but_for_the_size() -> None:
    own, theirs = ComparisonConfig.of(data="folder:there"), ComparisonConfig.of(data="cifar10")
    for name in DATA_PRESETS["cifar10"]:
        assert flat(own)[name] == (0 if name == "size" else flat(theirs)[name])
    assert folder_of(own) == Path("figures/folder")


def test_words_for_data_and_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DASHTHEORY_CIFAR10", str(tmp_path))  # JPEG pictures; a ROOT has the official files
    assert describe_data(RunConfig.of(data="cifar10")) == "CIFAR-10 (JPEG)"
    assert describe_data(RunConfig.of(data="cifar10:there", size=8)) == "CIFAR-10 at 8 x 8 pixels"
    assert describe_data(RunConfig.of(data="svhn:there")) == "SVHN"
    text = RunConfig.of(data="text", model="transformer", size=64, criterion="loss", threshold=1.0, num_chunks=2)
    assert describe_data(text) == "Python's help texts"
    training = "sgd, learning rate 0.01, batch 64"
    own = RunConfig.of(data="python:mine.py:stream", model="mlp", size=8)
    assert describe_data(own) == "python:mine.py:stream"
    assert describe_setting(own).startswith("MLP; its own chunks; sgd")
    assert describe_setting(own, stages=False).startswith("MLP; all examples; sgd")
    assert describe_setting(text) == (
        f"character transformer; 2 chunks of 200 windows of text; {training}; every stage trains to loss 1 nat"
    )
    digits = RunConfig.of(chunk_size=600, num_chunks=2, max_epochs=7)
    assert describe_setting(digits).endswith("every stage trains to accuracy 0.999")
    assert describe_setting(digits, stages=False) == f"narrow ResNet; 1,200 pictures; {training}, 7 epochs"
    assert folder_of(text, "text") == Path("figures")
    assert folder_of(digits, "text") == Path("figures/digits")


@pytest.mark.usefixtures("no_cifar")
def test_zero_can_be_given() -> None:
    assert ComparisonConfig.of(data="digits", label_noise=0.0).data.label_noise == 0
    assert ComparisonConfig.of(data="cifar10", size=0).data.size == 0


def test_the_text_preset_is_the_setting_of_the_text_figure() -> None:
    """What the figure says beside it is of the network, the optimizer's kernel and what is measured."""
    config, theirs = flat(ComparisonConfig.of(data="text")), flat(TextConfig.of())
    differ = {name for name in config if config[name] != theirs[name]}
    assert differ == {"model_options", "engine", "reestimate", "retention", "weights"}
