"""The command lines of `paper_repro/`: run presets within a budget, and build the table of results."""

from dashtheory.reproduce.program import main as run_main
from dashtheory.reproduce.report import main as table_main
from dashtheory.reproduce.report import render

__all__ = ["render", "run_main", "table_main"]
