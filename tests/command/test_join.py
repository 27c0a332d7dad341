"""`dashtheory join`: tables of machines that shared runs become one, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashtheory.command.program import main
from dashtheory.record import Results, load_results, only_one
from dashtheory.record.results import COMPLETE, ORIGIN
from tests.paper.toys import made_table

IDENTITY = {"setting": "a", "data": "b", "code": "c", "own": "", "versions": "d"}  # of no code of the user's


def saved(
    folder: Path,
    *runs: tuple[str, int, int],
    slope: float = 2.0,
    data: str = "abc",
    origin: str = "same",
    rules: tuple[str, ...] = ("cold",),
    offset: float = 0.0,
    own: str = "",
    milestones: tuple[int, ...] = (),
) -> Path:
    """A table NAME.csv of runs (rule, seed, number of stages)."""
    config = {"training": {"slope": slope, "milestones": list(milestones)}, "rules": list(rules)}
    results = Results(name="toy", config=config, data={"name": "digits", "sha256": data})
    for rule, seed, stages in runs:
        table = made_table(lambda *_: 0.5 + offset, (rule,), (seed,), stages, ("test_accuracy",))
        table.attrs.update({COMPLETE: stages == 3, ORIGIN: {"weights": f"{origin}{seed}"}})
        results = results.with_run(f"{rule}-seed{seed}", table, identity={**IDENTITY, "own": own}, seconds=1.0)
    path = folder / "toy.csv"
    results.save(path)
    return path


def test_shared_seeds_become_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = saved(tmp_path / "here", ("cold", 0, 3))
    there = saved(tmp_path / "there", ("cold", 1, 3), ("dash", 1, 3))
    target = tmp_path / "all" / "toy.csv"
    assert main(["join", str(target), str(here), str(there)]) == 0
    assert capsys.readouterr().out == f"3 runs of 2 seeds in {target}\n"
    assert load_results(target).runs.keys() == {"cold-seed0", "cold-seed1", "dash-seed1"}
    assert sorted(path.name for path in target.parent.iterdir()) == ["toy.csv", "toy.json"]
    before = target.read_bytes()
    assert main(["join", str(target), str(there)]) == 0  # once more changes nothing
    assert target.read_bytes() == before
    other = tmp_path / "turned" / "toy.csv"
    assert main(["join", str(other), str(there), str(here)]) == 0
    assert other.read_bytes() == before


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_of_a_run_that_two_have_the_longest_is_kept_and_the_first_of_equals(
    tmp_path: Path, stages: int, capsys: pytest.CaptureFixture[str]
) -> None:
    target = saved(tmp_path / "here", ("cold", 0, 2))
    there = saved(tmp_path / "there", ("cold", 0, stages), offset=0.25)
    assert main(["join", str(target), str(there)]) == 0
    assert "in more than one table, the longest is kept: cold-seed0" in capsys.readouterr().out
    kept = load_results(target)
    assert kept.runs["cold-seed0"]["stages"] == max(2, stages)
    assert set(kept.tables["cold-seed0"]["value"]) == {0.75 if stages == 3 else 0.5}


@pytest.mark.parametrize(
    ("here", "there", "kept"),
    [
        ((2,), (1, 2, 3), (1, 2, 3)),
        ((3,), (1, 2, 3), (1, 2, 3)),
        ((1, 2, 3), (2,), (1, 2, 3)),
        ((1, 2, 3), (3,), (1, 2, 3)),
        ((1, 2), (3,), None),
    ],
)
def test_no_stage_is_lost_where_runs_have_left_some_out(
    tmp_path: Path,
    here: tuple[int, ...],
    there: tuple[int, ...],
    kept: tuple[int, ...] | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A cold start may be run at stages 2 and 5 alone."""
    paths = [saved(tmp_path / name, ("cold", 0, 3)) for name in ("here", "there")]
    for path, stages in zip(paths, (here, there), strict=True):
        whole = load_results(path)
        (table,) = whole.tables.values()
        part = table[table["stage"].isin(stages)].reset_index(drop=True)
        part.attrs[COMPLETE] = False
        whole.with_run("cold-seed0", part, identity=IDENTITY, seconds=1.0).save(path)
    status = main(["join", *map(str, paths)])
    assert status == (2 if kept is None else 0)
    assert {*load_results(paths[0]).tables["cold-seed0"]["stage"]} == {*(kept or here)}
    assert ("lacks [1, 2]" in capsys.readouterr().err) == (kept is None)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"slope": 3.0}, "of the setting of the others, got '{}', with training.slope 3.0 where it was 2.0"),
        (
            {"milestones": (5,)},
            "of the setting of the others, got '{}', with training.milestones [5] where it was []",
        ),
        ({"data": "abd"}, "TABLE must be of the data of the others, got '{}'"),
        ({"origin": "other"}, "got '{}', where dash-seed0 began with other weights than cold-seed0"),
    ],
)
def test_what_does_not_belong_is_refused_and_nothing_is_written(
    tmp_path: Path, changed: dict[str, object], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = saved(tmp_path / "here", ("cold", 0, 3))
    there = saved(tmp_path / "there", ("dash", 0, 3), **changed)  # type: ignore[arg-type]
    before = target.read_bytes()
    assert main(["join", str(target), str(there)]) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert words.format(there) in text
    assert target.read_bytes() == before


def test_lists_of_the_setting_may_differ(tmp_path: Path) -> None:
    """Each machine names the rules that it runs."""
    target = saved(tmp_path / "here", ("cold", 0, 3))
    there = saved(tmp_path / "there", ("dash", 0, 3), rules=("dash", "warm"))
    assert main(["join", str(target), str(there)]) == 0
    assert len(load_results(target).runs) == 2


def test_seeds_of_a_rule_of_the_users_own_ran_with_the_same_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The code of one rule may be another than that of the next."""
    target = saved(tmp_path / "here", ("mine.py:rule", 0, 3), own="first")
    same, changed = (
        saved(tmp_path / own, ("mine.py:rule", 1, 3), own=own, rules=("mine.py:rule",))
        for own in ("first", "second")
    )
    other = saved(tmp_path / "other", ("yours.py:rule", 1, 3), own="third")
    assert main(["join", str(target), str(changed)]) == 2
    words = f"got '{changed}', where mine.py:rule-seed1 was run with other code of yours than mine.py:rule-seed0"
    assert words in capsys.readouterr().err
    assert main(["join", str(target), str(same), str(other)]) == 0


def test_a_refusal_leaves_no_empty_folder(tmp_path: Path) -> None:
    here, there = saved(tmp_path / "here", ("cold", 0, 3)), saved(tmp_path / "there", ("dash", 0, 3), slope=3.0)
    assert main(["join", str(tmp_path / "all" / "toy.csv"), str(here), str(there)]) == 2
    assert not (tmp_path / "all").exists()


def test_a_file_of_another_program_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there, foreign = saved(tmp_path / "there", ("dash", 0, 3)), tmp_path / "toy.json"
    foreign.write_text("{}")
    assert main(["join", str(tmp_path / "toy.csv"), str(there)]) == 2
    assert "TARGET must not replace a file of another program" in capsys.readouterr().err
    assert foreign.read_text() == "{}"


@pytest.mark.parametrize("lock", ["here/.partial/toy.lock", ".partial/here-toy.lock"])
def test_a_table_that_a_call_writes_is_left_to_it(
    tmp_path: Path, lock: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target, there = saved(tmp_path / "here", ("cold", 0, 3)), saved(tmp_path / "there", ("dash", 0, 3))
    with only_one(tmp_path / lock, "--out"):
        assert main(["join", str(target), str(there)]) == 2
    assert "TARGET must be used by one call at a time" in capsys.readouterr().err
    assert len(load_results(target).runs) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["toy.csv"], "TABLE"),
        (["toy.json", "a/toy.csv"], "TARGET must be a table, NAME.csv, got 'toy.json'."),
        (["here/toy.json/toy.csv", "here/toy.csv"], "TARGET must be a folder that can be written"),
        (["toy.csv", "nowhere/toy.csv"], "nowhere/toy.csv"),
        (["another.csv", "here/toy.csv"], "TABLE must be called another.csv, as TARGET, got 'here/toy.csv'."),
    ],
)
def test_bad_calls_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(Path("here"), ("cold", 0, 3))
    try:
        status = main(["join", *arguments])
    except SystemExit as ended:  # of argparse
        status = int(str(ended.code))
    text = capsys.readouterr().err
    assert status == 2
    assert text.count("\n") == 1
    assert words in text
    assert [path.name for path in Path().iterdir()] == ["here"]
