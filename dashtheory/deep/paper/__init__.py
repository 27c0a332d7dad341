"""The paper's experiments on pictures: presets, a runner within a budget of time, results and their summary."""

from dashtheory.deep.paper.config import PaperConfig
from dashtheory.deep.paper.measures import BINS, PictureMeasures
from dashtheory.deep.paper.presets import SUFFIXES, preset, preset_names
from dashtheory.deep.paper.published import PUBLISHED, Published
from dashtheory.deep.paper.results import Results, load_results
from dashtheory.deep.paper.run import OutOfTime, Run, missing_runs, run_paper
from dashtheory.deep.paper.summary import QUANTITIES, per_run, summarise

__all__ = [
    "BINS",
    "PUBLISHED",
    "QUANTITIES",
    "SUFFIXES",
    "OutOfTime",
    "PaperConfig",
    "PictureMeasures",
    "Published",
    "Results",
    "Run",
    "load_results",
    "missing_runs",
    "per_run",
    "preset",
    "preset_names",
    "run_paper",
    "summarise",
]
