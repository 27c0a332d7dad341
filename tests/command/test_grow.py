"""Results grow: what is there and fits is used again, and everything else is computed anew."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dashtheory.command import grow as grow_module
from dashtheory.command.grow import others, seed_groups
from dashtheory.command.script import main
from dashtheory.deep import run as run_module
from dashtheory.deep.config import RunConfig
from dashtheory.parallel import Done, Report
from dashtheory.protocol import Training, train
from dashtheory.protocol import stages as stages_module
from dashtheory.record import Results, load_results
from dashtheory.rules import Learner
from dashtheory.stream import Examples
from tests.experiments.test_simulations import script
from tests.paper.toys import serially
from tests.toys import GROUPED, TOY


class Calls:
    """Calls of a script in one folder, in this process, that note the runs which they compute."""

    def __init__(self, made: Any, out: Path, usual: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.made, self.out, self.usual = made, out, usual
        self.ran: list[str] = []

        def note(jobs: list[Any], **options: Any) -> Iterator[Done]:
            for done in serially(jobs, **options):
                self.ran.append(done.name)
                yield done

        monkeypatch.setattr(grow_module, "run_jobs", note)

    def __call__(self, *options: str, status: int = 0, out: str = "out") -> list[str]:
        """Names of the runs that a call computes."""
        self.ran.clear()
        assert main(self.made, ["--out", str(self.out / out), *self.usual, *options]) == status
        return list(self.ran)

    def table(self, out: str = "out") -> bytes:
        return (self.out / out / f"{self.made.name}.csv").read_bytes()

    def at_once(self, *options: str) -> bytes:
        """The table of one call in a folder of its own."""
        place = f"once {options}".replace("/", "_")
        self(*options, out=place)
        return self.table(place)

    def waiting(self) -> set[str]:
        paths = self.out.glob(f"out/.partial/{self.made.name}-*/others.csv")
        return {name for path in paths for name in load_results(path).runs}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(TOY, tmp_path, ["--jobs", "1"], monkeypatch)


DEEP = [
    *["--model", "mlp", "--model-options", "widths=16", "--num-chunks", "3", "--chunk-size", "40", "--num-test"],
    *[
        "60",
        "--batch-size",
        "20",
        "--max-epochs",
        "2",
        "--learning-rate",
        "0.1",
        "--data",
        "digits",
        "--jobs",
        "1",
    ],
]
SCRIPTS: dict[str, tuple[list[str], list[str]]] = {  # usual options, and the rules from which it grows
    "discrete_learning": (["--num-stages", "4", "--num-test", "100", "--jobs", "1"], ["cold", "warm", "ideal"]),
    "warm_start_images": (DEEP, ["cold", "warm", "dash"]),
}


@pytest.fixture(params=SCRIPTS)
def real(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """A figure of level 1 and one on real pictures, both with a job per seed and rule."""
    usual, rules = SCRIPTS[request.param]
    return Calls(script(request.param).SCRIPT, tmp_path, [*usual, "--rules", ",".join(rules)], monkeypatch)


def test_more_seeds_compute_the_new_runs_alone_and_give_the_bytes_of_all_at_once(real: Calls) -> None:
    rules = real.usual[-1].split(",")
    assert real("--seeds", "1") == [f"{rule}-seed0" for rule in rules]
    assert real("--seeds", "2") == [f"{rule}-seed1" for rule in rules]
    assert real("--seeds", "2") == []
    assert real.table() == real.at_once("--seeds", "2")


def test_more_rules_compute_the_new_runs_alone_and_give_the_bytes_of_all_at_once(real: Calls) -> None:
    first, *_, last = real.usual[-1].split(",")
    assert real("--seeds", "1", "--rules", f"{first},{last}") == [f"{first}-seed0", f"{last}-seed0"]
    (new,) = set(real.usual[-1].split(",")) - {first, last}
    assert real("--seeds", "1") == [f"{new}-seed0"]
    assert real.table() == real.at_once("--seeds", "1")


def test_more_stages_go_on_and_give_the_bytes_of_all_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = script("warm_start_images").SCRIPT
    calls = Calls(made, tmp_path, [*DEEP, "--seeds", "1", "--rules", "cold,dash"], monkeypatch)
    assert calls("--stages", "1") == ["cold-seed0", "dash-seed0"]
    path = tmp_path / "out" / "warm_start_images.csv"
    assert {facts["stages"] for facts in load_results(path).runs.values()} == {1}
    trained: list[int] = []

    def note(learner: Learner, examples: Examples, *rest: Any, **options: Any) -> Training:
        trained.append(len(examples))
        return train(learner, examples, *rest, **options)

    monkeypatch.setattr(stages_module, "train", note)
    assert calls("--stages", "1") == [] == trained
    assert calls("--stages", "3") == ["cold-seed0", "dash-seed0"]
    assert trained == [80, 120] * 2  # the first stage is not trained again
    assert calls.table() == calls.at_once("--stages", "3") == calls.at_once()
    assert not (tmp_path / "out" / ".partial").exists()
    assert calls("--stages", "2") == []  # there are more than that
    assert calls.table() == calls.at_once()


def test_stages_of_other_code_are_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the saved stages nor those that wait in checkpoints."""
    made = script("warm_start_images").SCRIPT
    calls = Calls(made, tmp_path, [*DEEP, "--seeds", "1", "--rules", "dash"], monkeypatch)
    calls("--stages", "2")
    trained: list[int] = []

    def note(learner: Learner, examples: Examples, *rest: Any, **options: Any) -> Training:
        trained.append(len(examples))
        return train(learner, examples, *rest, **options)

    monkeypatch.setattr(stages_module, "train", note)
    monkeypatch.setattr("dashtheory.record.results.code_of", lambda module: "another")
    assert calls("--stages", "2") == ["dash-seed0"]
    assert trained == [40, 80]
    assert calls() == ["dash-seed0"]
    assert trained == [40, 80, 120]
    assert not (tmp_path / "out" / ".partial").exists()  # the stages of the other code, too


def test_out_of_time_keeps_what_has_ended_and_what_was_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The budget of the second call is over in the second stage of its second run."""
    calls = Calls(script("warm_start_images").SCRIPT, tmp_path, [*DEEP, "--rules", "cold,dash"], monkeypatch)
    calls("--seeds", "1", "--stages", "1")
    drawn, clock = calls.table(), [0.0]

    class Watch(run_module.Watch):
        def __init__(self, config: RunConfig, number: int | None, deadline: float | None, report: Report) -> None:
            super().__init__(config, number, 1.0, report, lambda: clock[0])
            self.rule = config.rules[0]

        def on_stage(self, stage: int, metrics: Mapping[str, float]) -> None:
            super().on_stage(stage, metrics)
            if self.rule == "dash" and stage == 2:
                clock[0] = 2.0

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "Watch", Watch)
        capsys.readouterr()
        assert calls("--seeds", "1", "--budget", "9m") == ["cold-seed0", "dash-seed0"]
    said = capsys.readouterr().out
    assert said == "out of time with 1 of 2 runs, nothing drawn; the same command goes on\n"
    assert calls.table() == drawn
    kept = load_results(next(tmp_path.glob("out/.partial/warm_start_images-*/runs.csv")))
    assert {name: facts["stages"] for name, facts in kept.runs.items()} == {"cold-seed0": 3, "dash-seed0": 2}
    assert calls("--seeds", "1") == ["dash-seed0"]
    assert calls.table() == calls.at_once("--seeds", "1")
    assert not (tmp_path / "out" / ".partial").exists()


def test_a_stream_of_ones_own_is_as_long_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as long as --num-chunks says, which is for the data sets of the package."""
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "from dashtheory.deep.data import stream_of_tensors\n"
        "def data(generator):\n"
        "    x = torch.from_numpy(generator.normal(size=(90, 5))).float()\n"
        "    return stream_of_tensors(x[:70], (x[:70, 0] > 0).long(), x[70:], (x[70:, 0] > 0).long(), 7)\n"
    )
    mine = ["--data", f"python:{tmp_path}/mine.py:data", "--seeds", "1", "--rules", "warm,dash"]
    sizes = DEEP.index("--num-chunks"), DEEP.index("--batch-size")  # which are the stream's own
    options = [*DEEP[: sizes[0]], *DEEP[sizes[1] :], *mine]
    calls = Calls(script("warm_start_images").SCRIPT, tmp_path, options, monkeypatch)
    for stages, words in ((1, ["--stages", "1"]), (6, ["--stages", "6"]), (7, []), (7, ["--stages", "9"])):
        ran = calls(*words)
        assert ran == (["warm-seed0", "dash-seed0"] if words != ["--stages", "9"] else [])
        runs = load_results(tmp_path / "out" / "warm_start_images.csv").runs.values()
        assert {(facts["stages"], facts["complete"]) for facts in runs} == {(stages, stages == 7)}
    assert calls.table() == calls.at_once()
    assert not (tmp_path / "out" / ".partial").exists()


def test_a_smaller_call_loses_nothing(toy: Calls, tmp_path: Path) -> None:
    toy("--seeds", "3")
    whole = toy.table()
    assert toy("--seeds", "1", "--rules", "warm") == []
    assert toy.table() == toy.at_once("--seeds", "1", "--rules", "warm")
    assert toy.waiting() == {"cold-0", "cold-1", "cold-2", "warm-1", "warm-2"}
    assert toy("--seeds", "2", "--rules", "warm,hot") == ["hot-0", "hot-1"]
    assert toy("--seeds", "3") == []
    assert toy.table() == whole
    assert toy.waiting() == {"hot-0", "hot-1"}
    assert toy("--seeds", "3", "--rules", "cold,warm,hot") == ["hot-2"]
    assert not (tmp_path / "out" / ".partial").exists()


def test_seeds_that_are_computed_together_grow_by_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(GROUPED, tmp_path, ["--jobs", "1"], monkeypatch)
    assert calls("--seeds", "2") == ["cold-seeds0-1", "warm-seeds0-1"]
    assert calls("--seeds", "4") == ["cold-seeds2-3", "warm-seeds2-3"]
    assert calls.table() == calls.at_once("--seeds", "4")
    assert calls("--seeds", "3", "--rules", "warm") == ["warm-seeds2-2"]
    assert calls.table() == calls.at_once("--seeds", "3", "--rules", "warm")
    assert calls.waiting() == {"cold-seeds0-1", "cold-seeds2-3", "warm-seeds2-3"}
    assert calls("--seeds", "4") == []
    assert calls.table() == calls.at_once("--seeds", "4")
    assert calls("--seeds", "1") == ["cold-seeds0-0", "warm-seeds0-0"]  # beside the groups that hold it
    assert calls("--seeds", "4") == []
    assert calls.table() == calls.at_once("--seeds", "4")


def test_groups_are_those_that_are_there_and_one_of_the_rest() -> None:
    def of(*groups: list[int]) -> Results:
        tables = {str(seeds): GROUPED.plan(GROUPED.config(), seeds)[0] for seeds in groups}
        made = {name: job.function(**job.arguments, report=lambda *_: None) for name, job in tables.items()}
        return Results(name="grouped", config={}, tables=made, runs={name: {} for name in made})

    assert seed_groups([0, 1, 2], []) == [[0, 1, 2]]
    assert seed_groups([0, 1, 2, 3], [of([1, 2])]) == [[0, 3], [1, 2]]
    assert seed_groups([0, 1, 2, 3], [of([1, 2]), of([2, 3], [0])]) == [[0], [1, 2], [3]]
    assert seed_groups([0, 1], [of([0, 1, 2])]) == [[0, 1]]
    assert set(others(of(), [], [of([1, 2]), of([2, 3], [0])]).runs) == {"[1, 2]", "[0]"}  # the first of two


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("data", "other data"),
        ("code", "another version of the code"),
        ("versions", "other versions of the libraries"),
    ],
)
def test_what_does_not_fit_is_computed_anew_and_said_in_one_line(
    change: str, words: str, toy: Calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toy()
    capsys.readouterr()
    path = toy.out / "out" / "toy.json"
    facts = json.loads(path.read_text())
    for run in facts["runs"].values():
        run["identity"][change] = "0"
    path.write_text(json.dumps(facts))
    assert toy() == ["cold-0", "warm-0", "cold-1", "warm-1"]
    assert capsys.readouterr().err == f"not used again, made with {words}: cold-0 and 3 more\n"
    assert toy.table() == toy.at_once()
    assert toy() == []
    assert not capsys.readouterr().err


def test_one_run_that_does_not_fit_is_named_alone(toy: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    toy()
    path = toy.out / "out" / "toy.json"
    facts = json.loads(path.read_text())
    facts["runs"]["warm-1"]["identity"].update(code="0", data="0")
    path.write_text(json.dumps(facts))
    capsys.readouterr()
    assert toy() == ["warm-1"]
    assert (
        capsys.readouterr().err == "not used again, made with other data and another version of the code: warm-1\n"
    )


def test_recompute_uses_nothing_of_the_table_and_fresh_nothing_at_all(toy: Calls) -> None:
    toy("--seeds", "3")
    whole = toy.table()
    assert toy("--seeds", "1", "--rules", "cold") == []  # the others wait
    assert toy("--recompute", "--rules", "cold") == ["cold-0"]
    assert toy("--recompute", "--rules", "cold", "--seeds", "1") == ["cold-0"]
    assert toy("--recompute", "--seeds", "3", "--rules", "warm") == []  # those that wait are in no table
    assert toy("--fresh", "--seeds", "3") == [f"{rule}-{seed}" for seed in (0, 1, 2) for rule in ("cold", "warm")]
    assert toy.table() == whole
    assert not toy.waiting()


def test_since_keeps_a_table_that_is_newer_and_of_this_code(
    toy: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make figures` goes on after a kill: figures that it had finished are not begun again."""
    since, picture = tmp_path / "since", toy.out / "out" / "toy.png"
    toy()
    since.touch()
    again = ["--recompute", "--since", str(since)]
    assert toy(*again) == ["cold-0", "warm-0", "cold-1", "warm-1"]  # it is older
    made = picture.stat().st_mtime_ns
    capsys.readouterr()
    assert toy(*again) == []
    assert capsys.readouterr().out == f"{toy.out / 'out' / 'toy.csv'} is whole and newer than '{since}'\n"
    assert picture.stat().st_mtime_ns == made
    picture.unlink()  # the kill came before it was drawn
    assert toy(*again) == []
    assert picture.exists()
    assert toy(*again, "--seeds", "3") == ["cold-2", "warm-2"]
    assert toy(*again) == []
    assert set(load_results(toy.out / "out" / "toy.csv").runs) == {"cold-0", "warm-0", "cold-1", "warm-1"}
    assert toy(*again, "--fresh") == ["cold-0", "warm-0", "cold-1", "warm-1"]
    monkeypatch.setattr("dashtheory.record.results.code_of", lambda module: "another")
    assert toy(*again) == ["cold-0", "warm-0", "cold-1", "warm-1"]
    since.unlink()
    with pytest.raises(SystemExit, match="2"):
        toy(*again)
    assert "--since: must name a file that is there" in capsys.readouterr().err


def test_a_full_disk_keeps_what_was_kept(toy: Calls, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """No room from the third run on, nor for what waits: the next call goes on after the second run."""
    toy("--seeds", "2", "--rules", "warm")
    written, left = Path.write_bytes, [2 * 3]  # pairs: what waits, and two runs

    def full(path: Path, data: bytes) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return written(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert toy("--seeds", "4", "--rules", "cold", status=2) == ["cold-0", "cold-1", "cold-2"]
    assert "(No space left on device). Finished runs are kept" in capsys.readouterr().err
    (kept,) = toy.out.glob("out/.partial/toy-*")
    assert set(load_results(kept / "runs.csv").runs) == {"cold-0", "cold-1"}
    assert toy.waiting() == {"warm-0", "warm-1"}
    assert set(load_results(toy.out / "out" / "toy.csv").runs) == {"warm-0", "warm-1"}
    assert toy("--seeds", "4", "--rules", "cold") == ["cold-2", "cold-3"]
    assert toy("--seeds", "2") == []


def test_a_kill_at_any_write_loses_at_most_the_run_that_was_being_saved(
    toy: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL before each place that a file takes, one call after the other, until a call gets through."""
    toy("--seeds", "2", "--rules", "warm")
    toy("--seeds", "1", "--rules", "hot")

    class Killed(BaseException):
        """The end of the process."""

    replace, unlink = Path.replace, Path.unlink
    total, kills = [], 0
    for moment in range(1, 40):
        left = [moment]

        def stop(path: Path, target: Path, left: list[int] = left) -> Path:
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return replace(path, target)

        def keep(path: Path, missing_ok: bool = False, left: list[int] = left) -> None:
            if left[0] > 0:  # nothing is tidied up by a process that is dead
                unlink(path, missing_ok=missing_ok)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", stop)
            patch.setattr(Path, "unlink", keep)
            patch.setattr("tests.toys.plt.Figure.savefig", lambda *_, **__: None)
            try:
                total += toy("--seeds", "2")
            except Killed:
                total += toy.ran
                kills += 1
                continue
        break
    assert kills > 6
    assert toy("--seeds", "2") == []
    assert toy("--seeds", "1", "--rules", "hot") == []
    assert set(total) == {"cold-0", "cold-1"}  # what was there before is never computed again
    assert len(total) <= 2 + kills
