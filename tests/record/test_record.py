"""Tables and provenance: what is saved reads back to the bit, and nothing else is accepted."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashtheory.record import (
    COLUMNS,
    check_table,
    code_fingerprint,
    concatenate,
    load_table,
    make_table,
    paired_differences,
    provenance,
    replacing,
    save_table,
    summarize,
    writable_folder,
    write_text,
)
from dashtheory.record.atomic import unplaced


def row(**changes: object) -> dict[str, object]:
    base = {"level": "deep", "experiment": "e", "rule": "warm", "seed": 0, "stage": 1, "metric": "m", "value": 0.5}
    return {**base, **changes}


@given(values=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=30))
def test_saved_numbers_read_back_to_the_bit(values: list[float], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("table") / "t.csv"
    table = make_table(row(stage=i, value=value) for i, value in enumerate(values))
    save_table(table, str(path), {"fact": 1})
    loaded, facts = load_table(str(path))
    numbers = [(value, np.signbit(value)) for value in values if not np.isnan(value)]
    read = [(value, np.signbit(value)) for value in loaded["value"] if not np.isnan(value)]
    assert read == numbers
    pd.testing.assert_frame_equal(loaded, table)
    assert facts["fact"] == 1


def test_the_facts_take_their_place_after_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sees the facts of a run that is being saved, and kills it then, has its table too."""
    replace, done = Path.replace, []

    def note(path: Path, target: Path) -> Path:
        done.append(target.name)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", note)
    save_table(make_table([row()]), tmp_path / "t.csv", {})
    assert done == ["t.csv", "t.json"]


def test_text_that_looks_like_missing_values_or_numbers_survives(tmp_path: Path) -> None:
    table = make_table([row(rule="None"), row(rule="NA"), row(rule="")])
    save_table(table, tmp_path / "t.csv", {})
    assert load_table(tmp_path / "t.csv")[0]["rule"].tolist() == ["None", "NA", ""]
    assert set(COLUMNS) == set(table.columns)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "columns"),
        ([{"level": "deep"}], "columns"),
        ([{**row(), "Extra": 1}], "Extra"),
        ([row(seed=0.5)], "int64 in column seed"),
        ([row(stage="one")], "int64 in column stage"),
        ([row(value="high")], "float64 in column value"),
        ([row(rule=None)], "column rule"),
        ([row(), row(value=0.7)], "m of warm, seed 0, stage 1 twice"),
    ],
)
def test_an_untidy_table_is_refused_with_the_reason(rows: list[dict[str, object]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_table(rows)


def test_an_empty_table_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        check_table(make_table([row()]).iloc[:0], "table")


def saved(folder: Path) -> Path:
    path = folder / "t.csv"
    save_table(make_table([row(stage=i) for i in range(5)]), path, {"config": {}})
    return path


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_missing_truncated_and_foreign_files_are_named_in_one_line(tmp_path: Path, suffix: str) -> None:
    def remove(path: Path) -> None:
        path.unlink()

    def replace(path: Path) -> None:
        path.write_text("a,b\n1,2\n" if suffix == ".csv" else "[1, 2]")

    for number, damage in enumerate((truncate, remove, replace)):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = saved(folder)
        damage(path.with_suffix(suffix))
        with pytest.raises(ValueError, match=f"t{suffix}") as raised:
            load_table(path)
        assert "\n" not in str(raised.value)


def test_a_table_of_another_run_beside_the_provenance_is_noticed(tmp_path: Path) -> None:
    path = saved(tmp_path)
    text = path.read_text()
    path.write_text(text.replace("0.5", "0.6"))
    with pytest.raises(ValueError, match="another content"):
        load_table(path)
    path.write_text(text)
    facts = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**facts, "format": "something else"}))
    with pytest.raises(ValueError, match="something else"):
        load_table(path)


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "kept.txt"
    write_text(path, "old")

    def fail_in_the_middle() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail_in_the_middle()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_have_ordinary_permissions(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "text")
    (tmp_path / "b.txt").write_text("text")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match=r"--out must be a folder that can be written.*file/below"):
        writable_folder("--out", tmp_path / "file" / "below")


def test_concatenation_does_not_depend_on_which_run_finished_first() -> None:
    parts = [make_table([row(seed=s, rule=r, metric=m) for m in "zab"]) for s in (1, 0) for r in ("warm", "cold")]
    together = concatenate(parts)
    pd.testing.assert_frame_equal(together, concatenate(parts[::-1]))
    assert together["metric"].tolist()[:3] == ["z", "a", "b"]
    assert together[["rule", "seed"]].drop_duplicates().to_numpy().tolist() == [
        ["cold", 0],
        ["cold", 1],
        ["warm", 0],
        ["warm", 1],
    ]


def test_summary_of_numbers_checked_by_hand() -> None:
    table = make_table([row(seed=s, value=v) for s, v in enumerate([1.0, 2.0, 6.0])])
    spread = summarize(table, "m", "sd").iloc[0]
    assert spread["mean"] == 3.0
    assert spread["high"] - 3.0 == pytest.approx(7**0.5)  # ((-2)^2 + (-1)^2 + 3^2) / 2 = 7
    assert spread["low"] == pytest.approx(3.0 - 7**0.5)
    assert spread["n"] == 3
    ends = summarize(table, "m", "range").iloc[0]
    assert (ends["low"], ends["mean"], ends["high"]) == (1.0, 3.0, 6.0)
    single = summarize(make_table([row()]), "m", "sd").iloc[0]
    assert (single["low"], single["high"]) == (0.5, 0.5)


def test_a_missing_number_is_never_averaged_away() -> None:
    with pytest.raises(ValueError, match="table must have a number in every row of m, got 1 NaN"):
        summarize(make_table([row(), row(seed=1, value=float("nan"))]), "m")


def test_an_infinite_number_is_never_averaged() -> None:
    table = make_table([row(rule=rule, seed=seed, value=seed / 2) for rule in ("cold", "warm") for seed in (0, 1)])
    table.loc[0, "value"] = float("inf")
    with pytest.raises(ValueError, match="table must have a number in every row of m, got 1 infinite"):
        summarize(table, "m")
    with pytest.raises(ValueError, match="table must have finite m, got infinite ones"):
        paired_differences(table, "m", "cold")


@pytest.mark.parametrize(("column", "value"), [("value", "9" * 5000), ("seed", "9" * 5000), ("seed", "9" * 20)])
def test_numbers_that_no_column_holds_are_one_line(column: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"in column {column}") as raised:
        check_table(pd.DataFrame([{**row(), column: value}]), "table")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 300


def test_unknown_metric_and_band_are_named() -> None:
    table = make_table([row()])
    with pytest.raises(ValueError, match="metric must be one of m, got 'k'"):
        summarize(table, "k")
    with pytest.raises(ValueError, match="band must be one of sd, range, got 'box'"):
        summarize(table, "m", "box")  # type: ignore[arg-type]


def test_provenance_says_how_with_what_and_on_what_but_never_where() -> None:
    made = provenance(experiment="e", config={"a": (1, 2)}, seeds=[0], wall_seconds=1.23456, data={})
    assert {"config", "seeds", "versions", "machine", "code", "finished", "wall_seconds"} <= set(made)
    assert made["config"] == {"a": [1, 2]}
    import getpass
    import socket

    text = json.dumps(made)
    assert str(Path.cwd()) not in text
    assert socket.gethostname() not in text or len(socket.gethostname()) < 4
    assert f'"{getpass.getuser()}"' not in text


def test_the_fingerprint_sees_every_file_its_name_and_its_content(tmp_path: Path) -> None:
    def tree(name: str, files: dict[str, str]) -> str:
        for path, text in files.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(text)
        return code_fingerprint(tmp_path / name)

    base = {"a.py": "1", "part/b.py": "2"}
    first = tree("first", base)
    assert tree("same", base) == first
    changed = (
        {**base, "part/b.py": "3"},
        {**base, "part/c.py": ""},
        {"a.py": "1", "part/d.py": "2"},
        {"a.py": "12", "part/b.py": ""},
    )
    prints = [tree(str(number), files) for number, files in enumerate(changed)]
    assert len({first, *prints}) == 5


def test_provenance_holds_what_it_is_given_and_the_versions_that_run() -> None:
    made = provenance(
        experiment="e",
        config={},
        seeds=[3],
        wall_seconds=1.23456,
        data={"sha256": "x"},
        device="some GPU",
    )
    assert made["wall_seconds"] == 1.235
    assert made["data"] == {"sha256": "x"}
    assert made["machine"]["device"] == "some GPU"  # type: ignore[index]
    assert made["versions"]["numpy"] == np.__version__  # type: ignore[index]
    assert made["versions"]["pandas"] == pd.__version__  # type: ignore[index]


def test_a_full_disk_keeps_the_old_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    row = {"level": "deep", "experiment": "e", "rule": "cold", "seed": 0, "stage": 1, "metric": "m"}
    save_table(make_table([{**row, "value": 1.0}]), path, {"note": "old"})
    right, calls = Path.write_bytes, []

    def full(self: Path, data: bytes) -> int:
        calls.append(self)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return right(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space"):
            save_table(make_table([{**row, "value": 2.0}]), path, {"note": "new"})
    table, facts = load_table(path)
    assert (table["value"].tolist(), facts["note"]) == ([1.0], "old")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.csv", "a.json"]


def test_a_pair_torn_apart_by_a_kill_is_found_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed when the new table is in its place and its facts are not: they are there under another name."""
    path = saved(tmp_path)
    old, facts = path.read_bytes(), path.with_suffix(".json").read_text()
    table = make_table([row(stage=1, value=2.0)])
    replace = Path.replace

    class Killed(BaseException):
        """The end of the process."""

    def stop(place: Path, target: Path) -> Path:
        if target.suffix == ".json":
            raise Killed
        return replace(place, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stop)
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # nor is anything tidied up
        with pytest.raises(Killed):
            save_table(table, path, {"note": "new"})
    read, found = load_table(path)
    pd.testing.assert_frame_equal(read, table)
    assert found["note"] == "new"
    (left,) = unplaced(path.with_suffix(".json"))
    path.write_bytes(old)  # killed before: what was left then is not of this table
    assert load_table(path)[1] == json.loads(facts)
    path.write_bytes(table.to_csv(index=False).encode())
    left.write_text(facts[:-9])
    with pytest.raises(ValueError, match="another content"):
        load_table(path)
