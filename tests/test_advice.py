"""Advice of errors, followed to the letter at the door where it was given: Python, or a command line."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dashtheory
from dashtheory._check import again, called, fail, in_words, keep_words
from dashtheory.command.guard import guarded
from dashtheory.command.options import option_names
from dashtheory.command.program import SCRIPT
from dashtheory.command.script import _configuration, _parser
from dashtheory.deep import data as data_module
from dashtheory.deep.config import RunConfig
from dashtheory.deep.data import (
    ImageData,
    ImageSet,
    find_data,
    image_folder,
    make_stream,
    stream_of_dataset,
    stream_of_tensors,
)
from dashtheory.deep.data.text import python_topics, text_stream
from dashtheory.deep.run import rule_jobs, run_rule
from dashtheory.deep.task import make_source
from dashtheory.errors import Diverged
from dashtheory.scoring import cross_entropy
from tests.deep.data_cases import placed, png

PACKAGE = Path(dashtheory.__file__).parent


# The words.


def told(argument: str, fix: str) -> ValueError:
    with pytest.raises(ValueError, match="must be") as raised:
        fail(argument, "must be a size=1", "'size=2'", fix)
    return raised.value


@pytest.mark.parametrize(
    ("argument", "fix", "expected"),
    [
        ("size", "Say size=8.", "--size must be a size=1, got 'size=2'. Say --size 8."),
        ("path", "Say size='a b', or chunk_size=3.", "got 'size=2'. Say --size a b, or --chunk-size 3."),
        (
            "size and path",
            "Lower chunk_size=.",
            "--size and path must be a size=1, got 'size=2'. Lower --chunk-size.",
        ),
        ("path", "Say flip=False, not flip=True.", "Say --flip no, not --flip yes."),
        ("path", "Write dash:size=0.05, say.", "Write dash:size=0.05, say."),
        ("path", "Call find_data(path, size=8).", "Call find_data(path, size=8)."),
        ("options of size", "Drop path=1.", "options of size must be a size=1, got 'size=2'. Drop path=1."),
    ],
)
def test_a_command_line_writes_arguments_as_options(argument: str, fix: str, expected: str) -> None:
    names = {"size": "--size", "chunk_size": "--chunk-size", "flip": "--flip"}
    error = told(argument, fix)
    assert expected in in_words(error, names)
    assert in_words(error, {}) == str(error)
    keep_words(error)
    assert in_words(error, names) == str(error)


def test_inner_names_become_the_callers_and_errors_keep_their_class() -> None:
    with (
        pytest.raises(ValueError, match=r"^size must be small, got 9\. Lower size=\.$") as raised,
        called(context="size"),
    ):
        fail("context", "must be small", "9", "Lower context=.")
    assert in_words(raised.value, {"size": "--size"}) == "--size must be small, got 9. Lower --size."
    with pytest.raises(Diverged) as diverged:
        fail("loss", "must be finite", "nan", "Train on.", error=Diverged)
    with pytest.raises(Diverged, match=r"^loss must be finite, got nan\. Stop\.$"):
        again(diverged.value, fix="Stop.")
    foreign = KeyError("size")
    assert in_words(foreign, {"size": "--size"}) == "'size'"


def literal(node: ast.AST) -> str:
    """Text of a fix as far as it stands in the source."""
    parts = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return " ".join(parts)


def fixes() -> Iterator[tuple[str, str]]:
    """Fixes of all errors of the package, and where they stand."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            place = f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Assign) and "fix" in {getattr(one, "id", "").lower() for one in node.targets}:
                yield place, literal(node.value)
            if not isinstance(node, ast.Call):
                continue
            named = [word.value for word in node.keywords if word.arg == "fix"]
            positional = node.args[3:4] if getattr(node.func, "id", "") == "fail" else []
            yield from ((place, literal(fix)) for fix in (*named, *positional))


def arguments() -> set[str]:
    """Names of arguments of functions and fields of classes of the package."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.arg):
                found.add(node.arg)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(node.target.id)
    return found


def test_fixes_name_arguments_that_there_are_in_the_form_that_doors_translate() -> None:
    known, seen = arguments(), 0
    for place, fix in fixes():
        seen += 1
        for name in re.findall(r"\b([a-z_0-9]+)=", fix):
            assert name in known, f"{place} names no argument: {fix}"
        bare = re.findall(r"(?<![\w.`(:])([a-z]+_[a-z_]+)\b(?![=(\w]|\.\w)", fix)
        assert not known & set(bare), f"{place} must write name=: {fix}"
        if not place.startswith("command"):
            assert "--" not in fix or "on a command line" in fix, f"{place} speaks of options to Python: {fix}"
    assert seen > 400


# In Python.


def pictures(tmp_path: Path) -> Path:
    """Class folders with pictures of two sizes."""
    files = {f"{name}/{i}.png": png(i, (6 + 30 * (i == 3), 8, 3)) for name in "ab" for i in range(6)}
    return placed(tmp_path, files, "folder")


def grey(count: int) -> ImageData:
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, 1, 2, 2).contiguous()
    part = ImageSet(images, torch.tensor([0] * (count - 2) + [1] * 2))
    return ImageData(part, part, ("a", "b"), "grey", {})


def streamed(**options: Any) -> object:
    usual = {"num_chunks": 1, "chunk_size": 8, "balanced": True, "generator": np.random.default_rng(0)}
    return make_stream(grey(12), **{**usual, **options})


def windows(**options: Any) -> object:
    usual = {"context": 8, "num_chunks": 1, "chunk_size": 10, "num_test": 4, "generator": np.random.default_rng(0)}
    return text_stream(python_topics(), **{**usual, **options})


PYTHON: dict[str, Callable[..., Callable[..., object]]] = {
    "pictures of several sizes": lambda path: lambda **given: image_folder(pictures(path), **given),
    "the same by name": lambda path: lambda **given: find_data(f"folder:{pictures(path)}", **given),
    "too few for balance": lambda path: streamed,
    "text in blocks": lambda path: windows,
    "no such device": lambda path: (
        lambda **given: rule_jobs(RunConfig.of(**{"device": "cuda", **given}), [0], "x")
    ),
}


@pytest.mark.parametrize("name", PYTHON)
def test_what_an_error_says_in_python_works(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHTHEORY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    call = PYTHON[name](tmp_path)
    with pytest.raises(ValueError, match="must") as raised:
        call()
    fix = str(raised.value).rpartition(", got ")[2]
    advised = {name: ast.literal_eval(value) for name, value in re.findall(r"\b(\w+)=('\w+'|\w+)", fix)}
    assert advised
    assert call(**advised)


X, Y = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2])


class Dictionary(nn.Module):
    """A network that returns what libraries of transformers return."""

    def forward(self, inputs: torch.Tensor) -> dict[str, Any]:
        return {"loss": None, "logits": inputs}


def expression(error: pytest.ExceptionInfo[ValueError], pattern: str) -> str:
    """Python that an error names."""
    found = re.search(pattern, str(error.value))
    assert found, str(error.value)
    return found[1]


def test_expressions_that_an_error_names_work() -> None:
    whole = TensorDataset(X, Y)
    loader = DataLoader(whole, 2)
    with pytest.raises(ValueError, match=r"^train must have items by number, got DataLoader") as raised:
        stream_of_dataset(loader, whole, 2)  # type: ignore[arg-type]
    assert stream_of_dataset(eval(expression(raised, r"(loader\.\w+)\."), {"loader": loader}), whole, 2).chunks
    x = X.to(torch.uint8)
    with pytest.raises(ValueError, match="x must be floating-point") as raised:
        stream_of_tensors(x, Y, X, Y, 2)
    assert stream_of_tensors(eval(expression(raised, r"Say (.*?),"), {"x": x}), Y, X, Y, 2).chunks
    array: Any = X.numpy()
    with pytest.raises(ValueError, match="x must be a tensor") as raised:
        stream_of_tensors(array, Y, X, Y, 2)
    made = eval(expression(raised, r"Say (.*)\.$"), {"x": array, "torch": torch})
    assert stream_of_tensors(made, Y, X, Y, 2).chunks
    output: Any = Dictionary()(X)
    with pytest.raises(ValueError, match=r"^model must return a tensor of logits, got a dict") as raised:
        cross_entropy(output, Y)
    assert float(cross_entropy(eval(expression(raised, r"Return (.*) in its"), {"output": output}), Y)) > 0


def test_an_item_that_raises_is_named() -> None:
    class Broken(TensorDataset):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            if index == 3:
                raise KeyError("no\nsuch file")
            return X[index], Y[index]

    with pytest.raises(
        ValueError, match=r"^train\[3\] must be an item that can be read, got 'KeyError: .*'\. Mend"
    ):
        stream_of_dataset(Broken(X, Y), TensorDataset(X, Y), 2)


# On the command line.


def start(*options: str) -> int:
    """All of `dashtheory run` up to its first run."""
    parser = _parser(SCRIPT)
    given = parser.parse_args(options)

    def work() -> None:
        config, seeds = _configuration(SCRIPT, given)
        make_source(config, 0)
        rule_jobs(config, seeds, "run")

    return guarded(parser.prog, lambda: given.out, work, option_names(parser))


COMMANDS: dict[str, tuple[str, ...]] = {
    "pictures of several sizes": ("--data", "folder:{pictures}", "--num-chunks", "1", "--chunk-size", "4"),
    "too few for balance": ("--chunk-size", "281", "--balanced", "yes"),
    "text in blocks": ("--data", "text", "--model", "transformer", "--chunk-size", "10"),
    "no such device": ("--device", "cuda"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_what_an_error_says_on_the_command_line_works(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DASHTHEORY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    command = [part.format(pictures=pictures(tmp_path)) for part in COMMANDS[name]]
    assert start(*command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    fix = line.rpartition(", got ")[2]
    advised = [part for pair in re.findall(r"(--[\w-]+) (\w+)", fix) for part in pair]
    assert advised
    assert start(*command, *advised) == 0, capsys.readouterr().err


def test_the_command_that_gets_a_missing_archive_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "a 'b' $HOME"
    assert start("--data", f"cifar10:{place}") == 2
    line = capsys.readouterr().err.strip()
    _, option, code = shlex.split(line[line.index("python -c ") :])
    assert option == "-c"
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(data_module, "find_data", lambda name, *, download: calls.append((name, download)))
    exec(code, {})
    assert calls == [(f"cifar10:{place}", True)]


USER = """
import torch
from torch.utils.data import TensorDataset
from dashtheory.deep.data import stream_of_dataset, stream_of_tensors
from dashtheory.stream import Examples, Stream
x, y = torch.zeros(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
class Broken(TensorDataset):
    def __getitem__(self, i):
        return super().__getitem__(i) if i < 3 else 1 / 0
def item(generator): return stream_of_dataset(Broken(x, y), TensorDataset(x, y), 2)
def missing(generator): return open("/nowhere/data.pt")
def own(generator): raise ValueError("no such\\nthing")
def divides(generator): return stream_of_tensors(x, y, x, y, num_chunks=4)
def nan(generator):
    bad = x.clone(); bad[4, 1] = float("nan")
    return Stream((Examples(x, y), Examples(bad, y)), Examples(x, y))
"""


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            "item",
            "train[3] must be an item that can be read, got 'mine.py, line 9: ZeroDivisionError: division",
        ),
        (
            "missing",
            ":missing' must run without an error, got 'mine.py, line 11: FileNotFoundError: [Errno 2] No such",
        ),
        (
            "own",
            ":own' must run without an error, got 'mine.py, line 12: ValueError: no such thing'. Mend that line.",
        ),
        ("divides", "dashtheory run: num_chunks must be >= 1 and divide the 6 examples, got 4."),
        ("nan", ":nan' must give finite inputs, got NaN or infinity in example 4 of chunk 2. Mend or drop it."),
    ],
)
def test_errors_of_the_users_own_data_name_item_and_line(
    function: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(USER, encoding="utf-8")
    assert start("--data", f"python:{path}:{function}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


TYPED = """
import torch
from torch import nn
from dashtheory.deep.data import stream_of_tensors
def stream(generator):
    x, y = torch.ones(8, 4, dtype=torch.float64), torch.arange(8) % 2
    CONVERT
    return stream_of_tensors(x, y, x, y, num_chunks=1)
def network(shape, classes, generator): return nn.Linear(4, classes)
"""


def test_dtypes_that_do_not_fit_are_named_with_what_to_convert(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    config = RunConfig.of(data=f"python:{path}:stream", model=f"python:{path}:network", max_epochs=1)
    path.write_text(TYPED.replace("CONVERT", ""), encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"The inputs are torch.float64, the weights torch.float32: say"
    ) as raised:
        run_rule(config, "cold", 0, "run", lambda share, text: None)
    path.write_text(TYPED.replace("CONVERT", f"x = {expression(raised, 'say (.*) where')}"), encoding="utf-8")
    assert len(run_rule(config, "cold", 0, "run", lambda share, text: None))


def test_a_file_that_is_not_of_the_results_is_not_blamed_on_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, blamed in ((tmp_path / "out" / "x", "--out must be able"), (tmp_path / "data", "file must be one")):
        error = PermissionError(13, "Permission denied", str(name))

        def work(error: OSError = error) -> None:
            raise error

        assert guarded("run", lambda: tmp_path / "out", work) == 2
        assert capsys.readouterr().err.startswith(f"run: {blamed}")
