"""What tests of data need: a cache of their own, and a small archive of CIFAR-10."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from dashtheory.deep.data import cifar as cifar_module
from tests.deep.official_cases import official, tar_gz


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DASHTHEORY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def small_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, bytes]], Path]:
    """Write files as the official archive, and make `cifar10` expect it."""

    def write(files: dict[str, bytes]) -> Path:
        path = tmp_path / "cifar-10-binary.tar.gz"
        tar_gz(path, files)
        form = dataclasses.replace(cifar_module.CIFAR10, file=official(path), num_train=10, num_test=2)
        monkeypatch.setattr(cifar_module, "CIFAR10", form)
        return tmp_path

    return write
