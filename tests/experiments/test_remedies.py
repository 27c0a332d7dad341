"""The comparison of remedies as a program: it tunes, runs, goes on, takes rules of your own, and writes tables."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dashtheory.command.remedies import main
from dashtheory.command.remedy_results import Kept, compared, kept_results, read_choices, refusals, setting_of
from dashtheory.deep.config import RunConfig
from dashtheory.experiments.equal_tuning import budget
from dashtheory.experiments.remedies import STREAM_NAMES, read_remedy, stream_settings
from dashtheory.experiments.remedy_probe import protocol_record, refusal
from dashtheory.record import load_table, save_table
from dashtheory.record.provenance import plain_config
from tests.experiments.test_simulations import script
from tests.paper.toys import serially

ROOT = Path(__file__).parents[2]
YOUR_OWN = (ROOT / "docs" / "your_own.md").read_text(encoding="utf-8")
REMEDIES = (ROOT / "docs" / "remedies.md").read_text(encoding="utf-8")


class Program:
    """The script in this process, which notes the runs that a call computes."""

    def __init__(self, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.out, self.ran = out, list[str]()

        def note(jobs: list[Any], **options: Any) -> Any:
            for done in serially(jobs, **options):
                self.ran.append(done.name)
                yield done

        monkeypatch.setattr("dashtheory.command.grow.run_jobs", note)

    def __call__(self, *options: str, status: int = 0) -> list[str]:
        self.ran.clear()
        assert main(script("remedies").write, ["--out", str(self.out), *options]) == status
        return list(self.ran)

    def tables(self) -> str:
        return (self.out / "TABLES.md").read_text()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.setattr("dashtheory.command.remedies.QUICK", {**QUICK, "model_options": ("widths=8",)})
    return Program(tmp_path / "out", monkeypatch)


QUICK = {"num_chunks": 2, "chunk_size": 30, "batch_size": 12, "num_test": 50, "max_epochs": 2}


def test_a_call_tunes_runs_and_writes_and_a_second_one_computes_nothing(program: Program) -> None:
    options = ["--quick", "--rules", "sp:shrink=0.1/0.3/0.6,l2_init"]
    first = program(*options)
    assert len(first) == len(set(first))
    choices = read_choices(program.out / "cpu" / "digits-choices.json")["rules"]
    assert set(choices) == {"cold", "warm", "sp", "l2_init"}
    assert all(len(facts["trials"]) == budget(1) for facts in choices.values())
    table, _ = load_table(program.out / "cpu" / "digits.csv")
    assert {facts["tuned"] for facts in choices.values()} | set(choices) <= set(table["rule"])
    assert any(rule.startswith("norm_matched:of=sp") for rule in table["rule"])
    written = {path.name: path.read_bytes() for path in program.out.iterdir() if path.is_file()}
    assert set(written) == {"remedies.png", "remedies.svg", "remedies.csv", "remedies.json", "TABLES.md"}
    assert program(*options) == []
    assert program("--redraw") == []
    assert {path.name: path.read_bytes() for path in program.out.iterdir() if path.is_file()} == written
    for name in ("cold", "warm", "S&P", "L2-init"):
        assert re.search(rf"^\| {re.escape(name)} \| ", program.tables(), re.MULTILINE)


def test_what_is_passed_on_draws_and_scores_the_same_without_the_raw_results(program: Program) -> None:
    program("--quick", "--rules", "reset,sp:shrink=0.1/0.3/0.6")
    written = {path.name: path.read_bytes() for path in program.out.iterdir() if path.is_file()}
    shutil.rmtree(program.out / "cpu")
    program("--redraw")
    assert {path.name: path.read_bytes() for path in program.out.iterdir() if path.is_file()} == written


def test_a_new_rule_is_compared_with_runs_that_were_passed_on(program: Program) -> None:
    program("--quick", "--rules", "reset")
    before = program.tables()
    shutil.rmtree(program.out / "cpu")
    ran = program("--quick", "--rules", "warm_rm")
    assert not [name for name in ran if name.startswith("reset")]
    (row,) = [line for line in before.splitlines() if line.startswith("| new classifier")]
    kept = kept_results(program.out)["digits"]
    assert {choice.remedy.rule for choice in compared({"digits": kept})[0].choices} == {
        *("cold", "warm", "reset", "warm_rm")
    }
    assert row.split(" | ")[:6] in [line.split(" | ")[:6] for line in program.tables().splitlines()]
    program("--quick", "--rules", "warm_rm", "--fresh")
    assert "| new classifier" not in program.tables()


def test_a_stream_as_it_is_keeps_its_title_and_another_one_says_so() -> None:
    setting = stream_settings(["half"])["half"]
    facts = {"rules": {}, "refused": {}, "seeds": 1}
    for values, end in (({}, ""), ({"batch_size": 7}, ": a setting of your own")):
        config = plain_config(setting.config.with_values(**values))
        one = Kept(config=config, data={}, choices=facts, runs=pd.DataFrame(), seeds=(), made={})
        assert setting_of("half", one).title == setting.title + end


def test_fewer_seeds_lose_nothing_of_what_was_passed_on(program: Program) -> None:
    program("--quick", "--rules", "reset", "--seeds", "3")
    shutil.rmtree(program.out / "cpu")
    program("--quick", "--rules", "warm_rm", "--seeds", "2")
    kept = kept_results(program.out)["digits"]
    assert kept.seeds == (0, 1, 2)
    assert set(kept.runs.loc["reset"].index) == {0, 1, 2}
    found = compared({"digits": kept})[0].scores
    assert set(found["n"]) == {3}
    assert "warm_rm" not in set(found["rule"])
    assert "- `warm_rm`: not all" in program.tables()


def numbers(program: Program) -> pd.DataFrame:
    """What is passed on, but for times."""
    table, _ = load_table(program.out / "remedies.csv")
    return table[~table["metric"].isin(["seconds", "rule_share"])].reset_index(drop=True)


def test_what_was_passed_on_is_taken_over_and_what_lacks_is_run(program: Program) -> None:
    whole = ["--quick", "--rules", "reset,sp:shrink=0.1/0.3/0.6", "--seeds", "3"]
    program(*whole)
    wanted = numbers(program)
    program("--quick", "--rules", "reset", "--seeds", "2", "--fresh")
    shutil.rmtree(program.out / "cpu")
    ran = program(*whole, "--take-over")
    known = [name for name in ran if name.startswith(("cold", "warm", "reset"))]
    assert known
    assert all(name.endswith("-seed2") for name in known)
    assert any(name.startswith("sp") and name.endswith("-seed0") for name in ran)
    pd.testing.assert_frame_equal(numbers(program), wanted)
    shutil.rmtree(program.out / "cpu")
    assert program(*whole, "--take-over") == []
    pd.testing.assert_frame_equal(numbers(program), wanted)


def test_what_is_of_another_setting_or_of_a_rule_of_your_own_is_not_taken_over(
    program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(re.findall(r"```python\n(.*?)```", YOUR_OWN, re.DOTALL)[0], encoding="utf-8")
    options = ["--quick", "--rules", f"python:{mine}:Mine"]
    program(*options)
    shutil.rmtree(program.out / "cpu")
    ran = program(*options, "--take-over")
    assert ran
    assert not [name for name in ran if name.startswith(("cold", "warm"))]
    program(*options, "--take-over", "--rounds", "2", status=2)
    assert "--take-over must find results of the same setting and data, got digits of" in capsys.readouterr().err
    program(*options, "--take-over", "--fresh", status=2)
    assert "--take-over must be left out with --fresh" in capsys.readouterr().err


def test_other_data_or_another_setting_are_not_joined(program: Program) -> None:
    program("--quick", "--rules", "reset")
    path = program.out / "remedies.csv"
    table, facts = load_table(path)
    facts["streams"]["digits"]["data"]["data"]["train"] += 1  # type: ignore[index]
    save_table(
        table, path, {name: value for name, value in facts.items() if name not in ("format", "table_sha256")}
    )
    digits = program.out / "cpu" / "digits-choices.json"
    chosen = read_choices(digits)
    chosen["rules"].pop("reset")
    digits.write_text(json.dumps(chosen))
    assert "reset" not in kept_results(program.out)["digits"].choices["rules"]


@pytest.mark.parametrize("stream", ["half", "wrong_first", "equal_epochs"])
def test_every_stream_of_digits_has_a_toy(stream: str, program: Program) -> None:
    program("--quick", "--rules", "warm", "--streams", stream)
    setting = stream_settings([stream])[stream]
    made = kept_results(program.out)[stream].config
    assert made["training"]["criterion"] == setting.config.training.criterion


def test_trials_see_no_test_example_and_other_seeds(program: Program) -> None:
    program("--quick", "--rules", "warm")
    table, facts = load_table(program.out / "cpu" / "digits-trials.csv")
    config: dict[str, dict[str, Any]] = facts["config"]  # type: ignore[assignment]
    assert config["data"]["held_out"] is True
    mains, main_facts = load_table(program.out / "cpu" / "digits.csv")
    main_config: dict[str, dict[str, Any]] = main_facts["config"]  # type: ignore[assignment]
    assert "held_out" not in main_config["data"]
    assert set(table["seed"]).isdisjoint(mains["seed"])


def test_more_rules_and_seeds_add_to_what_is_there(program: Program) -> None:
    program("--quick", "--rules", "warm")
    added = program("--quick", "--rules", "reset", "--seeds", "3")
    assert not [name for name in added if re.match(r"(cold|warm).*-seed(0|1|1000)$", name)]
    assert [name for name in added if re.match(r"(cold|warm).*-seed2$", name)]
    assert {choice.remedy.rule for choice in compared(kept_results(program.out))[0].choices} == {
        "cold",
        "warm",
        "reset",
    }


def test_a_rule_of_your_own_is_one_file_and_one_option(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command of both pages, on the class of the page that they link to."""
    (command,) = re.findall(r"```\npython simulations/remedies.py (--streams .*)\n```", REMEDIES)
    assert f"```sh\npython simulations/remedies.py {command}\n```" in YOUR_OWN
    assert "](your_own.md#a-rule)" in REMEDIES
    assert "](remedies.md)" in YOUR_OWN
    code = re.findall(r"```python\n(.*?)```", YOUR_OWN, re.DOTALL)[0]
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)
    program("--quick", *words)
    rule, _, grid = words[-1].rpartition(":strength=")
    facts = read_choices(program.out / "cpu" / "digits-choices.json")["rules"]
    assert set(facts) == {"cold", "warm", rule}
    assert facts[rule]["grid"] == [float(value) for value in grid.split("/")]
    assert len(facts[rule]["trials"]) == budget(1)
    assert "| Mine | strength " in program.tables()


def test_a_rule_that_cannot_act_is_left_out_with_its_reason(program: Program) -> None:
    program("--quick", "--rules", "inject:layer=nowhere,warm_rm")
    found = compared(kept_results(program.out))[0]
    assert set(found.refused) == {"inject:layer=nowhere"}
    assert "- `inject:layer=nowhere` does not act here: layer must" in program.tables()
    assert "| warm, new optimizer |" in program.tables()


def test_a_rule_that_acts_since_is_no_longer_told_as_left_out() -> None:
    before = {"reset": "it had no classifier", "crelu": "of then"}
    assert refusals(before, {"crelu": "of now"}, {"warm", "reset"}) == {"crelu": "of now"}
    assert refusals(before, {}, {"warm"}) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--streams", "none"], "streams must be among digits"),
        (["--rules", "sp:shrink=0.3/0.1"], "rules must have grids that rise"),
        (["--rules", "warm:warmup_epochs=2/4"], "rules must have grids of the rule's own numbers"),
        (["--seeds", "1"], "--seeds must be an integer >= 2"),
        (["--jobs", "0"], "--jobs must be an integer >= 1"),
        (["--rounds", "0"], "--rounds must be an integer >= 1"),
        (["--redraw"], "--redraw must find the results of a stream"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    options: list[str], message: str, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    program(*options, status=2)
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert message in text


def test_rules_of_one_table_are_searched_for_in_as_many_rounds(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also beside rules of which nothing is here but the table that was passed on."""
    twice = ["--quick", "--rounds", "2", "--rules", "warm_rm"]
    program("--quick", "--rules", "reset")
    written = (program.out / "remedies.csv").read_bytes()
    for _ in range(2):
        assert program(*twice, status=2) == []
        assert "--rounds must be 1, as it was for reset in" in capsys.readouterr().err
        assert (program.out / "remedies.csv").read_bytes() == written
        shutil.rmtree(program.out / "cpu", ignore_errors=True)
    program(*twice, "--fresh")
    assert "Trials: at most 17 a rule in 2 rounds of searches, each on" in program.tables()
    assert kept_results(program.out)["digits"].choices["rounds"] == 2
    program("--quick", "--rules", "warm_rm")  # the same rules, all of them
    assert "Trials: 9 a rule, each on" in program.tables()


def test_choices_that_cannot_be_read_are_refused(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    program("--quick", "--rules", "warm")
    path = program.out / "cpu" / "digits-choices.json"
    facts = json.loads(path.read_text())
    changes: list[dict[str, Any]] = [{"rules": [3]}, {"refused": None}, {"seeds": None}]
    changes += [{"rules": {"warm": {"values": {}}}}, {"rules": {"warm": 3}}]
    for change in changes:
        path.write_text(json.dumps({**facts, **change}))
        program("--quick", "--rules", "warm", status=2)
        assert "choices must be those of an earlier call" in capsys.readouterr().err, change
    assert program("--quick", "--rules", "warm", "--fresh")
    assert read_choices(path)["budget"] == budget(1)


def test_the_real_program_answers_for_help_and_errors(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "simulations" / "remedies.py"), "--out", str(tmp_path)]
    asked = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert all(name in asked.stdout for name in STREAM_NAMES)
    wrong = subprocess.run([*command, "--rules", "nothing"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert wrong.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["digits", "half", "wrong_first", "equal_epochs", "text"])
def test_batches_divide_chunks_held_out_or_not(name: str) -> None:
    """A short last batch has batch-norm statistics of its own; trials would then differ from runs in kind."""
    config = stream_settings([name])[name].config
    sizes = [*config.data.stage_sizes, *config.with_values(held_out=True).data.stage_sizes]
    rest = {size % config.training.batch_size for size in sizes}
    assert rest <= ({0, config.training.batch_size // 2} if config.data.pictures else set(range(16)))


def test_a_probe_says_in_the_rule_s_words_why_it_does_not_act() -> None:
    setting = stream_settings(["half"])["half"]
    assert refusal(read_remedy("dash:lam=0.05/0.1/0.3"), setting) == ""
    assert refusal(read_remedy("reset:layer=nowhere"), setting).startswith("layer must")


def test_the_protocol_s_record_tells_streams_apart() -> None:
    records = {name: protocol_record(one.config) for name, one in stream_settings().items() if name != "cifar10"}
    texts = [json.dumps(record) for record in records.values()]
    assert len(set(texts)) == len(texts)
    assert "50% wrong in the first stage" in records["wrong_first"]["what changes"]
    assert records["equal_epochs"]["stop rule"] == "40 epochs"
    assert "nat" in records["text"]["stop rule"]
    assert protocol_record(RunConfig.of(pad=2))["augmentation"] != "none"


def test_tables_hold_the_means_of_the_runs(program: Program) -> None:
    program("--quick", "--rules", "warm")
    table = pd.read_csv(program.out / "cpu" / "digits.csv")
    (row,) = (line for line in program.tables().splitlines() if line.startswith("| warm | "))
    tuned = read_choices(program.out / "cpu" / "digits-choices.json")["rules"]["warm"]["tuned"]
    mine = table[(table["rule"] == tuned) & (table["metric"] == "test_accuracy")]
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[3] == f"{100 * mine[mine['stage'] == 2]['value'].mean():.1f}"
    assert cells[4] == f"{100 * mine['value'].mean():.1f}"


def test_the_order_of_the_picture_is_by_ranks_not_by_means_of_other_units() -> None:
    nats, points = {"warm_rm": 0.1, "sp": 0.3, "dash": 0.2}, {"warm_rm": 1.0, "sp": -9.0, "dash": 2.0}
    rows = [(rule, "text", mean) for rule, mean in nats.items()]
    rows += [(rule, stream, mean) for stream in ("half", "digits") for rule, mean in points.items()]
    rows += [("fire", "half", 3.0)]  # run on one stream alone
    table = pd.DataFrame(rows, columns=["rule", "stream", "mean"])
    order = script("remedies").best_first(table)
    assert order == ["fire", "dash", "sp", "warm_rm"]  # by means sp would be last
    scaled = table.assign(mean=table["mean"].where(table["stream"] != "text", 1000 * table["mean"]))
    assert script("remedies").best_first(scaled) == order
