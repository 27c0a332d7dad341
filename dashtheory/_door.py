"""One mechanism for errors of other libraries at the public doors.

A function marked with `door` works as before. Where it ends in an error of another library (a TypeError, an
AttributeError, an error of torch's about shapes), the arguments are looked at: one that is not of its annotated
kind is named; if all are, the error itself is quoted. Either way it is one line in the form of all of this
package's errors, with the cause chained, and costs nothing where nothing goes wrong.
"""

from __future__ import annotations

import dis
import functools
import inspect
import sys
import threading
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from dashtheory._check import fail
from dashtheory.errors import Unusable, memory_ran_out

Function = TypeVar("Function", bound=Callable[..., Any])

FOREIGN = (TypeError, AttributeError, LookupError, RuntimeError, ArithmeticError, ValueError)
"""Kinds of errors that are looked at; those that this package raised itself go through."""
DATA = "Look at the shapes, dtypes and labels of the data, and at what the model and the loss take."
_inside = threading.local()  # whether a door is open: the one that the user came through speaks
_PLAIN: Mapping[type, str] = {
    str: "text",
    bool: "True or False",
    int: "an integer",
    float: "a number",
    Sequence: "a list",
    Iterable: "something to go through",
    Mapping: "a dictionary",
    Callable: "a function",  # type: ignore[dict-item]
    type(None): "None",
}


def door(*, fix: str = DATA) -> Callable[[Function], Function]:
    """Make a public function tell in one line what another library could not use.

    Args:
        fix: what to do if all arguments are of their kinds.
    """

    def mark(function: Function) -> Function:
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def marked(*args: Any, **options: Any) -> Iterator[Any]:
                try:
                    yield from function(*args, **options)
                except FOREIGN as error:
                    _tell(function, args, options, error, fix)

        else:

            @functools.wraps(function)
            def marked(*args: Any, **options: Any) -> Any:
                outer, _inside.door = getattr(_inside, "door", False), True
                try:
                    return function(*args, **options)
                except FOREIGN as error:
                    if outer:
                        raise
                    _tell(function, args, options, error, fix)
                finally:
                    _inside.door = outer

        return typing.cast(Function, marked)

    return mark


def _tell(function: Callable[..., Any], args: Any, options: Any, error: Exception, fix: str) -> NoReturn:
    """Raise the error again if it is ours or a user's, else one that names what it was about.

    Raises:
        ValueError: in one line.
    """
    if _left_alone(error) or memory_ran_out(error):
        raise error
    try:
        bound = inspect.signature(function).bind(*args, **options)
    except TypeError:
        raise error from None  # a call with other arguments than the function has: Python says it best
    hints = _hints(function)
    for name, value in bound.arguments.items():
        if name in hints and not _fits(value, hints[name]):
            got = type(value).__name__
            fail(name, f"must be {_words(hints[name])}", got, f"help({function.__name__}) tells more.")
    first = str(error).strip().split("\n", 1)[0]
    got = f"{type(error).__name__}: {first}" if first else type(error).__name__
    fail(function.__name__, "must be able to use what it is given", f"'{got}'", fix, error=Unusable)


def _left_alone(error: Exception) -> bool:
    """Whether the error is from `dashtheory._check.fail`, where this package's own come from, or raised by a user.

    A user's loss or model may raise what it likes; what a library raises in it is looked at.
    """
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None:
        return True
    code, module = last.tb_frame.f_code, str(last.tb_frame.f_globals.get("__name__", ""))
    raised = code.co_code[last.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    return code is fail.__code__ or (raised and module.partition(".")[0] not in _LIBRARIES)


_LIBRARIES = {"torch", "numpy", "pandas", "scipy", "sklearn", "PIL", "dashtheory"} | sys.stdlib_module_names - {
    "__main__"
}


def _hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    try:
        return typing.get_type_hints(function)
    except NameError:  # a name that is there for type checkers alone
        return {}


def _fits(value: object, hint: Any) -> bool:
    """Whether a value is of the kind of an annotation, as far as can be seen from outside."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in typing.get_args(hint))
    kind = origin if isinstance(origin, type) else hint
    if kind is float:
        return isinstance(value, float | int) and not isinstance(value, bool)
    if kind in (Sequence, Iterable) and isinstance(value, str):
        return False  # letters are hardly ever meant
    try:
        return not isinstance(kind, type) or isinstance(value, kind)
    except TypeError:  # a protocol, which cannot be looked for
        return True


def _words(hint: Any) -> str:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_words(one) for one in typing.get_args(hint))
    kind = origin if isinstance(origin, type) else hint
    if kind in _PLAIN:
        return _PLAIN[kind]
    place = f"{kind.__module__}.".split(".", 1)[0]
    return f"a {kind.__name__}" if place == "builtins" else f"{place}.{kind.__name__}"
