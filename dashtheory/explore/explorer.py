"""An explorer: a state, what is computed from it, a drawing of that, and words for it."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from dashtheory.explore.figure import Canvas, Picture
from dashtheory.explore.state import State, moved

if TYPE_CHECKING:
    from dashtheory.explore.widget import Panel

Found = TypeVar("Found")
FoundIn = TypeVar("FoundIn", contravariant=True)


class Drawing(Protocol[FoundIn]):
    """A figure that shows what was found; it computes nothing."""

    canvas: Canvas

    def show(self, found: FoundIn) -> None:
        """Move the artists to what was found; the canvas is drawn afterwards."""


class Explorer(Generic[State, Found]):
    """A figure with controls. As the last line of a notebook's cell it shows itself.

    Args:
        title: a few words.
        state: where the controls start.
        compute: from a state to arrays; a ValueError is shown in place of the figure.
        describe: one paragraph of words.
        drawing: of what was computed.

    Attributes:
        title: as given.
        compute: as given.
        describe: as given.
        drawing: as given.
        actions: functions behind buttons, by their label.

    Raises:
        ImportError: if ipywidgets is missing.
    """

    def __init__(
        self,
        *,
        title: str,
        state: State,
        compute: Callable[[State], Found],
        describe: Callable[[State, Found], str],
        drawing: Drawing[Found],
    ) -> None:
        need_widgets()
        self.title, self.actions = title, dict[str, Callable[[], None]]()
        self.compute, self.describe, self.drawing = compute, describe, drawing
        self._state, self._error, self._text, self._png = state, "", "", b""
        self._watchers: list[Callable[[], None]] = []
        self._panel: Panel | None = None
        self.refresh()

    @property
    def state(self) -> State:
        """What the controls say."""
        return self._state

    @property
    def text(self) -> str:
        """One paragraph that describes the figure; the error, if the state makes no sense."""
        return self._error or self._text

    @property
    def error(self) -> str:
        """Why nothing can be computed from this state, in one line; empty if all is well."""
        return self._error

    @property
    def png(self) -> bytes:
        """The figure as it is now."""
        return self._png

    def set(self, **values: object) -> None:
        """Move controls by name.

        Raises:
            ValueError: with nothing moved, if there is no such control or a value is none of its values.
        """
        self._state = moved(self._state, values)
        self.refresh()

    def refresh(self) -> None:
        """Compute, draw and tell all watchers."""
        try:
            found = self.compute(self._state)
        except ValueError as error:
            self._error = " ".join(str(error).split())
            self._png = self.drawing.canvas.message(self._error)
        else:
            self._error = ""
            self.drawing.show(found)
            self.drawing.canvas.draw()
            self._png = self.drawing.canvas.encode()
            self._text = self.describe(self._state, found)
        for watcher in self._watchers:
            watcher()

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call a function after every change."""
        self._watchers.append(watcher)

    def picture(self) -> Picture:
        """A static copy of the present state with alternative text."""
        return Picture(self._png, self.text)

    @property
    def widget(self) -> Any:
        """The ipywidgets container: controls, figure, words."""
        if self._panel is None:
            from dashtheory.explore.widget import Panel

            self._panel = Panel(self)
        return self._panel.box

    def _repr_mimebundle_(self, **kwargs: Any) -> Mapping[str, Any]:
        bundle: dict[str, Any] = dict(self.widget._repr_mimebundle_(**kwargs) or {})
        return bundle | {"text/plain": self.text}

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in dataclasses.asdict(self._state).items())
        return f"<{self.title}: {values}>"


def need_widgets() -> None:
    """Raise an ImportError of one line if ipywidgets is missing."""
    if importlib.util.find_spec("ipywidgets") is None:
        raise ImportError("the explorers need ipywidgets: pip install 'dashtheory[notebook]'")
