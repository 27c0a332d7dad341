"""Figures of the notebooks: one call that shows a picture with a text alternative and lets go of the figure."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure
from matplotlib.pyplot import close

from dashtheory._check import fail

DPI = 120
"""Dots per inch of a picture; it is shown at `SHOWN_DPI`, so that it stays sharp on dense screens."""

SHOWN_DPI = 85


def show(figure: Figure, alt: str) -> None:
    """Show `figure` in a notebook with a text alternative, and close it.

    The picture is a PNG whose output carries `alt` as its alternative text, so that exported pages and screen
    readers have it. The same figure gives the same bytes. Needs IPython (the extra `notebook`).

    Args:
        figure: made by matplotlib.
        alt: what the picture shows, in one sentence or two.

    Raises:
        ValueError: if `alt` is empty.
    """
    if not isinstance(alt, str) or not alt.strip():
        fail("alt", "must say what the picture shows", repr(alt), "Write the sentence that a reader would miss.")
    from IPython.display import Image, display  # here, so that drawing needs no notebook

    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=DPI, metadata={"Software": None})
    close(figure)
    width = round(figure.get_figwidth() * SHOWN_DPI)
    display(Image(data=picture.getvalue(), alt=alt, width=width))  # type: ignore[no-untyped-call]
