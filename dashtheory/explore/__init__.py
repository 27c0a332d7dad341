"""Figures with sliders, for notebooks and for `make app`: level 1 by stage, DASH's alpha and lambda, step sizes.

    explorer = explore_discrete()
    explorer                      as the last line of a cell: sliders and figure
    explorer.set(gamma=30)        moves a slider from code
    explorer.picture()            a static copy with alternative text
    explorer.state, explorer.text

Each explorer computes (`discrete`, `alpha_lambda`, `steps`, `geometry`: from a frozen state to arrays), then
draws (`draw_*`), and the widgets only call it. What takes long to train is stored (`stored`, `passes`). They
need ipywidgets: pip install 'dashtheory[notebook]'.
"""

from dashtheory.explore.explorer import Explorer
from dashtheory.explore.figure import Picture
from dashtheory.explore.make import (
    DiscreteExplorer,
    explore_alpha_lambda,
    explore_discrete,
    explore_shrink,
    explore_steps,
)

__all__ = [
    "DiscreteExplorer",
    "Explorer",
    "Picture",
    "explore_alpha_lambda",
    "explore_discrete",
    "explore_shrink",
    "explore_steps",
]
