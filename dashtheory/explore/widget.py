"""Controls, figure and words of an explorer as ipywidgets; nothing is computed or drawn here."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import ipywidgets

from dashtheory.explore.explorer import Explorer
from dashtheory.explore.figure import WIDTH
from dashtheory.explore.state import Control, Menu, controls

_NAMES = """
const box = this.closest('.dashtheory-explorer');
const set = (handle, name, words) => {
  if (words && handle.getAttribute(name) !== words) handle.setAttribute(name, words);
};
const tell = () => box.querySelectorAll('[role=slider]').forEach(handle => {
  set(handle, 'aria-label', handle.closest('.jupyter-widgets')?.querySelector('.widget-label')?.textContent);
  const value = String(+Number(handle.getAttribute('aria-valuetext')).toFixed(4));
  ['aria-valuetext', 'aria-valuenow'].forEach(name => set(handle, name, value));
});
if (box) {
  tell();
  const seen = {childList: true, subtree: true, attributeFilter: ['aria-valuetext', 'aria-valuenow']};
  new MutationObserver(tell).observe(box, seen);
}
"""
"""Gives each slider's handle the words beside it as its name, and its value as it is.

ipywidgets leaves the handle nameless to a screen reader, and its value is rounded to one digit, or has seventeen.
This runs when the style is loaded: scripts inside a widget's HTML do not run, and this works in JupyterLab as on
the page.
"""

_STYLE = """<style onload="%s">
.dashtheory-explorer { --jp-widgets-font-size: 15px; --jp-widgets-inline-height: 30px; max-width: %dpx; }
.dashtheory-explorer .widget-html-content { line-height: 1.45; font-size: 15px; }
.dashtheory-explorer .widget-label { white-space: normal; line-height: 1.3; height: auto; align-self: center; }
.dashtheory-explorer .widget-gridbox { align-items: center; }
.dashtheory-explorer .widget-gridbox > * { height: auto; min-height: 30px; min-width: 0; }
.dashtheory-explorer .dashtheory-text { margin: 2px 0 0 0; max-width: 1100px; font-size: 15px; }
.dashtheory-explorer .dashtheory-error { color: #a11; font-weight: bold; }
.dashtheory-explorer [role=slider]:focus, .dashtheory-explorer .noUi-handle:focus,
.dashtheory-explorer select:focus, .dashtheory-explorer button:focus {
  outline: 3px solid #0072B2 !important; outline-offset: 1px;
}
@media (max-width: 900px) {
  #rendered_cells, #rendered_cells > div { padding-left: 6px !important; padding-right: 6px !important; }
  .dashtheory-explorer .widget-label { width: 210px !important; }
}
</style>""" % (html.escape(_NAMES), WIDTH + 20)  # noqa: UP031  # braces belong to CSS


class Panel:
    """The widgets of one explorer.

    Args:
        explorer: shown; its controls follow it, and it follows them.
    """

    def __init__(self, explorer: Explorer[Any, Any]) -> None:
        self.explorer = explorer
        self.controls = {name: _make(name, what) for name, what in controls(explorer.state).items()}
        self.figure = ipywidgets.HTML()
        self.words = ipywidgets.HTML()
        self._following = False
        for name, widget in self.controls.items():
            widget.observe(self._moved(name), names="value")
        buttons = [self._button(label, action) for label, action in explorer.actions.items()]
        grid = ipywidgets.GridBox(
            [*self.controls.values(), *buttons],
            layout=ipywidgets.Layout(
                grid_template_columns="repeat(auto-fit, minmax(min(100%, 500px), 1fr))", grid_gap="2px 24px"
            ),
        )
        self.box = ipywidgets.VBox([ipywidgets.HTML(_STYLE), grid, self.figure, self.words])
        self.box.add_class("dashtheory-explorer")
        self._follow()
        explorer.watch(self._follow)

    def _moved(self, name: str) -> Callable[[Any], None]:
        """What happens when a reader moves a control."""

        def moved(change: Any) -> None:
            if not self._following:
                self.explorer.set(**{name: change["new"]})

        return moved

    def _follow(self) -> None:
        """Show the explorer's present state."""
        self._following = True
        for name, widget in self.controls.items():
            widget.value = getattr(self.explorer.state, name)
        self._following = False
        self.figure.value = self.explorer.picture().html()
        kind = "dashtheory-error" if self.explorer.error else "dashtheory-text"
        role = "alert" if self.explorer.error else "note"
        self.words.value = f'<p class="{kind}" role="{role}">{html.escape(self.explorer.text)}</p>'

    def _button(self, label: str, action: Callable[[], None]) -> Any:
        button = ipywidgets.Button(
            description=label, layout=ipywidgets.Layout(width="290px", margin="2px 0 2px auto")
        )

        def clicked(_: Any) -> None:
            button.disabled, button.description = True, f"{label} …"
            try:
                action()
            finally:
                button.disabled, button.description = False, label

        button.on_click(clicked)
        return button


def _make(name: str, what: Control) -> Any:
    """The widget of one control."""
    common = {
        "description": what.label,
        "tooltip": what.label,
        "style": {"description_width": "285px"},
        "layout": ipywidgets.Layout(width="auto"),
    }
    if isinstance(what, Menu):
        options = [(words, key) for key, words in what.options.items()]
        widget = ipywidgets.Dropdown(options=options, **common)
    else:
        kind = ipywidgets.IntSlider if what.whole else ipywidgets.FloatSlider
        if not what.whole:
            common["readout_format"] = ".2f"
        widget = kind(min=what.low, max=what.high, step=what.step, continuous_update=True, **common)
    widget.add_class(f"control-{name.replace('_', '-')}")
    return widget
