"""Functions compiled by numba, once for all processes where that can be kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile a function when it is first called; other threads run meanwhile.

    The result is kept beside the module or in the user's cache folder, or, if neither can be written (a read-only
    installation without a home), made anew by every process.
    """
    try:
        return cast(Function, njit(nogil=True, cache=True)(function))
    except RuntimeError:  # numba found no folder
        return cast(Function, njit(nogil=True)(function))
