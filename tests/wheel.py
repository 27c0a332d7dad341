"""Build wheel and sdist, check them, install them into empty environments, and try them outside of the checkout.

    make test-wheel

One environment has the package alone (level 1, no torch), one the extra `deep` from the wheel, one from the sdist.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEVEL_1 = """
import importlib.util, numpy, dashtheory
from dashtheory.discrete import paper_probabilities, sample_packed, simulate
assert importlib.util.find_spec("torch") is None
data = sample_packed(paper_probabilities(numpy.random.default_rng(0)), 200, numpy.random.default_rng(0))
run = simulate(data, per_class_chunk_size=50, num_stages=4, gamma=20, tau=3, rule="warm")
print("level 1 of", dashtheory.__version__, run.num_learned)
try:
    dashtheory.dash_
except ModuleNotFoundError as error:
    assert "dashtheory[deep]" in str(error)
else:
    raise AssertionError("dash_ without torch")
"""
DEEP = """
import torch, dashtheory
from torch import nn
assert "site-packages" in dashtheory.__file__, dashtheory.__file__
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
chunks = [(torch.randn(20, 8), torch.randint(3, (20,))) for _ in range(2)]
print("mean scale", dashtheory.dash_(model, chunks, nn.functional.cross_entropy).mean_scale)
"""
TOY = [
    *["run", "--data", "digits", "--model", "mlp", "--num-chunks", "2", "--chunk-size", "40", "--num-test", "50"],
    *["--max-epochs", "2", "--seeds", "1", "--jobs", "1", "--rules", "warm,dash"],
]


def say(*command: object, cwd: Path) -> None:
    """Run a command, and stop with its name if it fails."""
    print("$", *command, flush=True)  # noqa: T201
    subprocess.run([str(part) for part in command], cwd=cwd, check=True)


def environment(folder: Path, name: str, what: str) -> Path:
    """An empty environment with the package in it; returns its folder of programs."""
    venv.create(folder / name, with_pip=True)
    programs = folder / name / "bin"
    pip = [programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    say(*pip, "-c", ROOT / "constraints.txt", what, cwd=folder)
    return programs


def main() -> None:
    """Do all of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dist = folder / "dist"
        say(sys.executable, "-m", "build", "--outdir", dist, ROOT, cwd=folder)
        (wheel,), (sdist,) = list(dist.glob("*.whl")), list(dist.glob("*.tar.gz"))
        say(sys.executable, "-m", "twine", "check", wheel, sdist, cwd=folder)
        alone = environment(folder, "alone", str(wheel))
        say(alone / "python", "-c", LEVEL_1, cwd=folder)
        say(alone / "dashtheory", "--version", cwd=folder)
        say(alone / "dashtheory", "rules", cwd=folder)
        for place, what in (("wheel", wheel), ("sdist", sdist)):
            programs = environment(folder, place, f"{what}[deep]")
            say(programs / "python", "-c", DEEP, cwd=folder)
            say(programs / "dashtheory", *TOY, "--out", folder / f"{place}-runs", cwd=folder)
    print("wheel and sdist work")  # noqa: T201


if __name__ == "__main__":
    main()
