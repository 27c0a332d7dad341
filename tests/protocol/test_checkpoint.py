"""Checkpoints read back to the bit; anything else in their place is refused by name."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from dashtheory.errors import DamagedFile, OtherRun
from dashtheory.protocol.checkpoint import FORMAT, Checkpoints
from dashtheory.rules import Learner


def learner(kind: str = "adam", seed: int = 0) -> Learner:
    """A small model after two steps."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    make = {"adam": torch.optim.Adam, "sgd": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9)}[kind]
    made = Learner(model, make(model.parameters(), lr=0.1))  # type: ignore[operator]
    step(made, 2)
    return made


def step(made: Learner, number: int) -> None:
    generator = torch.Generator().manual_seed(number)
    for _ in range(number):
        loss = made.model(torch.randn(5, 3, generator=generator)).square().mean()
        made.optimizer.zero_grad()
        loss.backward()
        made.optimizer.step()


def weights(made: Learner) -> list[torch.Tensor]:
    return [value.clone() for value in made.model.state_dict().values()]


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_a_restored_learner_goes_on_with_the_same_bits(kind: str, tmp_path: Path) -> None:
    mine = learner(kind)
    Checkpoints(tmp_path, {"seed": 0}).save(1, mine, [{"loss": 0.1}], {"start": torch.arange(3.0)})
    step(mine, 3)
    other = learner(kind, seed=1)
    found, problems = Checkpoints(tmp_path, {"seed": 0}).latest()
    assert found is not None
    assert problems == []
    found.restore(other)
    step(other, 3)
    assert all(map(torch.equal, weights(mine), weights(other)))
    assert torch.equal(found.rule["start"], torch.arange(3.0))
    assert found.finished == ({"loss": 0.1},)


def test_numbers_come_back_exactly_nan_and_infinity_too(tmp_path: Path) -> None:
    numbers = {"a": 0.1 + 0.2, "b": float("inf"), "c": 5e-324, "d": float("nan")}
    made = Checkpoints(tmp_path, {})
    made.save(1, learner(), [numbers])
    (back,) = made.load(1).finished
    assert {name: back[name] for name in "abc"} == {name: numbers[name] for name in "abc"}
    assert back["d"] != back["d"]


def test_the_newest_two_stages_are_kept_and_no_other_file(tmp_path: Path) -> None:
    made, mine = Checkpoints(tmp_path, {}), learner()
    assert made.latest() == (None, [])
    for stage in range(1, 5):
        made.save(stage, mine, [{"m": 1.0}] * stage)
        assert made.stages() == list(range(max(1, stage - 1), stage + 1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stage-0003.checkpoint", "stage-0004.checkpoint"]


@pytest.mark.parametrize("cut", [0, 1, 50, 400, -1])
def test_a_truncated_checkpoint_is_named_and_the_one_before_is_used(cut: int, tmp_path: Path) -> None:
    made, mine = Checkpoints(tmp_path, {}), learner()
    for stage in (1, 2):
        made.save(stage, mine, [{"m": 1.0}] * stage)
    path = made.path(2)
    path.write_bytes(path.read_bytes()[:cut])
    found, (problem,) = made.latest()
    assert found is not None
    assert found.stage == 1
    assert str(path) in problem
    assert "\n" not in problem


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    made = Checkpoints(tmp_path, {})
    made.save(1, learner(), [{}])
    whole = bytearray(made.path(1).read_bytes())
    whole[-20] ^= 1
    made.path(1).write_bytes(bytes(whole))
    with pytest.raises(DamagedFile, match=r"checkpoint must be whole, got .*stage-0001\.checkpoint. damaged"):
        made.load(1)


@pytest.mark.parametrize("damage", ['"0x1.z000000000000p+0"', "1", "null", '"0x1p+9999"'])
def test_a_number_that_cannot_be_read_counts_as_damage(damage: str, tmp_path: Path) -> None:
    made = Checkpoints(tmp_path, {})
    for stage in (1, 2):
        made.save(stage, learner(), [{"m": 1.0}] * stage)
    content = made.path(2).read_bytes()
    number = json.dumps((1.0).hex()).encode()
    assert number in content
    made.path(2).write_bytes(content.replace(number, damage.encode(), 1))
    with pytest.raises(DamagedFile, match=r"must have the numbers it was written with, got .*stage-0002"):
        made.load(2)
    as_of_old(made.path(2))  # nothing but their form is known of these
    with pytest.raises(DamagedFile, match=r"must hold numbers that can be read, got .*stage-0002"):
        made.load(2)
    found, (problem,) = made.latest()
    assert found is not None
    assert found.stage == 1
    assert str(made.path(2)) in problem


def test_a_changed_number_counts_as_damage(tmp_path: Path) -> None:
    made = Checkpoints(tmp_path, {})
    made.save(1, learner(), [{"test_accuracy": 0.5}])
    content = made.path(1).read_bytes()
    made.path(1).write_bytes(content.replace((0.5).hex().encode(), (1.0).hex().encode(), 1))
    assert made.path(1).read_bytes() != content
    with pytest.raises(DamagedFile, match="must have the numbers it was written with"):
        made.load(1)


def test_a_checkpoint_of_the_first_format_is_gone_on_with_and_it_is_said(tmp_path: Path) -> None:
    made = Checkpoints(tmp_path, {})
    made.save(1, learner(), [{"m": 0.5}], origin={"stream": "a"})
    as_of_old(made.path(1))
    found, (said,) = made.latest({"stream": "b"})
    assert found is not None
    assert found.finished == ({"m": 0.5},)
    assert "does not say what its run began with" in said


def test_a_run_that_began_with_other_bits_is_refused(tmp_path: Path) -> None:
    made = Checkpoints(tmp_path, {})
    made.save(1, learner(), [{}], origin={"stream": "a", "first weights": "b"})
    assert made.latest({"stream": "a", "first weights": "b"})[1] == []
    with pytest.raises(OtherRun, match=r"another first weights\. .*--fresh"):
        made.latest({"stream": "a", "first weights": "c"})


def test_the_words_of_a_path_decide_nothing(tmp_path: Path) -> None:
    """A damaged file in a folder whose name has the words of another error is passed over all the same."""
    made = Checkpoints(tmp_path / "must be of this run", {})
    made.save(1, learner(), [{}])
    made.path(2).write_bytes(b"")
    found, (problem,) = made.latest()
    assert found is not None
    assert found.stage == 1
    assert str(made.path(2)) in problem


def test_checkpoints_of_another_run_or_stage_are_refused(tmp_path: Path) -> None:
    Checkpoints(tmp_path, {"seed": 0}).save(1, learner(), [{}])
    other = Checkpoints(tmp_path, {"seed": 1})
    for call in (lambda: other.load(1), other.latest):
        with pytest.raises(OtherRun, match=re.escape("checkpoint must be of this run and stage")):
            call()
    mine = Checkpoints(tmp_path, {"seed": 0})
    mine.path(1).rename(mine.path(2))
    with pytest.raises(OtherRun, match="of this run and stage"):
        mine.load(2)
    with pytest.raises(DamagedFile, match="must be a file that can be read"):
        mine.load(1)


@pytest.mark.parametrize("line", [b"", b"{}", b"[1]", b"\xff", json.dumps({"format": "x"}).encode()])
def test_a_foreign_file_is_refused(line: bytes, tmp_path: Path) -> None:
    made = Checkpoints(tmp_path, {})
    tmp_path.joinpath("stage-0001.checkpoint").write_bytes(line + b"\nrest")
    with pytest.raises(DamagedFile, match="must be a file of 'dashtheory checkpoint 2'"):
        made.load(1)


def test_a_checkpoint_that_does_not_fit_the_model_is_refused(tmp_path: Path) -> None:
    made = Checkpoints(tmp_path, {})
    made.save(1, learner(), [{}])
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="checkpoint must fit the model and optimizer"):
        made.load(1).restore(Learner(model, torch.optim.Adam(model.parameters())))


def test_stage_and_metrics_must_fit(tmp_path: Path) -> None:
    made = Checkpoints(tmp_path / "new", {})
    with pytest.raises(ValueError, match="stage must be an integer >= 1, got 0"):
        made.save(0, learner(), [])
    for count in (1, 3):
        with pytest.raises(ValueError, match=f"finished must hold the metrics of 2 stages, got {count}"):
            made.save(2, learner(), [{}] * count)
    assert not (tmp_path / "new").exists()


def as_of_old(path: Path) -> None:
    """Turn a checkpoint into one of the first format, which has no hash of its first line."""
    line, _, body = path.read_bytes().partition(b"\n")
    head = {name: value for name, value in json.loads(line).items() if name not in ("origin", "outside", "seal")}
    path.write_bytes(json.dumps({**head, "format": "dashtheory checkpoint 1"}).encode() + b"\n" + body)


def rewritten(path: Path, body: bytes, **changes: object) -> None:
    """Put another body and head into a checkpoint, with the length and hash that fit."""
    head = json.loads(path.read_bytes().partition(b"\n")[0])
    whole = {"length": len(body), "sha256": hashlib.sha256(body).hexdigest(), **changes}
    said = {name: value for name, value in {**head, **whole}.items() if name != "seal"}
    seal = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    path.write_bytes(json.dumps({**said, "seal": seal}).encode() + b"\n" + body)


class Armed:
    """Pickled, it makes a file where it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


def test_a_foreign_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    made = Checkpoints(tmp_path, {})
    made.save(1, learner(), [{}])
    torch.save({"model": {}, "optimizer": {}, "rule": Armed(tmp_path / "mark")}, tmp_path / "body")
    rewritten(made.path(1), (tmp_path / "body").read_bytes())
    with pytest.raises(DamagedFile, match=r"must hold tensors and plain numbers alone, got .*UnpicklingError"):
        made.load(1)
    assert not (tmp_path / "mark").exists()


def test_another_format_is_refused(tmp_path: Path) -> None:
    made = Checkpoints(tmp_path, {})
    made.save(1, learner(), [{}])
    body = made.path(1).read_bytes().partition(b"\n")[2]
    rewritten(made.path(1), body)
    assert made.load(1).stage == 1
    rewritten(made.path(1), body, format=FORMAT + "0")
    with pytest.raises(ValueError, match=f"must be a file of '{FORMAT}'"):
        made.load(1)


def test_a_write_that_breaks_off_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, mine = Checkpoints(tmp_path, {}), learner()
    made.save(1, mine, [{"m": 1.0}])
    written = Path.write_bytes

    def half(path: Path, data: bytes) -> int:
        written(path, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", half)
        with pytest.raises(OSError, match="No space left"):
            made.save(1, mine, [{"m": 2.0}])
    assert made.load(1).finished == ({"m": 1.0},)
    assert [path.name for path in tmp_path.iterdir()] == ["stage-0001.checkpoint"]


def test_the_order_of_an_identity_does_not_matter(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    Checkpoints(folder, {"seed": 0, "rule": "dash"}).save(1, learner(), [{}])
    assert Checkpoints(folder, {"rule": "dash", "seed": 0}).load(1).stage == 1


def test_only_checkpoints_count_as_stages_and_any_number_of_them(tmp_path: Path) -> None:
    made = Checkpoints(tmp_path, {})
    for stage in (9, 10000, 9999):
        made.path(stage).touch()
    for name in ("stage-0004.checkpoint.old", ".stage-0005-x.checkpoint", "stage-6.checkpoint", "stage-x"):
        (tmp_path / name).touch()
    assert made.stages() == [9, 9999, 10000]
