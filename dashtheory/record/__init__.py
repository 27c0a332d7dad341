"""One tidy table for every level, saved with its provenance, and kept runs for calls that were stopped."""

from dashtheory.record.agreement import ALARM, Agreement, Difference, agreement
from dashtheory.record.atomic import only_one, replacing, writable_folder, write_text
from dashtheory.record.interquartile import interquartile_means
from dashtheory.record.paired import PAIRED, holm, paired_differences
from dashtheory.record.provenance import code_fingerprint, machine, provenance, versions
from dashtheory.record.results import (
    COMPLETE,
    DEVICE,
    ORIGIN,
    PROBLEM,
    Results,
    group_name,
    load_results,
    run_name,
)
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
    "ALARM",
    "BANDS",
    "COLUMNS",
    "COMPLETE",
    "DEVICE",
    "FORMAT",
    "ORIGIN",
    "PAIRED",
    "PREDICTED",
    "PROBLEM",
    "Agreement",
    "Band",
    "Difference",
    "Results",
    "agreement",
    "check_table",
    "code_fingerprint",
    "concatenate",
    "coordinate_names",
    "group_name",
    "holm",
    "interquartile_means",
    "load_results",
    "load_table",
    "machine",
    "make_table",
    "one_per",
    "only_one",
    "paired_differences",
    "provenance",
    "replacing",
    "run_name",
    "save_table",
    "stage_rows",
    "summarize",
    "versions",
    "writable_folder",
    "write_text",
]
