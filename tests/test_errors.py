"""Kinds of errors: told apart by class, wherever they were raised."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pandas as pd
import pytest

import dashtheory
from dashtheory import errors
from dashtheory._check import fail
from dashtheory.parallel import Job, Report, run_jobs

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
WORDS_ALLOWED = {"errors.py"}  # torch gives nothing else where memory runs out


def diverge(report: Report) -> pd.DataFrame:
    fail("loss", "must stay finite", "nan", "Train more slowly.", error=errors.Diverged)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_a_value_error_that_survives_pickling(kind: type[ValueError]) -> None:
    with pytest.raises(ValueError, match=r"^name must be new, got old\. Mend it\.$") as raised:
        fail("name", "must be new", "old", "Mend it.", error=kind)
    back = pickle.loads(pickle.dumps(raised.value))
    assert type(raised.value) is type(back) is kind
    assert str(back) == str(raised.value)


def test_an_error_comes_out_of_a_worker_with_its_class() -> None:
    with pytest.raises(errors.Diverged, match="loss must stay finite, got nan"):
        list(run_jobs([Job(name="one", function=diverge)], num_workers=1))


def decides_by_words(tree: ast.AST) -> bool:
    """Whether `str(error)` of a caught error, or its `args`, is compared, searched or asked how it begins."""
    caught = {node.name for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)} - {None} | {"error"}
    for node in ast.walk(tree):
        parts: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            parts = [node.func.value] if node.func.attr in {"startswith", "endswith", "find", "count"} else []
        elif isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re."):
            parts = list(node.args)
        said = (ast.unparse(inner) for part in parts for inner in ast.walk(part) if isinstance(inner, ast.expr))
        if {text for name in caught for text in (f"str({name})", f"{name}.args")} & set(said):
            return True
    return False


def test_no_decision_is_taken_from_the_words_of_an_error() -> None:
    package = Path(dashtheory.__file__).parent
    assert decides_by_words(ast.parse("try: f()\nexcept E as e:\n    if 'x' in str(e).lower(): raise"))
    deciding = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if decides_by_words(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert deciding == WORDS_ALLOWED
