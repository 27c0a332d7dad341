"""The core of the tests under every supported interpreter of this machine, with new and with old libraries.

    make test-versions
    make test-versions OPTIONS="--only 3.13,3.14 --torch 2.13.0 --folder ../versions"

Each row is an environment of its own outside of the checkout: an interpreter (of $PYTHONS, PATH or pyenv), the
libraries of constraints.txt ("pinned") or the oldest that pyproject.toml allows ("oldest"), and torch where
--torch names versions; these are large, so that none is the default. What is not here is a line, not an error.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORE = ("tests/test_needs.py", "tests/record", "tests/discrete")
WITHOUT_TORCH = ("--ignore=tests/record/test_sinks.py",)
WITH_TORCH = ("tests/test_package.py", "tests/test_door.py", "tests/rules")
PINNED, OLDEST = "pinned", "oldest"
_FLOOR = re.compile(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)")


def project() -> dict[str, object]:
    """The table [project] of pyproject.toml."""
    found: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def supported() -> list[str]:
    """Versions of Python that the classifiers name, as "3.11", the oldest first."""
    lines: list[str] = project()["classifiers"]  # type: ignore[assignment]
    found = [line.rpartition(" ")[2] for line in lines if line.startswith("Programming Language :: Python :: 3.")]
    return sorted(found, key=lambda version: int(version.partition(".")[2]))


def oldest(requirements: Sequence[str]) -> dict[str, str]:
    """The lowest version that each requirement allows, by name.

    Args:
        requirements: as "numpy>=2.0".
    """
    return {found[1].lower(): found[2] for found in map(_FLOOR.match, requirements) if found}


def interpreter(version: str) -> str | None:
    """A program of this version: of $PYTHONS, on PATH, or of pyenv; None if there is none that runs.

    Args:
        version: as "3.13".
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    named = os.environ.get("PYTHONS", "").split()
    for program in (*named, shutil.which(f"python{version}"), *pyenv.glob(f"{version}.*/bin/python{version}")):
        if program and _version(str(program)) == version:
            return str(program)
    return None


def _version(program: str) -> str:
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([program, "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


@dataclass(frozen=True)
class Row:
    """An environment and what is tried in it.

    Attributes:
        version: of Python.
        libraries: "pinned" or "oldest".
        torch: its version; empty: none.
    """

    version: str
    libraries: str
    torch: str = ""

    def __str__(self) -> str:
        return f"Python {self.version}, {self.libraries} libraries, torch {self.torch or 'none'}"

    @property
    def folder(self) -> str:
        """Name of its environment."""
        return f"{self.version}-{self.libraries}-{self.torch or 'none'}"

    def requirements(self) -> tuple[list[str], list[str]]:
        """What is installed, and lines of the constraints that it obeys."""
        own: list[str] = project()["dependencies"]  # type: ignore[assignment]
        extras: dict[str, list[str]] = project()["optional-dependencies"]  # type: ignore[assignment]
        lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        floors = oldest([*own, *extras["test"]]) if self.libraries == OLDEST else {}
        floors |= {"torch": self.torch} if self.torch else {}
        wanted = [*own, *extras["test"], *(["torch"] if self.torch else [])]
        # What old libraries need is for them to say: a pin of today's could not go with them.
        others = [] if self.libraries == OLDEST else lines
        pinned = [line for line in others if line.partition("==")[0].lower() not in floors]
        return wanted, [*pinned, *(f"{name}=={version}" for name, version in floors.items())]

    def tried(self, program: str, folder: Path) -> bool:
        """Whether the environment can be made and its tests pass.

        Args:
            program: the interpreter.
            folder: of all environments.
        """
        place = folder / self.folder
        python = place / "bin" / "python"
        wanted, constraints = self.requirements()
        (folder / f"{self.folder}.txt").write_text("\n".join(constraints) + "\n", encoding="utf-8")
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        tests = [*CORE, *(WITH_TORCH if self.torch else WITHOUT_TORCH)]
        # Of an old library beside a new one (matplotlib beside pyparsing), no word of this package's.
        old = ["-W", "ignore::DeprecationWarning"] if self.libraries == OLDEST else []
        steps = (
            *([] if python.exists() else [[program, "-m", "venv", str(place)]]),
            [*pip, "-c", str(folder / f"{self.folder}.txt"), *wanted],
            [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *old, *tests],
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return all(subprocess.run(step, cwd=ROOT, env=environment, check=False).returncode == 0 for step in steps)


def rows(versions: Sequence[str], torch: Sequence[str]) -> Iterator[Row]:
    """Every interpreter with pinned libraries, the oldest libraries with the oldest interpreter, and each torch.

    Args:
        versions: of Python.
        torch: its versions.
    """
    for version in versions:
        yield Row(version, PINNED)
    if supported()[0] in versions:
        yield Row(supported()[0], OLDEST)
    for version in versions:
        yield from (Row(version, PINNED, one) for one in torch)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try all rows; 1 if one fails, or none could be tried."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--only", default=",".join(supported()), help="versions of Python (default: %(default)s)")
    parser.add_argument("--torch", default="", help="versions of torch, as 2.11.0,2.13.0 (default: none)")
    parser.add_argument("--folder", type=Path, help="of the environments, which stay there (default: none stays)")
    options = parser.parse_args(arguments)
    torch = [one for one in options.torch.split(",") if one]
    found, ran, told = True, False, list[str]()
    with tempfile.TemporaryDirectory() as name:
        folder = (options.folder or Path(name)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for row in rows(options.only.split(","), torch):
            program = interpreter(row.version)
            passed = program is not None and row.tried(program, folder)
            found, ran = found and (passed or program is None), ran or program is not None
            told.append(
                f"{row}: {'passed' if passed else 'FAILED' if program else 'not run, no interpreter here'}"
            )
            print(told[-1], flush=True)  # noqa: T201
    print("", *told, sep="\n")  # noqa: T201
    return 0 if found and ran else 1


if __name__ == "__main__":
    sys.exit(main())
