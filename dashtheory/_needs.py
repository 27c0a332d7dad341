"""Names that are imported on first use, and what to install where they need what is not there.

Level 1 and its theory do without torch; everything that trains a network is the extra `deep`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lazy_loader

TORCH = "torch must be installed for this part of dashtheory, got none. Say pip install 'dashtheory[deep]'."


def lacks_torch(error: ImportError) -> bool:
    """Whether torch is what could not be imported."""
    return (error.name or "").partition(".")[0] == "torch"


def attach(name: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package whose names its stub lists; as `lazy_loader`.

    Args:
        name: of the package.
        file: its `__init__.py`.
    """
    get, names, every = lazy_loader.attach_stub(name, file)

    def told(attribute: str) -> Any:
        try:
            return get(attribute)
        except ModuleNotFoundError as error:
            if not lacks_torch(error):
                raise
        raise ModuleNotFoundError(TORCH, name="torch")

    return told, names, every
