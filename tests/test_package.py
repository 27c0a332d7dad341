"""The package as a whole: what an import costs, and that public names exist."""

import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import dashtheory

PACKAGE = Path(dashtheory.__file__).parent
ROOT = PACKAGE.parent


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_or_level_1_does_not_load_torch() -> None:
    assert not {"torch", "numba", "matplotlib"} & loaded_by("import dashtheory")
    assert "torch" not in loaded_by("import dashtheory; dashtheory.discrete.simulate")
    assert not {"torch", "ipywidgets", "IPython"} & loaded_by("import dashtheory.explore")
    light = "dashtheory._nested, dashtheory.protocol.settings, dashtheory.command.options"
    assert not {"torch", "pandas", "matplotlib"} & loaded_by(f"import {light}")
    assert not {"seaborn", "ipywidgets"} & loaded_by("import dashtheory.plot, dashtheory.command")


def test_public_names_exist() -> None:
    for name in vars(dashtheory)["__all__"]:
        part = getattr(dashtheory, name)
        for public in getattr(part, "__all__", []):
            assert hasattr(part, public), f"{name}.{public}"
    unknown = "nonsense"
    with pytest.raises(AttributeError, match=unknown):
        getattr(dashtheory, unknown)


def test_version_is_that_of_the_changelog_and_the_citation() -> None:
    root = PACKAGE.parent
    assert f"## {dashtheory.__version__}" in (root / "CHANGELOG.md").read_text()
    assert f"version: {dashtheory.__version__}\n" in (root / "CITATION.cff").read_text()


def test_every_pin_serves_the_first_release_of_each_supported_python() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [line.rpartition(" ")[2] for line in project["classifiers"] if " :: Python :: 3." in line]
    firsts = [Version(f"{version}.0") for version in named]
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    refused = []
    for pin in pins:
        name, _, version = pin.partition("==")
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # an extra that this environment lacks
        if found.version.partition("+")[0] == version:
            wanted = SpecifierSet((found.metadata.get_all("Requires-Python") or [""])[0])
            refused += [f"{pin} on {first}: {wanted}" for first in firsts if first not in wanted]
    assert firsts
    assert not refused
