"""The house: which module may import which, and what an import costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dashtheory

PACKAGE = Path(dashtheory.__file__).parent
LEVELS = {"discrete", "twolayer", "deep"}
# What each part may import from the package, besides the shared modules of SHARED.
SHARED = {"_check", "_version", "seeds"}
ALLOWED = {
    "record": set(),
    "plot": {"record"},
    "shrink": set(),
    "protocol": {"record", "shrink"},
    "measure": {"protocol", "shrink"},
    "discrete": {"record", "parallel"},
    "theory": {"discrete", "record", "parallel"},
    "twolayer": {"measure", "shrink", "record", "parallel"},
    "deep": {"protocol", "shrink", "record", "parallel"},
    "reproduce": {"command", "deep", "parallel", "plot", "record"},
    "notebooks": {"record"},
    "explore": {
        *("discrete", "theory", "twolayer", "deep"),
        *("measure", "protocol", "shrink", "plot", "record", "parallel"),
    },
    "parallel": set(),
    "command": {"parallel", "plot", "record"},
    "cli": {"command", "deep", "parallel", "plot"},
    "seeds": set(),
    "_check": set(),
    "_version": set(),
    "__init__": set(),
}


def imported_parts(path: Path) -> set[str]:
    """First names below `dashtheory` that a module imports."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("dashtheory.")}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert imported_parts(path) <= ALLOWED[part] | SHARED | {part}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_levels_never_import_each_other_and_what_they_share_knows_none(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part in LEVELS | {"measure", "shrink", "protocol", "record", "plot"}:
        assert not imported_parts(path) & (LEVELS - {part})


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_or_level_1_does_not_load_torch() -> None:
    assert not {"torch", "numba", "matplotlib"} & loaded_by("import dashtheory")
    assert "torch" not in loaded_by("import dashtheory; dashtheory.discrete.simulate")
    assert not {"torch", "ipywidgets", "IPython"} & loaded_by("import dashtheory.explore")
    assert not {"seaborn", "ipywidgets"} & loaded_by("import dashtheory.plot, dashtheory.command")


def test_public_names_exist() -> None:
    for name in dashtheory.__all__:
        part = getattr(dashtheory, name)
        for public in getattr(part, "__all__", []):
            assert hasattr(part, public), f"{name}.{public}"
    with pytest.raises(AttributeError, match="nonsense"):
        _ = dashtheory.nonsense


def test_version_is_that_of_the_changelog_and_the_citation() -> None:
    root = PACKAGE.parent
    assert f"## {dashtheory.__version__}" in (root / "CHANGELOG.md").read_text()
    assert f"version: {dashtheory.__version__}\n" in (root / "CITATION.cff").read_text()
