"""The paper's results grow: by stages, seeds and rules, each run once, and older ones are said to be older."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashtheory.command.grow import named
from dashtheory.command.join import join
from dashtheory.protocol import stages as stages_module
from dashtheory.record import load_results
from tests.paper.test_program import NAME, numbers, one_line, run
from tests.paper.toys import serially


@pytest.fixture(autouse=True)
def serial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process, one after another."""
    monkeypatch.setattr("dashtheory.command.grow.run_jobs", serially)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the stages that are trained."""
    sizes: list[int] = []
    train = stages_module.train_stage

    def note(learner: object, examples: list[object], *rest: object, **options: object) -> object:
        sizes.append(len(examples))
        return train(learner, examples, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(stages_module, "train_stage", note)
    return sizes


def everything(out: Path) -> dict[str, list[dict[str, float]]]:
    """All numbers but wall times, by run."""
    runs = load_results(out / "cpu" / f"{NAME}.csv").runs
    pairs = [name.split("-seed") for name in runs]
    return {f"{rule}-seed{seed}": numbers(out, rule, int(seed)) for rule, seed in pairs}


def test_one_stage_then_three_are_three(
    tmp_path: Path, trained: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "out", "--stages", "1") == 0
    assert capsys.readouterr().out.startswith("2 of 2 runs at stage 1 or further, 2 new stages in ")
    assert trained == [70, 70]
    assert run(tmp_path / "out", "--stages", "1") == 0
    assert capsys.readouterr().out.startswith("2 of 2 runs at stage 1 or further, 0 new stages in ")
    assert run(tmp_path / "out", "--stages", "3") == 0
    assert capsys.readouterr().out.startswith("2 of 2 runs at stage 3 or further, 4 new stages in ")
    assert trained == [70, 70, *[140, 210] * 2]
    assert run(tmp_path / "whole") == 0
    assert everything(tmp_path / "out") == everything(tmp_path / "whole")
    assert not (tmp_path / "out" / ".partial").exists()
    capsys.readouterr()
    assert run(tmp_path / "out", "--stages", "1") == 0  # a smaller call afterwards loses nothing
    assert capsys.readouterr().out.startswith("2 of 2 runs at stage 1 or further, 0 new stages in ")
    assert everything(tmp_path / "out") == everything(tmp_path / "whole")


def test_more_seeds_and_rules_run_the_new_ones_alone(tmp_path: Path, trained: list[int]) -> None:
    assert run(tmp_path / "out", "--seeds", "1", rules="cold") == 0
    assert run(tmp_path / "out", "--seeds", "2", rules="cold") == 0
    assert run(tmp_path / "out", "--seeds", "2", rules="cold,dash") == 0
    assert len(trained) == 3 * 4
    assert run(tmp_path / "out", "--seeds", "1", rules="dash") == 0
    assert len(trained) == 3 * 4
    assert run(tmp_path / "whole", "--seeds", "2", rules="cold,dash") == 0
    assert everything(tmp_path / "out") == everything(tmp_path / "whole")


def test_machines_that_share_seeds_make_the_table_of_one(tmp_path: Path, trained: list[int]) -> None:
    for name, seed in (("here", "0"), ("there", "1")):
        assert run(tmp_path / name, "--seeds", "1", "--first-seed", seed, rules="cold,dash") == 0
    assert len(trained) == 2 * 2 * 3
    target = tmp_path / "joined" / "cpu" / f"{NAME}.csv"
    joined, _ = join(target, [tmp_path / name / "cpu" / f"{NAME}.csv" for name in ("here", "there")])
    joined.save(target)
    assert run(tmp_path / "whole", "--seeds", "2", rules="cold,dash") == 0
    assert everything(tmp_path / "joined") == everything(tmp_path / "whole")
    trained.clear()
    assert run(tmp_path / "joined", "--seeds", "2", rules="cold,dash") == 0  # a call goes on from it
    assert not trained


def test_runs_of_other_code_are_used_and_said_to_be(
    tmp_path: Path, trained: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hours of work are not thrown away, nor stages that wait to be gone on with; --fresh runs again."""
    assert run(tmp_path / "out", "--stages", "2", rules="dash") == 0
    assert run(tmp_path / "out", rules="cold") == 0
    trained.clear()
    capsys.readouterr()
    monkeypatch.setattr("dashtheory.record.results.code_of", lambda module: "another")
    assert run(tmp_path / "out", rules="cold,dash") == 0
    assert one_line(capsys) == (
        "cold-seed0, dash-seed0 are used, though made by other code or libraries; --fresh runs again\n"
    )
    assert trained == [210]
    assert run(tmp_path / "out", rules="cold") == 0
    assert one_line(capsys) == "cold-seed0 is used, though made by other code or libraries; --fresh runs again\n"
    assert run(tmp_path / "out", rules="dash") == 0  # it was finished by this code
    assert not capsys.readouterr().err
    assert run(tmp_path / "out", "--fresh", rules="cold") == 0
    assert not capsys.readouterr().err
    assert trained == [210, 70, 140, 210]


def test_a_warning_names_many_runs_in_one_line() -> None:
    """It was eight kilobytes for the five hundred trials of a comparison."""
    assert named("abcd") == "a, b, c, d"
    assert named([f"cold-seed{seed}" for seed in range(1200)]) == (
        "cold-seed0, cold-seed1, cold-seed2 and 1,197 more"
    )


def test_some_stages_of_cold_are_run_alone_and_filled_in_later(
    tmp_path: Path, trained: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "whole", "--stages", "3", rules="cold") == 0
    trained.clear()
    assert run(tmp_path / "out", "--stages", "1,3", rules="cold") == 0
    capsys.readouterr()
    assert run(tmp_path / "out", "--stages", "3,1", rules="cold") == 0
    assert capsys.readouterr().out.startswith("1 of 1 runs at stage 3 or further, 0 new stages in ")
    assert trained == [70, 210]
    assert run(tmp_path / "out", "--stages", "3", rules="cold") == 0
    assert trained == [70, 210, 140]
    assert everything(tmp_path / "out") == everything(tmp_path / "whole")


@pytest.mark.parametrize(
    ("stages", "why"), [("2,99", "must be at most 3, the chunks of the stream, got 99"), ("0,1", ">= 1, got 0")]
)
def test_stages_that_are_not_there_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stages: str, why: str
) -> None:
    assert run(tmp_path / "out", "--stages", stages, rules="cold") == 2
    assert why in one_line(capsys)
