"""docs/scale.md tells of the folder what the committed measurement says, and of versions what the package says."""

from __future__ import annotations

import json

from tests.docs.results_cases import ROOT
from tests.versions import supported

PAGE = " ".join((ROOT / "docs" / "scale.md").read_text(encoding="utf-8").split())
FOUND = json.loads((ROOT / "benchmarks" / "results" / "sweep.json").read_text(encoding="utf-8"))
WORDS = {1: "one save", 2: "two saves", 5: "five saves"}


def test_what_the_folder_must_bear_is_what_was_measured() -> None:
    assert FOUND["quick"] is False
    table, folder, sweep = FOUND["table"], FOUND["folder"], FOUND["sweeps"][-1]
    jobs, largest = f"{sweep['jobs']:,}", f"{table['jobs']:,}"
    megabytes = [f"{table[name] / 1e6:.1f} MB" for name in ("table_bytes", "facts_bytes")]
    each, saves = 1000 * sweep["waiting_cpu_seconds"] / sweep["jobs"], WORDS[sweep["saves"]]
    for said in (
        f"file | {sweep['worker_cpu_ms_per_job']:.0f} ms, {sweep['bytes_per_file'] / 1000:.1f} kB for eight",
        f"| the waiting call, per run of {jobs}: identity, file, table | {each:.0f} ms, {saves} among them |",
        f"| one look at a folder of {folder['files']:,} files | {folder['look_cpu_seconds']:.2f} s |",
        f"| {largest} runs taken into the table, one by one | {table['take_cpu_seconds']:.0f} s |",
        f"| a save of a table of {largest} runs | {table['save_cpu_seconds']:.0f} s, {' and '.join(megabytes)} |",
        f"| reading it | {table['load_cpu_seconds']:.0f} s |",
        f"| taking and giving back the lock | {FOUND['lock_ms']:.1f} ms by the clock |",
        f"The whole way was run with up to {jobs} jobs",
    ):
        assert said in PAGE, said


def test_hours_on_a_cpu_are_at_the_rate_of_the_record_that_is_named() -> None:
    record = json.loads((ROOT / "benchmarks" / "results" / "images.json").read_text(encoding="utf-8"))
    (rate,) = (one["samples_per_second"] for one in record["contenders"] if one["name"] == "fast, bfloat16")
    pictures = 30 * 1000 * sum(range(1, 51))
    gigaflops = record["roofline"]["bfloat16"]["flops"] / 1e9
    for said in (
        f"| one step on {record['batch_size']} pictures of 32 x 32 | {gigaflops:.0f} GFLOP |",
        f"| pictures per second, {record['threads']} cores | {rate:.0f} (bfloat16) | the same, of "
        f"{record['date']}: ",
        f"= {pictures / 1e6:.0f} million pictures, or {round(pictures / record['batch_size'], -3):,.0f} steps: ",
        f"{pictures / rate / 3600:.0f} hours on {record['threads']} cores at the rate of that record, ",
        f"{gigaflops * pictures / record['batch_size'] / 1e6:.0f} PFLOP",
    ):
        assert said in PAGE, said


def test_every_interpreter_that_is_let_in_has_a_row() -> None:
    for version in supported():
        assert f"| {version}." in PAGE, version
