"""Pictures of the notebooks carry their text alternative, and leave no figure behind."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pytest

from dashtheory.plot.notebook import DPI, SHOWN_DPI, show

display_pub = pytest.importorskip("IPython.display")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was displayed."""
    found: list[Any] = []
    monkeypatch.setattr(display_pub, "display", found.append)
    return found


def test_the_picture_carries_its_text(shown: list[Any]) -> None:
    figure, ax = plt.subplots(figsize=(4, 2))
    ax.plot([0, 1])
    show(figure, "A line rises from 0 to 1.")
    (image,) = shown
    data, metadata = image._repr_mimebundle_()
    assert list(data) == ["image/png"]
    assert metadata["image/png"] == {"alt": "A line rises from 0 to 1.", "width": 4 * SHOWN_DPI}


def test_the_picture_has_the_size_of_the_figure_and_is_the_same_twice(shown: list[Any]) -> None:
    for _ in range(2):
        figure, ax = plt.subplots(figsize=(4, 2))
        ax.plot([0, 1])
        show(figure, "A line.")
    first, second = (image.data for image in shown)
    assert first == second
    width, height = (int.from_bytes(first[place : place + 4], "big") for place in (16, 20))
    assert (width, height) == (4 * DPI, 2 * DPI)


def test_no_figure_stays_open(shown: list[Any]) -> None:
    before = plt.get_fignums()
    figure, _ = plt.subplots()
    show(figure, "Empty axes.")
    assert plt.get_fignums() == before


@pytest.mark.parametrize("alt", ["", "  ", None])
def test_a_picture_without_words_is_refused(alt: Any, shown: list[Any]) -> None:
    figure, _ = plt.subplots()
    with pytest.raises(ValueError, match="alt must say what the picture shows"):
        show(figure, alt)
    plt.close(figure)
    assert not shown
