"""Without torch: level 1 works, and everything else says what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dashtheory._needs import TORCH, lacks_torch

BLOCKED = """
import sys


class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Block())
"""


def without_torch(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCKED + code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_level_1_and_its_theory_work() -> None:
    done = without_torch(
        "import numpy, dashtheory, dashtheory.discrete as d\n"
        "import dashtheory.theory, dashtheory.experiments.phase_diagram\n"
        "p = d.paper_probabilities(numpy.random.default_rng(0))\n"
        "data = d.sample_packed(p, 20, numpy.random.default_rng(0))\n"
        "run = dashtheory.simulate(data, per_class_chunk_size=10, num_stages=2, gamma=5, tau=1, rule='warm')\n"
        "print(run.num_learned)"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_names_that_need_it_say_what_to_install() -> None:
    for name in (
        "dashtheory.dash_",
        "dashtheory.compare",
        "dashtheory.rules.Dash",
        "dashtheory.protocol.run_stages",
        "dashtheory.adapters.StageRule",
    ):
        done = without_torch(f"import dashtheory.rules, dashtheory.protocol, dashtheory.adapters\n{name}")
        assert done.returncode == 1
        assert done.stderr.strip().endswith(TORCH), name


@pytest.mark.parametrize("words", [["run", "--data", "digits"], ["diagnose"], ["rules", "dash"]])
def test_the_program_says_it_in_one_line(words: list[str], tmp_path: object) -> None:
    done = without_torch(f"from dashtheory.command.program import main\nsys.exit(main({words!r}))")
    assert done.returncode == 2
    assert done.stderr == f"dashtheory: {TORCH}\n"


def test_the_list_of_rules_needs_none() -> None:
    done = without_torch("from dashtheory.command.program import main\nsys.exit(main(['rules']))")
    assert done.returncode == 0
    assert "dash" in done.stdout


def test_another_missing_module_is_another_error() -> None:
    assert not lacks_torch(ModuleNotFoundError("No module named 'torchvision'", name="torchvision"))
    assert lacks_torch(ModuleNotFoundError("No module named 'torch.optim'", name="torch.optim"))
    assert not lacks_torch(ImportError("cannot import name"))
