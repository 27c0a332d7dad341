"""The paper's experiments on pictures: presets, a runner within a budget of time, results and their summary."""

from dashtheory.paper.presets import SUFFIXES, preset, preset_names
from dashtheory.paper.published import PUBLISHED, Published
from dashtheory.paper.report import render
from dashtheory.paper.summary import QUANTITIES, per_run, summarize_runs

__all__ = [
    "PUBLISHED",
    "QUANTITIES",
    "SUFFIXES",
    "Published",
    "per_run",
    "preset",
    "preset_names",
    "render",
    "summarize_runs",
]
