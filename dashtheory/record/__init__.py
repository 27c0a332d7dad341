"""One tidy table for every level, saved with its provenance, and kept runs for calls that were stopped."""

from dashtheory.record.atomic import only_one, replacing, writable_folder, write_text
from dashtheory.record.kept import KeptRuns
from dashtheory.record.paired import PAIRED, paired_differences
from dashtheory.record.provenance import code_fingerprint, machine, provenance, usable_cores, versions
from dashtheory.record.results import Results, Run, load_results, missing_runs
from dashtheory.record.store import FORMAT, load_table, save_table
from dashtheory.record.summary import BANDS, Band, summarize
from dashtheory.record.table import (
    COLUMNS,
    PREDICTED,
    check_table,
    concatenate,
    coordinate_names,
    make_table,
    one_per,
    stage_rows,
)

__all__ = [
    "BANDS",
    "COLUMNS",
    "FORMAT",
    "PAIRED",
    "PREDICTED",
    "Band",
    "KeptRuns",
    "Results",
    "Run",
    "check_table",
    "code_fingerprint",
    "concatenate",
    "coordinate_names",
    "load_results",
    "load_table",
    "machine",
    "make_table",
    "missing_runs",
    "one_per",
    "only_one",
    "paired_differences",
    "provenance",
    "replacing",
    "save_table",
    "stage_rows",
    "summarize",
    "usable_cores",
    "versions",
    "writable_folder",
    "write_text",
]
