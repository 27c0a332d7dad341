"""Code of your own, named on a command line or in a configuration: python:FILE.py:NAME or python:MODULE:NAME.

A file is loaded as it stands on disk: the same file twice gives the same classes, an edited one is loaded anew. It
may import modules that lie beside it. Its fingerprint covers those too, so that no result of an edited file can be
taken for another's.

A rule is a class, data and networks are functions:

    dashtheory run --rules warm,python:mine.py:Mine:strength=0.3 --data python:mine.py:stream \
        --model python:mine.py:network
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import site
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from dashtheory._check import fail
from dashtheory._spec import is_own, split_own, split_text

RULE_EXAMPLE = '''\
from dataclasses import dataclass
import torch
from dashtheory.rules import InPlace


@dataclass(frozen=True, kw_only=True)
class Mine(InPlace):
    """Shrink every weight by one factor. Its fields are its options."""

    strength: float = 0.5

    @torch.no_grad()
    def change_(self, model, context):
        for parameter in model.parameters():
            parameter.mul_(self.strength)
'''
"""A rule: what happens to a network between two stages."""

STREAM_EXAMPLE = """\
import torch
from dashtheory.deep.data import stream_of_tensors


def stream(generator):  # numpy's; one per seed
    x = torch.from_numpy(generator.normal(size=(600, 8))).float()
    y = (x[:, 0] * x[:, 1] > 0).long()
    return stream_of_tensors(x[:400], y[:400], x[400:], y[400:], num_chunks=4)
"""
"""Data: chunks of one distribution, and a test set."""

NETWORK_EXAMPLE = """\
import torch
from torch import nn


def network(input_shape, num_classes, generator, hidden=64):  # options: --model-options hidden=32
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        return nn.Sequential(nn.Linear(input_shape[0], hidden), nn.ReLU(), nn.Linear(hidden, num_classes))
"""
"""A network: any `torch.nn.Module`, its weights drawn from the generator."""

COMMAND_EXAMPLE = """\
dashtheory run --data python:mine.py:stream --model python:mine.py:network \\
    --rules cold,warm,python:mine.py:Mine,python:mine.py:Mine:strength=0.3
"""
"""The command that runs all three."""

EPILOG = "\n".join(
    [
        "Your own rule, data and network, in a file mine.py:",
        *(
            "\n" + "\n".join(f"    {line}".rstrip() for line in example.splitlines())
            for example in (RULE_EXAMPLE, STREAM_EXAMPLE, NETWORK_EXAMPLE, COMMAND_EXAMPLE)
        ),
    ]
)
"""The examples, for the end of a command line's help."""


@dataclass(frozen=True, kw_only=True)
class OwnCode:
    """Something of your own.

    Attributes:
        text: python:PLACE:NAME.
        value: what it names.
        sha256: of its file; empty if it has none.
        fingerprint: of its file and all files beside it that it imports, directly or not.
    """

    text: str
    value: Any
    sha256: str
    fingerprint: str

    @property
    def facts(self) -> dict[str, object]:
        """What to record of it."""
        return {"source": self.text, "sha256": self.sha256, "fingerprint": self.fingerprint}


def find(argument: str, text: str, kind: str, fits: Callable[[object], bool]) -> OwnCode:
    """What "python:PLACE:NAME" names.

    Args:
        argument: what errors call it.
        text: as written.
        kind: of thing, in a word for errors, as "function".
        fits: whether something is of that kind; errors list what is.

    Raises:
        ValueError: in one line if there is no such file or module, it cannot be imported (then with the file, the
            line and the error), or it holds no such thing.
    """
    name, attribute = split_own(argument, text)
    with _LOCK:
        place = _located(argument, name)
        module = _loaded(argument, place)
    missing = object()
    value = vars(module).get(attribute, missing)
    if value is missing or not fits(value):
        there = [one for one, other in vars(module).items() if fits(other) and not one.startswith("_")]
        mine = [one for one in there if getattr(vars(module)[one], "__module__", "") == module.__name__]
        got = repr(attribute) if value is missing else f"'{attribute}', which is {_described(value)}"
        fail(argument, f"must name a {kind} of '{name}'", got, f"There: {', '.join(mine) or 'none'}.")
    return OwnCode(text=text, value=value, sha256=_sha256(place.file), fingerprint=place.fingerprint)


def fingerprints(texts: Iterable[str], argument: str = "name") -> dict[str, str]:
    """Fingerprints of what is your own among names of rules (options left out), data and networks, by name.

    Nothing is imported.

    Args:
        texts: the names.
        argument: what errors call them.

    Raises:
        ValueError: in one line if there is no such file or module.
    """
    found = {}
    for text in texts:
        name = split_text(text)[0]
        if is_own(name):
            found[name] = _located(argument, split_own(argument, name)[0]).fingerprint
    return found


def fingerprint(*texts: str) -> str:
    """One for all that is your own among names of rules, data and networks; empty if nothing is."""
    found = fingerprints(texts)
    return _digest(found) if found else ""


def where_raised(error: BaseException, files: Iterable[Path]) -> str:
    """The last line of `files` that an error came through, as "mine.py, line 3: TypeError: ...", in one line."""
    at = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    said: object = error
    if isinstance(error, SyntaxError):
        at.append((error.filename or "", error.lineno))
        said = error.msg
    words = " ".join(f"{type(error).__name__}: {said}".split())
    names = {str(path): path.name for path in files}
    ours = [f"{names[name]}, line {line}: {words}" for name, line in at if name in names]
    return ours[-1] if ours else words


def user_files() -> list[Path]:
    """Files of your own that have been loaded."""
    return [*_MAIN, *(file for file, _ in _HELPERS.values())]


# Where code lies, and what it imports.


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A file or a module.

    Attributes:
        written: as written.
        file: where it is; None for a module that is built into Python.
        beside: modules of your own, by name, that are imported with it; itself among them if it is a module.
    """

    written: str
    file: Path | None
    beside: Mapping[str, Path]

    @property
    def is_file(self) -> bool:
        return self.written.endswith(".py")

    @cached_property
    def fingerprint(self) -> str:
        return _digest({"": _sha256(self.file), **{name: _sha256(file) for name, file in self.beside.items()}})


_NOT_OWN = {*sys.stdlib_module_names, "dashtheory"}


def _located(argument: str, written: str) -> _Place:
    if written.endswith(".py"):
        file = Path(written).expanduser().resolve()
        if not file.is_file():
            fail(argument, "must name a file that is there", repr(written), f"It would be '{file}'.")
        return _Place(written=written, file=file, beside=_imported(file.parent, _names_in(file, [])))
    top = written.partition(".")[0]
    folder = Path.cwd().resolve()
    if top in _NOT_OWN or _file_of(folder, written) is None:  # not in the current folder: wherever Python finds it
        folder = _folder_of(argument, top, written)
    found = _file_of(folder, written)
    if top in _NOT_OWN or _is_installed(folder):
        return _Place(written=written, file=found, beside={})
    if found is None:
        fail(argument, "must name a module that can be imported", repr(written), f"It is not in {folder}.")
    return _Place(written=written, file=found, beside=_imported(folder, _prefixes(written)))


def _folder_of(argument: str, top: str, written: str) -> Path:
    """The folder that a top-level module lies in; nothing is imported."""
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # a module that was not imported, but made
        spec = None
    if spec is None or top == "__main__":  # another process has another
        fail(argument, "must name a module that can be imported", repr(written), f"There is no {top}.")
    return Path(next(iter(spec.submodule_search_locations or ()), spec.origin or "")).resolve().parent


def _is_installed(folder: Path) -> bool:
    paths = [*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()]
    return any(folder == Path(path).resolve() for path in paths)


def _file_of(folder: Path, name: str) -> Path | None:
    """The file of a module below a folder."""
    path = folder.joinpath(*name.split("."))
    for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
        if file.is_file():
            return file
    return None


def _imported(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """Modules of your own below a folder, by name: those of `names`, and what they import, directly or not."""
    found: dict[str, Path] = {}
    left = list(names)
    while left:
        name = left.pop()
        file = None if name in found or name.partition(".")[0] in _NOT_OWN else _file_of(folder, name)
        if file is not None:
            found[name] = file
            parts = name.split(".")
            left += _names_in(file, parts if file.name == "__init__.py" else parts[:-1])
    return dict(sorted(found.items()))


def _names_in(file: Path, package: list[str]) -> Iterator[str]:
    """Names that a file imports, wherever it does so; some are no modules.

    Args:
        file: of the module.
        package: that it is in.
    """
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # its import says so, with the line
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _prefixes(alias.name)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = [*start, *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                yield from _prefixes(".".join([*base, alias.name]))


def _prefixes(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts) + 1))


# Loading.


class _Source(SourceFileLoader):
    """Compiles what the file holds now; compiled files may be of another text with the same time and size."""

    def get_code(self, fullname: str) -> Any:
        text = self.get_data(self.path)
        if fullname in _FINDER.files:
            _HELPERS[fullname] = Path(self.path), hashlib.sha256(text).hexdigest()
        return self.source_to_code(text, self.path)


class _Finder:
    """Finds the modules that lie beside a user's file, wherever else modules of their names may lie."""

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As `importlib.abc.MetaPathFinder`."""
        file = self.files.get(fullname)
        return None if file is None else _spec_of(fullname, file)


def _spec_of(name: str, file: Path) -> ModuleSpec:
    inside = [str(file.parent)] if file.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(
        name, file, loader=_Source(name, str(file)), submodule_search_locations=inside
    )
    assert spec is not None
    return spec


_LOCK = threading.RLock()
_FINDER = _Finder()
_MAIN: dict[Path, tuple[str, ModuleType]] = {}  # files that were named, their fingerprints and modules
_HELPERS: dict[str, tuple[Path, str]] = {}  # modules beside them that have been imported, with their hashes


def _loaded(argument: str, place: _Place) -> ModuleType:
    """The module, loaded anew if its file or one that it imports has changed."""
    if place.is_file and place.file in _MAIN and _MAIN[place.file][0] == place.fingerprint:
        return _MAIN[place.file][1]
    files = [*([place.file] if place.file else []), *place.beside.values()]
    try:
        with _beside(place):
            return _executed(place) if place.is_file else importlib.import_module(place.written)
    except (Exception, SystemExit) as error:
        got = f"{place.written} with an error ({where_raised(error, files)})"
        fail(argument, "must name code that can be imported", got, "Mend it.")


def _executed(place: _Place) -> ModuleType:
    """A file as a module of a name of its own, so that several files may share theirs."""
    assert place.file is not None
    path = hashlib.sha256(str(place.file).encode()).hexdigest()
    name = f"dashtheory_user_{place.file.stem}_{path[:8]}_{place.fingerprint[:8]}"
    spec = _spec_of(name, place.file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for it
    try:
        assert spec.loader is not None
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    _MAIN[place.file] = place.fingerprint, module
    return module


@contextmanager
def _beside(place: _Place) -> Iterator[None]:
    """Let the modules beside a place be imported as their files are now.

    What another import had put under their names steps aside meanwhile, unless it is of the same file.
    """
    now = {name: (file, _sha256(file)) for name, file in place.beside.items()}
    if any(_HELPERS.get(name, one) != one for name, one in now.items()):
        for name in _HELPERS:
            sys.modules.pop(name, None)
        _HELPERS.clear()
    before = dict(sys.modules)
    files = {name: getattr(before[name], "__file__", None) for name in now if name in before}
    foreign = {name.partition(".")[0] for name, file in files.items() if file != str(place.beside[name])}
    aside = {name: module for name, module in before.items() if name.partition(".")[0] in foreign}
    for name in aside:
        del sys.modules[name]
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    _FINDER.files.update(place.beside)
    folder = str(place.file.parent) if place.file is not None and place.is_file else ""
    if folder and folder not in sys.path:
        sys.path.append(folder)  # for what is not written in Python, or imported by a computed name
    try:
        yield
    finally:
        sys.modules.update(aside)
        for name in aside:
            _HELPERS.pop(name, None)


def _sha256(file: Path | None) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file is not None else ""


def _digest(parts: Mapping[str, str]) -> str:
    return hashlib.sha256("\n".join(f"{name} {parts[name]}" for name in sorted(parts)).encode()).hexdigest()


def _described(value: object) -> str:
    kind = "a class" if isinstance(value, type) else f"of type {type(value).__name__}"
    return "a function" if callable(value) and not isinstance(value, type) else kind
