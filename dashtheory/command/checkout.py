"""The checkout that scripts and committed tables lie in, and its tables as they were committed."""

from __future__ import annotations

import ast
import shutil
import subprocess
import tempfile
from pathlib import Path

from dashtheory._check import choice, fail

FIGURES, COPY = "figures", Path("build/committed")
"""Folder of the tables, and where a copy of them is kept while there is no git; both in the checkout."""


def checkout() -> Path:
    """The folder that holds simulations/: that of this package, or the current one.

    Raises:
        ValueError: if neither does, because the package is installed by itself.
    """
    near = (Path(__file__).resolve().parents[2], Path.cwd())
    found = [folder for folder in near if all((folder / name).is_dir() for name in ("simulations", "dashtheory"))]
    if not found:
        fix = "Scripts and committed tables are not installed: get the source code, and call this in its folder."
        fail("the current folder", "must be a checkout with simulations/ and figures/", f"'{Path.cwd()}'", fix)
    return found[0]


def scripts(root: Path) -> dict[str, Path]:
    """Scripts that draw a figure, by name.

    Args:
        root: of the checkout.
    """
    return {path.stem: path for path in sorted((root / "simulations").glob("*.py"))}


def script_path(root: Path, name: str) -> Path:
    """The script of a figure.

    Args:
        root: of the checkout.
        name: of the figure.

    Raises:
        ValueError: if there is none.
    """
    known = scripts(root)
    return known[choice("NAME", name, known)]


def summary_of(path: Path) -> str:
    """The first line of a script's docstring; nothing is imported.

    Args:
        path: of the script.
    """
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]


def keep_tables(root: Path) -> None:
    """Before tables are drawn again in place: copy them where git does not have them.

    A copy that is there stays: a call that was killed has made it, and has drawn tables again since.

    Args:
        root: of the checkout.
    """
    if _in_git(root) or (root / COPY).exists() or not (root / FIGURES).is_dir():
        return
    (root / COPY).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=(root / COPY).parent) as folder:
        made = Path(folder) / "made"
        made.mkdir()
        for path in sorted((root / FIGURES).glob("*")):
            if path.suffix in (".csv", ".json"):
                shutil.copy2(path, made)
        made.replace(root / COPY)  # all of it, or nothing


def committed_tables(root: Path, folder: Path) -> tuple[Path, str]:
    """Where the committed tables are, and in words what they are.

    Args:
        root: of the checkout.
        folder: that takes them if they come out of git.

    Raises:
        ValueError: if there is neither git nor a copy.
    """
    if names := _in_git(root):
        for name in names:
            content = _git(root, "show", f"HEAD:./{name}")
            if content is not None:
                (folder / Path(name).name).write_bytes(content)
        commit = (_git(root, "rev-parse", "--short", "HEAD") or b"").decode().strip()
        return folder, f"commit {commit}"
    if not (root / COPY).is_dir():
        fix = "Name the folder of the committed tables: --against FOLDER."
        fail("--report", "must find the committed tables in git, or a copy of them", "neither", fix)
    return root / COPY, f"the copy in {COPY}/ made before"


def _in_git(root: Path) -> list[str]:
    """Committed tables and their facts, from git; none without git, or if it does not know them."""
    listed = _git(root, "ls-tree", "--name-only", "HEAD", f"{FIGURES}/") or b""
    return [name for name in listed.decode().splitlines() if name.endswith((".csv", ".json"))]


def _git(root: Path, *words: str) -> bytes | None:
    """What git says in the checkout; None if it cannot."""
    try:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
