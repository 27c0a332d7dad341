"""The controls of an explorer: fields of a frozen dataclass, each with a label and the values it may take.

A state is what all controls say at one moment. Its fields carry a `Slider` or a `Menu`, from which the widgets
are made and by which every value is checked. A combination that makes no sense is a state too: computing with it
says what is wrong.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from dashtheory._check import choice, fail, integer, real

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    State = TypeVar("State", bound=DataclassInstance)
else:
    State = TypeVar("State")

_CONTROL = "control"


@dataclass(frozen=True, kw_only=True)
class Slider:
    """A number from `low` to `high` in steps of `step`; whole if all three are.

    Attributes:
        label: words, with the symbol in front.
        low: as numbers of one kind.
        high: as numbers of one kind.
        step: as numbers of one kind.
    """

    label: str
    low: float
    high: float
    step: float

    @property
    def whole(self) -> bool:
        """Whether the values are integers."""
        return all(isinstance(value, int) for value in (self.low, self.high, self.step))

    def checked(self, name: str, value: object) -> float:
        """The value, snapped to the nearest step.

        Raises:
            ValueError: if it is out of range or no number.
        """
        fix = f"The slider goes from {self.low:g} to {self.high:g}."
        if self.whole:
            found: float = integer(name, value, minimum=int(self.low), fix=fix)
        else:
            found = real(name, value, low=self.low, fix=fix)
        if found > self.high:
            fail(name, f"must be at most {self.high:g}", repr(value), fix)
        steps = round((found - self.low) / self.step)
        return int(self.low + steps * self.step) if self.whole else round(self.low + steps * self.step, 10)


@dataclass(frozen=True, kw_only=True)
class Menu:
    """One of a few names.

    Attributes:
        label: words.
        options: what a reader sees, by name.
    """

    label: str
    options: Mapping[str, str]

    def checked(self, name: str, value: object) -> str:
        """The value.

        Raises:
            ValueError: if it is no name of the menu.
        """
        return choice(name, value, self.options)


Control = Slider | Menu


def control(default: Any, what: Control) -> Any:
    """A field of a state, with its control."""
    return dataclasses.field(default=default, metadata={_CONTROL: what})


def controls(state: DataclassInstance | type[DataclassInstance]) -> dict[str, Control]:
    """The controls of a state, by the name of the field, in order."""
    return {item.name: item.metadata[_CONTROL] for item in dataclasses.fields(state)}


def moved(state: State, values: Mapping[str, object]) -> State:
    """A state with some controls moved.

    Raises:
        ValueError: if there is no such control, or a value is none of its values.
    """
    known = controls(state)
    for name in values:
        choice("control", name, known)
    return dataclasses.replace(state, **{name: known[name].checked(name, value) for name, value in values.items()})
